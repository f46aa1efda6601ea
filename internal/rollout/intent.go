// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// IntentOf returns the update of a rollout as it reaches the plain members of a group. It is the
// same for all of them. The set may be nil.
func IntentOf(r *v1alpha1.Rollout, group *v1alpha1.DeploymentGroup, set *eligibility.Set) eligibility.Intent {
	in := eligibility.Intent{
		Source:       v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: group.Spec.RolloutUID, Group: group.Spec.Group},
		Update:       UpdateOf(r),
		Set:          set,
		PlannedHash:  r.Status.Plan.ContentHash,
		SupersededBy: group.Status.SupersededBy,
		CreatedAt:    r.CreationTimestamp.Time,
		IsUnplaced:   r.Spec.StartAt == nil,
	}
	in.Update.ConfirmationRequired = group.Spec.Conditions.ConfirmationRequired
	in.Closed, in.Stopped = ClosedReason(r, group.Spec.Index)
	in.RetryAt, in.RetryFailures = RetryOf(r)
	if in.Closed.IsZero() && group.Unreadable != nil {
		in.Closed = eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("DeploymentGroup %s cannot be decoded: %s", group.Name, group.Unreadable.Message)}
	}
	if r.Status.StartedAt != nil {
		in.StartedAt, in.Source.Since = r.Status.StartedAt.Time, sinceOf(r, time.Time{})
	}
	if g := groupStatus(r, group.Spec.Index); g != nil && g.OpenedAt != nil {
		in.OpenedAt = g.OpenedAt.Time
	}
	return in
}

// IntentOfMember returns the update of a rollout as it reaches one member of a group.
func IntentOfMember(r *v1alpha1.Rollout, group *v1alpha1.DeploymentGroup, member counting.Member, set *eligibility.Set) eligibility.Intent {
	in := IntentOf(r, group, set)
	member.Mark(&in)
	if in.Source.Since != nil {
		in.Source.Since = sinceOf(r, member.Joined)
	}
	if !in.OpenedAt.IsZero() {
		in.OpenedAt = later(in.OpenedAt, member.Joined)
	}
	return in
}

// sinceOf returns the place of a member of a started rollout in the order of updates: the start of
// the rollout, or the time when the member joined if that is later.
func sinceOf(r *v1alpha1.Rollout, joined time.Time) *metav1.MicroTime {
	since := later(Since(r), joined)
	if since.Equal(r.Status.StartedAt.Time) {
		return r.Status.StartedAt
	}
	return &metav1.MicroTime{Time: since}
}

// ClosedReason returns the reason why a group of a rollout is not offered to any member, and
// whether that is final. The spec takes precedence over the status: a stop is effective as soon as
// it is seen, before a controller has written it to the status.
func ClosedReason(r *v1alpha1.Rollout, index int32) (closed eligibility.Reason, stopped bool) {
	group := groupStatus(r, index)
	switch {
	case !r.DeletionTimestamp.IsZero():
		return eligibility.Reason{Code: eligibility.CodeStopped, Message: fmt.Sprintf("rollout %s is being deleted", r.Name)}, true
	case IsStopped(r):
		return eligibility.Reason{Code: eligibility.CodeStopped, Message: fmt.Sprintf("rollout %s was stopped", r.Name)}, true
	case r.Status.StartedAt == nil:
		return eligibility.Reason{Code: eligibility.CodeNotStarted, Message: fmt.Sprintf("rollout %s has not started%s", r.Name, awaited(r)), Until: awaitedUntil(r)}, false
	case r.Unreadable != nil:
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("rollout %s cannot be decoded and is treated as paused: %s", r.Name, r.Unreadable.Message)}, false
	case r.Spec.State == v1alpha1.IntentPaused, r.Spec.State == v1alpha1.IntentPlanned: // a rollout that has started cannot return to Planned
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("rollout %s is paused: spec.state is %s", r.Name, r.Spec.State)}, false
	case r.Status.State == v1alpha1.RolloutPaused:
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("rollout %s is paused: %s", r.Name, r.Status.PauseMessage)}, false
	case group == nil || group.OpenedAt == nil:
		return eligibility.Reason{Code: eligibility.CodeGroupNotOpen, Message: fmt.Sprintf("the target's group of rollout %s has not opened%s", r.Name, awaited(r)), Until: awaitedUntil(r)}, false
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

func awaited(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return ""
	}
	return ": " + r.Status.WaitingFor.Message
}

func awaitedUntil(r *v1alpha1.Rollout) time.Time {
	if r.Status.WaitingFor == nil || r.Status.WaitingFor.Until == nil {
		return time.Time{}
	}
	return r.Status.WaitingFor.Until.Time
}

// CancellationOf returns what a rollout requires for started actions. If it is stopped and deleted,
// the stronger cancellation applies.
func CancellationOf(r *v1alpha1.Rollout) cancellation.Request {
	var wanted cancellation.Request
	if stop, isStopped := StopOf(r); isStopped {
		wanted = cancellation.Request{Cause: v1alpha1.CauseStopped, Cancellation: stop}
	}
	if !r.DeletionTimestamp.IsZero() && (wanted.Cause == "" || cancellation.Stronger(r.Spec.DeletionCancellation, wanted.Cancellation)) {
		wanted = cancellation.Request{Cause: v1alpha1.CauseDeleted, Cancellation: cmp.Or(r.Spec.DeletionCancellation, v1alpha1.CancellationNone)}
	}
	return wanted
}
