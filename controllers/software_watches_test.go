// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"testing/synctest"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// software returns the inventory of a target, with one version of a driver.
func (w *joinWorld) software(target *v1alpha1.Target, version string) *v1alpha1.TargetInventory {
	return &v1alpha1.TargetInventory{ObjectMeta: w.meta(target.Name), Status: v1alpha1.TargetInventoryStatus{
		TargetUID: target.Identity(), Installed: []v1alpha1.InventorySoftware{{Name: "driver", Version: version}},
	}}
}

const drivers = `target.software.exists(s, s.name == "driver" && !semver(s.version).isLessThan(semver("2.0.0")))`

func TestChangedSoftwareWakesRolloutsThatReadIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newJoinWorld(t)
		target := w.target("a", "field")
		reads, other := w.rollout("reads", 0, true), w.rollout("other", 0, true)
		reads.Spec.TargetExpression, other.Spec.TargetExpression = drivers, `target.name == "b"`
		for name, expression := range map[string]string{"unplanned": drivers, "unplanned-other": `target.hold`} {
			r := w.built().Rollout(name, "fw")
			r.Spec.TargetExpression = expression
			w.put(r)
		}
		w.want(reads, 10, "")
		w.want(other, 10, "")
		change := func(old, now *v1alpha1.TargetInventory, want ...string) {
			t.Helper()
			w.objects["*v1alpha1.TargetInventory"] = nil
			w.put(now)
			var before client.Object
			if old != nil {
				before = old
			}
			got := w.enqueued(func(queue rolloutQueue) { w.wake(queue, before, now) })
			for _, name := range want {
				if !got[name] {
					t.Errorf("%s is not enqueued", name)
				}
			}
			if len(got) != len(want) {
				t.Errorf("enqueued are %v, want %v", got, want)
			}
		}
		first := w.software(target, "1.0.0")
		change(nil, first, "unplanned")
		w.want(reads, 10, "")
		second := w.software(target, "2.1.0")
		change(first, second, "unplanned", "reads")
		w.want(reads, 10, "a")
		same := second.DeepCopy()
		same.Status.Features = []v1alpha1.InventoryFeature{{ID: "os", LastOperation: &v1alpha1.InventoryOperation{Status: "FINISHED_SUCCESS"}}}
		change(second, same)
		third := w.software(target, "1.5.0")
		change(same, third, "unplanned")
		w.want(reads, 10, "")
	})
}

func TestChangedSoftwareWakesItsTargetIfAnExpressionReadsIt(t *testing.T) {
	w := newJoinWorld(t)
	target := w.target("a", "field")
	r := &TargetReconciler{Index: w.Index, Now: w.Now}
	first, second := w.software(target, "1.0.0"), w.software(target, "2.0.0")
	w.put(first)
	if got := r.affectedTargets(nil, first); len(got) != 0 {
		t.Errorf("no expression reads software, and %v is enqueued", got)
	}
	auto := w.built().AutoAssignment("auto", "fw")
	auto.Spec.TargetExpression = drivers
	w.put(auto)
	if got := r.affectedTargets(first, second); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("enqueued are %v", got)
	}
	if got := r.affectedTargets(second, second.DeepCopy()); len(got) != 0 {
		t.Errorf("nothing has changed, and %v is enqueued", got)
	}
}

func TestAutoCountsFollowTheSoftware(t *testing.T) {
	w := newJoinWorld(t)
	target := w.target("a", "field")
	w.target("b", "field")
	a := w.built().AutoAssignment("auto", "fw")
	a.Spec.TargetExpression = drivers
	w.put(a)
	counts := NewAutoCounts(w.Index)
	if got, _ := counts.of(a); got.Matched != 0 {
		t.Errorf("%d matched before a report", got.Matched)
	}
	i := w.software(target, "2.0.0")
	w.put(i)
	if changed := counts.TargetChanged(client.ObjectKeyFromObject(i)); len(changed) != 1 {
		t.Errorf("changed are %v", changed)
	}
	if got, _ := counts.of(a); got.Matched != 1 {
		t.Errorf("%d matched after the report", got.Matched)
	}
}
