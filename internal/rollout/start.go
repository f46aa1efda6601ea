// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// prepare takes a rollout that has not started to its start: there is a set to assign, a plan of
// it, agreement to the plan, and it is time.
func (l *planner) prepare() next {
	if l.hasStarted() || l.isOver() {
		return goOn
	}
	l.enter(v1alpha1.RolloutCreating)
	for _, isMet := range preconditions {
		if !isMet(l) {
			return done
		}
	}
	l.start()
	return done
}

// preconditions of the start, in their order. Each reports whether it is met, and else records what
// is awaited.
var preconditions = []func(*planner) bool{
	(*planner).hasSet,
	(*planner).hasWindow,
	(*planner).hasPlan,
	(*planner).hasGroups,
	(*planner).isApproved,
	(*planner).isWanted,
	(*planner).isTime,
	(*planner).isUnambiguous,
}

// hasSet: what the rollout lacks of its set may still be on its way, for Git applies manifests in
// any order; only then is it a problem.
func (l *planner) hasSet() bool {
	l.missSetNow()
	end := l.Rollout.CreationTimestamp.Add(l.stabilizationPeriod())
	isNew := l.Now.Before(end)
	if !isNew {
		end = noTime
	}
	if l.problem != nil && (isNew || l.Set != nil && l.Set.Passing) {
		l.reconcile(l.problem.Reason, end, "%s", l.problem.Message)
		return false
	}
	return l.problem == nil
}

// hasWindow: the start freezes the maintenance window, and one that never opens would hold
// everybody for good.
func (l *planner) hasWindow() bool {
	err := window.Check(l.spec.Update.MaintenanceWindow, l.Now)
	if err != nil {
		l.stall(v1alpha1.ReasonInvalidSpec, "spec.update.maintenanceWindow.%v", err)
	}
	return err == nil
}

func (l *planner) isApproved() bool {
	if !l.RequireApproval && !l.spec.ApprovalRequired {
		return true
	}
	hash := l.status.Plan.Hash
	switch {
	case l.spec.Approval == nil:
		l.wait(v1alpha1.ReasonAwaitingApproval, noTime, "%s", l.withEmptyGroups("waits for approval: to start, set spec.approval.planHash to "+hash))
	case l.spec.Approval.PlanHash != hash:
		l.wait(v1alpha1.ReasonAwaitingApproval, noTime, "%s", l.withEmptyGroups(fmt.Sprintf("spec.approval.planHash is %s and approves another plan: to start this one, set it to %s", l.spec.Approval.PlanHash, hash)))
	default:
		return true
	}
	l.enter(v1alpha1.RolloutWaitingForApproval)
	return false
}

// isWanted asks what spec.state wants.
func (l *planner) isWanted() bool {
	l.enter(v1alpha1.RolloutReady)
	switch l.spec.State {
	case v1alpha1.IntentPlanned:
		l.wait(v1alpha1.ReasonPlanned, noTime, "%s", l.withEmptyGroups("the plan is ready: to start, set spec.state to Running"))
	case v1alpha1.IntentPaused:
		l.wait(v1alpha1.ReasonPausedBySpec, noTime, "%s", l.withEmptyGroups("paused before the start: to start, set spec.state to Running"))
	default:
		return true
	}
	return false
}

func (l *planner) isTime() bool {
	if l.spec.StartAt == nil || !l.spec.StartAt.After(l.Now) {
		return true
	}
	l.wait(v1alpha1.ReasonWaitingForStart, l.spec.StartAt.Time, "%s", l.withEmptyGroups(fmt.Sprintf("starts at %s (spec.startAt)", formatTime(l.spec.StartAt.Time))))
	return false
}

// grace is how long a new plan may take until its groups are seen.
const grace = time.Minute

// hasGroups waits until every group of the plan is seen: nobody can review half a plan, and a start
// over it would take the rest for lost. Once they have been seen, a group that is missing is lost.
func (l *planner) hasGroups() bool {
	missing := l.missing()
	if len(missing) == 0 {
		return true
	}
	if end := l.status.Plan.CreatedAt.Add(grace); l.Now.Before(end) && !l.hadGroups() && len(l.Unreadable) == 0 {
		l.reconcile(v1alpha1.ReasonPlanning, end, "the plan is being written down: %d of %s so far", len(l.groups)-len(missing), text.Count(len(l.groups), "group"))
		return false
	}
	l.missNow(missing)
	return false
}

// hadGroups reports whether an earlier look has seen all groups of this plan.
func (l *planner) hadGroups() bool {
	was := &l.Rollout.Status
	if was.Plan == nil || was.Plan.Hash != l.status.Plan.Hash {
		return false
	}
	stalled := meta.FindStatusCondition(was.Conditions, v1alpha1.ConditionStalled)
	return was.State != v1alpha1.RolloutCreating || stalled != nil && stalled.Reason == v1alpha1.ReasonGroupLost
}

// start is the first write of a rollout that starts. It freezes the spec, and comes before any side
// effect.
func (l *planner) start() {
	l.status.StartedAt = micro(l.Now)
	l.enter(v1alpha1.RolloutStarting)
	for i := range l.status.Groups {
		l.at(i).State = v1alpha1.GroupScheduled
	}
	l.wait(v1alpha1.ReasonProgressing, noTime, "the first group is about to open")
	l.event(EventStarted, "started: %s in %s", targets(l.status.Plan.Targets), text.Count(len(l.groups), "group"))
}

// rest: a finished rollout wants nothing.
func (l *planner) rest() next { return doneIf(l.isOver()) }
