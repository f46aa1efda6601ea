// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// TestUnreadableSetCancelsNoAction checks that an open action continues when its set cannot be
// decoded any more, and that no new action of that set is created.
func TestUnreadableSetCancelsNoAction(t *testing.T) {
	s := newStory(t, set("fw"), rollout("r", 1, "fw"), takes)
	s.sets["fw"] = &eligibility.Set{Name: "fw", Unreadable: true, NotDeployable: "it cannot be decoded"}
	if s.applyPending() {
		t.Errorf("the actions are now %+v", s.target.Status.Actions)
	}
	if o := For(s.world()); o.Kind != Deploy || o.Action == nil {
		t.Errorf("the offer is %+v", o)
	}
	s = newStory(t, set("fw"), rollout("r", 1, "fw"))
	*s.sets["fw"] = eligibility.Set{Name: "fw", Unreadable: true, NotDeployable: "it cannot be decoded"}
	if o := For(s.world()); o.Kind != Nothing || o.Reason.Code != eligibility.CodeSetNotReady {
		t.Errorf("the offer is %+v", o)
	}
}

// TestInvalidWindow checks that no update starts when its maintenance window cannot be parsed, and
// that the reason does not wait for a time.
func TestInvalidWindow(t *testing.T) {
	for name, w := range map[string]v1alpha1.MaintenanceWindow{
		"no such zone":     {Schedule: "0 2 * * *", DurationSeconds: 60, TimeZone: "Europe/Atlantis"},
		"no such schedule": {Schedule: "0 25 * * *", DurationSeconds: 60, TimeZone: "UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, set("fw"), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.Update.MaintenanceWindow = &w }))
			for range 2 {
				o := s.offer()
				if diff := cmp.Diff(given{Nothing, eligibility.CodeWindowClosed, 0, ""}, o.given()); diff != "" {
					t.Error(diff)
				}
				if !o.Reason.Until.IsZero() {
					t.Errorf("it waits until %s, but time does not correct a window", o.Reason.Until)
				}
			}
		})
	}
}
