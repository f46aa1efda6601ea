// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package history says which decisions the status of a Rollout or a DistributionSet records, when
// they were made, and why. Reports, the timeline of the console and notifications have the kinds
// and the sentences of these decisions from here.
//
// A status records the last decision of each kind only: a second pause replaces the first.
//
// The package is pure: it knows no client, no clock and no log.
package history

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Kinds of decisions. They are reasons of Kubernetes events too.
const (
	Planned              = "Planned"
	Started              = "Started"
	GroupOpened          = "GroupOpened"
	Paused               = "Paused"
	Resumed              = "Resumed"
	Advanced             = "Advanced"
	Retried              = "Retried"
	RetryRefused         = "RetryRefused"
	Stopping             = "Stopping"
	Stopped              = "Stopped"
	Finished             = "Finished"
	Invalidated          = "Invalidated"
	InvalidationFinished = "InvalidationFinished"
)

// Decision is one decision.
type Decision struct {
	// Kind is what was decided, such as Paused. Reason is the cause in CamelCase, such as
	// ErrorThresholdExceeded; it is Kind if the status has no other cause. Message is a sentence.
	Kind, Reason, Message string
	// At is when it was decided. It is zero if the status has Requested only: the time in the field
	// of the spec that requested it.
	At, Requested time.Time
	// Field is the field of the spec that caused the decision, such as spec.state. It is empty if
	// Goshawk decided by itself.
	Field string
	// Warning is true for a decision that a person should know about.
	Warning bool
	// Cancellation is that of a stop or an invalidation.
	Cancellation v1alpha1.Cancellation
}

// Time returns when the decision was made, or else the time that was requested.
func (d *Decision) Time() time.Time {
	if d.At.IsZero() {
		return d.Requested
	}
	return d.At
}

// OfRollout returns the decisions that the status of a rollout records, in the order in which a
// rollout goes through its states.
func OfRollout(r *v1alpha1.Rollout) []Decision {
	s := &r.Status
	all := []*Decision{OfPlan(s), OfInvalidation(s), OfStart(s)}
	for i := range s.Groups {
		all = append(all, OfGroup(&s.Groups[i]))
	}
	retry := OfRetry(s)
	if h := s.Handled; h != nil && h.RetryAt != nil && (retry == nil || h.RetryAt.After(retry.At)) {
		all = append(all, OfRefusedRetry(s))
	}
	return recorded(append(all, retry, OfPause(s), OfResume(s), OfAdvance(r), OfStop(s), OfEnd(s)))
}

// OfSet returns the decisions that the status of a distribution set records.
func OfSet(d *v1alpha1.DistributionSet) []Decision {
	return recorded([]*Decision{OfSetInvalidation(d), OfInvalidationEnd(d)})
}

// recorded returns the decisions that were made and have a time.
func recorded(all []*Decision) (made []Decision) {
	for _, d := range all {
		if d != nil && !d.Time().IsZero() {
			made = append(made, *d)
		}
	}
	return made
}

// The functions below return one decision, or nil if the status does not record it.

// OfPlan returns the decision about the present plan.
func OfPlan(s *v1alpha1.RolloutStatus) *Decision {
	if s.Plan == nil {
		return nil
	}
	return &Decision{Kind: Planned, Reason: Planned, At: toTime(s.Plan.CreatedAt),
		Message: fmt.Sprintf("planned %s in %s, plan %s", text.Count(s.Plan.Targets, "target"), text.Count(s.Plan.Groups, "group"), s.Plan.Hash)}
}

// OfInvalidation returns the invalidation of the set of a rollout.
func OfInvalidation(s *v1alpha1.RolloutStatus) *Decision {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionInvalidated)
	if c == nil || c.Status != metav1.ConditionTrue {
		return nil
	}
	return &Decision{Kind: Invalidated, Reason: c.Reason, Message: c.Message, At: c.LastTransitionTime.Time, Warning: true}
}

// OfStart returns the start of a rollout.
func OfStart(s *v1alpha1.RolloutStatus) *Decision {
	if s.StartedAt == nil {
		return nil
	}
	return &Decision{Kind: Started, Reason: Started, Message: "the rollout started", At: s.StartedAt.Time}
}

// OfGroup returns the opening of a group.
func OfGroup(g *v1alpha1.GroupStatus) *Decision {
	if g.OpenedAt == nil {
		return nil
	}
	message := fmt.Sprintf("group %s opened: %s", g.Name, text.Count(g.Counts.Existing(), "target"))
	if n := g.Counts.Removed; n > 0 {
		message += fmt.Sprintf(" (deleted: %d)", n)
	}
	return &Decision{Kind: GroupOpened, Reason: GroupOpened, Message: message, At: g.OpenedAt.Time}
}

// OfPause returns the present pause.
func OfPause(s *v1alpha1.RolloutStatus) *Decision {
	if s.PauseReason == "" || s.PausedAt == nil {
		return nil
	}
	d := &Decision{Kind: Paused, Reason: string(s.PauseReason), Message: s.PauseMessage, At: s.PausedAt.Time}
	switch s.PauseReason {
	case v1alpha1.PauseBySpec:
		d.Field = "spec.state"
	case v1alpha1.PauseBySuccessAction:
	default:
		d.Warning = true
	}
	return d
}

