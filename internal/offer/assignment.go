// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// When a change of spec.assignment is a new assignment, and its place in the order of updates.

// NoteAssignment returns the value of status.assignment for this spec.assignment, or nil if the
// target never had an assignment.
//
// A change of the set or of assignedAt makes a new assignment, and so does an assignment that was
// removed and put back. The place of a new assignment is its assignedAt if that is later than every
// earlier place, or if the target had no assignment before, as in a cluster that is rebuilt from
// Git; else it is the time when the assignment was first seen. So the places of one target's
// assignments only grow: after a merge patch or a revert that keeps an old assignedAt, the
// assignment is newer than the one it replaces, and no action counts for another assignment than
// its own. Of an assignment that is removed, or whose assignedAt is in the future, only the place
// is kept.
func NoteAssignment(wanted *v1alpha1.Assignment, seen *v1alpha1.SeenAssignment, now time.Time) *v1alpha1.SeenAssignment {
	switch {
	case wanted == nil || IsAhead(wanted, now):
		if seen == nil {
			return nil
		}
		return &v1alpha1.SeenAssignment{Since: seen.Since}
	case IsSeen(wanted, seen):
		return seen
	}
	return &v1alpha1.SeenAssignment{DistributionSet: wanted.DistributionSet, Removal: eligibility.RemovalHash(wanted.Remove), AssignedAt: wanted.AssignedAt, Since: placeOf(wanted, seen, now)}
}

func placeOf(wanted *v1alpha1.Assignment, seen *v1alpha1.SeenAssignment, now time.Time) *metav1.MicroTime {
	var last time.Time
	if seen != nil && seen.Since != nil {
		last = seen.Since.Time
	}
	place := now.Truncate(time.Microsecond)
	if wanted.AssignedAt != nil && wanted.AssignedAt.After(last) {
		place = wanted.AssignedAt.Time
	}
	if !place.After(last) { // the clock of another replica is ahead of this one
		place = last.Add(time.Microsecond)
	}
	return &metav1.MicroTime{Time: place}
}

// IsSeen reports whether an assignment is the one in status.assignment: the same set, or the same
// software to remove, with the same assignedAt.
func IsSeen(wanted *v1alpha1.Assignment, seen *v1alpha1.SeenAssignment) bool {
	return seen != nil && seen.DistributionSet == wanted.DistributionSet && seen.Removal == eligibility.RemovalHash(wanted.Remove) && seen.AssignedAt.Equal(wanted.AssignedAt)
}

// IsAhead reports whether assignedAt is in the future: until then the assignment has no effect.
func IsAhead(a *v1alpha1.Assignment, now time.Time) bool {
	return a.AssignedAt != nil && a.AssignedAt.After(now)
}

// AssignmentIntent returns the target's own spec.assignment as an update, once its controller has
// recorded when it first saw it; false: there is none, or it is not recorded yet. setOf returns the
// set of an update, or what takes its place, or nil.
func AssignmentIntent(t *v1alpha1.Target, setOf func(*v1alpha1.Update) *eligibility.Set) (*eligibility.Intent, bool) {
	wanted, seen := t.Spec.Assignment, t.Status.Assignment
	if wanted == nil || seen == nil || seen.Since == nil || !IsSeen(wanted, seen) {
		return nil, false
	}
	return &eligibility.Intent{
		Source:     v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: t.Name, UID: t.Identity(), Since: seen.Since},
		Update:     wanted.Update,
		Set:        setOf(&wanted.Update),
		StartedAt:  seen.Since.Time,
		OpenedAt:   seen.Since.Time,
		CreatedAt:  t.CreationTimestamp.Time,
		IsUnplaced: wanted.AssignedAt == nil && seen.Since.Sub(t.CreationTimestamp.Time) < eligibility.AppliedTogether,
	}, true
}
