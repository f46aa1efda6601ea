// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

func TestSetGetsItsFinalizerBeforeAnythingElse(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	before := w.set("fw")
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"patch DistributionSet fw", "status DistributionSet fw"}; !cmp.Equal(w.writes, want) {
		t.Errorf("writes %v, want %v", w.writes, want)
	}
	after := w.set("fw")
	if !cmp.Equal(after.Finalizers, []string{v1alpha1.DistributionSetFinalizer}) {
		t.Errorf("finalizers %v", after.Finalizers)
	}
	if diff := cmp.Diff(before.Spec, after.Spec); diff != "" {
		t.Errorf("spec changed:\n%s", diff)
	}
}

func TestSetCompleteness(t *testing.T) {
	types := func(mandatory, optional []string) func(*v1alpha1.DistributionSet) {
		return func(s *v1alpha1.DistributionSet) {
			s.Spec.ModuleTypes = &v1alpha1.ModuleTypes{Mandatory: mandatory, Optional: optional}
		}
	}
	for name, tc := range map[string]struct {
		set      *v1alpha1.DistributionSet
		change   func(*v1alpha1.DistributionSet)
		complete string
		ready    string
		kstatus  status.Status
		// fix makes the set complete.
		fix func(*setWorld)
	}{
		"all modules exist": {
			set:      aSet("fw", "linux", "app"),
			complete: "True Ready: every module exists and is ready, and no mandatory type is missing",
			ready:    "True Ready: the set is complete", kstatus: status.CurrentStatus,
		},
		"mandatory and optional types": {
			set: aSet("fw", "linux", "app"), change: types([]string{"os"}, []string{"app"}),
			complete: "True Ready: every module exists and is ready, and no mandatory type is missing",
			ready:    "True Ready: the set is complete", kstatus: status.CurrentStatus,
		},
		"moduleTypes without a type mean any": {
			set: aSet("fw", "linux", "app"), change: types(nil, nil),
			complete: "True Ready: every module exists and is ready, and no mandatory type is missing",
			ready:    "True Ready: the set is complete", kstatus: status.CurrentStatus,
		},
		"no modules": {
			set:      aSet("fw"),
			complete: "False Incomplete: spec.modules is empty: name at least one SoftwareModule",
			ready:    "False Incomplete: spec.modules is empty: name at least one SoftwareModule", kstatus: status.FailedStatus,
			fix: func(w *setWorld) {
				w.edit("fw", func(s *v1alpha1.DistributionSet) {
					s.Spec.Modules = []v1alpha1.ModuleReference{{Name: "linux"}}
				})
			},
		},
		"a module is missing": {
			set:      aSet("fw", "linux", "modem"),
			complete: "False ReferenceNotFound: SoftwareModule modem (spec.modules[1]) does not exist: create it, or remove it from spec.modules",
			ready:    "False ReferenceNotFound: SoftwareModule modem (spec.modules[1]) does not exist: create it, or remove it from spec.modules", kstatus: status.FailedStatus,
			fix: func(w *setWorld) { w.create(aModule("modem", "radio")) },
		},
		"a module is a newer duplicate": {
			set:      aSet("fw", "linux-duplicate"),
			complete: `False ModuleNotReady: SoftwareModule linux-duplicate (spec.modules[0]) is not ready: SoftwareModule linux is older and has the same type "os", name "linux" and version "1": delete one of the two, or give this one another version`,
			ready:    `False ModuleNotReady: SoftwareModule linux-duplicate (spec.modules[0]) is not ready: SoftwareModule linux is older and has the same type "os", name "linux" and version "1": delete one of the two, or give this one another version`, kstatus: status.FailedStatus,
			fix: func(w *setWorld) { w.remove(&v1alpha1.SoftwareModule{}, "linux") },
		},
		"a type that is neither mandatory nor optional": {
			set: aSet("fw", "linux", "app"), change: types([]string{"os"}, []string{"radio"}),
			complete: `False UnknownModuleType: SoftwareModule app has type "app", which is in neither list of spec.moduleTypes: add the type to optional, or remove the module from spec.modules`,
			ready:    `False UnknownModuleType: SoftwareModule app has type "app", which is in neither list of spec.moduleTypes: add the type to optional, or remove the module from spec.modules`, kstatus: status.FailedStatus,
			fix: func(w *setWorld) { w.edit("fw", types([]string{"os"}, []string{"app"})) },
		},
		"a mandatory type is missing": {
			set: aSet("fw", "linux"), change: types([]string{"os", "radio"}, nil),
			complete: `False Incomplete: no module has the mandatory type "radio": add one to spec.modules, or remove the type from spec.moduleTypes.mandatory`,
			ready:    `False Incomplete: no module has the mandatory type "radio": add one to spec.modules, or remove the type from spec.moduleTypes.mandatory`, kstatus: status.FailedStatus,
			fix: func(w *setWorld) { w.edit("fw", types([]string{"os"}, nil)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			duplicate := aModule("linux-duplicate", "os")
			duplicate.Spec.Name = "linux"
			duplicate.CreationTimestamp = metav1.NewTime(dawn.Add(time.Minute))
			if tc.change != nil {
				tc.change(tc.set)
			}
			w := newSetWorld(t, aModule("linux", "os"), aModule("app", "app"), duplicate, tc.set)
			w.run()
			if got := w.condition("fw", v1alpha1.ConditionComplete); got != tc.complete {
				t.Errorf("Complete\n got %s\nwant %s", got, tc.complete)
			}
			if got := w.condition("fw", v1alpha1.ConditionReady); got != tc.ready {
				t.Errorf("Ready\n got %s\nwant %s", got, tc.ready)
			}
			if got := kstatusOf(t, w.set("fw")); got != tc.kstatus {
				t.Errorf("kstatus is %s, want %s", got, tc.kstatus)
			}
			if tc.fix == nil {
				return
			}
			tc.fix(w)
			w.run()
			if got := w.condition("fw", v1alpha1.ConditionReady); got != "True Ready: the set is complete" {
				t.Errorf("after the fix Ready is %s", got)
			}
			if got := kstatusOf(t, w.set("fw")); got != status.CurrentStatus {
				t.Errorf("after the fix kstatus is %s", got)
			}
		})
	}
}

func TestSetWithAModuleThatIsNotReconciledYetIsInProgress(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if got := kstatusOf(t, w.set("fw")); got != status.InProgressStatus {
		t.Errorf("kstatus of a set whose module has not been reconciled is %s, want InProgress: %s", got, w.condition("fw", v1alpha1.ConditionReady))
	}
}

// kstatusOf returns the status as Argo CD, Flux and kubectl compute it.
func kstatusOf(t *testing.T, o client.Object) status.Status {
	t.Helper()
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: raw})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

