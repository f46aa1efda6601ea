// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// fleet is a running rollout: the first group is open and its members are at all stages, the second
// group has not opened.
type fleet struct {
	*world.World
	// done have the update. accepting and rejecting have started: the former accept a cancel,
	// the latter reject it. silent have started and report nothing more. late are in the open
	// group and offline. second are in the group that has not opened.
	done, accepting, rejecting, silent, late, second []string

	lateDevices *devicesim.Fleet
	devices     *devicesim.Recorder // of late and second, which have not started
	working     *devicesim.Recorder // of accepting and rejecting
}

// halfway returns a fleet with the given number of silent devices.
func halfway(t *testing.T, silent int) *fleet {
	t.Helper()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	first := map[string]string{"ring": "first"}
	f := &fleet{
		World: w, done: w.Targets("done", 2, first), accepting: w.Targets("accepting", 3, first), rejecting: w.Targets("rejecting", 2, first),
		silent: w.Targets("silent", silent, first), late: w.Targets("late", 3, first), second: w.Targets("second", 3, nil),
	}
	w.Devices(devicesim.Obedient, f.done...)
	_, accepting := w.Play(stepsOf(1500*time.Millisecond), devicesim.Obedient, f.accepting...)
	_, rejecting := w.Play(stepsOf(1500*time.Millisecond), devicesim.RejectsCancel, f.rejecting...)
	f.working = rejecting
	if silent > 0 {
		_, silent := w.Devices(devicesim.Silent, f.silent...)
		defer w.EventuallyStarted(silent, f.silent...)
	}
	f.devices = &devicesim.Recorder{}
	observe := func(c *devicesim.Config) { c.Observer = f.devices.Observe }
	f.lateDevices, _ = w.Play(observe, devicesim.Offline, f.late...)
	w.Play(observe, devicesim.Obedient, f.second...)
	f.roll()
	w.EventuallyStarted(accepting, f.accepting...)
	w.EventuallyStarted(rejecting, f.rejecting...)
	for _, name := range f.done {
		w.EventuallyTarget(name, "is done", inSync("firmware-1"))
	}
	return f
}

func (f *fleet) roll() {
	f.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  successThreshold: 100
  errorThreshold: 100
  groups:
  - {name: first, targetSelector: {matchLabels: {ring: first}}}
  - {name: second}
`)
}

// invalidate commits spec.invalidation of the set and returns the time of the commit.
func (f *fleet) invalidate(words string) time.Time {
	f.T.Helper()
	f.Kubectl("patch", "distset", "firmware-1", "--type=merge", "-p", `{"spec":{"invalidation":`+words+`}}`)
	return time.Now()
}

// noneStarted fails the test if a device started that asked more than a second after the commit, or
// if the devices have not polled often.
func (f *fleet) noneStarted(committed time.Time) {
	f.T.Helper()
	others := together(f.late, f.second)
	f.EventuallyPolled(f.devices, 5, committed.Add(time.Second), others...)
	if started := f.devices.StartedAfter(committed.Add(time.Second)); len(started) > 0 {
		f.T.Errorf("devices started more than a second after the commit: %v", started)
	}
}

// invalidation waits until status.invalidation of the set has these counts.
func (f *fleet) invalidation(want v1alpha1.InvalidatedActions) {
	f.T.Helper()
	f.Eventually("the counts of the invalidation", func() string {
		got := f.DistributionSet("firmware-1").Status.Invalidation
		if got == nil || got.Actions == nil || got.FinishedAt == nil {
			return fmt.Sprintf("%+v", got)
		}
		return cmp.Diff(want, *got.Actions)
	})
}

// isRefused fails the test unless a rollout and a single assignment of the invalid set are refused
// with the reason.
func (f *fleet) isRefused() {
	f.T.Helper()
	f.ApplySpec("Rollout", "again", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, startAt: "2026-01-01T00:00:00Z"}`)
	commitTo(f.World, f.second[0], "spec: {assignment: {distributionSet: firmware-1}}")
	f.EventuallyRollout("again", "is refused", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) && r.Status.StartedAt == nil
	})
	f.EventuallyTarget(f.second[0], "refuses the assignment", func(t *v1alpha1.Target) bool {
		return world.Says(t.Status.Conditions, v1alpha1.ConditionAssigned, metav1.ConditionFalse, v1alpha1.ReasonDistributionSetInvalid)
	})
}

