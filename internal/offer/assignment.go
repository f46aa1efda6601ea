// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// When a change of spec.assignment is a new wish, and its place in the order of updates.

// NoteAssignment returns what status.assignment has to hold for this spec.assignment; nil: the
// target never had an assignment.
//
// Every change of the set or of assignedAt that is seen is a new wish, and so is an assignment that
// was removed and put back. Its place is its assignedAt if that is later than every earlier place,
// or if the target had no assignment before, as in a cluster that is rebuilt from Git; else the
// moment it was seen. So the places of one target's assignments only grow: a merge patch or a
// revert that keeps an old assignedAt is newer than what it replaces, and no action is taken for
// that of another assignment. An assignment that is removed, or whose assignedAt is to come, leaves
// nothing but its place.
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
	return &v1alpha1.SeenAssignment{DistributionSet: wanted.DistributionSet, AssignedAt: wanted.AssignedAt, Since: placeOf(wanted, seen, now)}
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
	if !place.After(last) { // the clock of another replica was ahead
		place = last.Add(time.Microsecond)
	}
	return &metav1.MicroTime{Time: place}
}

// IsSeen reports whether an assignment is the one that was noted last: the same set, with the same
// assignedAt.
func IsSeen(wanted *v1alpha1.Assignment, seen *v1alpha1.SeenAssignment) bool {
	return seen != nil && seen.DistributionSet == wanted.DistributionSet && seen.AssignedAt.Equal(wanted.AssignedAt)
}

// IsAhead reports whether the assignedAt of an assignment is to come: until then it does not count.
func IsAhead(a *v1alpha1.Assignment, now time.Time) bool {
	return a.AssignedAt != nil && a.AssignedAt.After(now)
}

// AssignmentIntent returns the target's own spec.assignment as an update, once its controller has
// recorded when it first saw it; false: there is none, or it is not recorded yet. setNamed returns
// the set of a name, or nil.
func AssignmentIntent(t *v1alpha1.Target, setNamed func(name string) *eligibility.Set) (eligibility.Intent, bool) {
	wanted, seen := t.Spec.Assignment, t.Status.Assignment
	if wanted == nil || seen == nil || seen.Since == nil || !IsSeen(wanted, seen) {
		return eligibility.Intent{}, false
	}
	return eligibility.Intent{
		Source:     v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: t.Name, UID: t.Identity(), Since: seen.Since},
		Update:     wanted.Update,
		Set:        setNamed(wanted.DistributionSet),
		StartedAt:  seen.Since.Time,
		OpenedAt:   seen.Since.Time,
		CreatedAt:  t.CreationTimestamp.Time,
		IsUnplaced: wanted.AssignedAt == nil && seen.Since.Sub(t.CreationTimestamp.Time) < eligibility.AppliedTogether,
	}, true
}
