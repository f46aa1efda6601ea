// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// What has started with a set that cannot be read any more goes on; what has not, does not start.
func TestWhatHasStartedIsNotCanceledBecauseItsSetCannotBeRead(t *testing.T) {
	s := tell(t, set("fw"), rollout("r", 1, "fw"), takes)
	s.sets["fw"] = &eligibility.Set{Name: "fw", Unreadable: true, NotDeployable: "it cannot be read"}
	if s.settle() {
		t.Errorf("it is now %+v", s.target.Status.Actions)
	}
	if o := For(s.world()); o.Kind != Deploy || o.Action == nil {
		t.Errorf("the offer is %+v", o)
	}
	s = tell(t, set("fw"), rollout("r", 1, "fw"))
	*s.sets["fw"] = eligibility.Set{Name: "fw", Unreadable: true, NotDeployable: "it cannot be read"}
	if o := For(s.world()); o.Kind != Nothing || o.Reason.Code != eligibility.CodeSetNotReady {
		t.Errorf("the offer is %+v", o)
	}
}

// TestWindowThatCannotBeRead: a device starts nothing, and somebody is told what to correct.
func TestWindowThatCannotBeRead(t *testing.T) {
	for name, w := range map[string]v1alpha1.MaintenanceWindow{
		"no such zone":     {Schedule: "0 2 * * *", DurationSeconds: 60, TimeZone: "Europe/Atlantis"},
		"no such schedule": {Schedule: "0 25 * * *", DurationSeconds: 60, TimeZone: "UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, set("fw"), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.Update.MaintenanceWindow = &w }))
			for range 2 {
				o := s.offer()
				if diff := cmp.Diff(told{Nothing, eligibility.CodeWindowClosed, 0, ""}, o.told()); diff != "" {
					t.Error(diff)
				}
				if !o.Reason.Until.IsZero() {
					t.Errorf("time will not correct it, but it waits until %s", o.Reason.Until)
				}
			}
		})
	}
}
