// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Rule is all that decides in which bucket a member of one group is, besides the Target and the
// Member. A tally is valid while its Rule is Equal to the present one;
// otherwise the group is counted again.
type Rule struct {
	// UID and Name of the rollout.
	UID  types.UID
	Name string
	// DistributionSet is the name of the set that the rollout brings.
	DistributionSet string
	// Removal takes the place of the set if the rollout removes software; nil if it installs a set.
	Removal *eligibility.Set
	// Since is the place of the rollout in the order of updates; zero: it has not started, so that
	// no update counts as newer.
	Since time.Time
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
func (r *Rule) Equal(o *Rule) bool {
	return r.AutoAssignments.Version == o.AutoAssignments.Version && r.UID == o.UID && r.DistributionSet == o.DistributionSet && r.removes() == o.removes() && r.Since.Equal(o.Since) && r.Open == o.Open && r.Stopped == o.Stopped &&
		r.ContentHash == o.ContentHash && r.Reinstall == o.Reinstall && r.RequiredMigrationStep == o.RequiredMigrationStep && r.SetGone == o.SetGone && r.ResumedAt.Equal(o.ResumedAt) &&
		slices.Equal(r.CompatibleTargetTypes, o.CompatibleTargetTypes) && retriesAlike(r.Retries, o.Retries) && r.RetryAt.Equal(o.RetryAt) && r.RetryFailures.Equal(o.RetryFailures)
}

// removes returns the content hash of the removal, or "" if the rollout installs a set.
func (r *Rule) removes() string {
	if r.Removal == nil {
		return ""
	}
	return r.Removal.ContentHash
}

// retriesAlike reports whether both allow the same attempts. The time of an attempt changes no
// bucket.
func retriesAlike(a, b *v1alpha1.Retries) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return a.Limit == b.Limit && eligibility.RetriedFailures(a).Equal(eligibility.RetriedFailures(b))
}