func TestSetDuplicates(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r0", "fw"))
	w.run() // the older set freezes the module
	w.now = w.now.Add(time.Hour)
	duplicate := aSet("fw-again", "linux")
	duplicate.Spec.Version = "fw"
	w.create(duplicate)
	w.create(built.Rollout("r1", "fw-again"))
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionReady); !strings.HasPrefix(got, "True Ready") {
		t.Errorf("the older set is %q", got)
	}
	if got := w.condition("fw-again", v1alpha1.ConditionReady); !strings.HasPrefix(got, `False Duplicate: DistributionSet fw is older and has the same name "firmware", version "fw" and type "full-image"`) {
		t.Errorf("the newer set is %q", got)
	}
	if w.set("fw-again").Status.Locked {
		t.Error("the newer duplicate was locked")
	}
	if got := namesOf(w.sets.setDuplicates(t.Context(), w.set("fw"))); !cmp.Equal(got, []string{"fw-again"}) {
		t.Errorf("the older set enqueues %v, want its duplicate", got)
	}

	w.remove(&v1alpha1.DistributionSet{}, "fw")
	w.run()
	if got := w.condition("fw-again", v1alpha1.ConditionReady); !strings.HasPrefix(got, "True Ready") {
		t.Errorf("after the deletion of the older set, the newer is %q", got)
	}
	if !w.set("fw-again").Status.Locked {
		t.Error("after the deletion of the older set, the newer is not locked for the rollout that uses it")
	}
}

func TestSetLocksWhenItIsUsed(t *testing.T) {
	assigned := built.Target("dev-1", func(t *v1alpha1.Target) { t.Spec.Assignment = assignment("fw", nil) })
	for name, user := range map[string]client.Object{
		"by a rollout":           built.Rollout("r1", "fw"),
		"by an auto-assignment":  built.AutoAssignment("a1", "fw"),
		"by a single assignment": assigned,
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetWorld(t, aModule("linux", "os"), aModule("app", "app"), aSet("fw", "linux", "app"))
			w.run()
			preview := w.set("fw").Status
			if preview.Locked || preview.ContentHash == "" {
				t.Fatalf("before its use: locked %v, content %q", preview.Locked, preview.ContentHash)
			}
			if got := w.condition("fw", v1alpha1.ConditionLocked); got != "False NotUsed: nothing deploys the set yet" {
				t.Errorf("Locked is %s", got)
			}
			before := len(w.writes)
			w.create(user)
			if passes := w.run(); passes > 4 {
				t.Errorf("locking took %d passes", passes)
			}
			want := []string{"status DistributionSet fw", "status SoftwareModule app", "status SoftwareModule linux", "status DistributionSet fw"}
			if diff := cmp.Diff(want, w.writes[before:]); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			locked := w.set("fw").Status
			if !locked.Locked || locked.ContentHash != preview.ContentHash {
				t.Errorf("locked %v with %q, want the content of the preview", locked.Locked, locked.ContentHash)
			}
			if facts := offer.SetOf(w.set("fw"), []*v1alpha1.SoftwareModule{w.module("linux"), w.module("app")}); !facts.Deployable {
				t.Errorf("not deployable: %s", facts.NotDeployable)
			}
			if got := w.recordedEvents(); !slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "Normal Locked") }) {
				t.Errorf("no event reports the lock: %v", got)
			}

			w.remove(user.DeepCopyObject().(client.Object), user.GetName())
			w.run()
			if !w.set("fw").Status.Locked {
				t.Error("the set was unlocked when nothing used it any more")
			}
		})
	}
}

