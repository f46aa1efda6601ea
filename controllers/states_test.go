// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"flag"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/testing/states"
)

var update = flag.Bool("update", false, "write the files with modules, sets and targets in every state")

// fleetOf returns a world with a set of one module.
func fleetOf(t *testing.T) *setWorld {
	return newSetWorld(t, aModule("linux", "os"), aSet("firmware-2", "linux"))
}

func (w *setWorld) isUsed() { w.create(built.Rollout("r1", "firmware-2")) }

func (w *setWorld) needs(mandatory ...string) {
	w.edit("firmware-2", func(s *v1alpha1.DistributionSet) {
		s.Spec.ModuleTypes = &v1alpha1.ModuleTypes{Mandatory: mandatory}
	})
}

// TestModulesInEveryState compares the status of SoftwareModules in every state with the files of
// config/argocd.
func TestModulesInEveryState(t *testing.T) {
	objects := map[string]*v1alpha1.SoftwareModule{}
	for state, change := range map[string]func(*setWorld){
		"ready":  func(*setWorld) {},
		"in-use": func(w *setWorld) { w.isUsed() },
		"a-duplicate": func(w *setWorld) {
			older := aModule("linux-1", "os")
			older.Spec.Name, older.CreationTimestamp = "linux", metav1.NewTime(dawn.Add(-time.Hour))
			w.create(older)
		},
	} {
		w := fleetOf(t)
		change(w)
		w.run()
		objects[state] = w.module("linux")
	}
	states.Check(t, "..", *update, objects)
	states.CheckEvents(t, "..", *update, objects["ready"])
}

// TestSetsInEveryState compares the status of DistributionSets in every state with the files of
// config/argocd.
func TestSetsInEveryState(t *testing.T) {
	objects := map[string]*v1alpha1.DistributionSet{}
	for state, story := range map[string]struct {
		change func(*setWorld)
		// reconcile is what runs after the change; nil: everything until nothing changes.
		reconcile func(*setWorld)
	}{
		"ready":                          {change: func(*setWorld) {}},
		"in-use":                         {change: func(w *setWorld) { w.isUsed() }},
		"a-module-is-not-reconciled-yet": {change: func(*setWorld) {}, reconcile: onlyTheSet},
		"waiting-for-a-module":           {change: func(w *setWorld) { w.remove(&v1alpha1.SoftwareModule{}, "linux") }, reconcile: onlyTheSet},
		"being-locked": {change: func(w *setWorld) {
			w.run()
			w.isUsed()
		}, reconcile: onlyTheSet},
		"without-modules": {change: func(w *setWorld) {
			w.edit("firmware-2", func(s *v1alpha1.DistributionSet) { s.Spec.Modules = nil })
		}},
		"a-module-is-missing":         {change: func(w *setWorld) { w.remove(&v1alpha1.SoftwareModule{}, "linux") }},
		"a-mandatory-type-is-missing": {change: func(w *setWorld) { w.needs("os", "radio") }},
		"a-module-has-another-type":   {change: func(w *setWorld) { w.needs("radio") }},
		"a-module-is-not-ready": {change: func(w *setWorld) {
			older := aModule("linux-1", "os")
			older.Spec.Name, older.CreationTimestamp = "linux", metav1.NewTime(dawn.Add(-time.Hour))
			w.create(older)
		}},
		"a-duplicate": {change: func(w *setWorld) {
			older := aSet("firmware-2-again", "linux")
			older.Spec.Version, older.CreationTimestamp = "firmware-2", metav1.NewTime(dawn.Add(-time.Hour))
			w.create(older)
		}},
		"the-content-has-changed": {change: func(w *setWorld) {
			w.isUsed()
			w.run()
			w.remove(&v1alpha1.SoftwareModule{}, "linux")
		}},
		"invalidated": {change: func(w *setWorld) { w.edit("firmware-2", invalidated(v1alpha1.CancellationNone)) }},
		"invalidated-and-canceling": {change: func(w *setWorld) {
			w.isUsed()
			w.run()
			w.create(w.aDeviceAtWork("dev-01", "firmware-2"))
			w.edit("firmware-2", invalidated(v1alpha1.CancellationSoft))
		}, reconcile: onlyTheSet},
		"its-invalidation-was-reverted": {change: func(w *setWorld) {
			w.edit("firmware-2", invalidated(v1alpha1.CancellationSoft))
			w.run()
			w.edit("firmware-2", func(s *v1alpha1.DistributionSet) { s.Spec.Invalidation = nil })
		}},
		"created-again-after-an-invalidation": {change: func(w *setWorld) {
			w.edit("firmware-2", invalidated(v1alpha1.CancellationSoft))
			w.run()
			w.remove(&v1alpha1.DistributionSet{}, "firmware-2")
			w.run()
			w.create(aSet("firmware-2", "linux"))
		}},
		"the-invalidation-cannot-be-recorded": {change: func(w *setWorld) {
			w.fillRecord()
			w.edit("firmware-2", invalidated(v1alpha1.CancellationForce))
		}, reconcile: onlyTheSet},
	} {
		w := fleetOf(t)
		story.change(w)
		if story.reconcile == nil {
			w.run()
		} else {
			story.reconcile(w)
		}
		objects[state] = w.set("firmware-2")
	}
	states.Check(t, "..", *update, objects)
	states.CheckEvents(t, "..", *update, objects["ready"])
}

