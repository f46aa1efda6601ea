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
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// judge finds what the state itself says to be wrong, where no rule has: a tripped automatic pause
// and an end with errors need somebody to act.
func (l *planner) judge() {
	switch reason := l.status.PauseReason; {
	case reason == v1alpha1.PauseByErrorThreshold, reason == v1alpha1.PauseByErrorBudget, reason == v1alpha1.PauseByWeakGroup:
		l.stall(string(reason), "%s; to go on, set spec.resumedAt to status.pausedAt or later", l.status.PauseMessage)
	case l.status.UpdateType == v1alpha1.UpdateTypeForced && l.spec.Update.Type == v1alpha1.UpdateTypeSoft && !l.isOver():
		l.stall(v1alpha1.ReasonForcedIsFinal, "spec.update.type Soft has no effect: it was raised to Forced after the start, for good; set it to Forced again. The rollout goes on")
	case l.isRefusingJoins():
		l.stall(v1alpha1.ReasonDistributionSetInvalid, "DistributionSet %s was invalidated%s: targets that appear later do not join; remove spec.dynamic, and create a Rollout of another set",
			l.Set.Name, because(l.Set.InvalidationReason))
	case l.status.State == v1alpha1.RolloutFinished && l.hasErrors():
		c := l.total()
		l.stall(v1alpha1.ReasonFinishedWithErrors, "%d of %s succeeded, %d failed, and a group ended in Error: see status.failures; to try them again, set spec.retry.at",
			c.Succeeded, targets(counting.Existing(c)), c.Failed)
	}
}

// isRefusingJoins reports whether a dynamic rollout goes on with an invalidated set, which nobody
// joins.
func (l *planner) isRefusingJoins() bool {
	return l.spec.Dynamic != nil && l.hasStarted() && !l.isOver() && l.Set != nil && l.Set.IsInvalid()
}

func (l *planner) hasErrors() bool {
	return slices.ContainsFunc(l.status.Groups, func(g v1alpha1.GroupStatus) bool { return g.State == v1alpha1.GroupError })
}

// allConditions are all conditions, sorted by type. A transition is as old as it was, unless the
// answer has changed.
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

// readyCondition answers: is this commit under control?
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

// currentReason is where a rollout stands that needs nobody.
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

// retryIsRefused reports whether spec.retry is the one that came after the stop.
func (l *planner) retryIsRefused() bool {
	at, _ := RetryOf(l.next)
	return !at.IsZero() && l.status.FinishedAt != nil && at.After(l.status.FinishedAt.Time)
}

// reconcilingCondition is there while the commit is being taken over. Never together with Stalled.
func (l *planner) reconcilingCondition(ready *metav1.Condition) *metav1.Condition {
	if l.problem != nil || l.reconciling == "" {
		return nil
	}
	return condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, ready.Reason, ready.Message)
}

// stalledCondition is there while nothing moves until somebody acts.
func (l *planner) stalledCondition(ready *metav1.Condition) *metav1.Condition {
	if l.problem == nil {
		return nil
	}
	return condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, ready.Reason, ready.Message)
}

// succeededCondition answers: is the fleet done?
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

// pausedCondition reports whether devices that have not started are held back.
func (l *planner) pausedCondition(ready *metav1.Condition) *metav1.Condition {
	switch {
	case l.isPaused():
		return condition(v1alpha1.ConditionPaused, metav1.ConditionTrue, string(l.status.PauseReason), l.status.PauseMessage)
	case l.spec.State == v1alpha1.IntentPaused && !l.isOver() && !IsStopped(l.next):
		return condition(v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPausedBySpec, "paused before the start")
	}
	return condition(v1alpha1.ConditionPaused, metav1.ConditionFalse, ready.Reason, "not paused")
}

// invalidatedCondition stays for good on a rollout that has started, also when the set is gone.
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

// announceStalled says once that somebody has to act, unless a rule has told people already in this
// look.
func (l *planner) announceStalled() {
	now := meta.FindStatusCondition(l.status.Conditions, v1alpha1.ConditionStalled)
	old := meta.FindStatusCondition(l.Rollout.Status.Conditions, v1alpha1.ConditionStalled)
	told := slices.ContainsFunc(l.plan.Events, func(e Event) bool { return e.Type == warning })
	if now != nil && !told && (old == nil || old.Reason != now.Reason) {
		l.warningEvent(now.Reason, "%s", now.Message)
	}
}

// announceInvalidated says it once, before what it leads to.
func (l *planner) announceInvalidated() {
	if c := meta.FindStatusCondition(l.status.Conditions, v1alpha1.ConditionInvalidated); c != nil && !l.wasInvalidated() {
		l.plan.Events = slices.Insert(l.plan.Events, 0, Event{warning, EventInvalidated, c.Message})
	}
}