// With None a rollout that has started finishes, and no other rollout or assignment with the set
// starts.
func TestInvalidationNoneLetsStartedRolloutsFinish(t *testing.T) {
	t.Parallel()
	f := halfway(t, 0)
	f.invalidate(`{"cancellation":"None","reason":"old news"}`)
	f.Eventually("the set is invalidated", func() string {
		s := f.DistributionSet("firmware-1")
		if !world.Says(s.Status.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonInvalidatedBySpec) {
			return fmt.Sprintf("conditions are %+v", s.Status.Conditions)
		}
		return ""
	})
	bringOnline(t, f.lateDevices, f.late...)
	r := f.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 13, Succeeded: 13}) {
		t.Errorf("counts are %+v", got)
	}
	if i := f.DistributionSet("firmware-1").Status.Invalidation; i == nil || i.Actions != nil || i.Rollouts != 1 || i.FinishedAt == nil {
		t.Errorf("invalidation is %+v", i)
	}
	startedOnce(t, f.devices, together(f.late, f.second)...)
	if asked := f.working.Of(devicesim.CancelRejected); len(asked) > 0 {
		t.Errorf("devices were asked to cancel: %v", asked)
	}
	f.isRefused()
}

// With Soft started devices are asked to cancel: some cancel, some reject it and finish, some do
// not answer. No other device starts.
func TestInvalidationSoftAsksStartedDevicesToCancel(t *testing.T) {
	t.Parallel()
	f := halfway(t, 2)
	committed := f.invalidate(`{"cancellation":"Soft","reason":"bricks the modem"}`)
	bringOnline(t, f.lateDevices, f.late...)
	r := f.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) {
		t.Errorf("conditions are %+v", r.Status.Conditions)
	}
	f.noneStarted(committed)
	f.invalidation(v1alpha1.InvalidatedActions{Total: 7, Canceling: 2, Canceled: 3, Refused: 2})
	for _, name := range f.rejecting {
		f.EventuallyTarget(name, "finishes after it rejected the cancel", inSync("firmware-1"))
	}
	for _, name := range f.accepting {
		f.EventuallyTarget(name, "gives up", newest(v1alpha1.ActionCanceled))
	}
	for _, name := range f.silent {
		a := action.Newest(&f.Target(name).Status)
		if a.State != v1alpha1.ActionCanceling || a.Cancel.Cause != v1alpha1.CauseInvalidated {
			t.Errorf("action of the silent %s is %+v", name, a)
		}
	}
	want := v1alpha1.Counts{Targets: 15, Succeeded: 4, InProgress: 2, Canceled: 9}
	r = f.EventuallyRollout("firmware-1", "counts "+fmt.Sprint(want), func(r *v1alpha1.Rollout) bool { return *r.Status.Targets == want })
	if r.Status.Groups[1].OpenedAt != nil {
		t.Errorf("the second group opened: %+v", r.Status.Groups[1])
	}
	f.isRefused()
}

// With Force all actions are closed at once, a device that asks later gets nothing, and started
// devices are still asked to cancel.
func TestInvalidationForceClosesAllActionsAtOnce(t *testing.T) {
	t.Parallel()
	f := halfway(t, 2)
	open := together(f.accepting, f.rejecting, f.silent)
	committed := f.invalidate(`{"cancellation":"Force","reason":"bricks the modem"}`)
	bringOnline(t, f.lateDevices, f.late...)
	f.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	for _, name := range open {
		got := f.EventuallyTarget(name, "is closed", newest(v1alpha1.ActionCanceled))
		if !world.Says(got.Status.Conditions, v1alpha1.ConditionConsistent, metav1.ConditionFalse, v1alpha1.ReasonClosedWhileRunning) {
			t.Errorf("target %s: Consistent is %+v", name, world.Condition(got.Status.Conditions, v1alpha1.ConditionConsistent))
		}
	}
	f.noneStarted(committed)
	f.invalidation(v1alpha1.InvalidatedActions{Total: 7, Canceled: 7})
	for _, name := range f.accepting {
		f.EventuallyTarget(name, "answers the cancel", func(t *v1alpha1.Target) bool {
			return action.Newest(&t.Status).Cancel.Answer == v1alpha1.AnswerAccepted
		})
	}
	for _, name := range f.silent {
		if a := action.PendingCancel(&f.Target(name).Status); a == nil {
			t.Errorf("the cancel of the silent %s is no longer offered", name)
		}
	}
	want := v1alpha1.Counts{Targets: 15, Succeeded: 2, Canceled: 13}
	f.EventuallyRollout("firmware-1", "counts "+fmt.Sprint(want), func(r *v1alpha1.Rollout) bool { return *r.Status.Targets == want })
	f.isRefused()
}

