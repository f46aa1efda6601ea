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

// prepare starts a rollout when all preconditions are met: among them its set, its plan, the
// approval and the time.
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

// preconditions of the start, in their order. Each reports whether it is met, and otherwise records
// what the rollout waits for.
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

// hasSet reports whether the set exists and is ready. While the set may still be applied, the
// rollout is Reconciling, because GitOps tools apply manifests in any order; after that it is
// Stalled.
func (l *planner) hasSet() bool {
	l.stallForSet()
	end := l.Rollout.CreationTimestamp.Add(l.stabilizationPeriod())
	isNew := l.Now.Before(end)
	if !isNew {
		end = noTime
	}
	if l.problem != nil && (isNew || l.Set != nil && l.Set.Transient) {
		l.reconcile(l.problem.Reason, end, "%s", l.problem.Message)
		return false
	}
	return l.problem == nil
}

// hasWindow reports whether the maintenance window is valid. The start freezes it, and with a
// window that never opens no device could start.
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
		l.wait(v1alpha1.ReasonAwaitingApproval, noTime, "%s", l.withEmptyGroups("waiting for approval: to start, set spec.approval.planHash to "+hash))
	case l.spec.Approval.PlanHash != hash:
		l.wait(v1alpha1.ReasonAwaitingApproval, noTime, "%s", l.withEmptyGroups(fmt.Sprintf("spec.approval.planHash is %s and approves another plan: to start this one, set it to %s", l.spec.Approval.PlanHash, hash)))
	default:
		return true
	}
	l.enter(v1alpha1.RolloutWaitingForApproval)
	return false
}

// isWanted reports whether spec.state is Running.
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

// grace is how long the cache may take to show all groups of a new plan.
const grace = time.Minute

// hasGroups reports whether all groups of the plan are in the snapshot. Before that the plan cannot
// be reviewed, and a start would treat the missing groups as lost. A group that is missing after
// all of them were in a snapshot is lost.
func (l *planner) hasGroups() bool {
	missing := l.missing()
	if len(missing) == 0 {
		return true
	}
	if end := l.status.Plan.CreatedAt.Add(grace); l.Now.Before(end) && !l.hadGroups() && len(l.Unreadable) == 0 {
		l.reconcile(v1alpha1.ReasonPlanning, end, "the plan is being written: %d of %s so far", len(l.groups)-len(missing), text.Count(len(l.groups), "group"))
		return false
	}
	l.stallForGroups(missing)
	return false
}

// hadGroups reports whether all groups of this plan were in an earlier snapshot.
func (l *planner) hadGroups() bool {
	was := &l.Rollout.Status
	if was.Plan == nil || was.Plan.Hash != l.status.Plan.Hash {
		return false
	}
	stalled := meta.FindStatusCondition(was.Conditions, v1alpha1.ConditionStalled)
	return was.State != v1alpha1.RolloutCreating || stalled != nil && stalled.Reason == v1alpha1.ReasonGroupLost
}

// start records the start, which freezes the spec. It is written before any effect on devices.
func (l *planner) start() {
	l.status.StartedAt = micro(l.Now)
	l.enter(v1alpha1.RolloutStarting)
	for i := range l.status.Groups {
		l.at(i).State = v1alpha1.GroupScheduled
	}
	l.wait(v1alpha1.ReasonProgressing, noTime, "the first group is about to open")
	l.event(EventStarted, "started: %s in %s", targets(l.status.Plan.Targets), text.Count(len(l.groups), "group"))
}

// endIfOver ends the plan of a rollout that is over.
func (l *planner) endIfOver() next { return doneIf(l.isOver()) }
