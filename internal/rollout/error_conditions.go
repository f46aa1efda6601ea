// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// checkErrorConditions checks the error condition of each open group and the error budget of the
// whole rollout, before groups finish or open. A group in Error is checked again after a resume.
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

// hasFailed reports whether the error condition of a group is met. It is not evaluated with fewer
// results than minimumReports, unless the group is complete.
func (l *planner) hasFailed(g *group) bool {
	tally := l.tally(g)
	if !l.isComplete(g) && tally.Succeeded+tally.Failed < l.spec.MinimumReports {
		return false
	}
	return exceeded(l.failed(g), l.concerned(g), l.conditions(g).ErrorThreshold)
}

// concerned returns the number of members that errorThreshold is a share of.
func (l *planner) concerned(g *group) int32 {
	t := l.tally(g)
	return l.denominator(g) - t.Superseded - t.Counts.Skipped + l.lostAndRemoved(g)
}

// failed returns how many failures count, including those of members that were removed since.
func (l *planner) failed(g *group) int32 { return l.failing(g) + l.lost(g) }

// failing returns how many of the existing members have failed: after a resume, since then.
func (l *planner) failing(g *group) int32 {
	if l.status.Handled != nil && l.status.Handled.ResumedAt != nil {
		return l.tally(g).FailedSinceResume
	}
	return l.counts(g).Failed
}

// takeErrorAction sets the group to Error and pauses the rollout, which is the only error action.
func (l *planner) takeErrorAction(g *group) {
	l.at(g.index).State = v1alpha1.GroupError
	message := fmt.Sprintf("group %s went into Error when %d of %d had failed%s%s, more than errorThreshold %d percent%s",
		g.name, l.failed(g), l.concerned(g), l.sinceResume(), removedSince(l.lost(g)), l.conditions(g).ErrorThreshold, mostOften(table(l.failuresOf(g))))
	l.warningEvent(EventGroupFailed, "%s", message)
	if !l.isPaused() {
		l.pauseFor(v1alpha1.PauseByErrorThreshold, "%s", message)
		l.warningEvent(EventPaused, "group %s is in Error; to continue, set spec.resumedAt to status.pausedAt or later", g.name)
	}
}

// checkErrorBudget pauses the rollout if more of all its targets have failed than errorBudget
// allows: many small groups may each stay just below their threshold.
func (l *planner) checkErrorBudget() {
	budget := l.spec.ErrorBudget
	if budget == nil {
		return
	}
	var failed, total, lost int32
	for _, g := range l.groups {
		failed, total, lost = failed+l.failed(g), total+l.counts(g).Existing(), lost+l.lost(g)
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

// removedSince returns the part of a message that says how many of the failed targets were removed.
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

// exceeded reports whether failed is more than percent of n. It is false for 0 of 0.
func exceeded(failed, n, percent int32) bool { return 100*int64(failed) > int64(percent)*int64(n) }
