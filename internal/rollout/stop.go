package rollout

import (
	"cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// stop ends the rollout for good: by spec, or because its set was invalidated with Soft or Force. Groups that have not opened never do;
// devices that have begun are told as the cancelation says, also when it is raised after the stop.
func (l *look) stop() bool {
	if !l.isToStop() {
		return false
	}
	isNew, told := l.closeGroups(), l.cancelation()
	l.recordStop()
	unheard := l.unheard(told)
	l.plan.Walk = unheard > 0
	l.plan.DeleteSelf = l.isToBeDeleted()
	l.refuseRetry()
	switch {
	case l.status.State == v1alpha1.RolloutStopped:
	case unheard == 0, l.isStruck() && l.Set.Invalidation == v1alpha1.CancelationForce:
		l.status.State, l.status.FinishedAt = v1alpha1.RolloutStopped, micro(l.Now)
		l.tell(EventStopped, "%s; groups that had not opened never open", l.whyStopped())
	default:
		if isNew {
			l.tell(EventStopping, "%s; devices that have begun are told as cancelation %s says", l.whyStopped(), told)
		}
		l.waitForWalk(told, unheard)
	}
	if l.invalid && !l.isStoppedBySpec() {
		l.stall(v1alpha1.ReasonDistributionSetInvalid, "%s; create a Rollout of another set and set spec.state of this one to Stopped, or delete it", l.whyStopped())
	}
	return true
}

func (l *look) isToStop() bool {
	switch l.status.State {
	case v1alpha1.RolloutFinished:
		return false
	case v1alpha1.RolloutStopping, v1alpha1.RolloutStopped:
		return true
	}
	return l.isStoppedBySpec() || l.isStruck()
}

// StopOf returns what devices that have started are told by a stop by spec.state, and whether there is such a stop. Once status.stop records it, spec can only make
// it stronger.
func StopOf(r *v1alpha1.Rollout) (told v1alpha1.Cancelation, isStopped bool) {
	if recorded := r.Status.Stop; recorded != nil {
		told, isStopped = recorded.Cancelation, true
	}
	if r.Spec.State != v1alpha1.IntentStopped {
		return told, isStopped
	}
	if wanted := stopCancelation(&r.Spec); !isStopped || Stronger(wanted, told) {
		told = wanted
	}
	return told, true
}

// IsStopped reports whether a rollout was stopped for good, by spec.state or by the invalidation of its set.
func IsStopped(r *v1alpha1.Rollout) bool {
	_, isStopped := StopOf(r)
	return isStopped || r.Status.State == v1alpha1.RolloutStopping || r.Status.State == v1alpha1.RolloutStopped
}

func stopCancelation(spec *v1alpha1.RolloutSpec) v1alpha1.Cancelation {
	return cmp.Or(spec.StopCancelation, v1alpha1.CancelationSoft)
}

func (l *look) isStoppedBySpec() bool {
	_, isStopped := StopOf(l.next)
	return isStopped
}

// recordStop writes down a stop by spec.state, which is final from then on, and names what spec says against it.
func (l *look) recordStop() {
	told, isStopped := StopOf(l.next)
	if !isStopped {
		return
	}
	if l.status.Stop == nil {
		l.status.Stop = &v1alpha1.StopStatus{ObservedAt: *micro(l.Now)}
	}
	l.status.Stop.Cancelation = told
	switch wanted := stopCancelation(l.spec); {
	case l.spec.State != v1alpha1.IntentStopped:
		l.stall(v1alpha1.ReasonStopIsFinal, "spec.state %s has no effect: the rollout was stopped for good at %s; set spec.state to Stopped and spec.stopCancelation to %s again, or delete this Rollout and create another one",
			cmp.Or(l.spec.State, v1alpha1.IntentRunning), stamp(l.status.Stop.ObservedAt.Time), told)
	case Stronger(told, wanted):
		l.stall(v1alpha1.ReasonStopIsFinal, "spec.stopCancelation %s has no effect: the rollout was stopped with %s; set spec.stopCancelation to %s again, or delete this Rollout and create another one",
			wanted, told, told)
	}
}

// cancelation is the strongest word there is for devices that have begun. When the set that ended the rollout is gone, they are asked.
func (l *look) cancelation() v1alpha1.Cancelation {
	told, isStopped := StopOf(l.next)
	switch {
	case isStopped:
	case l.isStruck():
		told = v1alpha1.CancelationNone
	default:
		told = v1alpha1.CancelationSoft
	}
	if l.isStruck() && Stronger(l.Set.Invalidation, told) {
		told = l.Set.Invalidation
	}
	return told
}

// waitForWalk says whom the stop has not reached yet.
func (l *look) waitForWalk(told v1alpha1.Cancelation, unheard int) {
	if told == v1alpha1.CancelationNone {
		l.wait(v1alpha1.ReasonStopping, noTime, "%s; still to be closed: %s that nobody has answered", l.whyStopped(), counted(unheard, "question"))
		return
	}
	l.wait(v1alpha1.ReasonStopping, noTime, "%s; still to be told: %s that had begun (cancelation %s)", l.whyStopped(), targets(unheard), told)
}

// unheard is how many devices with an open action the stop has still to reach. One that is asked to cancel, or has refused, has heard; None is for those that wait
// for somebody to agree, since they have not begun.
func (l *look) unheard(told v1alpha1.Cancelation) int {
	var open, asked, unbegun int32
	for _, g := range l.groups {
		tally := l.tally(g)
		open, asked, unbegun = open+tally.Open, asked+tally.Canceling, unbegun+tally.Unbegun
	}
	switch told {
	case v1alpha1.CancelationForce:
		return int(open)
	case v1alpha1.CancelationSoft:
		return int(open - asked)
	}
	return int(unbegun) // of a rollout that is stopping, nobody else is
}

// closeGroups ends every group and with it what held the rollout, which is Stopping from here on. It tells whether that had not been done before.
func (l *look) closeGroups() bool {
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
	l.status.State, l.status.Settling = v1alpha1.RolloutStopping, nil
	return true
}

func (l *look) whyStopped() string {
	switch {
	case l.isStoppedBySpec():
		return "stopped by spec.state"
	case l.isStruck():
		return "stopped because DistributionSet " + l.Set.Name + " was invalidated" + because(l.Set.InvalidationReason)
	}
	return "stopped because DistributionSet " + l.spec.Update.DistributionSet + " was invalidated"
}
