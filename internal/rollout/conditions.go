// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// stallForState stalls the rollout if its state needs an action of a person, and no step has
// stalled it: after an automatic pause, and after an end with errors.
func (l *planner) stallForState() {
	switch reason := l.status.PauseReason; {
	case reason == v1alpha1.PauseByErrorThreshold, reason == v1alpha1.PauseByErrorBudget, reason == v1alpha1.PauseByWeakGroup:
		l.stall(string(reason), "%s; to continue, set spec.resumedAt to status.pausedAt or later", l.status.PauseMessage)
	case l.status.UpdateType == v1alpha1.UpdateTypeForced && l.spec.Update.Type == v1alpha1.UpdateTypeSoft && !l.isOver():
		l.stall(v1alpha1.ReasonForcedIsFinal, "spec.update.type Soft has no effect: it was raised to Forced after the start, which is final; set it to Forced again. The rollout continues")
	case l.isRefusingJoins():
		l.stall(v1alpha1.ReasonDistributionSetInvalid, "DistributionSet %s was invalidated%s: targets that appear later do not join; remove spec.dynamic, and create a Rollout of another set",
			l.Set.Name, because(l.Set.InvalidationReason))
	case l.status.State == v1alpha1.RolloutFinished && l.hasErrors():
		c := l.total()
		l.stall(v1alpha1.ReasonFinishedWithErrors, "%d of %s succeeded, %d failed, and a group ended in Error: see status.failures; to try them again, set spec.retry.at",
			c.Succeeded, targets(c.Existing()), c.Failed)
	}
}

// isRefusingJoins reports whether a dynamic rollout continues with an invalidated set: no target
// joins it any more.
func (l *planner) isRefusingJoins() bool {
	return l.spec.Dynamic != nil && l.hasStarted() && !l.isOver() && l.Set != nil && l.Set.IsInvalid()
}

func (l *planner) hasErrors() bool {
	return slices.ContainsFunc(l.status.Groups, func(g v1alpha1.GroupStatus) bool { return g.State == v1alpha1.GroupError })
}

// allConditions returns all conditions, sorted by type. lastTransitionTime changes only with the
// status of a condition.
func (l *planner) allConditions() []metav1.Condition {
	ready := l.readyCondition()
	all := []*metav1.Condition{ready, l.reconcilingCondition(ready), l.stalledCondition(ready), l.succeededCondition(ready), l.pausedCondition(ready), l.invalidatedCondition()}
	var out []metav1.Condition
	for _, c := range all {
		if c == nil {
			continue
		}
		c.ObservedGeneration, c.LastTransitionTime = l.Rollout.Generation, *second(l.Now)
		if old := meta.FindStatusCondition(l.Rollout.Status.Conditions, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return out
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) *metav1.Condition {
	return &metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// readyCondition returns the condition Ready: whether the committed spec was accepted.
func (l *planner) readyCondition() *metav1.Condition {
	switch {
	case l.problem != nil:
		return condition(v1alpha1.ConditionReady, metav1.ConditionFalse, l.problem.Reason, l.problem.Message)
	case l.reconciling != "":
		return condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, l.reconciling, l.status.WaitingFor.Message)
	}
	reason, message := l.currentReason()
	return condition(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
}

// currentReason returns reason and message for a rollout that needs no action of a person.
func (l *planner) currentReason() (reason, message string) {
	switch l.status.State {
	case v1alpha1.RolloutFinished:
		outcome := l.outcome()
		return outcome.Reason, outcome.Message
	case v1alpha1.RolloutStopped:
		message := l.whyStopped()
		if l.retryIsRefused() {
			message += "; " + retryRefused
		}
		return v1alpha1.ReasonStopped, message
	default:
	}
	if w := l.status.WaitingFor; w != nil {
		return w.Reason, w.Message
	}
	return v1alpha1.ReasonProgressing, "devices are being updated"
}

// retryIsRefused reports whether spec.retry is a request from after the stop.
func (l *planner) retryIsRefused() bool {
	at, _ := RetryOf(l.next)
	return !at.IsZero() && l.status.FinishedAt != nil && at.After(l.status.FinishedAt.Time)
}

// reconcilingCondition returns the condition Reconciling while the committed spec is being
// processed, else nil. It is never present together with Stalled.
func (l *planner) reconcilingCondition(ready *metav1.Condition) *metav1.Condition {
	if l.problem != nil || l.reconciling == "" {
		return nil
	}
	return condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, ready.Reason, ready.Message)
}

// stalledCondition returns the condition Stalled while the rollout waits for an action of a person,
// else nil.
func (l *planner) stalledCondition(ready *metav1.Condition) *metav1.Condition {
	if l.problem == nil {
		return nil
	}
	return condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, ready.Reason, ready.Message)
}

// succeededCondition returns the condition Succeeded: whether the rollout has ended, and how.
func (l *planner) succeededCondition(ready *metav1.Condition) *metav1.Condition {
	switch {
	case l.status.State == v1alpha1.RolloutStopped:
		return condition(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonStopped, l.whyStopped())
	case l.status.State == v1alpha1.RolloutFinished && l.hasErrors():
		return condition(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonFinishedWithErrors, "a group ended in Error")
	case l.status.State == v1alpha1.RolloutFinished:
		return l.outcome()
	}
	return condition(v1alpha1.ConditionSucceeded, metav1.ConditionUnknown, ready.Reason, "the rollout is not over")
}

// pausedCondition returns the condition Paused: whether devices that have not started are held
// back.
func (l *planner) pausedCondition(ready *metav1.Condition) *metav1.Condition {
	switch {
	case l.isPaused():
		return condition(v1alpha1.ConditionPaused, metav1.ConditionTrue, string(l.status.PauseReason), l.status.PauseMessage)
	case l.spec.State == v1alpha1.IntentPaused && !l.isOver() && !IsStopped(l.next):
		return condition(v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPausedBySpec, "paused before the start")
	}
	return condition(v1alpha1.ConditionPaused, metav1.ConditionFalse, ready.Reason, "not paused")
}

// invalidatedCondition returns the condition Invalidated, or nil. On a rollout that has started it
// is kept, also after the set was deleted.
func (l *planner) invalidatedCondition() *metav1.Condition {
	if !l.invalid {
		return nil
	}
	if l.Set == nil || l.Set.Invalidation == "" {
		return meta.FindStatusCondition(l.next.Status.Conditions, v1alpha1.ConditionInvalidated).DeepCopy()
	}
	return condition(v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid,
		fmt.Sprintf("DistributionSet %s was invalidated%s with cancellation %s", l.Set.Name, because(l.Set.InvalidationReason), l.Set.Invalidation))
}

// announceStalled adds an event, once per reason, that a person has to act, unless a step has added
// a warning already.
func (l *planner) announceStalled() {
	now := meta.FindStatusCondition(l.status.Conditions, v1alpha1.ConditionStalled)
	old := meta.FindStatusCondition(l.Rollout.Status.Conditions, v1alpha1.ConditionStalled)
	isAnnounced := slices.ContainsFunc(l.plan.Events, func(e Event) bool { return e.Type == warning })
	if now != nil && !isAnnounced && (old == nil || old.Reason != now.Reason) {
		l.warningEvent(now.Reason, "%s", now.Message)
	}
}

// announceInvalidated adds the event of the invalidation once, before the events of its effects.
func (l *planner) announceInvalidated() {
	if c := meta.FindStatusCondition(l.status.Conditions, v1alpha1.ConditionInvalidated); c != nil && !l.wasInvalidated() {
		l.plan.Events = slices.Insert(l.plan.Events, 0, Event{warning, EventInvalidated, c.Message})
	}
}
