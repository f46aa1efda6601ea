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

// A rollout that needs approval starts with exactly the plan that was approved, and with no other.
func TestRolloutStartsOnlyWithThePlanThatWasApproved(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 4, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 2, approvalRequired: true}`)
	r := w.EventuallyRollout("firmware-1", "awaits approval", world.InState(v1alpha1.RolloutWaitingForApproval))
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAwaitingApproval) ||
		!strings.Contains(r.Status.WaitingFor.Message, r.Status.Plan.Hash) {
		t.Errorf("Ready is %+v, waitingFor %+v", world.Condition(r.Status.Conditions, v1alpha1.ConditionReady), r.Status.WaitingFor)
	}
	if groups := w.Groups(); len(groups) != 2 {
		t.Errorf("%d groups can be reviewed, want 2", len(groups))
	}
	w.CommitRollout("firmware-1", "spec: {approval: {planHash: 'sha256:"+strings.Repeat("0", 64)+"'}}")
	w.EventuallyRollout("firmware-1", "has an approval of another plan", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutWaitingForApproval && strings.Contains(r.Status.WaitingFor.Message, "approves another plan")
	})

	approved := r.Status.Plan.Hash
	w.CommitRollout("firmware-1", "spec: {groupCount: 4}")
	r = w.EventuallyRollout("firmware-1", "has another plan", func(r *v1alpha1.Rollout) bool {
		return r.Status.Plan != nil && r.Status.Plan.Hash != approved && len(r.Status.Groups) == 4
	})
	w.CommitRollout("firmware-1", "spec: {approval: {planHash: '"+approved+"'}}")
	w.EventuallyRollout("firmware-1", "does not accept the old approval", func(r *v1alpha1.Rollout) bool {
		return r.Status.ObservedGeneration == r.Generation && r.Status.State == v1alpha1.RolloutWaitingForApproval
	})
	w.EventuallyPolled(devices, 3, time.Now(), names...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started without approval: %v", started)
	}
	w.CommitRollout("firmware-1", "spec: {approval: {planHash: '"+r.Status.Plan.Hash+"'}}")
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	startedOnce(t, devices, names...)
	w.Eventually("the groups of the first plan are gone", func() string {
		for _, g := range w.Groups() {
			if g.Spec.PlanHash == approved {
				return g.Name
			}
		}
		return ""
	})
}

// With state Planned the plan is made and nothing starts; Running starts it.
func TestPlannedRolloutWaitsForRunning(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 3, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, state: Planned}`)
	r := w.EventuallyRollout("firmware-1", "is planned", world.InState(v1alpha1.RolloutReady))
	if r.Status.Plan == nil || r.Status.Plan.Targets != 3 || !world.Says(r.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonPlanned) {
		t.Errorf("plan is %+v, conditions %+v", r.Status.Plan, r.Status.Conditions)
	}
	w.EventuallyPolled(devices, 3, time.Now(), names...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started a planned rollout: %v", started)
	}
	w.CommitRollout("firmware-1", "spec: {state: Running}")
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	startedOnce(t, devices, names...)
}

// No device starts before startAt, and the rollout starts at that time without a change of an
// object.
func TestRolloutStartsAtItsTime(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 3, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	at := time.Now().Add(6 * time.Second).UTC().Truncate(time.Second)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, startAt: "`+at.Format(time.RFC3339)+`"}
`)
	r := w.EventuallyRollout("firmware-1", "waits for its start", world.InState(v1alpha1.RolloutReady))
	if r.Status.WaitingFor == nil || r.Status.WaitingFor.Reason != v1alpha1.ReasonWaitingForStart || !r.Status.WaitingFor.Until.Time.Equal(at) {
		t.Errorf("waitingFor is %+v", r.Status.WaitingFor)
	}
	r = w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if r.Status.StartedAt.Time.Before(at) {
		t.Errorf("started at %s, before %s", r.Status.StartedAt, at)
	}
	for _, e := range devices.Of(devicesim.Started) {
		if e.At.Before(at) {
			t.Errorf("device %s started at %s, before %s", e.Device, e.At, at)
		}
	}
	startedOnce(t, devices, names...)
}