// TestSetLocksWhenItIsInvalidated: an invalidated set is frozen, also if it was never used or is
// not complete.
func TestSetLocksWhenItIsInvalidated(t *testing.T) {
	const frozen = "True DistributionSetInvalid: the set was invalidated: its content is frozen"
	older := aSet("older", "linux", "app")
	older.CreationTimestamp = metav1.NewTime(dawn.Add(-time.Hour))
	for name, tt := range map[string]struct {
		objects  []client.Object
		locked   string
		complete bool
	}{
		"it was never used":       {[]client.Object{aModule("linux", "os"), aModule("app", "app")}, frozen, true},
		"a module is missing":     {[]client.Object{aModule("linux", "os")}, frozen, false},
		"all modules are missing": {nil, frozen, false},
		"it is a duplicate":       {[]client.Object{older, aModule("linux", "os"), aModule("app", "app")}, frozen, true},
		"it was in use":           {[]client.Object{aModule("linux", "os"), aModule("app", "app"), built.Rollout("r1", "fw")}, "True InUse: the set was deployed: its content is frozen", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetWorld(t, append(tt.objects, aSet("fw", "linux", "app"))...)
			w.run()
			w.edit("fw", invalidated(v1alpha1.CancellationNone))
			w.run()
			w.run()
			set := w.set("fw").Status
			if got := w.condition("fw", v1alpha1.ConditionLocked); got != tt.locked || !set.Locked {
				t.Errorf("locked %v, %s", set.Locked, got)
			}
			if got := w.condition("fw", v1alpha1.ConditionReady); !strings.HasPrefix(got, "True DistributionSetInvalid") {
				t.Errorf("Ready is %s", got)
			}
			if tt.complete != (set.ContentHash != "") {
				t.Errorf("complete %v, content %q", tt.complete, set.ContentHash)
			}
			for _, o := range tt.objects {
				if m, ok := o.(*v1alpha1.SoftwareModule); ok && !w.module(m.Name).Status.Locked {
					t.Errorf("module %s is not frozen", m.Name)
				}
			}
			before := len(w.writes)
			w.run()
			if after := w.writes[before:]; len(after) > 0 {
				t.Errorf("another reconcile writes %v", after)
			}
		})
	}
}

func TestSetIsNotLockedForARolloutThatIsBeingDeleted(t *testing.T) {
	going := built.Rollout("r1", "fw")
	going.Finalizers = []string{v1alpha1.RolloutFinalizer}
	w := newSetWorld(t, aModule("linux", "os"), going)
	w.remove(&v1alpha1.Rollout{}, "r1")
	w.create(aSet("fw", "linux"))
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionLocked); got != "False NotUsed: nothing deploys the set yet" {
		t.Errorf("Locked is %s", got)
	}
}

func TestSetLockUsesTheModulesOfTheAPIServer(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r1", "fw"))
	w.sets.Live = interceptor.NewClient(w.store, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			err := c.Get(ctx, key, o, opts...)
			if m, ok := o.(*v1alpha1.SoftwareModule); ok { // on the server the module was created again
				m.Status = v1alpha1.SoftwareModuleStatus{Conditions: m.Status.Conditions}
			}
			return err
		},
	})
	for range 4 {
		if err := errors.Join(w.reconcileModule("linux"), reconcileError(w.plan("fw"))); err != nil {
			t.Fatal(err)
		}
	}
	if w.set("fw").Status.Locked {
		t.Error("the set was locked with a module from the cache")
	}
	w.sets.Live = w.api
	w.run()
	if !w.set("fw").Status.Locked {
		t.Error("the set was not locked although server and cache agree")
	}
}

func reconcileError(_ any, err error) error { return err }

