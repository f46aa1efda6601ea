// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// For returns the intents that reach a target: its own assignment, the groups that it is a member
// of, and the auto-assignments that select it.
func (x *Index) For(target *v1alpha1.Target, now time.Time) []eligibility.Intent {
	assigned, ok := x.assignment(target)
	x.mu.RLock()
	defer x.mu.RUnlock()
	members := x.members[types.NamespacedName{Namespace: target.Namespace, Name: target.Name}]
	intents := make([]eligibility.Intent, 0, len(members)+1)
	if ok {
		assigned.Closed = x.stabilizing(target, "spec.assignment", &assigned, now)
		intents = append(intents, assigned)
	}
	for _, m := range members {
		group := x.groups[m.group]
		r := x.rollouts[types.NamespacedName{Namespace: group.Namespace, Name: group.Spec.Rollout}]
		if !Exists(group, r) {
			continue
		}
		in := FromRollout(r, group, m.position, x.facts[types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet}])
		if in.Closed.IsZero() {
			in.Closed = x.waitForNewerRollout(target, r, now)
		}
		intents = append(intents, in)
	}
	return append(intents, x.autoIntents(target, now)...)
}

// Exists reports whether a group belongs to the plan of a rollout: it names the rollout, the hash
// of its plan, and the UID in the rollout's status. If the status has no UID, because it was
// restored from another cluster, name and hash are enough. Groups of another plan, or of a deleted
// rollout with the same name, are ignored everywhere.
func Exists(group *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return r != nil && r.Name == group.Spec.Rollout && r.Namespace == group.Namespace && r.Status.Plan != nil && r.Status.Plan.Hash == group.Spec.PlanHash &&
		(r.Status.UID == "" || r.Status.UID == group.Spec.RolloutUID)
}

// FromRollout returns the intent of one membership.
func FromRollout(r *v1alpha1.Rollout, group *v1alpha1.DeploymentGroup, position int32, set *eligibility.Set) eligibility.Intent {
	member := counting.MemberOf(group, int(position))
	in := eligibility.Intent{
		Source:       v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: group.Spec.RolloutUID, Group: group.Spec.Group},
		Update:       rollout.UpdateOf(r),
		Set:          set,
		PlannedHash:  r.Status.Plan.ContentHash,
		SupersededBy: group.Status.SupersededBy,
		CreatedAt:    r.CreationTimestamp.Time,
		IsUnplaced:   r.Spec.StartAt == nil,
	}
	in.Update.ConfirmationRequired = group.Spec.Conditions.ConfirmationRequired
	in.Closed, in.Stopped = ClosedReason(r, group.Spec.Index)
	in.RetryAt, in.RetryFailures = rollout.RetryOf(r)
	member.Mark(&in)
	if in.Closed.IsZero() && group.Unreadable != nil {
		in.Closed = eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("DeploymentGroup %s cannot be decoded: %s", group.Name, group.Unreadable.Message)}
	}
	if r.Status.StartedAt != nil {
		in.StartedAt, in.Source.Since = r.Status.StartedAt.Time, sinceOf(r, member.Joined)
	}
	if g := groupStatus(r, group.Spec.Index); g != nil && g.OpenedAt != nil {
		in.OpenedAt = latest(g.OpenedAt.Time, member.Joined)
	}
	return in
}

// sinceOf returns the place of a member of a started rollout in the order of updates: the start of
// the rollout, or the time when the member joined if that is later.
func sinceOf(r *v1alpha1.Rollout, joined time.Time) *metav1.MicroTime {
	since := latest(rollout.Since(r), joined)
	if since.Equal(r.Status.StartedAt.Time) {
		return r.Status.StartedAt
	}
	return &metav1.MicroTime{Time: since}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ClosedReason returns the reason why a group of a rollout is not offered to any member, and
// whether that is final. The spec takes precedence over the status: a stop is effective as soon as
// it is seen, before a controller has written it to the status.
func ClosedReason(r *v1alpha1.Rollout, index int32) (closed eligibility.Reason, stopped bool) {
	group := groupStatus(r, index)
	switch {
	case !r.DeletionTimestamp.IsZero():
		return eligibility.Reason{Code: eligibility.CodeStopped, Message: fmt.Sprintf("rollout %s is being deleted", r.Name)}, true
	case rollout.IsStopped(r):
		return eligibility.Reason{Code: eligibility.CodeStopped, Message: fmt.Sprintf("rollout %s was stopped", r.Name)}, true
	case r.Status.StartedAt == nil:
		return eligibility.Reason{Code: eligibility.CodeNotStarted, Message: fmt.Sprintf("rollout %s has not started%s", r.Name, waiting(r)), Until: until(r)}, false
	case r.Unreadable != nil:
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("rollout %s cannot be decoded and is treated as paused: %s", r.Name, r.Unreadable.Message)}, false
	case r.Spec.State == v1alpha1.IntentPaused, r.Spec.State == v1alpha1.IntentPlanned: // a rollout that has started cannot return to Planned
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("rollout %s is paused: spec.state is %s", r.Name, r.Spec.State)}, false
	case r.Status.State == v1alpha1.RolloutPaused:
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("rollout %s is paused: %s", r.Name, r.Status.PauseMessage)}, false
	case group == nil || group.OpenedAt == nil:
		return eligibility.Reason{Code: eligibility.CodeGroupNotOpen, Message: fmt.Sprintf("the target's group of rollout %s has not opened%s", r.Name, waiting(r)), Until: until(r)}, false
	case r.Status.State == v1alpha1.RolloutFinished:
		return eligibility.Reason{Code: eligibility.CodeFinished, Message: fmt.Sprintf("rollout %s has finished", r.Name)}, false
	}
	return eligibility.Reason{}, false
}

