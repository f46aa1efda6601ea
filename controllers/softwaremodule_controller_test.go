// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestModuleDuplicates(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"))
	w.now = w.now.Add(time.Hour)
	duplicate := aModule("linux-again", "os")
	duplicate.Spec.Name = "linux"
	w.create(duplicate)
	w.run()
	if got := words(w.module("linux").Status.Conditions, v1alpha1.ConditionReady); !strings.HasPrefix(got, "True Ready") {
		t.Errorf("the older module is %q", got)
	}
	got := words(w.module("linux-again").Status.Conditions, v1alpha1.ConditionReady)
	if !strings.HasPrefix(got, "False Duplicate: SoftwareModule linux is older") {
		t.Errorf("the newer module is %q", got)
	}
	if got := namesOf(w.modules.moduleDuplicates(t.Context(), w.module("linux"))); !cmp.Equal(got, []string{"linux-again"}) {
		t.Errorf("the older module enqueues %v, want its duplicate", got)
	}

	w.remove(&v1alpha1.SoftwareModule{}, "linux")
	w.run()
	left := w.module("linux-again")
	if got := words(left.Status.Conditions, v1alpha1.ConditionReady); !strings.HasPrefix(got, "True Ready") {
		t.Errorf("after the deletion of the older module, the newer is %q", got)
	}
	if got := words(left.Status.Conditions, v1alpha1.ConditionStalled); got != "" {
		t.Errorf("Stalled is still set: %q", got)
	}
}

func TestModuleDuplicatesOfTheSameSecond(t *testing.T) {
	b, a := aModule("b", "os"), aModule("a", "os")
	a.Spec.Name, b.Spec.Name = "linux", "linux"
	w := newSetWorld(t, b, a)
	w.run()
	if got := words(w.module("b").Status.Conditions, v1alpha1.ConditionReady); !strings.HasPrefix(got, "False Duplicate: SoftwareModule a is older") {
		t.Errorf("of two modules of the same second, the second by name is %q", got)
	}
}

func TestModuleIsLockedForASetInUseAndNeverUnlocked(t *testing.T) {
	for name, tc := range map[string]struct {
		set  v1alpha1.DistributionSetStatus
		want bool
	}{
		"a set that is not used does not freeze its modules": {v1alpha1.DistributionSetStatus{Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionLocked, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotUsed}}}, false},
		"a set that waits for its modules freezes them": {v1alpha1.DistributionSetStatus{Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionLocked, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonLocking}}}, true},
		"a locked set freezes a module that was created again": {v1alpha1.DistributionSetStatus{Locked: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			set := aSet("fw", "linux")
			set.Status = tc.set
			w := newSetWorld(t, aModule("linux", "os"), set)
			if err := w.store.Status().Update(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			if err := w.reconcileModule("linux"); err != nil {
				t.Fatal(err)
			}
			if got := w.module("linux").Status.Locked; got != tc.want {
				t.Fatalf("locked = %v, want %v", got, tc.want)
			}
			w.remove(&v1alpha1.DistributionSet{}, "fw")
			if err := w.reconcileModule("linux"); err != nil {
				t.Fatal(err)
			}
			if got := w.module("linux").Status.Locked; got != tc.want {
				t.Errorf("after the deletion of the set, locked = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestIdleModuleWritesNothing(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"))
	w.run()
	before := len(w.writes)
	w.now = w.now.Add(time.Hour)
	if err := w.reconcileModule("linux"); err != nil {
		t.Fatal(err)
	}
	if got := w.writes[before:]; len(got) != 0 {
		t.Errorf("a reconcile without changes wrote %v", got)
	}
}

func TestModulePredicatePassesFreezingSets(t *testing.T) {
	unused, locking := aSet("fw", "linux"), aSet("fw", "linux")
	locking.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionLocked, Reason: v1alpha1.ReasonLocking}}
	grown := locking.DeepCopy()
	grown.Generation++
	for name, tc := range map[string]struct {
		old, now *v1alpha1.DistributionSet
		want     bool
	}{
		"starts to lock":        {unused, locking, true},
		"does not change":       {locking, locking, false},
		"names other modules":   {locking, grown, true},
		"is no longer used":     {locking, unused, false},
		"has never been in use": {unused, unused, false},
	} {
		if got := freezesOtherModules.Update(event.UpdateEvent{ObjectOld: tc.old, ObjectNew: tc.now}); got != tc.want {
			t.Errorf("a set that %s: %v, want %v", name, got, tc.want)
		}
	}
	if got := namesOf(modulesOfSet(t.Context(), locking)); !cmp.Equal(got, []string{"linux"}) {
		t.Errorf("the set enqueues %v", got)
	}
}