func TestSetWhoseContentChanged(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aModule("app", "app"), aSet("fw", "linux", "app"), built.Rollout("r1", "fw"))
	w.run()
	hash := w.set("fw").Status.ContentHash
	w.now = w.now.Add(time.Hour)

	w.remove(&v1alpha1.SoftwareModule{}, "app")
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionReady); got != "False ContentChanged: SoftwareModule app (spec.modules[1]) was deleted, but the set is locked: create the module again with the same content" {
		t.Errorf("with a deleted module, Ready is %s", got)
	}
	if got := kstatusOf(t, w.set("fw")); got != status.FailedStatus {
		t.Errorf("kstatus is %s", got)
	}

	other := aModule("app", "app")
	other.Spec.Artifacts[0].Size++
	w.create(other)
	w.run()
	want := "False ContentChanged: SoftwareModule app has changed since the set was locked (content hash " + hash + "): restore the content, or create another DistributionSet"
	if got := w.condition("fw", v1alpha1.ConditionReady); got != want {
		t.Errorf("with another module of that name\n got %s\nwant %s", got, want)
	}

	w.remove(&v1alpha1.SoftwareModule{}, "app")
	w.create(aModule("app", "app"))
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionReady); got != "True Ready: the set is complete" {
		t.Errorf("with the same content again, Ready is %s", got)
	}
	if got := w.set("fw").Status.ContentHash; got != hash || !w.module("app").Status.Locked {
		t.Errorf("content %q, want %q; module locked %v", got, hash, w.module("app").Status.Locked)
	}
}

func TestIdleSetWritesNothing(t *testing.T) {
	for name, prepare := range map[string]func(*setWorld){
		"unused":      func(*setWorld) {},
		"locked":      func(w *setWorld) { w.create(built.Rollout("r1", "fw")) },
		"invalidated": func(w *setWorld) { w.edit("fw", invalidated(v1alpha1.CancellationForce)) },
		"duplicate": func(w *setWorld) {
			duplicate := aSet("a-duplicate", "linux")
			duplicate.Spec.Version = "fw"
			w.create(duplicate)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
			w.run()
			prepare(w)
			w.run()
			w.recordedEvents()
			before := len(w.writes)
			for range 3 {
				w.now = w.now.Add(time.Hour)
				result, err := w.plan("fw")
				if err != nil || result.RequeueAfter != 0 {
					t.Fatalf("result %v, %v", result, err)
				}
			}
			if got := w.writes[before:]; len(got) != 0 {
				t.Errorf("a reconcile without changes wrote %v", got)
			}
			if got := w.recordedEvents(); len(got) != 0 {
				t.Errorf("a reconcile without changes recorded events %v", got)
			}
		})
	}
}

func TestSetConflictRequeuesWithoutError(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	w.run()
	w.edit("fw", invalidated(v1alpha1.CancellationNone))
	conflicted := false
	w.beforeWrite = func(write string) {
		if write == "status DistributionSet fw" && !conflicted {
			conflicted = true
			set := w.set("fw")
			set.Annotations = map[string]string{"another writer": "was faster"}
			if err := w.store.Update(t.Context(), set); err != nil {
				t.Error(err)
			}
		}
	}
	result, err := w.plan("fw")
	if err != nil || result.RequeueAfter <= 0 {
		t.Errorf("after a conflict the result is %v, %v; want a requeue and no error", result, err)
	}
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionInvalidated); !conflicted || !strings.HasPrefix(got, "True InvalidatedBySpec") {
		t.Errorf("after the race (%v) Invalidated is %s", conflicted, got)
	}
}

func TestSetPredicates(t *testing.T) {
	module := aModule("linux", "os")
	locked, described, polled := module.DeepCopy(), module.DeepCopy(), module.DeepCopy()
	locked.Status.Locked = true
	described.Generation++
	polled.Labels = map[string]string{"a": "b"}
	for name, tc := range map[string]struct {
		now  *v1alpha1.SoftwareModule
		want bool
	}{"locked": {locked, true}, "edited": {described, true}, "labelled": {polled, false}} {
		if got := affectsSets.Update(event.UpdateEvent{ObjectOld: module, ObjectNew: tc.now}); got != tc.want {
			t.Errorf("a module that was %s passes: %v, want %v", name, got, tc.want)
		}
	}

	idle := built.Target("dev")
	busy := built.Target("dev", func(t *v1alpha1.Target) {
		t.Status.Actions = []v1alpha1.Action{build.Action(1, "fw", v1alpha1.ActionRunning)}
	})
	assigned := built.Target("dev", func(t *v1alpha1.Target) { t.Spec.Assignment = assignment("fw", nil) })
	if usedSetChanged.Update(event.UpdateEvent{ObjectOld: idle, ObjectNew: busy}) {
		t.Error("the status of a target enqueues a set at once")
	}
	if !usedSetChanged.Update(event.UpdateEvent{ObjectOld: idle, ObjectNew: assigned}) {
		t.Error("a new assignment enqueues no set")
	}
	if usedSetChanged.Create(event.CreateEvent{Object: assigned, IsInInitialList: true}) {
		t.Error("the initial list of targets enqueues sets")
	}
	if got := namesOf(setOfUser(t.Context(), assigned)); !cmp.Equal(got, []string{"fw"}) {
		t.Errorf("an assignment enqueues %v", got)
	}

	valid, invalid := aSet("fw"), aSet("fw")
	invalid.Status.Invalidation = &v1alpha1.InvalidationStatus{}
	if !affectsDuplicates.Update(event.UpdateEvent{ObjectOld: valid, ObjectNew: invalid}) || affectsDuplicates.Update(event.UpdateEvent{ObjectOld: invalid, ObjectNew: invalid}) {
		t.Error("duplicates are enqueued by a change that is no invalidation")
	}
	w := newSetWorld(t, module, aSet("fw", "linux"), aSet("other"))
	if got := namesOf(w.sets.setsOfModule(t.Context(), module)); !cmp.Equal(got, []string{"fw"}) {
		t.Errorf("a module enqueues %v", got)
	}
}

