// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestRemovalsReachATarget: an assignment, a rollout and an auto-assignment that remove software
// need no set, and the inventory of the target decides whether there is anything to do.
func TestRemovalsReachATarget(t *testing.T) {
	software := []v1alpha1.SoftwareReference{{Group: "acme", Name: "app", Version: "1.2"}}
	inventory := func(edit func(*v1alpha1.TargetInventoryStatus)) *v1alpha1.TargetInventory {
		i := &v1alpha1.TargetInventory{}
		i.Namespace, i.Name = "fleet", "dev"
		i.Status.TargetUID, i.Status.ContentsHash = "uid-dev", "known"
		edit(&i.Status)
		return i
	}
	app := v1alpha1.InventorySoftware{Group: "acme", Name: "app", Version: "1.2"}
	for name, tt := range map[string]struct {
		inventory *v1alpha1.TargetInventory
		want      eligibility.Code
	}{
		"nothing is reported":      {nil, ""},
		"the software is reported": {inventory(func(s *v1alpha1.TargetInventoryStatus) { s.Installed = []v1alpha1.InventorySoftware{app} }), ""},
		"other software is reported": {inventory(func(s *v1alpha1.TargetInventoryStatus) {
			s.Installed = []v1alpha1.InventorySoftware{{Group: "acme", Name: "app", Version: "2"}}
		}), eligibility.CodeAlreadyThere},
		"an inventory of an earlier target": {inventory(func(s *v1alpha1.TargetInventoryStatus) { s.TargetUID = "uid-of-another" }), ""},
		"an inventory that did not fit":     {inventory(func(s *v1alpha1.TargetInventoryStatus) { s.ContentsHash, s.Truncated = "", 3 }), ""},
		"a feature that reported no software": {inventory(func(s *v1alpha1.TargetInventoryStatus) {
			s.Features = []v1alpha1.InventoryFeature{{ID: "os"}}
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			store := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
			if tt.inventory != nil {
				must(t, store.Add(tt.inventory))
			}
			f.inventories.Store(&store)
			g := group("r", 0, "dev")
			r := running("r", &v1alpha1.DistributionSet{}, g)
			r.Spec.Update = v1alpha1.Update{Remove: software}
			r.Status.Plan.ContentHash = eligibility.RemovalHash(software)
			auto := built.AutoAssignment("auto", "")
			auto.Spec.Update = v1alpha1.Update{Remove: software}
			auto.Status.StartedAt, auto.Status.State = r.Status.StartedAt, v1alpha1.AutoAssignmentRunning
			dev := built.Target("dev", func(t *v1alpha1.Target) {
				t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{Remove: software}}
				t.Status.Assignment = offer.NoteAssignment(t.Spec.Assignment, nil, noon)
				t.Status.NextActionID = 1
			})
			f.put(g, r, auto, dev)
			intents := f.For(dev, noon)
			if len(intents) != 3 {
				t.Fatalf("%d intents reach the target: %+v", len(intents), intents)
			}
			for _, in := range intents {
				if !in.Set.Removes() || in.Set.ContentHash != eligibility.RemovalHash(software) {
					t.Fatalf("%s has the set %+v", in.Source.Kind, in.Set)
				}
				if got := eligibility.Check(dev, in, &eligibility.Newer{}, noon); got.Code != tt.want {
					t.Errorf("%s: %s, want %q", in.Source.Kind, got.Code, tt.want)
				}
			}
			if !f.Selects(fleetKey("auto"), dev) {
				t.Error("the auto-assignment does not select the target")
			}
			if f.SetOf("fleet", &v1alpha1.Update{DistributionSet: "gone"}) != nil {
				t.Error("a set that does not exist was found")
			}
		})
	}
}