func onlyTheSet(w *setWorld) {
	w.t.Helper()
	if _, err := w.plan("firmware-2"); err != nil {
		w.t.Fatal(err)
	}
}

// TestTargetsInEveryState compares the status of Targets in every state with the files of
// config/argocd.
func TestTargetsInEveryState(t *testing.T) {
	assigned := func(set string) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) { t.Spec.Assignment = assignment(set, nil) }
	}
	updates := func(steps ...func(s *v1alpha1.TargetStatus, id int32, now time.Time)) func(*setWorld) {
		return func(w *setWorld) {
			w.device("dev-01", func(s *v1alpha1.TargetStatus) {
				action.Create(s, action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r1", UID: "r1", Since: &metav1.MicroTime{Time: w.now}},
					DistributionSet: "firmware-2", ContentHash: w.set("firmware-2").Status.ContentHash, Now: w.now})
				for _, step := range steps {
					step(s, action.Newest(s).ID, w.now)
				}
			})
		}
	}
	report := func(e action.Event, code string) func(*v1alpha1.TargetStatus, int32, time.Time) {
		return func(s *v1alpha1.TargetStatus, id int32, now time.Time) {
			action.Apply(s, action.Report{ID: id, Event: e, StatusCode: code, Now: now})
		}
	}
	cancel := func(c v1alpha1.Cancellation) func(*v1alpha1.TargetStatus, int32, time.Time) {
		return func(s *v1alpha1.TargetStatus, id int32, now time.Time) {
			action.Cancel(s, id, v1alpha1.CauseRequested, c, now)
		}
	}
	isCanceled := report(action.CancelAccepted, "")
	objects := map[string]*v1alpha1.Target{}
	for state, story := range map[string]struct {
		target func(*v1alpha1.Target)
		then   func(*setWorld)
	}{
		"ready":   {},
		"on-hold": {target: func(t *v1alpha1.Target) { t.Spec.Hold = true }},
		"a-duplicate": {target: func(t *v1alpha1.Target) { t.Spec.ControllerID = "gateway" }, then: func(w *setWorld) {
			older := built.Target("gateway")
			older.CreationTimestamp = metav1.NewTime(dawn.Add(-time.Hour))
			w.create(older)
		}},
		"its-assignment-is-offered": {target: assigned("firmware-2"), then: func(w *setWorld) { w.now = w.now.Add(time.Minute) }},
		"its-assignment-waits": {target: func(t *v1alpha1.Target) {
			at := metav1.NewTime(dawn.Add(time.Hour))
			t.Spec.Assignment = assignment("firmware-2", &at)
		}},
		"its-assignment-names-no-set": {target: assigned("firmware-9"), then: func(w *setWorld) { w.now = w.now.Add(time.Minute) }},
		"its-cancel-names-no-action":  {target: func(t *v1alpha1.Target) { t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: 2_000_000_000} }},
		"being-updated":               {then: updates(report(action.Download, ""))},
		"the-update-succeeded":        {then: updates(report(action.Download, ""), report(action.Succeed, ""))},
		"the-update-failed":           {then: updates(report(action.Install, ""), report(action.Fail, "17"))},
		"the-rollback-failed":         {then: updates(report(action.Install, ""), report(action.Fail, action.CodeRollbackFailed))},
		"the-device-is-inconsistent":  {then: updates(report(action.Install, ""), report(action.Fail, v1alpha1.CodeInconsistent))},
		"canceled-before-the-work":    {then: updates(cancel(v1alpha1.CancellationSoft), isCanceled)},
		"canceled-during-the-work":    {then: updates(report(action.Proceed, ""), cancel(v1alpha1.CancellationSoft), isCanceled)},
		"canceled-while-installing":   {then: updates(report(action.Install, ""), cancel(v1alpha1.CancellationSoft), isCanceled)},
		"closed-while-installing":     {then: updates(report(action.Install, ""), cancel(v1alpha1.CancellationForce))},
	} {
		w := fleetOf(t)
		w.isUsed()
		w.run()
		target := built.Target("dev-01")
		target.Status.NextActionID = 0
		if story.target != nil {
			story.target(target)
		}
		w.create(target)
		r := &TargetReconciler{Client: w.api, Index: w.sets.Index, Targets: w.sets.Targets, Now: func() time.Time { return w.now }}
		reconcileTarget := func() {
			w.sync()
			if _, err := reconcile.AsReconciler(w.api, r).Reconcile(t.Context(), request("dev-01")); err != nil {
				t.Fatal(err)
			}
			w.sync()
		}
		reconcileTarget()
		if story.then != nil {
			story.then(w)
			reconcileTarget()
			reconcileTarget()
		}
		objects[state] = w.target("dev-01")
	}
	states.Check(t, "..", *update, objects)
	states.CheckEvents(t, "..", *update, objects["ready"])
}