func TestSetCountsItsTargets(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r1", "fw"))
	w.run()
	hash := w.set("fw").Status.ContentHash
	for i := range 3 {
		w.create(w.aDeviceAtWork(fmt.Sprintf("dev-%d", i), "fw"))
	}
	elsewhere := w.aDeviceAtWork("other-namespace", "fw")
	elsewhere.Namespace = "elsewhere"
	elsewhere.Status.Installed = &v1alpha1.InstalledSet{ContentHash: hash}
	w.create(elsewhere)
	w.now = w.now.Add(time.Minute)
	w.run()
	if got := w.set("fw").Status.Targets; !cmp.Equal(got, &v1alpha1.SetTargets{Started: 3}) {
		t.Fatalf("targets %+v, want 3 started", got)
	}

	w.device("dev-0", func(s *v1alpha1.TargetStatus) {
		action.Apply(s, action.Report{ID: action.Open(s).ID, Event: action.Downloaded, Now: w.now})
		action.Apply(s, action.Report{ID: action.Open(s).ID, Event: action.Succeed, Now: w.now})
	})
	if got := w.sync(); !cmp.Equal(got, []string{"fw"}) {
		t.Errorf("a result enqueues %v, want fw", got)
	}
	w.device("dev-1", func(s *v1alpha1.TargetStatus) { s.Address = "10.0.0.1" })
	if got := w.sync(); len(got) != 0 {
		t.Errorf("a new address enqueues %v", got)
	}

	before := len(w.writes)
	w.now = w.now.Add(time.Second)
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if got := w.set("fw").Status.Targets; !cmp.Equal(got, &v1alpha1.SetTargets{Started: 2, Installed: 1}) {
		t.Errorf("targets %+v, want 2 started and 1 installed", got)
	}
	w.remove(&v1alpha1.Target{}, "dev-2")
	for range 10 { // reconciled many times within a second
		result, err := w.plan("fw")
		if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > time.Second {
			t.Fatalf("after a change of counters within a second the result is %v, %v", result, err)
		}
	}
	if got := w.writes[before:]; len(got) != 1 {
		t.Errorf("counters were written %d times within a second", len(got))
	}
	w.now = w.now.Add(time.Second)
	w.run()
	if got := w.set("fw").Status.Targets; !cmp.Equal(got, &v1alpha1.SetTargets{Started: 1, Installed: 1}) {
		t.Errorf("targets %+v, want 1 started and 1 installed", got)
	}
	w.restart()
	before = len(w.writes)
	w.run()
	if got := w.writes[before:]; len(got) != 0 {
		t.Errorf("a new process counts %v", got)
	}

	// The next counters wait twenty times as long as a slow write.
	const took = 200 * time.Millisecond
	w.remove(&v1alpha1.Target{}, "dev-1")
	w.beforeWrite = func(string) { w.now = w.now.Add(took) }
	if _, err := w.plan("fw"); err != nil || len(w.writes) != before+1 {
		t.Fatalf("a changed counter: %v, writes %v", err, w.writes[before:])
	}
	w.beforeWrite = nil
	before = len(w.writes)
	w.remove(&v1alpha1.Target{}, "dev-0")
	w.now = w.now.Add(20*took - took - time.Millisecond)
	result, err := w.plan("fw")
	if got := w.writes[before:]; err != nil || result.RequeueAfter != time.Millisecond || len(got) != 0 {
		t.Errorf("just before 20 times as long as a slow write the result is %v, %v, writes %v", result, err, got)
	}
	w.now = w.now.Add(time.Millisecond)
	if _, err := w.plan("fw"); err != nil || len(w.writes) != before+1 {
		t.Errorf("20 times as long after a slow write: %v, writes %v", err, w.writes[before:])
	}
}

