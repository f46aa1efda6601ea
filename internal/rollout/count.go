// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

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

// Rule is all that decides into which bucket a member of one group falls, besides the Target and
// the member's bits. A tally holds as long as its Rule is Equal to that of the Rollout; else the
// group is counted anew.
type Rule struct {
	uid       types.UID
	name, set string
	// since is the rollout's place in the order of updates; zero: it has not started, and nothing
	// is newer.
	since         time.Time
	started       *metav1.MicroTime // of the rollout; most members have the place in the order that it says
	open, stopped bool
	// content that was planned, and whether it is installed also where it is already.
	content       string
	reinstall     bool
	migrationStep bool
	setGone       bool
	// types of targets that the set fits; empty: all.
	types     []string
	resumedAt time.Time
	// retries as in spec.update; nil: a failed action is not tried again.
	retries *v1alpha1.Retries
	retryAt time.Time
	retried action.Failures
	cover   Cover
}

// Cover is what auto-assignments keep from older rollouts.
type Cover struct {
	// Version changes whenever Keeps may answer differently for the same target.
	Version int64
	// Keeps reports whether an auto-assignment that is newer than since has reached the target:
	// nothing older is offered to it. nil: there is none.
	Keeps func(t *v1alpha1.Target, since time.Time) bool
}

// Under is the rule in a namespace with auto-assignments.
func (r Rule) Under(c Cover) Rule {
	r.cover = c
	return r
}

// RuleOf is the rule for the group at this index of status.groups. The set may be nil.
func RuleOf(r *v1alpha1.Rollout, set *offer.Set, group int) Rule {
	rule := Rule{
		uid:           r.Identity(),
		name:          r.Name,
		set:           r.Spec.Update.DistributionSet,
		since:         Since(r),
		started:       r.Status.StartedAt,
		open:          isOpen(r.Status.Groups[group].State),
		stopped:       r.Status.State == v1alpha1.RolloutStopping || r.Status.State == v1alpha1.RolloutStopped,
		reinstall:     r.Spec.Update.Reinstall,
		migrationStep: set != nil && set.RequiredMigrationStep,
		setGone:       set == nil,
		retries:       r.Spec.Update.Retries,
	}
	if set != nil {
		rule.types = set.CompatibleTargetTypes
	}
	if r.Status.Plan != nil {
		rule.content = r.Status.Plan.ContentHash
	}
	if h := r.Status.Handled; h != nil && h.ResumedAt != nil {
		rule.resumedAt = h.ResumedAt.Time
	}
	rule.retryAt, rule.retried = RetryOf(r)
	return rule
}

// Since is the rollout's place in the order of updates: startAt if given, else its start. Zero
// until it has started.
func Since(r *v1alpha1.Rollout) time.Time {
	switch {
	case r.Status.StartedAt == nil:
		return time.Time{}
	case r.Spec.StartAt != nil && !r.Spec.StartAt.After(r.Status.StartedAt.Time): // moved into the future after the start, it orders nothing
		return r.Spec.StartAt.Time
	}
	return r.Status.StartedAt.Time
}

// RetryOf is the retry request that is in force: its time has come and the rollout has taken it up.
// Zero: none.
func RetryOf(r *v1alpha1.Rollout) (at time.Time, retried action.Failures) {
	h := r.Status.Handled
	if r.Spec.Retry == nil || h == nil || h.RetryAt == nil || !h.RetryAt.Time.Equal(requested(r.Spec.Retry.At)) {
		return time.Time{}, action.Failures{}
	}
	return h.RetryAt.Time, retriedBy(r.Spec.Retry)
}

// retriedBy returns the failures that a request names.
func retriedBy(r *v1alpha1.Retry) action.Failures {
	return action.Failures{Codes: r.StatusCodes, Messages: r.Messages}
}

func isOpen(s v1alpha1.GroupState) bool {
	return s == v1alpha1.GroupRunning || s == v1alpha1.GroupFinished || s == v1alpha1.GroupError
}

// Equal reports whether both rules count alike.
func (r Rule) Equal(o Rule) bool {
	return r.cover.Version == o.cover.Version && r.uid == o.uid && r.set == o.set && r.since.Equal(o.since) && r.open == o.open && r.stopped == o.stopped &&
		r.content == o.content && r.reinstall == o.reinstall && r.migrationStep == o.migrationStep && r.setGone == o.setGone && r.resumedAt.Equal(o.resumedAt) &&
		slices.Equal(r.types, o.types) && retriesAlike(r.retries, o.retries) && r.retryAt.Equal(o.retryAt) && r.retried.Equal(o.retried)
}

// retriesAlike reports whether both allow the same attempts. When those are made changes no bucket.
func retriesAlike(a, b *v1alpha1.Retries) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return a.Limit == b.Limit && eligibility.NamedBy(a).Equal(eligibility.NamedBy(b))
}

// BucketOf returns the bucket of one member. The target is nil when it is gone.
func (r *Rule) BucketOf(t *v1alpha1.Target, m Member) Bucket {
	if t == nil {
		return Removed
	}
	result := r.check(t, m)
	return BucketOf(&result, r.open)
}

// check asks whether the rollout's update may still go to a member. What passes by time or by a
// person is not asked: it changes no bucket. A device at work has been given the update, so nothing
// is asked about it.
func (r *Rule) check(t *v1alpha1.Target, m Member) eligibility.Result {
	if own := action.OfSource(&t.Status, r.uid); own != nil && own.State.HasStarted() && !own.State.IsClosed() {
		return eligibility.Result{Own: own}
	}
	since := later(r.since, m.Joined)
	in := eligibility.Intent{
		Source:      v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.name, UID: r.uid},
		Update:      v1alpha1.Update{DistributionSet: r.set, Reinstall: r.reinstall, Retries: r.retries},
		PlannedHash: r.content,
		RetryAt:     r.retryAt, RetryFailures: r.retried,
		Stopped: r.stopped,
	}
	m.Mark(&in)
	if r.stopped {
		in.Closed.Code = eligibility.CodeStopped
	}
	if r.migrationStep {
		in.Set = &migrationStep
	}
	switch {
	case r.since.IsZero():
	case r.started != nil && r.started.Time.Equal(since):
		in.Source.Since = r.started
	default:
		in.Source.Since = &metav1.MicroTime{Time: since}
	}
	if r.open {
		in.OpenedAt = since
	}
	newer := eligibility.Newer{Keeps: r.cover.Keeps}
	if t.Spec.Assignment != nil {
		newer.Reached = reassigned(t, since)
	}
	return eligibility.Lasting(t, &in, &newer)
}

// migrationStep is all that the counters need to know of such a set.
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
