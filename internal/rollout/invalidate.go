// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// refuseInvalid keeps a rollout from assigning a set that was taken out of circulation. What has
// started goes on with None; Soft and Force stop it (see stop). What has not started never does.
func (l *planner) refuseInvalid() next {
	l.noteInvalid()
	if !l.invalid || l.isStruck() || l.isStoppedBySpec() || l.isOver() || l.startedInTime() {
		return goOn
	}
	l.hold()
	l.stall(v1alpha1.ReasonDistributionSetInvalid, "DistributionSet %s was invalidated%s and cannot be assigned again: %s",
		l.Set.Name, because(l.Set.InvalidationReason), l.cureOfInvalid())
	if l.hasStarted() {
		return goOn
	}
	l.enter(v1alpha1.RolloutCreating)
	return done
}

func (l *planner) cureOfInvalid() string {
	if l.hasStarted() {
		return "the rollout started after that; set spec.state to Stopped and create a Rollout of another set"
	}
	return "set spec.update.distributionSet to another set, or delete the Rollout"
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// isConcerned reports whether the set's invalidation is this rollout's business: it is not when the
// rollout was over before, unless that is what ended it.
func (l *planner) isConcerned() bool {
	if l.Set == nil || l.Set.Invalidation == "" {
		return l.wasInvalidated() && (l.hasStarted() || l.isOver())
	}
	return !l.isOver() || l.wasInvalidated()
}

// wasInvalidated reports whether the condition says so already; on a rollout that has started it
// says so for good.
func (l *planner) wasInvalidated() bool {
	return meta.IsStatusConditionTrue(l.Rollout.Status.Conditions, v1alpha1.ConditionInvalidated)
}

// isStruck reports whether the invalidation stops the rollout: Soft and Force do, if it existed
// before.
func (l *planner) isStruck() bool {
	if !l.invalid || l.Set == nil || !cancellation.Stronger(l.Set.Invalidation, v1alpha1.CancellationNone) || l.status.State == v1alpha1.RolloutFinished {
		return false
	}
	return l.hasStarted() || l.isOlderThanInvalidation()
}

// isOlderThanInvalidation compares whole seconds, as creation times are kept.
func (l *planner) isOlderThanInvalidation() bool {
	at := l.Set.InvalidatedAt
	return at.IsZero() || l.Rollout.CreationTimestamp.Time.Before(at.Truncate(time.Second))
}

// startedInTime reports whether the rollout started before its set was invalidated. Invalidations
// are known to the second, and no rollout starts once one is seen: the same second is before.
func (l *planner) startedInTime() bool {
	return l.hasStarted() && (l.Set == nil || l.Set.InvalidatedAt.IsZero() || !l.status.StartedAt.Truncate(time.Second).After(l.Set.InvalidatedAt))
}

// isToBeDeleted reports whether deleteRollouts takes the rollout away: once, since one that is
// created again is newer than the invalidation.
func (l *planner) isToBeDeleted() bool {
	return l.isStruck() && l.Set.Invalidation == v1alpha1.CancellationForce && l.Set.DeleteRollouts &&
		!l.Set.InvalidatedAt.IsZero() && l.isOlderThanInvalidation() && l.Rollout.DeletionTimestamp.IsZero()
}