func TestSetInvalidationIsRecordedBeforeStatusShowsIt(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r1", "fw"), built.Rollout("r2", "fw"))
	w.run()
	w.recordedEvents()
	before := len(w.writes)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create *v1.ConfigMap goshawk-invalidated-fleet-0", "status DistributionSet fw"}; !cmp.Equal(w.writes[before:], want) {
		t.Errorf("writes %v, want %v", w.writes[before:], want)
	}
	w.run()
	set := w.set("fw")
	if got := w.condition("fw", v1alpha1.ConditionInvalidated); got != "True InvalidatedBySpec: the set was invalidated by spec.invalidation (Force) and cannot become valid again (bricks the modem); create another DistributionSet" {
		t.Errorf("Invalidated is %s", got)
	}
	if got := w.condition("fw", v1alpha1.ConditionReady); !strings.HasPrefix(got, "True DistributionSetInvalid: ") {
		t.Errorf("Ready is %s", got)
	}
	if got := kstatusOf(t, set); got != status.CurrentStatus {
		t.Errorf("kstatus is %s: the Kustomization of the commit would not become ready", got)
	}
	i := set.Status.Invalidation
	if i.Rollouts != 2 || i.ObservedAt == nil || i.FinishedAt == nil || !cmp.Equal(i.Actions, &v1alpha1.InvalidatedActions{}) {
		t.Errorf("invalidation %+v", i)
	}
	want := []string{
		"Warning Invalidated cancellation Force, affects 2 rollouts and 0 auto-assignments; its open actions are processed next, see status.invalidation.actions: the set was invalidated by spec.invalidation (Force) and cannot become valid again (bricks the modem); create another DistributionSet",
		"Warning InvalidationFinished 0 open actions processed: 0 canceled, 0 waiting for their devices to confirm the cancellation, 0 continuing or ended with a result; see status.invalidation.actions for the current numbers",
	}
	if diff := cmp.Diff(want, w.recordedEvents()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestSetWithAnInvalidationEntryIsNeverDeployable(t *testing.T) {
	for _, c := range []v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce} {
		t.Run(string(c), func(t *testing.T) {
			w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r1", "fw"))
			w.run()
			w.edit("fw", invalidated(c))
			w.remove(&v1alpha1.DistributionSet{}, "fw") // before the controller reconciles the invalidation
			w.run()
			if got := w.names(&v1alpha1.DistributionSetList{}); len(got) != 0 {
				t.Fatalf("the set still exists: %v", got)
			}

			w.now = w.now.Add(time.Hour)
			w.onWrite = func(write string) {
				if !strings.Contains(write, "DistributionSet") {
					return
				}
				if facts := offer.SetOf(w.set("fw"), []*v1alpha1.SoftwareModule{w.module("linux")}); facts.Deployable && facts.Invalidation == "" {
					t.Errorf("after %q the duplicate is deployable", write)
				}
			}
			w.create(aSet("fw", "linux"))
			w.run()
			if got := w.condition("fw", v1alpha1.ConditionInvalidated); !strings.HasPrefix(got, "True PreviouslyInvalidated: a set of this namespace, name, version and type was invalidated ("+string(c)+") at 2026-11-02T06:0") || !strings.Contains(got, "(bricks the modem)") {
				t.Errorf("Invalidated is %s", got)
			}
			set := w.set("fw")
			facts := offer.SetOf(set, []*v1alpha1.SoftwareModule{w.module("linux")})
			if facts.Invalidation != c || !facts.InvalidatedAt.Before(set.CreationTimestamp.Time) {
				t.Errorf("the facts are %s since %s", facts.Invalidation, facts.InvalidatedAt)
			}
			if !set.Status.Locked {
				t.Error("the duplicate is not locked")
			}
		})
	}
}

func TestDuplicateOfAnInvalidatedSetIsInvalid(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	w.now = w.now.Add(time.Hour)
	duplicate := aSet("fw-again", "linux")
	duplicate.Spec.Version = "fw"
	w.create(duplicate)
	w.run()
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	w.run()
	if got := w.condition("fw-again", v1alpha1.ConditionInvalidated); !strings.HasPrefix(got, "True PreviouslyInvalidated") {
		t.Errorf("while the invalidated older set exists, the duplicate is %q", got)
	}
	w.remove(&v1alpha1.DistributionSet{}, "fw")
	w.run()
	if got := w.condition("fw-again", v1alpha1.ConditionReady); !strings.HasPrefix(got, "True DistributionSetInvalid") {
		t.Errorf("after the deletion of the older set, the duplicate is %q", got)
	}
}

