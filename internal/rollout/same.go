// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// OffersSame reports whether two versions of a rollout offer the same to the members of a group,
// apart from messages, and require the same of their started actions. A change of counters, for
// example, does not matter to devices.
func OffersSame(a, b *v1alpha1.Rollout, group *v1alpha1.DeploymentGroup) bool {
	if a == nil || b == nil || grouping.BelongsTo(group, a) != grouping.BelongsTo(group, b) {
		return a == b
	}
	return !grouping.BelongsTo(group, a) || reflect.DeepEqual(offerOf(a, group), offerOf(b, group))
}

// offerOf returns what a rollout offers to a member about which the group says nothing. Members
// that joined later, or that have expired, get values that follow from these.
func offerOf(r *v1alpha1.Rollout, group *v1alpha1.DeploymentGroup) any {
	plain := *group
	plain.Status = v1alpha1.DeploymentGroupStatus{}
	in := IntentOf(r, &plain, nil)
	in.Closed.Message, in.Closed.Until = "", time.Time{}
	return []any{in, CancellationOf(r), r.Identity()}
}

// RequiresSame reports whether two versions of a rollout, of which one may be nil, require the same
// of started actions.
func RequiresSame(a, b *v1alpha1.Rollout) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Identity() == b.Identity() && CancellationOf(a) == CancellationOf(b)
}

// IsSameCandidate reports whether other updates wait for two versions of a rollout, of which one
// may be nil, in the same way. No update waits for a rollout that has started.
func IsSameCandidate(a, b *v1alpha1.Rollout) bool {
	isOver := func(r *v1alpha1.Rollout) bool { return r == nil || r.Status.StartedAt != nil }
	if isOver(a) || isOver(b) {
		return isOver(a) == isOver(b)
	}
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.IsZero() == b.DeletionTimestamp.IsZero() && IsStopped(a) == IsStopped(b) &&
		(a.Unreadable == nil) == (b.Unreadable == nil) && isApprovedIfRequired(a) == isApprovedIfRequired(b) && isStalled(a) == isStalled(b)
}

// isStalled reports whether the present generation of a rollout is Stalled.
func isStalled(r *v1alpha1.Rollout) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled)
	return c != nil && c.ObservedGeneration == r.Generation
}

// ChangedMembers returns the positions of the members of a group for which two versions of it say
// something else, apart from messages. all means that this holds for every member of both versions.
func ChangedMembers(a, b *v1alpha1.DeploymentGroup) (positions []int, all bool) {
	if a == nil || b == nil || a.UID != b.UID || a.Spec.Rollout != b.Spec.Rollout || a.Spec.RolloutUID != b.Spec.RolloutUID ||
		a.Spec.PlanHash != b.Spec.PlanHash || a.Spec.Index != b.Spec.Index || a.Spec.Group != b.Spec.Group ||
		a.Spec.Conditions.ConfirmationRequired != b.Spec.Conditions.ConfirmationRequired || (a.Unreadable == nil) != (b.Unreadable == nil) ||
		(len(a.Status.SupersededBy) == 0) != (len(b.Status.SupersededBy) == 0) {
		return nil, true
	}
	few, many := len(a.Spec.Targets), len(b.Spec.Targets)
	if few > many {
		few, many = many, few
	}
	if !sameNotes(&a.Status, &b.Status) {
		for i := range few {
			if counting.MemberOf(a, i) != counting.MemberOf(b, i) {
				positions = append(positions, i)
			}
		}
	}
	for i := few; i < many; i++ {
		positions = append(positions, i)
	}
	return positions, false
}

// sameNotes reports whether two versions of a status say the same about all members.
func sameNotes(a, b *v1alpha1.DeploymentGroupStatus) bool {
	return equality.Semantic.DeepEqual([]any{a.Superseded, a.AlreadyThere, a.Skipped, a.Abandoned, a.Expired, a.ExpiredAt, a.Joined},
		[]any{b.Superseded, b.AlreadyThere, b.Skipped, b.Abandoned, b.Expired, b.ExpiredAt, b.Joined})
}
