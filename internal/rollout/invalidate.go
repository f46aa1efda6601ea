// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// InvalidationEffect returns what the invalidation of its set does to a rollout, by the rules of
// Next, and whether it deletes the rollout. The set is the invalidated one.
func InvalidationEffect(r *v1alpha1.Rollout, set *eligibility.Set) (effect cancellation.Effect, deletes bool) {
	l := newPlanner(Snapshot{Rollout: r, Set: set})
	l.noteInvalid()
	return l.effect(), l.isToBeDeleted()
}

// refuseInvalid holds a rollout that must not assign its invalidated set, by the table of package
// cancellation. A rollout that the invalidation stops is left to stop.
func (l *planner) refuseInvalid() next {
	l.noteInvalid()
	if l.effect() != cancellation.Refuse || l.isStoppedBySpec() || l.isOver() {
		return goOn
	}
	l.hold()
	l.stall(v1alpha1.ReasonDistributionSetInvalid, "DistributionSet %s was invalidated%s and cannot be assigned again: %s",
		l.Set.Name, because(l.Set.InvalidationReason), l.fixForInvalid())
	if l.hasStarted() {
		return goOn
	}
	l.enter(v1alpha1.RolloutCreating)
	return done
}

func (l *planner) fixForInvalid() string {
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

// isConcerned reports whether the invalidation of the set affects this rollout. It does not affect
// a rollout that had ended before, but a rollout that it has ended stays affected.
func (l *planner) isConcerned() bool {
	if l.Set == nil || l.Set.Invalidation == "" {
		return l.wasInvalidated() && (l.hasStarted() || l.isOver())
	}
	return !l.isOver() || l.wasInvalidated()
}

// wasInvalidated reports whether the stored status has the condition Invalidated.
func (l *planner) wasInvalidated() bool {
	return meta.IsStatusConditionTrue(l.Rollout.Status.Conditions, v1alpha1.ConditionInvalidated)
}

// effect returns what the invalidation of the set does to the rollout.
func (l *planner) effect() cancellation.Effect {
	if !l.invalid || l.Set == nil || l.status.State == v1alpha1.RolloutFinished {
		return cancellation.Continue
	}
	var started time.Time
	if l.hasStarted() {
		started = l.status.StartedAt.Time
	}
	return l.Set.EffectOnRollout(l.Rollout.CreationTimestamp.Time, started)
}

// isStoppedByInvalidation reports whether the invalidation of the set stops the rollout.
func (l *planner) isStoppedByInvalidation() bool {
	e := l.effect()
	return e == cancellation.Stop || e == cancellation.StopAtOnce
}

// isToBeDeleted reports whether the invalidation of the set deletes the rollout.
func (l *planner) isToBeDeleted() bool {
	return l.isStoppedByInvalidation() && l.Set.DeletesRollout(l.Rollout.CreationTimestamp.Time) && l.Rollout.DeletionTimestamp.IsZero()
}
