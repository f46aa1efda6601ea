// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestTheNewerAutoAssignmentGoesFirst: two auto-assignments select a new target at the same time.
// The newer one is offered first, independent of their names.
func TestTheNewerAutoAssignmentGoesFirst(t *testing.T) {
	f := newFleet(t)
	sw, other := built.SoftwareModule("linux"), built.SoftwareModule("linux-2")
	older, newer := autoFrom(noon), autoFrom(noon)
	older.Name, older.UID, newer.Name, newer.UID = "a-first", "uid-a", "b-second", "uid-b"
	newer.Spec.Update.DistributionSet = "new"
	newer.Status.StartedAt = &metav1.MicroTime{Time: noon.Add(time.Hour)}
	f.put(sw, other, set("old", sw), set("new", other), older, newer)
	f.put(built.Target("late", func(t *v1alpha1.Target) { t.CreationTimestamp = metav1.NewTime(noon.Add(2 * time.Hour)) }))
	o := offer.For(f.World(f.Target(fleetKey("late")), noon.Add(3*time.Hour)))
	if o.Set == nil || o.Set.Name != "new" {
		t.Errorf("it is offered %+v: %s", o.Set, o.Reason.Message)
	}
}