func TestSetIsValidAfterItsInvalidationEntryIsCleared(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r1", "fw"))
	w.run()
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	w.run()

	w.clearInvalidationRecord()
	w.run()
	if tomb, err := w.sets.invalidationRecord().Find(t.Context(), w.set("fw")); tomb == nil || err != nil {
		t.Errorf("spec.invalidation did not create the invalidation entry again: %v", err)
	}

	w.remove(&v1alpha1.DistributionSet{}, "fw")
	w.run()
	w.create(aSet("fw", "linux"))
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionInvalidated); !strings.HasPrefix(got, "True PreviouslyInvalidated") {
		t.Fatalf("the duplicate is %q", got)
	}
	w.recordedEvents()
	w.clearInvalidationRecord()
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionInvalidated); got != "" {
		t.Errorf("after the invalidation entry was cleared, Invalidated is %s", got)
	}
	set := w.set("fw")
	if got := w.condition("fw", v1alpha1.ConditionReady); got != "True Ready: the set is complete" || set.Status.Invalidation != nil || !set.Status.Locked {
		t.Errorf("after the invalidation entry was cleared, Ready is %s, invalidation %v, locked %v", got, set.Status.Invalidation, set.Status.Locked)
	}
	if got := w.recordedEvents(); !slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "Warning InvalidationEntryCleared") }) {
		t.Errorf("no event reports it: %v", got)
	}
}

func (w *setWorld) clearInvalidationRecord() {
	w.t.Helper()
	if err := w.store.DeleteAllOf(w.t.Context(), &corev1.ConfigMap{}, client.InNamespace(system)); err != nil {
		w.t.Fatal(err)
	}
}

func TestSetDeletionIsImmediate(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), built.Rollout("r1", "fw"))
	w.run()
	w.create(w.aDeviceAtWork("dev-1", "fw"))
	w.remove(&v1alpha1.DistributionSet{}, "fw")
	before := len(w.writes)
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if got := w.names(&v1alpha1.DistributionSetList{}); len(got) != 0 {
		t.Errorf("the set still exists: %v", got)
	}
	if want := []string{"patch DistributionSet fw"}; !cmp.Equal(w.writes[before:], want) {
		t.Errorf("writes %v, want %v", w.writes[before:], want)
	}
}

// fillRecord fills the record of the namespace, so that it has no room for an entry.
func (w *setWorld) fillRecord() {
	w.t.Helper()
	for i := range maxShards {
		w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: fmt.Sprintf("%s%s-%d", invalidationEntryPrefix, fleetNamespace, i),
			Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue, v1alpha1.InvalidatedNamespaceLabel: fleetNamespace}},
			Data: map[string]string{"x": strings.Repeat("y", maxShardBytes)}})
	}
}

// TestSetInvalidationIsInEffectWhenTheRecordIsFull: an invalidation is in effect and reaches the
// devices, also if the record has no room for it.
func TestSetInvalidationIsInEffectWhenTheRecordIsFull(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	w.run()
	w.fillRecord()
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.recordedEvents()
	result, err := w.plan("fw")
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > recordFullRetryDelay {
		t.Errorf("with a full record the result is %v, %v", result, err)
	}
	got := w.condition("fw", v1alpha1.ConditionInvalidated)
	if !strings.HasPrefix(got, "True InvalidationNotRecorded: the set was invalidated by spec.invalidation (Force)") || !strings.Contains(got, "goshawk-invalidated-fleet-") {
		t.Errorf("Invalidated is %s", got)
	}
	if set := w.set("fw"); set.Status.Invalidation == nil || set.Status.Invalidation.Cancellation != v1alpha1.CancellationForce {
		t.Errorf("canceling waits for the record: %+v", set.Status.Invalidation)
	}
	if got := w.recordedEvents(); !slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "Warning InvalidationNotRecorded ") }) {
		t.Errorf("events %v", got)
	}
	before := len(w.writes)
	for range 5 {
		w.now = w.now.Add(recordFullRetryDelay)
		if _, err := w.plan("fw"); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.writes[before:]; len(got) > 1 { // InvalidationFinished
		t.Errorf("waiting for room in the record writes %v", got)
	}
	w.clearInvalidationRecord()
	w.now = w.now.Add(recordFullRetryDelay)
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionInvalidated); !strings.HasPrefix(got, "True InvalidatedBySpec") {
		t.Errorf("when the record has room again, Invalidated is %s", got)
	}
}

// TestSetDeletionDoesNotWaitForeverForTheRecord: the deletion of a set whose invalidation cannot be
// recorded waits, reports until when, and then continues without the record.
func TestSetDeletionDoesNotWaitForeverForTheRecord(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	w.run()
	w.fillRecord()
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	w.now = time.Now() // deletionTimestamp is set by the API server
	w.remove(&v1alpha1.DistributionSet{}, "fw")
	result, err := w.plan("fw")
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > recordFullRetryDelay {
		t.Errorf("the result of the deletion is %v, %v", result, err)
	}
	if got := w.condition("fw", v1alpha1.ConditionInvalidated); !strings.HasPrefix(got, "True InvalidationNotRecorded: the deletion waits until ") {
		t.Errorf("Invalidated is %s", got)
	}
	w.recordedEvents()
	w.now = w.now.Add(deletionTimeout + time.Second)
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if got := w.names(&v1alpha1.DistributionSetList{}); len(got) != 0 {
		t.Errorf("the set still exists: %v", got)
	}
	if got := w.recordedEvents(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning InvalidationNotRecorded the set is deleted") {
		t.Errorf("events %v", got)
	}
}

