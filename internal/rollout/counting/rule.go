// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Rule is all that decides in which bucket a member of one group is, besides the Target and what
// the group remembers of the member. A tally is valid as long as its Rule is Equal to the present
// one; otherwise the group is counted again.
type Rule struct {
	// UID and Name of the rollout.
	UID  types.UID
	Name string
	// DistributionSet is the name of the set that the rollout brings.
	DistributionSet string
	// Since is the place of the rollout in the order of updates; zero: it has not started, and no
	// update is newer.
	Since time.Time
	// StartedAt is when the rollout started; nil: not yet. Most members have the place in the order
	// that it says.
	StartedAt *metav1.MicroTime
	// Open reports whether the group has opened, Stopped whether the rollout was stopped.
	Open, Stopped bool
	// ContentHash is the content that was planned; empty: there is no plan.
	ContentHash string
	// Reinstall as in spec.update: the content is installed also where it is installed already.
	Reinstall bool
	// RequiredMigrationStep as in the spec of the set.
	RequiredMigrationStep bool
	// SetGone is true if the set does not exist.
	SetGone bool
	// CompatibleTargetTypes as in the spec of the set; empty: all.
	CompatibleTargetTypes []string
	// ResumedAt is the last spec.resumedAt that took effect; zero: none.
	ResumedAt time.Time
	// Retries as in spec.update; nil: a failed action is not tried again.
	Retries *v1alpha1.Retries
	// RetryAt and RetryFailures are the retry request in force; zero: none.
	RetryAt       time.Time
	RetryFailures action.Failures
	// AutoAssignments of the namespace.
	AutoAssignments AutoAssignments
}

// AutoAssignments is what the auto-assignments of a namespace take over from older rollouts.
type AutoAssignments struct {
	// Version changes whenever HaveReached may give another result for the same target.
	Version int64
	// HaveReached reports whether an auto-assignment that is newer than since has reached the
	// target, so that no older update is offered to it. nil: the namespace has no auto-assignment.
	HaveReached func(t *v1alpha1.Target, since time.Time) bool
}

// Equal reports whether two rules give the same counts.
func (r Rule) Equal(o Rule) bool {
	return r.AutoAssignments.Version == o.AutoAssignments.Version && r.UID == o.UID && r.DistributionSet == o.DistributionSet && r.Since.Equal(o.Since) && r.Open == o.Open && r.Stopped == o.Stopped &&
		r.ContentHash == o.ContentHash && r.Reinstall == o.Reinstall && r.RequiredMigrationStep == o.RequiredMigrationStep && r.SetGone == o.SetGone && r.ResumedAt.Equal(o.ResumedAt) &&
		slices.Equal(r.CompatibleTargetTypes, o.CompatibleTargetTypes) && retriesAlike(r.Retries, o.Retries) && r.RetryAt.Equal(o.RetryAt) && r.RetryFailures.Equal(o.RetryFailures)
}

// retriesAlike reports whether both allow the same attempts. When those are made changes no bucket.
func retriesAlike(a, b *v1alpha1.Retries) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return a.Limit == b.Limit && eligibility.NamedBy(a).Equal(eligibility.NamedBy(b))
}

// BucketOf returns the bucket of one member. The target is nil if it was deleted.
func (r *Rule) BucketOf(t *v1alpha1.Target, m Member) Bucket {
	if t == nil {
		return Removed
	}
	result := r.check(t, m)
	return BucketOf(&result, r.Open)
}

// check asks package eligibility whether the update may still go to a member. Obstacles that a time
// or a person removes are left out, because they change no bucket. A device that has started has
// the update already, so nothing is asked about it.
func (r *Rule) check(t *v1alpha1.Target, m Member) eligibility.Result {
	if own := action.OfSource(&t.Status, r.UID); own != nil && own.State.HasStarted() && !own.State.IsClosed() {
		return eligibility.Result{Own: own}
	}
	since := r.Since
	if m.Joined.After(since) {
		since = m.Joined
	}
	in := eligibility.Intent{
		Source:      v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID},
		Update:      v1alpha1.Update{DistributionSet: r.DistributionSet, Reinstall: r.Reinstall, Retries: r.Retries},
		PlannedHash: r.ContentHash,
		RetryAt:     r.RetryAt, RetryFailures: r.RetryFailures,
		Stopped: r.Stopped,
	}
	m.Mark(&in)
	if r.Stopped {
		in.Closed.Code = eligibility.CodeStopped
	}
	if r.RequiredMigrationStep {
		in.Set = &migrationStep
	}
	switch {
	case r.Since.IsZero():
	case r.StartedAt != nil && r.StartedAt.Time.Equal(since):
		in.Source.Since = r.StartedAt
	default:
		in.Source.Since = &metav1.MicroTime{Time: since}
	}
	if r.Open {
		in.OpenedAt = since
	}
	newer := eligibility.Newer{AutoHasReached: r.AutoAssignments.HaveReached}
	if t.Spec.Assignment != nil {
		newer.Reached = reassigned(t, since)
	}
	return eligibility.Lasting(t, &in, &newer)
}

// migrationStep is all that the counters need to know of a set that is a required migration step.
var migrationStep = eligibility.Set{RequiredMigrationStep: true}

// reassigned returns the target's own assignment as an update, if it is newer than since and
// replaces what is older; else nil. Whether its set can be given to the target is read from the
// condition Assigned of the target, because the counters know only the set of their rollout.
func reassigned(t *v1alpha1.Target, since time.Time) *eligibility.Intent {
	wanted, seen := t.Spec.Assignment, t.Status.Assignment
	if wanted == nil || seen == nil || seen.Since == nil || !seen.Since.After(since) || !offer.IsSeen(wanted, seen) ||
		wanted.Superseding == v1alpha1.SupersedingQueue || isRefused(t) {
		return nil
	}
	return &eligibility.Intent{
		Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: t.Name, UID: t.Identity(), Since: seen.Since},
		Update: v1alpha1.Update{DistributionSet: wanted.DistributionSet},
	}
}

// isRefused reports whether the target's own assignment waits for a person to fix it.
func isRefused(t *v1alpha1.Target) bool {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionAssigned)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonUnknownCancelID
}
