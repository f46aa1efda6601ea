// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// refuseInvalid holds a rollout to which its invalid set is refused. The table of package
// cancellation says when. A rollout that the invalidation stops is for stop.
func (l *planner) refuseInvalid() next {
	l.noteInvalid()
	if l.effect() != cancellation.Refuse || l.isStoppedBySpec() || l.isOver() {
		return goOn
	}
	l.hold()
	l.stall(v1alpha1.ReasonDistributionSetInvalid, "DistributionSet %s was invalidated%s and cannot be assigned again: %s",
		l.Set.Name, because(l.Set.InvalidationReason), l.fixOfInvalid())
	if l.hasStarted() {
		return goOn
	}
	l.enter(v1alpha1.RolloutCreating)
	return done
}

func (l *planner) fixOfInvalid() string {
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
