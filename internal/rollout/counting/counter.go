// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Counter counts the members of a group by a rule.
type Counter struct {
	Rule
	// intent is the update for a member whose Member is zero.
	intent eligibility.Intent
	// set has the fields of the set of the rollout that are counted by.
	set eligibility.Set
}

// NewCounter returns a counter by this rule.
func NewCounter(r Rule) *Counter {
	c := &Counter{Rule: r, intent: eligibility.Intent{
		Source:      v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID},
		Update:      v1alpha1.Update{DistributionSet: r.DistributionSet, Reinstall: r.Reinstall, Retries: r.Retries},
		PlannedHash: r.ContentHash,
		RetryAt:     r.RetryAt, RetryFailures: r.RetryFailures,
		Stopped: r.Stopped,
	}}
	c.set = eligibility.Set{CompatibleTargetTypes: r.CompatibleTargetTypes, RequiredMigrationStep: r.RequiredMigrationStep}
	if r.Stopped {
		c.intent.Closed.Code = eligibility.CodeStopped
	}
	if r.RequiredMigrationStep {
		c.intent.Set = &c.set
	}
	if r.Removal != nil {
		c.intent.Set, c.intent.Update.Remove = r.Removal, r.Removal.Remove
	}
	c.setPlace(&c.intent, r.Since)
	return c
}

// BucketOf returns the bucket of one member. The target is nil if it was deleted.
func (c *Counter) BucketOf(t *v1alpha1.Target, m Member) Bucket {
	if t == nil {
		return Removed
	}
	result := c.check(t, m)
	return BucketOf(&result, c.Open)
}

// check asks package eligibility whether the update may still go to a member. Obstacles that end at
// a time, or that a person removes, are left out, because they change no bucket.
func (c *Counter) check(t *v1alpha1.Target, m Member) eligibility.Result {
	if m.IsPlain() {
		newer := c.newerThan(t, &c.intent)
		return eligibility.Lasting(t, &c.intent, &newer)
	}
	in := c.intent
	m.Mark(&in)
	if m.Joined.After(c.Since) {
		c.setPlace(&in, m.Joined)
	}
	newer := c.newerThan(t, &in)
	return eligibility.Lasting(t, &in, &newer)
}

// setPlace sets the place of an update in the order of updates of a member.
func (c *Counter) setPlace(in *eligibility.Intent, since time.Time) {
	if !c.Since.IsZero() {
		in.Source.Since = &metav1.MicroTime{Time: since}
	}
	if c.Open {
		in.OpenedAt = since
	}
}

// newerThan returns the updates of a target that are newer than this one, as far as the counters
// know them.
func (c *Counter) newerThan(t *v1alpha1.Target, in *eligibility.Intent) eligibility.Newer {
	return eligibility.Newer{AutoHasReached: c.AutoAssignments.HaveReached, Reached: reassigned(t, in)}
}

// reassigned returns the target's own assignment as an update if it is newer than the given one
// and replaces older updates, else nil. Whether its set can be given to the target is read from the
// condition Assigned of the target, because the counters know only the set of their rollout.
func reassigned(t *v1alpha1.Target, in *eligibility.Intent) *eligibility.Intent {
	wanted, seen := t.Spec.Assignment, t.Status.Assignment
	if wanted == nil || seen == nil || seen.Since == nil || in.Source.Since == nil || !seen.Since.After(in.Source.Since.Time) || !offer.IsSeen(wanted, seen) ||
		wanted.IsQueued() || isRefused(t) {
		return nil
	}
	return &eligibility.Intent{
		Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: t.Name, UID: t.Identity(), Since: seen.Since},
		Update: v1alpha1.Update{DistributionSet: wanted.DistributionSet, Remove: wanted.Remove},
	}
}

// isRefused reports whether a person has to fix the target's own assignment.
func isRefused(t *v1alpha1.Target) bool {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionAssigned)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonUnknownCancelID
}