// GroupClosedReason is ClosedReason for a group given by its name.
func GroupClosedReason(r *v1alpha1.Rollout, name string) (closed eligibility.Reason, stopped bool) {
	for i := range r.Status.Groups {
		if r.Status.Groups[i].Name == name {
			return ClosedReason(r, int32(i))
		}
	}
	return ClosedReason(r, int32(len(r.Status.Groups)))
}

func groupStatus(r *v1alpha1.Rollout, index int32) *v1alpha1.GroupStatus {
	if int(index) >= len(r.Status.Groups) {
		return nil
	}
	return &r.Status.Groups[index]
}

func waiting(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return ""
	}
	return ": " + r.Status.WaitingFor.Message
}

func until(r *v1alpha1.Rollout) time.Time {
	if r.Status.WaitingFor == nil || r.Status.WaitingFor.Until == nil {
		return time.Time{}
	}
	return r.Status.WaitingFor.Until.Time
}

// assignment returns the intent of the target's own spec.assignment, once its controller has
// recorded when it first saw it.
func (x *Index) assignment(target *v1alpha1.Target) (eligibility.Intent, bool) {
	wanted, seen := target.Spec.Assignment, target.Status.Assignment
	if wanted == nil || seen == nil || seen.Since == nil || !offer.IsSeen(wanted, seen) {
		return eligibility.Intent{}, false
	}
	return eligibility.Intent{
		Source:     v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: target.Name, UID: target.Identity(), Since: seen.Since},
		Update:     wanted.Update,
		Set:        x.Set(sibling(target, wanted.DistributionSet)),
		StartedAt:  seen.Since.Time,
		OpenedAt:   seen.Since.Time,
		CreatedAt:  target.CreationTimestamp.Time,
		IsUnplaced: wanted.AssignedAt == nil && seen.Since.Sub(target.CreationTimestamp.Time) < rebuildWindow,
	}, true
}

// origin returns what the source of an open action requires for that action now. A deleted source
// requires nothing: its deletionCancellation was applied before it was removed.
func (x *Index) origin(namespace string, source v1alpha1.ActionSource) offer.Origin {
	if source.Kind != v1alpha1.SourceRollout {
		return offer.Origin{}
	}
	r := x.Rollout(types.NamespacedName{Namespace: namespace, Name: source.Name})
	if r == nil || r.Identity() != source.UID {
		return offer.Origin{Stop: v1alpha1.CancellationNone, Cause: v1alpha1.CauseDeleted}
	}
	return OriginOf(r)
}

// OriginOf returns what a rollout requires for started actions. If it is stopped and deleted, the
// stronger cancellation applies.
func OriginOf(r *v1alpha1.Rollout) offer.Origin {
	var wanted offer.Origin
	if stop, isStopped := rollout.StopOf(r); isStopped {
		wanted = offer.Origin{Stop: stop, Cause: v1alpha1.CauseStopped}
	}
	if !r.DeletionTimestamp.IsZero() && (wanted.Cause == "" || rollout.Stronger(r.Spec.DeletionCancellation, wanted.Stop)) {
		wanted = offer.Origin{Stop: orDefault(r.Spec.DeletionCancellation, v1alpha1.CancellationNone), Cause: v1alpha1.CauseDeleted}
	}
	return wanted
}

func orDefault(c, missing v1alpha1.Cancellation) v1alpha1.Cancellation {
	if c == "" {
		return missing
	}
	return c
}

func sibling(target *v1alpha1.Target, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: target.Namespace, Name: name}
}
