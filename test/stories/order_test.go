// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// The newer of two rollouts supersedes the older one on all shared targets: targets that have not
// started count as canceled in the older one, and devices that have started are asked to cancel.
func TestNewerRolloutSupersedesTheOlderOne(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	first := map[string]string{"ring": "first"}
	busy, late, second := w.Targets("busy", 3, first), w.Targets("late", 2, first), w.Targets("second", 3, nil)
	_, working := w.Play(stepsOf(1500*time.Millisecond), devicesim.Obedient, busy...)
	fleet, devices := w.Devices(devicesim.Offline, late...)
	_, others := w.Devices(devicesim.Obedient, second...)
	rollout := func(name, startAt string) string {
		return `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: ` + name + `}
spec:
  update: {distributionSet: ` + name + `}
  stabilizationSeconds: 1
  startAt: "` + startAt + `"
  successThreshold: 100
  errorThreshold: 100
  groups:
  - {name: first, targetSelector: {matchLabels: {ring: first}}}
  - {name: second}
`
	}
	w.Apply(rollout("firmware-1", "2026-01-01T00:00:00Z"))
	w.EventuallyStarted(working, busy...)
	w.Apply(rollout("firmware-2", "2026-01-02T00:00:00Z"))
	older := w.EventuallyRollout("firmware-1", "ends", world.InState(v1alpha1.RolloutFinished))
	if got := *older.Status.Targets; got != (v1alpha1.Counts{Targets: 8, Canceled: 8}) {
		t.Errorf("counts of the older rollout are %+v", got)
	}
	bringOnline(t, fleet, late...)
	newer := w.EventuallyRollout("firmware-2", "ends", world.InState(v1alpha1.RolloutFinished))
	if got := *newer.Status.Targets; got != (v1alpha1.Counts{Targets: 8, Succeeded: 8}) {
		t.Errorf("counts of the newer rollout are %+v", got)
	}
	for _, name := range together(busy, late, second) {
		w.EventuallyTarget(name, "runs the newer set", inSync("firmware-2"))
	}
	for _, name := range busy {
		if a := w.Target(name).Status.Actions[0]; a.Cancel == nil || a.Cancel.Cause != v1alpha1.CauseSuperseded || a.Cancel.Answer != v1alpha1.AnswerAccepted {
			t.Errorf("the first action of %s was canceled by %+v", name, a.Cancel)
		}
	}
	startedOnce(t, devices, late...)
	startedOnce(t, others, second...)
}

