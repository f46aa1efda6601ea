// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// WaitingSince returns since when a rollout waits for what status.waitingFor says, or since when
// its condition Ready is as it is if it waits for nothing. It is computed from stored times, so
// that it does not change with the process.
func WaitingSince(r *v1alpha1.Rollout) time.Time {
	status, reason := &r.Status, ""
	if r.Status.WaitingFor != nil {
		reason = r.Status.WaitingFor.Reason
	}
	switch {
	case status.PausedAt != nil:
		return status.PausedAt.Time
	case status.Stop != nil:
		return status.Stop.ObservedAt.Time
	case status.State == v1alpha1.RolloutStopped && status.FinishedAt != nil:
		return status.FinishedAt.Time
	case reason == v1alpha1.ReasonProgressing && status.StartedAt != nil:
		opened := status.StartedAt.Time
		for i := range status.Groups {
			if at := status.Groups[i].OpenedAt; at != nil && at.After(opened) {
				opened = at.Time
			}
		}
		return opened
	case status.Stabilizing != nil:
		return status.Stabilizing.Started.Time
	case waitsForStart(reason) && status.Plan != nil && status.Plan.CreatedAt != nil:
		return status.Plan.CreatedAt.Time
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.LastTransitionTime.Time
	}
	return r.CreationTimestamp.Time
}

// waitsForStart reports whether a rollout has a plan and waits for its start.
func waitsForStart(reason string) bool {
	switch reason {
	case v1alpha1.ReasonAwaitingApproval, v1alpha1.ReasonPlanned, v1alpha1.ReasonPausedBySpec, v1alpha1.ReasonWaitingForStart:
		return true
	}
	return false
}
