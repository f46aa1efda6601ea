// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Targets that are created, or labeled, while a dynamic rollout runs join it without a change of
// the rollout, up to maxTargets. Targets that have the set already count as succeeded; targets that
// do not match do not join.
func TestLaterTargetsJoinADynamicRollout(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-2", "2.0")
	ring := map[string]string{"ring": "field"}
	first, unlabeled := w.Targets("first", 4, ring), w.Targets("unlabeled", 1, nil)
	_, devices := w.Devices(devicesim.Obedient, slices.Concat(first, unlabeled)...)
	w.ApplySpec("Rollout", "firmware-2", `
  update: {distributionSet: firmware-2}
  targetSelector: {matchLabels: {ring: field}}
  stabilizationSeconds: 1
  groupCount: 2
  dynamic: {groupSize: 3, maxTargets: 10}
`)
	planned := w.EventuallyRollout("firmware-2", "has updated the first targets", succeeded(4)).Status.Plan
	later := w.Targets("later", 4, ring)
	_, others := w.Devices(devicesim.Obedient, later...)
	w.EventuallyRollout("firmware-2", "updates the added targets", succeeded(8))
	commitTo(w, unlabeled[0], "metadata: {labels: {ring: field}}")
	r := w.EventuallyRollout("firmware-2", "updates the labeled target", succeeded(9))
	if r.Status.State != v1alpha1.RolloutRunning || *r.Status.Plan != *planned && r.Status.Plan.Hash != planned.Hash {
		t.Errorf("it is %s, with plan %+v", r.Status.State, r.Status.Plan)
	}
	last := w.Targets("last", 2, ring)
	_, latest := w.Devices(devicesim.Obedient, last...)
	r = w.EventuallyRollout("firmware-2", "finishes with maxTargets targets", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 10, Succeeded: 10}) {
		t.Errorf("counts are %+v", got)
	}
	if got := namesAndSizes(r); !slices.Equal(got, []string{"group-1 2", "group-2 2", "group-3 3", "group-4 3"}) {
		t.Errorf("the groups are %v", got)
	}
	startedOnce(t, devices, slices.Concat(first, unlabeled)...)
	startedOnce(t, others, later...)
	if n := len(latest.Of(devicesim.Started)); n != 1 {
		t.Errorf("%d of the last two targets were updated, want one, because of maxTargets", n)
	}
}

// A dynamic rollout that matches no target may start. It says so, starts, and updates targets that
// appear later.
func TestADynamicRolloutWithoutTargets(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-2", "2.0")
	w.Targets("unlabeled", 1, nil)
	w.ApplySpec("Rollout", "firmware-2", `
  update: {distributionSet: firmware-2}
  targetSelector: {matchLabels: {ring: field}}
  stabilizationSeconds: 1
  dynamic: {groupSize: 2, maxTargets: 3}
`)
	r := w.EventuallyRollout("firmware-2", "runs without targets", world.InState(v1alpha1.RolloutRunning))
	if world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled) != nil {
		t.Errorf("it is stalled: %+v", r.Status.Conditions)
	}
	later := w.Targets("later", 3, map[string]string{"ring": "field"})
	_, devices := w.Devices(devicesim.Obedient, later...)
	r = w.EventuallyRollout("firmware-2", "finishes with maxTargets targets", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Succeeded: 3}) {
		t.Errorf("counts are %+v", got)
	}
	if got := namesAndSizes(r); !slices.Equal(got, []string{"group-1 0", "group-2 2", "group-3 1"}) {
		t.Errorf("the groups are %v", got)
	}
	startedOnce(t, devices, later...)
}

func succeeded(n int32) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool { return r.Status.Targets != nil && r.Status.Targets.Succeeded == n }
}

func namesAndSizes(r *v1alpha1.Rollout) []string {
	var out []string
	for _, g := range r.Status.Groups {
		out = append(out, fmt.Sprintf("%s %d", g.Name, g.Targets))
	}
	return out
}

// Of two dynamic rollouts with the same selection, a new target joins the newer one.
func TestTheNewerDynamicRolloutGetsTheNewDevice(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 2, nil)
	w.Devices(devicesim.Obedient, names...)
	for i, set := range []string{"firmware-1", "firmware-2"} {
		w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %[1]s}
spec: {update: {distributionSet: %[1]s}, stabilizationSeconds: 1, startAt: "2026-01-0%[2]dT00:00:00Z", dynamic: {groupSize: 3}}
`, set, i+1))
		w.EventuallyRollout(set, "has updated the first targets", succeeded(2))
	}
	later := w.Targets("later", 5, nil)
	_, devices := w.Devices(devicesim.Obedient, later...)
	w.EventuallyRollout("firmware-2", "updates the added targets", succeeded(7))
	for _, name := range later {
		w.EventuallyTarget(name, "runs the newer set", inSync("firmware-2"))
	}
	startedOnce(t, devices, later...)
	if got := *w.Rollout("firmware-1").Status.Targets; got.Targets != 2 {
		t.Errorf("the older rollout has the action %+v", got)
	}
}

// A device that never polls fails after startDeadlineSeconds, not counting the time of a pause.
func TestADeviceThatNeverPollsFailsAfterTheStartDeadline(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-2", "2.0")
	present, absent := w.Targets("present", 3, nil), w.Targets("absent", 1, nil)
	w.Devices(devicesim.Obedient, present...)
	w.ApplySpec("Rollout", "firmware-2", `
  update: {distributionSet: firmware-2, startDeadlineSeconds: 16}
  stabilizationSeconds: 1
`)
	opened := w.EventuallyRollout("firmware-2", "has updated the present devices", succeeded(3)).Status.Groups[0].OpenedAt
	w.CommitRollout("firmware-2", "spec: {state: Paused}")
	w.EventuallyRollout("firmware-2", "is paused", world.InState(v1alpha1.RolloutPaused))
	time.Sleep(time.Until(opened.Add(18 * time.Second)))
	if got := w.Rollout("firmware-2").Status.Targets; got.Pending != 1 {
		t.Errorf("while it is paused, counts are %+v", got)
	}
	w.CommitRollout("firmware-2", "spec: {state: Running}")
	r := w.EventuallyRollout("firmware-2", "finishes without the absent device", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 4, Succeeded: 3, Failed: 1}) {
		t.Errorf("counts are %+v", got)
	}
	if f := r.Status.Failures; len(f) != 1 || f[0].StatusCode != v1alpha1.CodeStartDeadlineExceeded || f[0].Examples[0] != absent[0] {
		t.Errorf("failures are %+v", f)
	}
	_, late := w.Devices(devicesim.Obedient, absent...)
	w.EventuallyPolled(late, 3, time.Now(), absent...)
	if n := len(late.Of(devicesim.Started)); n != 0 {
		t.Error("the device polled after the deadline and got the update")
	}
	w.CommitRollout("firmware-2", `spec: {retry: {at: "`+time.Now().Add(time.Second).UTC().Format(time.RFC3339)+`"}}`)
	w.EventuallyRollout("firmware-2", "updates the device after a retry", succeeded(4))
}
