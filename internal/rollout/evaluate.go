// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// openFirstGroup opens the first group when older rollouts have given up the targets that they
// share with this one. The snapshot has these rollouts only in state Starting, so a rollout that
// was resumed before its first group opened is set to Starting first.
func (l *planner) openFirstGroup() next {
	if l.opened() > 0 || l.held {
		return goOn
	}
	l.enter(v1alpha1.RolloutStarting)
	if l.Rollout.Status.State != v1alpha1.RolloutStarting {
		return done
	}
	if len(l.OlderRollouts) > 0 {
		l.wait(v1alpha1.ReasonSuperseding, noTime, "waiting until older rollouts have given up the targets that they share with this one: %s", list(l.OlderRollouts))
		return done
	}
	l.enter(v1alpha1.RolloutRunning)
	l.open(0)
	return goOn
}

// open opens a group, so that the update is offered to its members, and marks the members that have
// it installed.
func (l *planner) open(i int) {
	g, st := l.groups[i], l.at(i)
	st.State, st.OpenedAt = v1alpha1.GroupRunning, second(l.Now)
	if i > 0 {
		l.at(i - 1).Passed = false
	}
	if l.hasDeadline() {
		st.OpenedAtOffering = l.reading()
	}
	there := l.markAlreadyInstalled(g, func(*v1alpha1.Target) bool { return false })
	already := "have the set already"
	if l.Set.Removes() {
		already = "have none of the software"
	}
	l.event(EventGroupOpened, "group %s opened: %s, %d of them %s", g.name, targets(l.tally(g).Counts.Existing()), there, already)
}

// isThere reports whether a target runs the planned content or, of a removal, has none of the
// software.
func (l *planner) isThere(t *v1alpha1.Target) bool {
	if l.Set.Removes() {
		return l.Set.IsThere(t)
	}
	return action.Installed(&t.Status, l.status.Plan.ContentHash)
}

// markAlreadyInstalled marks the members that run the planned content when their group opens,
// except those for which except returns true. It returns their number.
func (l *planner) markAlreadyInstalled(g *group, except func(*v1alpha1.Target) bool) int {
	g.object.Status.OpenedAt = l.at(g.index).OpenedAt
	if l.spec.Update.Reinstall {
		return 0
	}
	there, n := 0, len(g.object.Spec.Targets)
	for i, t := range g.members() {
		if t != nil && l.isThere(t) && !except(t) {
			g.object.Status.AlreadyThere = bitmap.Set(g.object.Status.AlreadyThere, i, n)
			g.stale = true
			there++
		}
	}
	return there
}

func (l *planner) conditions(g *group) v1alpha1.GroupConditions {
	return grouping.ConditionsOf(l.spec, g.name)
}

// reached reports whether succeeded is at least percent of n. It is true for 0 of 0.
func reached(succeeded, n, percent int32) bool {
	return 100*int64(succeeded) >= int64(percent)*int64(n)
}

// evaluate finishes groups whose members all have a result. It opens the next group when the last
// open one has succeeded or is complete, or when the pause after it was lifted. A group that was
// just opened is evaluated as well, so an empty group finishes at once.
func (l *planner) evaluate() next {
	opened := l.opened()
	for i := 0; i < opened; i++ {
		g := l.groups[i]
		had := l.at(i).State
		closed := l.isComplete(g)
		if had == v1alpha1.GroupRunning && closed {
			l.finishGroup(g)
		}
		if i+1 == opened && opened < len(l.groups) && !l.held {
			l.applySuccessAction(g, had, closed)
			opened = l.opened()
		}
	}
	return doneIf(l.isPaused())
}

// isComplete reports whether every member has a result and no target can join.
func (l *planner) isComplete(g *group) bool {
	return counting.AllClosed(l.tally(g).Counts) && !l.isTrailing(g)
}

func (l *planner) finishGroup(g *group) {
	l.at(g.index).State = v1alpha1.GroupFinished
	t := l.tally(g)
	l.event(EventGroupFinished, "group %s finished: %d of %d succeeded, %d failed, %d canceled, %d skipped",
		g.name, t.Succeeded, t.Counts.Existing(), t.Failed, t.Canceled, t.Counts.Skipped)
}

// applySuccessAction takes the success action of the last open group: the next group opens, or the
// rollout pauses before it. A group that was planned empty never pauses; a group that has lost its
// members pauses with every success action.
func (l *planner) applySuccessAction(g *group, had v1alpha1.GroupState, closed bool) {
	t, c := l.tally(g), l.conditions(g)
	total := t.Counts.Existing()
	switch {
	case had == v1alpha1.GroupError, l.at(g.index).Passed:
	case !closed && !reached(t.Succeeded, total, c.SuccessThreshold):
		return
	case l.weakness(g) != "":
		l.pauseFor(v1alpha1.PauseByWeakGroup, "%s (as of the pause); group %s does not open", l.weakness(g), l.groups[g.index+1].name)
		l.warningEvent(EventPaused, "%s; to continue anyway, set spec.resumedAt to status.pausedAt or later", l.status.PauseMessage)
		return
	case c.SuccessAction == v1alpha1.SuccessActionPause && total > 0:
		l.pauseFor(v1alpha1.PauseBySuccessAction, "group %s: successAction Pause, %d of %d had succeeded (as of the pause); group %s does not open",
			g.name, t.Succeeded, total, l.groups[g.index+1].name)
		l.event(EventPaused, "%s", l.status.PauseMessage)
		return
	case had == v1alpha1.GroupRunning && !closed:
		l.event(EventGroupSucceeded, "group %s: %d of %d succeeded, successThreshold %d percent is reached", g.name, t.Succeeded, total, c.SuccessThreshold)
	}
	l.open(g.index + 1)
}

// finish ends a rollout whose groups have all opened and closed, and that no target can join.
func (l *planner) finish() next {
	if l.spec.Dynamic != nil && l.growthEnd() == "" {
		return goOn
	}
	failed := 0
	for i, g := range l.groups {
		switch l.at(i).State {
		case v1alpha1.GroupFinished:
		case v1alpha1.GroupError:
			failed++
			if !counting.AllClosed(l.counts(g)) {
				return goOn
			}
		default:
			return goOn
		}
	}
	l.status.FinishedAt = micro(l.Now)
	l.enter(v1alpha1.RolloutFinished)
	if failed > 0 {
		total := l.total()
		l.warningEvent(EventFinished, "finished with %d of %s in Error: %d of %s succeeded, %d failed%s", failed, text.Count(len(l.groups), "group"), total.Succeeded, targets(total.Existing()), total.Failed,
			mostOften(l.failures()))
		return done
	}
	outcome := l.outcome()
	record := l.event
	if outcome.Status == metav1.ConditionFalse {
		record = l.warningEvent
	}
	record(EventFinished, "finished: %s", outcome.Message)
	return done
}

// total adds up the counts of all groups.
func (l *planner) total() v1alpha1.Counts {
	var sum v1alpha1.Counts
	for _, g := range l.groups {
		sum.Add(l.counts(g))
	}
	return sum
}