func TestSetIsNotReadyIfTheInvalidationRecordCannotBeRead(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	w.sets.Live = interceptor.NewClient(w.store, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return apierrors.NewServiceUnavailable("the server is unavailable")
		},
	})
	if _, err := w.plan("fw"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("err = %v", err)
	}
	if got := w.condition("fw", v1alpha1.ConditionReady); got != "" {
		t.Errorf("Ready is %s although the invalidation record could not be read", got)
	}
}

// TestSetCrash runs the same steps once without a crash, and then with a crash at each write,
// before and after the write is stored. The final state is always the same.
func TestSetCrash(t *testing.T) {
	story := func(w *setWorld) string {
		w.run()
		w.create(built.Rollout("r1", "fw"))
		w.run()
		for i := range 3 {
			w.create(w.aDeviceAtWork(fmt.Sprintf("dev-%d", i), "fw"))
		}
		w.now = dawn.Add(time.Hour)
		w.run()
		w.edit("fw", invalidated(v1alpha1.CancellationSoft))
		w.run()
		w.now = dawn.Add(2 * time.Hour)
		w.device("dev-1", func(s *v1alpha1.TargetStatus) {
			action.Apply(s, action.Report{ID: action.Open(s).ID, Event: action.CancelRejected, Now: w.now})
		})
		w.sync()
		w.run()
		before := w.ending()
		w.remove(&v1alpha1.DistributionSet{}, "fw")
		w.run()
		w.now = dawn.Add(3 * time.Hour)
		w.create(aSet("fw", "linux"))
		w.run()
		return before + w.ending()
	}
	start := func() *setWorld { return newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux")) }
	calm := start()
	want := story(calm)
	if !strings.Contains(want, `"refused":1`) || !strings.Contains(want, `"canceling":2`) {
		t.Fatalf("the steps do not contain refused cancellations: %s", want)
	}
	for cut := 1; cut <= len(calm.writes); cut++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, stored %v: %s", cut, after, calm.writes[cut-1]), func(t *testing.T) {
				w := start()
				w.t, w.cutAt, w.afterWrite = t, cut, after
				if diff := cmp.Diff(want, story(w)); diff != "" {
					t.Errorf("the final state differs (-without +with crash):\n%s", diff)
				}
				if w.cutAt != 0 {
					t.Error("the crash never happened")
				}
			})
		}
	}
}

var clock = func(key string) bool {
	return strings.HasSuffix(key, "At") || strings.HasSuffix(key, "Time") || key == "resourceVersion"
}

// ending returns the stored state of all objects, without the times that a crash may delay.
func (w *setWorld) ending() string {
	w.t.Helper()
	var lines []string
	for _, list := range []client.ObjectList{&v1alpha1.DistributionSetList{}, &v1alpha1.SoftwareModuleList{}, &v1alpha1.TargetList{}} {
		if err := w.store.List(w.t.Context(), list); err != nil {
			w.t.Fatal(err)
		}
		lines = append(lines, plain(w.t, list))
	}
	var shards corev1.ConfigMapList
	if err := w.store.List(w.t.Context(), &shards); err != nil {
		w.t.Fatal(err)
	}
	for _, shard := range shards.Items {
		for key := range shard.Data {
			lines = append(lines, shard.Name+" "+key)
		}
	}
	return strings.Join(lines, "\n")
}

func plain(t *testing.T, o any) string {
	t.Helper()
	encoded, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(encoded, &tree); err != nil {
		t.Fatal(err)
	}
	encoded, err = json.MarshalIndent(timeless(tree), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(encoded), `": `, `":`)
}

func timeless(tree any) any {
	switch node := tree.(type) {
	case map[string]any:
		for key, value := range node {
			if text, ok := value.(string); ok && (clock(key) || key == "message" && strings.Contains(text, " at 20")) {
				delete(node, key)
				continue
			}
			node[key] = timeless(value)
		}
	case []any:
		for i := range node {
			node[i] = timeless(node[i])
		}
	}
	return tree
}

func TestSetRetriesAConflictOnItsFinalizer(t *testing.T) {
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"))
	refused := false
	w.sets.Client = interceptor.NewClient(w.api.(client.WithWatch), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if !refused {
				refused = true
				return apierrors.NewConflict(schema.GroupResource{Resource: "distributionsets"}, o.GetName(), errors.New("another writer was faster"))
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
	result, err := w.plan("fw")
	if err != nil || result.RequeueAfter <= 0 || len(w.writes) != 0 {
		t.Errorf("after a conflict the result is %v, %v, writes %v; want a requeue and no write", result, err, w.writes)
	}
	w.run()
	if got := w.condition("fw", v1alpha1.ConditionReady); !strings.HasPrefix(got, "True") {
		t.Errorf("Ready is %s", got)
	}
}
