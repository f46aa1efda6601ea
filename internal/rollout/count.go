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

// Bucket is what became of one member of a group. Every member is in exactly one.
type Bucket uint8

// Buckets, as Counts names them.
const (
	Scheduled Bucket = iota
	Pending
	InProgress
	Succeeded
	Failed
	Canceled
	Skipped
	Removed
)

var bucketNames = [...]string{"Scheduled", "Pending", "InProgress", "Succeeded", "Failed", "Canceled", "Skipped", "Removed"}

func (b Bucket) String() string { return bucketNames[b] }

// IsClosed reports whether nothing more is awaited of the member.
func (b Bucket) IsClosed() bool { return b >= Succeeded }

// Rule is all that decides into which bucket a member of one group falls, besides the Target and
// the member's bits. A tally holds as long as its Rule is Equal to that of the Rollout; else the
// group is counted anew.
type Rule struct {
	uid       types.UID
	name, set string
	// since is the rollout's place in the order of updates; zero: it has not started, and nothing
	// is newer.
	since         time.Time
	open, stopped bool
	// content that was planned, and whether it is installed also where it is already.
	content       string
	reinstall     bool
	migrationStep bool
	setGone       bool
	// types of targets that the set fits; empty: all.
	types      []string
	resumedAt  time.Time
	retryLimit int32
	retries    action.Failures
	retryAt    time.Time
	retried    action.Failures
	cover      Cover
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
		open:          isOpen(r.Status.Groups[group].State),
		stopped:       r.Status.State == v1alpha1.RolloutStopping || r.Status.State == v1alpha1.RolloutStopped,
		reinstall:     r.Spec.Update.Reinstall,
		migrationStep: set != nil && set.RequiredMigrationStep,
		setGone:       set == nil,
	}
	if set != nil {
		rule.types = set.CompatibleTargetTypes
	}
	if r.Status.Plan != nil {
		rule.content = r.Status.Plan.ContentHash
	}
	if retries := r.Spec.Update.Retries; retries != nil {
		rule.retryLimit, rule.retries = retries.Limit, eligibility.NamedBy(retries)
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
		r.content == o.content && r.reinstall == o.reinstall && r.migrationStep == o.migrationStep && r.setGone == o.setGone && r.resumedAt.Equal(o.resumedAt) && r.retryLimit == o.retryLimit &&
		slices.Equal(r.types, o.types) && r.retries.Equal(o.retries) && r.retryAt.Equal(o.retryAt) && r.retried.Equal(o.retried)
}

// BucketOf says what became of one member; t is nil when the Target is gone. An action that has
// started outranks what the group remembers.
func (r Rule) BucketOf(t *v1alpha1.Target, m Member) Bucket {
	if t == nil {
		return Removed
	}
	own := action.OfSource(&t.Status, r.uid)
	switch {
	case own != nil && !(isUnconfirmed(own) && (m.Skipped || r.hasExpired(m) || r.isForgiven(own, m))):
		b := r.bucketOfAction(own, func() bool { return m.Abandoned || m.Superseded || r.stopped || r.isTakenOver(t, m) })
		if own.State.IsClosed() && !b.IsClosed() && r.isThere(t) { // another attempt is not needed any more
			return Succeeded
		}
		return b
	case r.hasExpired(m): // it had failed before anybody took it over
		return Failed
	case m.Superseded:
		return Canceled
	case m.Skipped:
		return Skipped
	case m.AlreadyThere:
		return Succeeded
	case r.isTakenOver(t, m), r.stopped:
		return Canceled
	case r.open && r.isThere(t): // it came by the set in another way since its group opened
		return Succeeded
	case r.open:
		return Pending
	}
	return Scheduled
}

// isThere reports whether the target runs the planned content and nobody asks for it to be
// installed again.
func (r Rule) isThere(t *v1alpha1.Target) bool {
	return !r.reinstall && r.content != "" && action.Installed(&t.Status, r.content)
}

// isUnconfirmed: what waits for confirmation has not started, nor has what was closed while it did.
func isUnconfirmed(a *v1alpha1.Action) bool {
	return a.State == v1alpha1.ActionWaitingForConfirmation ||
		a.State == v1alpha1.ActionCanceled && a.Cancel != nil && a.Cancel.From == v1alpha1.ActionWaitingForConfirmation
}