// deleteRollouts deletes the existing rollouts once. A rollout that Git applies again is refused,
// and is not deleted.
func TestInvalidationDeletesRolloutsOnce(t *testing.T) {
	t.Parallel()
	f := halfway(t, 0)
	uid := f.Rollout("firmware-1").UID
	committed := f.invalidate(`{"cancellation":"Force","deleteRollouts":true}`)
	f.Eventually("the rollout is deleted", func() string {
		err := f.Client.Get(t.Context(), types.NamespacedName{Namespace: f.Namespace, Name: "firmware-1"}, &v1alpha1.Rollout{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	noGroups(f.World)
	f.roll()
	f.EventuallyRollout("firmware-1", "is refused", func(r *v1alpha1.Rollout) bool {
		return r.UID != uid && world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid)
	})
	again := f.Rollout("firmware-1").UID
	bringOnline(t, f.lateDevices, f.late...)
	f.noneStarted(committed)
	if now := f.Rollout("firmware-1"); now.UID != again || now.DeletionTimestamp != nil {
		t.Errorf("the rollout that was applied again was deleted, too: %+v", now.ObjectMeta)
	}
}

// Devices start one after the other while the commit is made. A device that asks more than a second
// later gets nothing.
func TestInvalidationForceStopsAStreamOfStarts(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 40, nil)
	devices, record := w.Devices(devicesim.Offline, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, errorThreshold: 100}`)
	w.EventuallyRollout("firmware-1", "opens its group", groupIs(0, v1alpha1.GroupRunning))
	f := &fleet{World: w}
	// A quarter of the devices has started before the commit, a quarter comes online after it, and
	// the others come online meanwhile.
	quarter := len(names) / 4
	bringOnline(t, devices, names[:quarter]...)
	w.EventuallyStarted(record, names[:quarter]...)
	online := make(chan struct{})
	go func() {
		defer close(online)
		for _, name := range names[quarter : 3*quarter] {
			bringOnline(t, devices, name)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	time.Sleep(100 * time.Millisecond)
	committed := f.invalidate(`{"cancellation":"Force"}`)
	<-online
	bringOnline(t, devices, names[3*quarter:]...)
	w.EventuallyPolled(record, 5, committed.Add(time.Second), names...)
	if started := record.StartedAfter(committed.Add(time.Second)); len(started) > 0 {
		t.Errorf("devices started more than a second after the commit: %v", started)
	}
}

// An invalidated set is deleted, and applied again by Git. It is invalid from its first reconcile
// on.
func TestInvalidatedSetIsInvalidWhenCreatedAgain(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 5, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	(&fleet{World: w}).invalidate(`{"cancellation":"Force","reason":"bricks the modem"}`)
	w.Kubectl("delete", "distset", "firmware-1", "--wait=true")

	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0}`)
	w.EventuallyRollout("firmware-1", "names its missing set", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonReferenceNotFound)
	})
	w.Set("firmware-1", "1.0")
	var first *v1alpha1.DistributionSet
	w.Eventually("the first reconcile of the new set", func() string {
		if first = w.DistributionSet("firmware-1"); len(first.Status.Conditions) == 0 {
			return "no conditions"
		}
		return ""
	})
	if !world.Says(first.Status.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonPreviouslyInvalidated) {
		t.Errorf("after the first reconcile the conditions are %+v", first.Status.Conditions)
	}
	w.EventuallyRollout("firmware-1", "is refused", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid)
	})
	w.EventuallyPolled(devices, 3, time.Now(), names...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices got the new set: %v", started)
	}
	if entry := invalidationEntry(w, "firmware 1.0 (full-image)"); !strings.Contains(entry, "Force since") || !strings.Contains(entry, "bricks the modem") {
		t.Errorf("invalidation entry is %q", entry)
	}
}

