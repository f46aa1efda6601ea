// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// checkErrorConditions asks for errors, before anything else is decided: group by group, then over
// the whole rollout. A group in Error is asked again after a resume.
func (l *planner) checkErrorConditions() next {
	for _, g := range l.groups[:l.opened()] {
		if l.at(g.index).State != v1alpha1.GroupFinished && l.hasFailed(g) {
			l.takeErrorAction(g)
		}
	}
	if !l.isPaused() {
		l.checkErrorBudget()
	}
	return doneIf(l.isPaused())
}

// hasFailed is the error condition of a group. It holds its peace on fewer results than
// minimumReports, unless no more are coming.
func (l *planner) hasFailed(g *group) bool {
	tally := l.tally(g)
	if !l.isComplete(g) && tally.Succeeded+tally.Failed < l.spec.MinimumReports {
		return false
	}
	return exceeded(l.failed(g), l.concerned(g), l.conditions(g).ErrorThreshold)
}

// concerned are the members whose failure would say something about the update.
func (l *planner) concerned(g *group) int32 {
	t := l.tally(g)
	return l.denominator(g) - t.Superseded - t.Counts.Skipped + l.lostAndRemoved(g)
}

// failed is how many failures count, also those of members that have been removed since.
func (l *planner) failed(g *group) int32 { return l.failing(g) + l.lost(g) }

// failing is how many of the members that exist have failed: after a resume, since then.
func (l *planner) failing(g *group) int32 {
	if l.status.Handled != nil && l.status.Handled.ResumedAt != nil {
		return l.tally(g).FailedSinceResume
	}
	return l.counts(g).Failed
}

// takeErrorAction takes the error action, of which there is one: Pause.
func (l *planner) takeErrorAction(g *group) {
	l.at(g.index).State = v1alpha1.GroupError
	message := fmt.Sprintf("group %s went into Error when %d of %d had failed%s%s, more than errorThreshold %d percent%s",
		g.name, l.failed(g), l.concerned(g), l.sinceResume(), removedSince(l.lost(g)), l.conditions(g).ErrorThreshold, mostOften(table(l.failuresOf(g))))
	l.warningEvent(EventGroupFailed, "%s", message)
	if !l.isPaused() {
		l.pauseFor(v1alpha1.PauseByErrorThreshold, "%s", message)
		l.warningEvent(EventPaused, "group %s is in Error; to go on, set spec.resumedAt to status.pausedAt or later", g.name)
	}
}

// checkErrorBudget asks over all groups at once: many small groups, each just under its threshold,
// must not cost the fleet.
func (l *planner) checkErrorBudget() {
	budget := l.spec.ErrorBudget
	if budget == nil {
		return
	}
	var failed, total, lost int32
	for _, g := range l.groups {
		failed, total, lost = failed+l.failed(g), total+counting.Existing(l.counts(g)), lost+l.lost(g)
		if !l.isHistory(g) {
			total += l.lostAndRemoved(g)
		}
	}
	allowed := ""
	switch {
	case budget.Count != nil && failed > *budget.Count:
		allowed = fmt.Sprintf("count %d", *budget.Count)
	case budget.Percent != nil && exceeded(failed, total, *budget.Percent):
		allowed = fmt.Sprintf("%d percent", *budget.Percent)
	default:
		return
	}
	l.pauseFor(v1alpha1.PauseByErrorBudget, "paused when %d of %s of the rollout had failed%s%s, more than errorBudget %s%s", failed, targets(total), l.sinceResume(), removedSince(lost), allowed,
		mostOften(l.failures()))
	l.warningEvent(EventPaused, "%s", l.status.PauseMessage)
}

// removedSince says how many of those that failed are gone.
func removedSince(lost int32) string {
	if lost == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of them removed since)", lost)
}

func (l *planner) sinceResume() string {
	if l.status.Handled == nil || l.status.Handled.ResumedAt == nil {
		return ""
	}
	return " since " + formatTime(l.status.Handled.ResumedAt.Time)
}

// exceeded: strictly more than percent of n. Nothing of nothing is not.
func exceeded(failed, n, percent int32) bool { return 100*int64(failed) > int64(percent)*int64(n) }
