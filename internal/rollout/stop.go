// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// stop ends the rollout, which cannot be taken back: by spec, or because its set was invalidated
// with Soft or Force. Groups that have not opened never open. The cancellation is applied to
// devices that have started, also if it is raised after the stop.
func (l *planner) stop() next {
	if !l.isToStop() {
		return goOn
	}
	isNew, applied := l.closeGroups(), l.cancellation()
	l.recordStop()
	notNotified := l.notNotified(applied)
	l.plan.CancelOpenActions = notNotified > 0
	l.plan.DeleteSelf = l.isToBeDeleted()
	l.refuseRetry()
	switch {
	case l.status.State == v1alpha1.RolloutStopped:
	case notNotified == 0, l.effect() == cancellation.StopAtOnce:
		l.status.FinishedAt = micro(l.Now)
		l.enter(v1alpha1.RolloutStopped)
		l.event(EventStopped, "%s; groups that had not opened never open", l.whyStopped())
	default:
		if isNew {
			l.event(EventStopping, "%s; cancellation %s applies to devices that have started", l.whyStopped(), applied)
		}
		l.waitForCancellations(applied, notNotified)
	}
	if l.invalid && !l.isStoppedBySpec() {
		l.stall(v1alpha1.ReasonDistributionSetInvalid, "%s; create a Rollout of another set and set spec.state of this one to Stopped, or delete it", l.whyStopped())
	}
	return done
}

func (l *planner) isToStop() bool {
	switch l.status.State {
	case v1alpha1.RolloutFinished:
		return false
	case v1alpha1.RolloutStopping, v1alpha1.RolloutStopped:
		return true
	default:
		return l.isStoppedBySpec() || l.isStoppedByInvalidation()
	}
}

// StopOf returns the cancellation of a stop by spec.state, and whether there is such a stop. After
// status.stop has recorded it, the spec can only make it stronger.
func StopOf(r *v1alpha1.Rollout) (applied v1alpha1.Cancellation, isStopped bool) {
	if recorded := r.Status.Stop; recorded != nil {
		applied, isStopped = recorded.Cancellation, true
	}
	if r.Spec.State != v1alpha1.IntentStopped {
		return applied, isStopped
	}
	if wanted := stopCancellation(&r.Spec); !isStopped || cancellation.Stronger(wanted, applied) {
		applied = wanted
	}
	return applied, true
}

// IsStopped reports whether a rollout was stopped, by spec.state or by the invalidation of its set.
func IsStopped(r *v1alpha1.Rollout) bool {
	_, isStopped := StopOf(r)
	return isStopped || r.Status.State.IsStopped()
}

func stopCancellation(spec *v1alpha1.RolloutSpec) v1alpha1.Cancellation {
	return cmp.Or(spec.StopCancellation, v1alpha1.CancellationSoft)
}

func (l *planner) isStoppedBySpec() bool {
	_, isStopped := StopOf(l.next)
	return isStopped
}

// recordStop records a stop by spec.state, which is final from then on. If the spec was changed
// back, the rollout is Stalled.
func (l *planner) recordStop() {
	applied, isStopped := StopOf(l.next)
	if !isStopped {
		return
	}
	if l.status.Stop == nil {
		l.status.Stop = &v1alpha1.StopStatus{ObservedAt: *micro(l.Now)}
	}
	l.status.Stop.Cancellation = applied
	switch wanted := stopCancellation(l.spec); {
	case l.spec.State != v1alpha1.IntentStopped:
		l.stall(v1alpha1.ReasonStopIsFinal, "spec.state %s has no effect: the rollout was stopped at %s, and a stop cannot be taken back; set spec.state to Stopped and spec.stopCancellation to %s again, or delete this Rollout and create another one",
			cmp.Or(l.spec.State, v1alpha1.IntentRunning), formatTime(l.status.Stop.ObservedAt.Time), applied)
	case cancellation.Stronger(applied, wanted):
		l.stall(v1alpha1.ReasonStopIsFinal, "spec.stopCancellation %s has no effect: the rollout was stopped with %s; set spec.stopCancellation to %s again, or delete this Rollout and create another one",
			wanted, applied, applied)
	}
}

// cancellation returns the cancellation for devices that have started: the strongest of the stop by
// spec and of the invalidation. If the invalidated set was deleted, it is Soft.
func (l *planner) cancellation() v1alpha1.Cancellation {
	applied, isStopped := StopOf(l.next)
	switch {
	case isStopped:
	case l.isStoppedByInvalidation():
		applied = v1alpha1.CancellationNone
	default:
		applied = v1alpha1.CancellationSoft
	}
	if l.isStoppedByInvalidation() && cancellation.Stronger(l.Set.Invalidation, applied) {
		applied = l.Set.Invalidation
	}
	return applied
}

// waitForCancellations records how many actions the stop has not been applied to.
func (l *planner) waitForCancellations(applied v1alpha1.Cancellation, notNotified int) {
	if cancellation.Of(applied).StartedActions == cancellation.Continue {
		l.wait(v1alpha1.ReasonStopping, noTime, "%s; still to be canceled: %s without confirmation", l.whyStopped(), text.Count(notNotified, "action"))
		return
	}
	l.wait(v1alpha1.ReasonStopping, noTime, "%s; still to be canceled: %s that had started (cancellation %s)", l.whyStopped(), targets(notNotified), applied)
}

// notNotified returns how many open actions the stop has not been applied to. It has been applied
// to an action that is being canceled or whose device refused. None applies only to actions that
// wait for confirmation, because they have not started.
func (l *planner) notNotified(applied v1alpha1.Cancellation) int {
	var open, asked, notStarted int32
	for _, g := range l.groups {
		tally := l.tally(g)
		open, asked, notStarted = open+tally.Open, asked+tally.Canceling, notStarted+tally.NotStarted
	}
	switch cancellation.Of(applied).StartedActions {
	case cancellation.Close:
		return int(open)
	case cancellation.Ask:
		return int(open - asked)
	default:
		return int(notStarted) // in a stopping rollout these are the actions that wait for confirmation
	}
}

// closeGroups ends every group and the pause, and sets the rollout to Stopping. It reports whether
// it had not done so before.
func (l *planner) closeGroups() bool {
	if l.status.State == v1alpha1.RolloutStopping || l.status.State == v1alpha1.RolloutStopped {
		return false
	}
	for i := range l.status.Groups {
		st := l.at(i)
		if st.State != v1alpha1.GroupError {
			st.State = v1alpha1.GroupFinished
		}
		if l.groups[i].object == nil {
			st.Canceled, st.Scheduled, st.Pending = st.Canceled+st.Scheduled+st.Pending, 0, 0
		}
	}
	l.unpause()
	l.status.Stabilizing = nil
	l.enter(v1alpha1.RolloutStopping)
	return true
}

func (l *planner) whyStopped() string {
	switch {
	case l.isStoppedBySpec():
		return "stopped by spec.state"
	case l.isStoppedByInvalidation():
		return "stopped because DistributionSet " + l.Set.Name + " was invalidated" + because(l.Set.InvalidationReason)
	}
	return "stopped because DistributionSet " + l.spec.Update.DistributionSet + " was invalidated"
}