// OfResume returns the last pause that spec.resumedAt has ended.
func OfResume(s *v1alpha1.RolloutStatus) *Decision {
	if s.Handled == nil || s.Handled.ResumedAt == nil {
		return nil
	}
	at := s.Handled.ResumedAt.Time
	return &Decision{Kind: Resumed, Reason: Resumed, Requested: at, Field: "spec.resumedAt",
		Message: fmt.Sprintf("spec.resumedAt %s lifted the pause; only later failures count", format(at))}
}

// OfAdvance returns the last spec.advance that has opened groups.
func OfAdvance(r *v1alpha1.Rollout) *Decision {
	h := r.Status.Handled
	if h == nil || h.AdvanceAt == nil {
		return nil
	}
	d := &Decision{Kind: Advanced, Reason: Advanced, Requested: h.AdvanceAt.Time, Field: "spec.advance", Message: "spec.advance opened groups even if their conditions were not met"}
	if a := r.Spec.Advance; a != nil && a.At.UnixMicro() == h.AdvanceAt.UnixMicro() {
		d.Message = fmt.Sprintf("spec.advance opens the groups up to %s even if their conditions are not met", a.To)
	}
	return d
}

// OfRetry returns the last spec.retry that was carried out.
func OfRetry(s *v1alpha1.RolloutStatus) *Decision {
	h := s.Handled
	if h == nil || h.RetriedAt == nil {
		return nil
	}
	request := "spec.retry"
	if h.RetryAt != nil && !h.RetryAt.After(h.RetriedAt.Time) {
		request += " of " + format(h.RetryAt.Time)
	}
	return &Decision{Kind: Retried, Reason: Retried, At: h.RetriedAt.Time, Field: "spec.retry", Message: request + " was carried out: targets that failed before are tried again"}
}

// OfRefusedRetry returns the refusal of the spec.retry that was handled last. The caller knows that
// it was not carried out.
func OfRefusedRetry(s *v1alpha1.RolloutStatus) *Decision {
	if s.Handled == nil || s.Handled.RetryAt == nil {
		return nil
	}
	return &Decision{Kind: RetryRefused, Reason: RetryRefused, Requested: s.Handled.RetryAt.Time, Field: "spec.retry", Warning: true,
		Message: "spec.retry is refused: a stopped rollout is final; create another Rollout"}
}

// OfStop returns the stop by spec.state.
func OfStop(s *v1alpha1.RolloutStatus) *Decision {
	if s.Stop == nil {
		return nil
	}
	return &Decision{Kind: Stopping, Reason: Stopping, At: s.Stop.ObservedAt.Time, Field: "spec.state", Warning: true, Cancellation: s.Stop.Cancellation,
		Message: fmt.Sprintf("spec.state Stopped took effect with cancellation %s", s.Stop.Cancellation)}
}

// OfEnd returns the end of a rollout: Finished, or Stopped.
func OfEnd(s *v1alpha1.RolloutStatus) *Decision {
	if s.FinishedAt == nil {
		return nil
	}
	d := &Decision{Kind: Finished, Reason: string(s.State), Message: fmt.Sprintf("the rollout is %s", s.State), At: s.FinishedAt.Time}
	switch s.State {
	case v1alpha1.RolloutFinished:
	case v1alpha1.RolloutStopped:
		if d.Kind = Stopped; s.Stop != nil {
			d.Field, d.Cancellation = "spec.state", s.Stop.Cancellation
		}
	default:
		return nil
	}
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSucceeded); c != nil {
		d.Reason, d.Message, d.Warning = cmp.Or(c.Reason, d.Reason), cmp.Or(c.Message, d.Message), c.Status == metav1.ConditionFalse
	}
	return d
}

// OfSetInvalidation returns the invalidation of a set.
func OfSetInvalidation(d *v1alpha1.DistributionSet) *Decision {
	c, i := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionInvalidated), d.Status.Invalidation
	if c == nil || i == nil {
		return nil
	}
	made := &Decision{Kind: Invalidated, Reason: c.Reason, At: toTime(i.ObservedAt), Warning: true, Cancellation: i.Cancellation,
		Message: fmt.Sprintf("cancellation %s, affects %s and %s: %s", i.Cancellation, text.Count(i.Rollouts, "rollout"), text.Count(i.AutoAssignments, "auto-assignment"), c.Message)}
	if c.Reason != v1alpha1.ReasonPreviouslyInvalidated {
		made.Field = "spec.invalidation"
	}
	return made
}

// OfInvalidationEnd returns the end of the work of an invalidation: its cancellation was applied to
// all open actions.
func OfInvalidationEnd(d *v1alpha1.DistributionSet) *Decision {
	i := d.Status.Invalidation
	if i == nil || i.FinishedAt == nil {
		return nil
	}
	message := "there was no open action"
	if n := i.Actions; n != nil {
		message = fmt.Sprintf("%s processed: %d canceled, %d waiting for their devices to confirm the cancellation, %d continuing or ended with a result",
			text.Count(n.Total, "open action"), n.Canceled, n.Canceling, n.Refused)
	}
	return &Decision{Kind: InvalidationFinished, Reason: InvalidationFinished, Message: message, At: i.FinishedAt.Time, Warning: true, Cancellation: i.Cancellation}
}

func toTime(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

func format(t time.Time) string { return t.UTC().Format(time.RFC3339) }