// invalidationEntry returns the line of a set in the record of invalidated sets, or "" if there is
// none.
func invalidationEntry(w *world.World, set string) string {
	w.T.Helper()
	var shards corev1.ConfigMapList
	if err := w.Client.List(w.T.Context(), &shards, client.InNamespace(world.SystemNamespace)); err != nil {
		w.T.Fatal(err)
	}
	for _, shard := range shards.Items {
		for _, line := range shard.Data {
			if strings.HasPrefix(shard.Name, "goshawk-invalidated-") && strings.HasPrefix(line, w.Namespace+"/"+set) {
				return line
			}
		}
	}
	return ""
}

// An auto-assignment of an invalid set is stopped with every cancellation: a device that polls for
// the first time later does not get the set.
func TestInvalidationStopsAutoAssignments(t *testing.T) {
	t.Parallel()
	for cancellation, want := range map[v1alpha1.Cancellation]v1alpha1.ActionState{
		v1alpha1.CancellationNone:  v1alpha1.ActionFinished,
		v1alpha1.CancellationSoft:  v1alpha1.ActionCanceled,
		v1alpha1.CancellationForce: v1alpha1.ActionCanceled,
	} {
		t.Run(string(cancellation), func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			busy, boxed := w.Targets("busy", 2, nil), w.Targets("boxed", 2, nil)
			_, working := w.Play(stepsOf(time.Second), devicesim.Obedient, busy...)
			box, devices := w.Devices(devicesim.Offline, boxed...)
			w.ApplySpec("AutoAssignment", "newcomers", `{update: {distributionSet: firmware-1}}`)
			w.EventuallyStarted(working, busy...)
			f := &fleet{World: w, late: boxed, devices: devices}
			committed := f.invalidate(`{"cancellation":"` + string(cancellation) + `"}`)
			bringOnline(t, box, boxed...)
			w.Eventually("the auto-assignment is stopped", func() string {
				a := &v1alpha1.AutoAssignment{}
				if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: "newcomers"}, a); err != nil {
					return err.Error()
				}
				if a.Status.State != v1alpha1.AutoAssignmentStopped || !world.Says(a.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) {
					return fmt.Sprintf("its status is %+v", a.Status)
				}
				return ""
			})
			for _, name := range busy {
				w.EventuallyTarget(name, "is closed", newest(want))
			}
			f.noneStarted(committed)
			if i := w.DistributionSet("firmware-1").Status.Invalidation; i == nil || i.AutoAssignments != 1 {
				t.Errorf("invalidation is %+v", i)
			}
		})
	}
}

// A set that is invalidated before its first use is locked, and so are its modules. An incomplete
// set may be invalidated, too.
func TestAnInvalidatedSetIsLockedWithoutUse(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: firmware-2}
spec: {name: firmware, version: "2.0", type: os, modules: [{name: missing}]}
`)
	for name, module := range map[string]string{"firmware-1": "firmware-1", "firmware-2": "missing"} {
		object := &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
		w.Commit(object, "spec: {invalidation: {cancellation: None, reason: bricks the modem}}")
		w.Eventually(name+" is locked", func() string {
			set := w.DistributionSet(name)
			if !set.Status.Locked || !world.Says(set.Status.Conditions, v1alpha1.ConditionLocked, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) {
				return fmt.Sprintf("locked %v, %+v", set.Status.Locked, set.Status.Conditions)
			}
			return ""
		})
		for field, patch := range map[string]string{
			"spec.modules":  `{"spec":{"modules":[{"name":"` + module + `"},{"name":"another"}]}}`,
			"spec.metadata": `{"spec":{"metadata":[{"key":"k","value":"v","visibleToDevice":true}]}}`,
		} {
			err := w.Client.Patch(t.Context(), w.DistributionSet(name), client.RawPatch(types.MergePatchType, []byte(patch)))
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), field) {
				t.Errorf("%s of %s was changed: %v", field, name, err)
			}
		}
	}
	w.Eventually("its module is locked", func() string {
		module := &v1alpha1.SoftwareModule{}
		if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "firmware-1"}, module); err != nil || !module.Status.Locked {
			return fmt.Sprintf("%v, %+v", err, module.Status)
		}
		return ""
	})
}
