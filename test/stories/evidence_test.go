// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// An editor deletes the canary targets of an approved rollout. The next group does not open until
// an account with the right to resume sets resumedAt.
func TestAnEmptiedCanaryPauses(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	canary, rest := w.Targets("canary", 2, map[string]string{"ring": "canary"}), w.Targets("rest", 3, nil)
	w.Devices(devicesim.Silent, canary...)
	_, devices := w.Devices(devicesim.Obedient, rest...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  approvalRequired: true
  groups:
  - {name: canary, targetSelector: {matchLabels: {ring: canary}}, successAction: Pause}
  - {name: small, percentage: 1}
  - {name: rest}
`)
	r := w.EventuallyRollout("firmware-1", "has a warning for the approver", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutWaitingForApproval && strings.Contains(r.Status.WaitingFor.Message, "; warning: group small is empty: 1 percent of 5 targets")
	})
	w.CommitRollout("firmware-1", "spec: {approval: {planHash: '"+r.Status.Plan.Hash+"'}}")
	w.EventuallyRollout("firmware-1", "opens the canary", groupIs(0, v1alpha1.GroupRunning))
	w.Kubectl(append([]string{"delete", "tgt", "--wait=true", "--timeout=30s"}, canary...)...)
	r = w.EventuallyRollout("firmware-1", "pauses", func(r *v1alpha1.Rollout) bool { return r.Status.PauseReason == v1alpha1.PauseByWeakGroup })
	if c := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled); c == nil || c.Reason != v1alpha1.ReasonGroupWithoutResults ||
		!strings.Contains(c.Message, "group canary: no result is left of 2 targets that were planned: 2 removed (as of the pause); group small does not open; to continue, set spec.resumedAt") {
		t.Errorf("Stalled is %+v", c)
	}
	w.EventuallyPolled(devices, 3, time.Now(), rest...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started after an emptied canary group: %v", started)
	}
	w.CommitRollout("firmware-1", `spec: {resumedAt: "`+r.Status.PausedAt.UTC().Format(time.RFC3339Nano)+`"}`)
	r = w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 5, Succeeded: 3, Removed: 2}) {
		t.Errorf("counts are %+v", got)
	}
	startedOnce(t, devices, rest...)
}

// An editor deletes the targets that failed. Their failures still count for the group, also after a
// restart of the manager, because they are in its status.
func TestRemovedFailuresStayCounted(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	bad, late := w.Targets("a-bad", 2, nil), w.Targets("b-late", 2, nil)
	w.Devices(devicesim.Failing, bad...)
	fleet, _ := w.Devices(devicesim.Offline, late...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, errorThreshold: 50}`)
	counted := func(failed, removed int32) func(*v1alpha1.Rollout) bool {
		return func(r *v1alpha1.Rollout) bool {
			return len(r.Status.Groups) == 1 && r.Status.Groups[0].CountedFailures == failed && r.Status.Groups[0].RemovedFailures == removed
		}
	}
	w.EventuallyRollout("firmware-1", "counts the failures", counted(2, 0))
	for i, name := range bad {
		w.Kubectl("delete", "tgt", name, "--wait=true", "--timeout=30s")
		w.EventuallyRollout("firmware-1", "still counts them", counted(2, int32(i+1)))
	}
	if err := fleet.SetBehavior(late[0], devicesim.Failing); err != nil {
		t.Fatal(err)
	}
	r := w.EventuallyRollout("firmware-1", "pauses", world.InState(v1alpha1.RolloutPaused))
	if want := "group group-1 went into Error when 3 of 4 had failed (2 of them removed since), more than errorThreshold 50 percent"; !strings.HasPrefix(r.Status.PauseMessage, want) {
		t.Errorf("got  %s\nwant %s", r.Status.PauseMessage, want)
	}
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonErrorThresholdExceeded) {
		t.Errorf("conditions are %+v", r.Status.Conditions)
	}
}
