// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// RuleOf returns the rule by which the group at this index of status.groups is counted, in a
// namespace with these auto-assignments. The set may be nil.
func RuleOf(r *v1alpha1.Rollout, set *eligibility.Set, group int, autos counting.AutoAssignments) counting.Rule {
	rule := counting.Rule{
		AutoAssignments:       autos,
		UID:                   r.Identity(),
		Name:                  r.Name,
		DistributionSet:       r.Spec.Update.DistributionSet,
		Since:                 Since(r),
		Open:                  isOpen(r.Status.Groups[group].State),
		Stopped:               r.Status.State == v1alpha1.RolloutStopping || r.Status.State == v1alpha1.RolloutStopped,
		Reinstall:             r.Spec.Update.Reinstall,
		RequiredMigrationStep: set != nil && set.RequiredMigrationStep,
		SetGone:               set == nil,
		Retries:               r.Spec.Update.Retries,
	}
	if set.Removes() {
		rule.Removal = set
	}
	if set != nil {
		rule.CompatibleTargetTypes = set.CompatibleTargetTypes
	}
	if r.Status.Plan != nil {
		rule.ContentHash = r.Status.Plan.ContentHash
	}
	if h := r.Status.Handled; h != nil && h.ResumedAt != nil {
		rule.ResumedAt = h.ResumedAt.Time
	}
	rule.RetryAt, rule.RetryFailures = RetryOf(r)
	return rule
}

// Since returns the rollout's place in the order of updates: startAt if given, else its start. It
// returns the zero time before the start.
func Since(r *v1alpha1.Rollout) time.Time {
	switch {
	case r.Status.StartedAt == nil:
		return time.Time{}
	case r.Spec.StartAt != nil && !r.Spec.StartAt.After(r.Status.StartedAt.Time): // a startAt after the start does not count
		return r.Spec.StartAt.Time
	}
	return r.Status.StartedAt.Time
}

// RetryOf returns the retry request that the rollout has carried out last, or the zero time if
// there is none.
func RetryOf(r *v1alpha1.Rollout) (at time.Time, retried action.Failures) {
	h := r.Status.Handled
	if r.Spec.Retry == nil || h == nil || h.RetryAt == nil || !h.RetryAt.Time.Equal(requested(r.Spec.Retry.At)) {
		return time.Time{}, action.Failures{}
	}
	return h.RetryAt.Time, retriedBy(r.Spec.Retry)
}

// retriedBy returns the failures that a retry request selects.
func retriedBy(r *v1alpha1.Retry) action.Failures {
	return action.Failures{Codes: r.StatusCodes, Messages: r.Messages}
}

func isOpen(s v1alpha1.GroupState) bool {
	return s == v1alpha1.GroupRunning || s == v1alpha1.GroupFinished || s == v1alpha1.GroupError
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
