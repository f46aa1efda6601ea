// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Three of the first five devices that report fail, each with a code. No other device of the first
// group and none of the second starts until a user resumes the rollout.
func TestAutomaticPauseHoldsTheSecondGroupUntilResumed(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	ring := map[string]string{"ring": "first"}
	first, late, second := w.Targets("first", 5, ring), w.Targets("late", 2, ring), w.Targets("second", 5, nil)
	w.Play(failWith("17"), devicesim.Failing, first[0], first[1])
	w.Play(failWith("42"), devicesim.Failing, first[2])
	w.Devices(devicesim.Obedient, first[3:]...)
	_, devices := w.Devices(devicesim.Obedient, second...)
	away, others := w.Devices(devicesim.Offline, late...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  successThreshold: 100
  errorThreshold: 30
  minimumReports: 5
  groups:
  - {name: first, targetSelector: {matchLabels: {ring: first}}}
  - {name: second}
`)
	r := w.EventuallyRollout("firmware-1", "pauses", world.InState(v1alpha1.RolloutPaused))
	stalled := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled)
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonErrorThresholdExceeded) ||
		!strings.Contains(stalled.Message, "3 of 7 had failed, more than errorThreshold 30 percent") {
		t.Errorf("Stalled is %+v", stalled)
	}
	want := []v1alpha1.FailureCount{
		{StatusCode: "17", Count: 2, Examples: []string{first[0], first[1]}},
		{StatusCode: "42", Count: 1, Examples: []string{first[2]}},
	}
	sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	if diff := cmp.Diff(want, r.Status.Failures, cmpopts.IgnoreFields(v1alpha1.FailureCount{}, "FirstSeen", "LastSeen"), sorted); diff != "" {
		t.Errorf("failure table (-want +got):\n%s", diff)
	}
	bringOnline(t, away, late...)
	w.EventuallyPolled(devices, 5, r.Status.PausedAt.Time, second...)
	w.EventuallyPolled(others, 5, r.Status.PausedAt.Time, late...)
	if started := append(devices.Of(devicesim.Started), others.Of(devicesim.Started)...); len(started) > 0 {
		t.Fatalf("devices started before the rollout was resumed: %v", started)
	}

	pausedAt := w.Kubectl("get", "grollout", "firmware-1", "-o", "jsonpath={.status.pausedAt}")
	w.CommitRollout("firmware-1", "spec: {resumedAt: "+pausedAt+"}")
	r = w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonFinishedWithErrors) {
		t.Errorf("Succeeded is %+v", world.Condition(r.Status.Conditions, v1alpha1.ConditionSucceeded))
	}
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 12, Succeeded: 9, Failed: 3}) {
		t.Errorf("counts are %+v", got)
	}
	if got := [2]v1alpha1.GroupState{r.Status.Groups[0].State, r.Status.Groups[1].State}; got != [2]v1alpha1.GroupState{v1alpha1.GroupError, v1alpha1.GroupFinished} {
		t.Errorf("groups are %v", got)
	}
}

func failWith(code string) func(*devicesim.Config) {
	return func(c *devicesim.Config) { c.FailCode = code }
}

// While a rollout is paused by spec.state, started devices finish and no other device starts,
// however often it polls.
func TestPauseHoldsDevicesThatHaveNotStarted(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	busy, late := w.Targets("busy", 4, nil), w.Targets("late", 4, nil)
	_, working := w.Play(stepsOf(500*time.Millisecond), devicesim.Obedient, busy...)
	fleet, devices := w.Devices(devicesim.Offline, late...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
	w.EventuallyStarted(working, busy...)
	w.CommitRollout("firmware-1", "spec: {state: Paused}")
	committed := time.Now()
	r := w.EventuallyRollout("firmware-1", "pauses", world.InState(v1alpha1.RolloutPaused))
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPausedBySpec) ||
		!world.Says(r.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonPausedBySpec) {
		t.Errorf("conditions are %+v", r.Status.Conditions)
	}
	bringOnline(t, fleet, late...)
	for _, name := range busy {
		w.EventuallyTarget(name, "is in sync", inSync("firmware-1"))
	}
	w.EventuallyPolled(devices, 5, committed, late...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Fatalf("devices started while the rollout was paused: %v", started)
	}
	if r = w.EventuallyRollout("firmware-1", "counts", func(r *v1alpha1.Rollout) bool { return r.Status.Targets.Succeeded == 4 }); r.Status.Targets.Pending != 4 {
		t.Errorf("counts are %+v, want 4 pending", r.Status.Targets)
	}

	w.CommitRollout("firmware-1", "spec: {state: Running}")
	r = w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if *r.Status.Targets != (v1alpha1.Counts{Targets: 8, Succeeded: 8}) || !world.Says(r.Status.Conditions, v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonSucceeded) {
		t.Errorf("ended with %+v, %+v", r.Status.Targets, r.Status.Conditions)
	}
	startedOnce(t, working, busy...)
	startedOnce(t, devices, late...)
}

// An offline canary device holds the rollout. advance opens the next group, and no other one.
func TestAdvanceOpensGroupsWithoutRegardToConditions(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	var names []string
	for _, ring := range []string{"one", "two", "three"} {
		names = append(names, w.Targets(ring, 2, map[string]string{"ring": ring})...)
	}
	drawer, others := names[:2], names[2:]
	fleet, _ := w.Devices(devicesim.Offline, drawer...)
	_, devices := w.Devices(devicesim.Obedient, others...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  successThreshold: 100
  groups:
  - {name: one, targetSelector: {matchLabels: {ring: one}}}
  - {name: two, targetSelector: {matchLabels: {ring: two}}, successAction: Pause}
  - {name: three, targetSelector: {matchLabels: {ring: three}}}
`)
	w.EventuallyRollout("firmware-1", "opens its first group", groupIs(0, v1alpha1.GroupRunning))
	w.EventuallyPolled(devices, 3, time.Now(), others...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Fatalf("devices of later groups started: %v", started)
	}
	at := time.Now().UTC().Format(time.RFC3339Nano)
	w.CommitRollout("firmware-1", `spec: {advance: {to: two, at: "`+at+`"}}`)
	r := w.EventuallyRollout("firmware-1", "is advanced", groupIs(1, v1alpha1.GroupFinished, v1alpha1.GroupRunning))
	if r.Status.Handled == nil || r.Status.Handled.AdvanceAt == nil {
		t.Errorf("handled is %+v, want the request echoed", r.Status.Handled)
	}
	r = w.EventuallyRollout("firmware-1", "pauses after the second group", world.InState(v1alpha1.RolloutPaused))
	w.EventuallyPolled(devices, 3, time.Now(), others...)
	if r.Status.Groups[2].OpenedAt != nil || len(devices.Of(devicesim.Started)) != 2 {
		t.Errorf("the third group is %+v and %v started", r.Status.Groups[2], devices.Of(devicesim.Started))
	}

	w.CommitRollout("firmware-1", `spec: {advance: {to: three, at: "`+time.Now().UTC().Format(time.RFC3339Nano)+`"}}`)
	w.EventuallyPolled(devices, 3, time.Now(), others...)
	if r = w.Rollout("firmware-1"); r.Status.Groups[2].OpenedAt != nil {
		t.Errorf("advance ended a pause: %+v", r.Status.Groups[2])
	}
	w.CommitRollout("firmware-1", "spec: {resumedAt: "+time.Now().UTC().Format(time.RFC3339Nano)+"}")
	w.EventuallyStarted(devices, others...)
	bringOnline(t, fleet, drawer...)
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	startedOnce(t, devices, others...)
}