// Git applies two rollouts at the same time, without startAt. The second one waits until a user
// sets startAt, and no device is downgraded.
func TestRolloutsCreatedTogetherNeedAnOrder(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 5, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 1}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-2}
spec: {update: {distributionSet: firmware-2}, stabilizationSeconds: 1}
`)
	r := w.EventuallyRollout("firmware-2", "is ambiguous", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonOrderAmbiguous)
	})
	if message := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(message, "firmware-1") || !strings.Contains(message, "spec.startAt") {
		t.Errorf("the message of Stalled is %q, want the other rollout and the fix", message)
	}
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	for _, name := range names {
		w.EventuallyTarget(name, "runs the first set", inSync("firmware-1"))
	}
	startedOnce(t, devices, names...)
	w.CommitRollout("firmware-2", `spec: {startAt: "`+time.Now().Add(2*time.Second).UTC().Format(time.RFC3339)+`"}`)
	r = w.EventuallyRollout("firmware-2", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 5, Succeeded: 5}) {
		t.Errorf("counts are %+v", got)
	}
}

// A newer set is assigned to one target of a running rollout. The device is asked to cancel the
// update of the rollout, and the rollout counts the target as canceled.
func TestSingleAssignmentSupersedesARunningRollout(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 5, nil)
	_, devices := w.Play(stepsOf(time.Second), devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
	w.EventuallyStarted(devices, names...)
	chosen := names[2]
	commitTo(w, chosen, "spec: {assignment: {distributionSet: firmware-2}}")
	got := w.EventuallyTarget(chosen, "runs what was assigned", inSync("firmware-2"))
	if a := got.Status.Actions[0]; a.State != v1alpha1.ActionCanceled || a.Cancel.Cause != v1alpha1.CauseSuperseded {
		t.Errorf("the rollout's action is %+v", a)
	}
	if a := action.Newest(&got.Status); a.Source.Kind != v1alpha1.SourceTarget {
		t.Errorf("the newest action comes from %+v", a.Source)
	}
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 5, Succeeded: 4, Canceled: 1}) {
		t.Errorf("counts are %+v", got)
	}
	w.EventuallyTarget(chosen, "says so", func(t *v1alpha1.Target) bool {
		return world.Says(t.Status.Conditions, v1alpha1.ConditionAssigned, metav1.ConditionTrue, "Done")
	})
}

// A merge patch of the assigned set, and a revert of it, do not change assignedAt. Each is a new
// assignment: an open action is canceled, an action of the earlier set does not count for the new
// one, and nothing changes when the same manifest is applied again.
func TestAChangedAssignmentThatKeepsItsTime(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 1, nil)
	_, devices := w.Play(stepsOf(time.Second), devicesim.Obedient, names...)
	at := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	commitTo(w, names[0], "spec: {assignment: {distributionSet: firmware-1, assignedAt: '"+at+"'}}")
	w.EventuallyStarted(devices, names...)

	commitTo(w, names[0], "spec: {assignment: {distributionSet: firmware-2}}")
	got := w.EventuallyTarget(names[0], "runs the second set", inSync("firmware-2"))
	if a := got.Status.Actions[0]; a.State != v1alpha1.ActionCanceled || a.Cancel.Cause != v1alpha1.CauseSuperseded || a.DistributionSet != "firmware-1" {
		t.Errorf("the first action is %+v", a)
	}
	if seen := got.Status.Assignment; seen.AssignedAt.UTC().Format(time.RFC3339) != at || time.Since(seen.Since.Time) > 30*time.Minute {
		t.Errorf("the changed assignment is as old as the first: %+v", seen)
	}

	commitTo(w, names[0], "spec: {assignment: {distributionSet: firmware-1}}")
	got = w.EventuallyTarget(names[0], "runs the first set again", inSync("firmware-1"))
	if a := action.Newest(&got.Status); a.Source.Kind != v1alpha1.SourceTarget || a.DistributionSet != "firmware-1" || len(got.Status.Actions) != 3 {
		t.Errorf("%d actions, the newest is %+v", len(got.Status.Actions), a)
	}
	got = w.EventuallyTarget(names[0], "names the action that carried it out", func(t *v1alpha1.Target) bool {
		c := world.Condition(t.Status.Conditions, v1alpha1.ConditionAssigned)
		return c != nil && c.Reason == "Done" && strings.Contains(c.Message, "action "+decimal(action.Newest(&t.Status).ID))
	})

	commitTo(w, names[0], "spec: {description: applied again, assignment: {distributionSet: firmware-1, assignedAt: '"+at+"'}}")
	again := w.EventuallyTarget(names[0], "is reconciled again", func(t *v1alpha1.Target) bool {
		return t.Status.ObservedGeneration == t.Generation && t.Generation > got.Generation
	})
	w.EventuallyPolled(devices, 3, time.Now(), names...)
	if before, now := got.Status.Assignment.Since, again.Status.Assignment.Since; !before.Equal(now) {
		t.Errorf("the same assignment, applied again, is new: %s, before %s", now, before)
	}
	if n := len(w.Target(names[0]).Status.Actions); n != 3 {
		t.Errorf("%d actions", n)
	}
}

// spec.cancel of three targets: Soft, Force, and with an id that no action has had.
func TestCancelOfOneTarget(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 3, nil)
	_, devices := w.Devices(devicesim.Silent, names[:2]...)
	_, accepting := w.Play(stepsOf(2*time.Second), devicesim.Obedient, names[2])
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
	w.EventuallyStarted(devices, names[:2]...)
	w.EventuallyStarted(accepting, names[2])
	id := func(name string) string { return decimal(action.Newest(&w.Target(name).Status).ID) }

	commitTo(w, names[0], "spec: {cancel: {upTo: 2147483646, cancellation: Force}}")
	got := w.EventuallyTarget(names[0], "has no action with that id", func(t *v1alpha1.Target) bool {
		return world.Says(t.Status.Conditions, v1alpha1.ConditionAssigned, metav1.ConditionFalse, v1alpha1.ReasonUnknownCancelID)
	})
	if a := action.Newest(&got.Status); a.Cancel != nil {
		t.Errorf("the action was canceled: %+v", a.Cancel)
	}
	commitTo(w, names[0], "spec: {cancel: {upTo: "+id(names[0])+", cancellation: Soft}}")
	got = w.EventuallyTarget(names[0], "is asked", newest(v1alpha1.ActionCanceling))
	if a := action.Newest(&got.Status); a.Cancel.Cause != v1alpha1.CauseRequested {
		t.Errorf("the cause is %s", a.Cancel.Cause)
	}
	w.EventuallyTarget(names[0], "has no problem any more", func(t *v1alpha1.Target) bool {
		return world.Condition(t.Status.Conditions, v1alpha1.ConditionAssigned) == nil
	})
	commitTo(w, names[0], "spec: {cancel: {cancellation: Force}}")
	w.EventuallyTarget(names[0], "is closed", newest(v1alpha1.ActionCanceled))

	commitTo(w, names[1], "spec: {cancel: {upTo: "+id(names[1])+", cancellation: Force}}")
	w.EventuallyTarget(names[1], "is closed", newest(v1alpha1.ActionCanceled))
	commitTo(w, names[2], "spec: {cancel: {upTo: "+id(names[2])+"}}")
	w.EventuallyTarget(names[2], "gives up", newest(v1alpha1.ActionCanceled))
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Canceled: 3}) {
		t.Errorf("counts are %+v", got)
	}
}