// hasExpired reports whether a member failed because it did not start in time, and no retry has
// given it more.
func (r Rule) hasExpired(m Member) bool { return m.HasExpired(r.retryAt, r.retried) }

// isForgiven reports whether a question that was taken back is going to be asked again: a required
// migration step went first, or nobody agreed in time and a retry has given more.
func (r Rule) isForgiven(own *v1alpha1.Action, m Member) bool {
	return own.Cancel != nil && (own.Cancel.Cause == v1alpha1.CauseMigrationStep || own.Cancel.Cause == v1alpha1.CauseStopped && !m.Expired.IsZero() && !r.hasExpired(m))
}

// bucketOfAction asks isFinal only of what failed.
func (r Rule) bucketOfAction(a *v1alpha1.Action, isFinal func() bool) Bucket {
	switch a.State {
	case v1alpha1.ActionWaitingForConfirmation:
		return Pending
	case v1alpha1.ActionFinished:
		return Succeeded
	case v1alpha1.ActionCanceled:
		return Canceled
	case v1alpha1.ActionError:
		return r.bucketOfFailure(a, isFinal())
	}
	return InProgress
}

// bucketOfFailure is Failed only when nobody is going to try again.
func (r Rule) bucketOfFailure(a *v1alpha1.Action, final bool) Bucket {
	switch {
	case final:
		return Failed
	case a.Source.Attempt <= r.retryLimit && r.retries.Name(action.FailureOf(a)):
		return InProgress
	case a.ClosedAt != nil && a.ClosedAt.Time.Before(r.retryAt) && r.retried.Name(action.FailureOf(a)):
		return Pending
	}
	return Failed
}

// isTakenOver reports whether a newer update has replaced this one on the target: dead and
// superseded are the same thing.
func (r Rule) isTakenOver(t *v1alpha1.Target, m Member) bool {
	if r.since.IsZero() {
		return false
	}
	since := later(r.since, m.Joined)
	return r.isOlderThanStarted(t, since) || r.isReassigned(t, since) || !r.migrationStep && r.cover.Keeps != nil && r.cover.Keeps(t, since)
}

// isOlderThanStarted reports whether the target has started a newer update, or one of the same age,
// that replaces this one: a device never falls back. A required migration step is dead only once
// the newer set is installed.
func (r Rule) isOlderThanStarted(t *v1alpha1.Target, since time.Time) bool {
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if a.Source.UID == r.uid || a.Source.Since == nil || a.Source.Since.Time.Before(since) || a.Update.Superseding == v1alpha1.SupersedingQueue || r.isRecreated(a) {
			continue
		}
		if (!r.migrationStep || a.State == v1alpha1.ActionFinished) && !r.isDelivery(t, a) {
			return true
		}
	}
	return false
}

// isDelivery reports whether another update brings, or has brought, just what this rollout is to
// bring.
func (r Rule) isDelivery(t *v1alpha1.Target, a *v1alpha1.Action) bool {
	return r.content != "" && a.ContentHash == r.content && !r.reinstall && (!a.State.IsClosed() || r.isThere(t))
}

// isRecreated reports whether an action comes from an earlier rollout of this name and startAt: the
// manifest was removed and applied again, and goes on.
func (r Rule) isRecreated(a *v1alpha1.Action) bool {
	return a.Source.Kind == v1alpha1.SourceRollout && a.Source.Name == r.name && a.Source.Since.Time.Equal(r.since)
}

// isReassigned reports whether the target's own assignment is newer and brings another set. One
// that cannot be carried out, by the target's own word, replaces nothing.
func (r Rule) isReassigned(t *v1alpha1.Target, since time.Time) bool {
	wanted, seen := t.Spec.Assignment, t.Status.Assignment
	return wanted != nil && seen != nil && !isRefused(t) && seen.Since != nil && offer.IsSeen(wanted, seen) &&
		seen.Since.After(since) && wanted.DistributionSet != r.set && wanted.Superseding != v1alpha1.SupersedingQueue && !r.migrationStep
}

// isRefused reports whether the target's own assignment waits for somebody to fix it.
func isRefused(t *v1alpha1.Target) bool {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionAssigned)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonUnknownCancelID
}
