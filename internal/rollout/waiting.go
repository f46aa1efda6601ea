// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/text"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// describeWaiting sets waitingFor, with numbers, if no step has recorded what the rollout waits
// for. A finished rollout waits for nothing.
func (l *planner) describeWaiting() {
	switch {
	case l.waiting != nil:
	case l.isPaused():
		l.waitForResume()
	case l.problem != nil:
		l.wait(l.problem.Reason, noTime, "%s", l.problem.Message)
	case l.status.State == v1alpha1.RolloutRunning:
		l.waitForGroup()
	case l.status.State == v1alpha1.RolloutStarting:
		l.wait(v1alpha1.ReasonProgressing, noTime, "the first group is about to open")
	case l.status.State == v1alpha1.RolloutStopped:
		l.waitForAnswers()
	}
	if l.waiting != nil {
		l.waiting.Message = text.LimitBytes(l.waiting.Message, 1024)
	}
	l.status.WaitingFor = l.waiting
}

// waitForAnswers records that devices of a stopped rollout have no result yet.
func (l *planner) waitForAnswers() {
	if n := l.total().InProgress; n > 0 {
		l.wait(v1alpha1.ReasonStopped, noTime, "stopped; no result yet of %s that had started", targets(n))
	}
}

// waitForGroup records that the rollout waits for a group: the last open one while others have not
// opened, else the first one that is not closed.
func (l *planner) waitForGroup() {
	g := l.decisive()
	if g == nil {
		l.waitForNewTargets()
		return
	}
	c, conditions := l.counts(g), l.conditions(g)
	message := fmt.Sprintf("group %s: %d of %d succeeded", g.name, c.Succeeded, c.Existing())
	if c.Failed > 0 {
		message += fmt.Sprintf(", %d failed", c.Failed)
	}
	if lost := l.lost(g); lost > 0 {
		message += fmt.Sprintf(", %d more failed and %s removed since, and still count", lost, wasWere(lost))
	}
	if g.index+1 < len(l.groups) && !isOpen(l.at(g.index+1).State) {
		message += fmt.Sprintf(", waiting for %d percent", conditions.SuccessThreshold)
	} else {
		message += ", waiting for the rest"
	}
	message += "; " + strings.Join(l.parts(g, c), ", ")
	if names := l.awaited(g, c); len(names) > 0 {
		message += ", e.g. " + strings.Join(names, ", ")
	}
	until := l.nextDeadline()
	if !until.IsZero() {
		message += fmt.Sprintf("; targets that have not started by %s %s", formatTime(until), l.effectOfDeadline())
	}
	if w := l.spec.Update.MaintenanceWindow; w != nil && c.Pending > 0 {
		message += "; devices start only in the maintenance window " + window.Describe(w)
		if opens := window.NextOpening(w, l.Now); !opens.IsZero() {
			until = opens
		}
	}
	l.waitUntil(v1alpha1.ReasonProgressing, until, message+l.growthMessage())
}

func (l *planner) effectOfDeadline() string {
	if l.isSkipping() {
		return "are skipped (startDeadlineAction Skip)"
	}
	return "fail with " + v1alpha1.CodeStartDeadlineExceeded
}

// growthMessage returns the part of a message about why no targets join a dynamic rollout any more.
func (l *planner) growthMessage() string {
	if why := l.growthEnd(); l.spec.Dynamic != nil && why != "" {
		return "; no more targets join: " + why
	}
	return ""
}

// waitForNewTargets records that all members of a dynamic rollout have a result.
func (l *planner) waitForNewTargets() {
	g := l.trailing()
	if g == nil {
		return
	}
	until := noTime
	if l.spec.Dynamic.Until != nil {
		until = l.spec.Dynamic.Until.Time
	}
	if l.members() == 0 {
		l.wait(v1alpha1.ReasonProgressing, until, "no target is selected yet; group %s takes up to %d targets that appear later", g.name, l.capacity())
		return
	}
	l.wait(v1alpha1.ReasonProgressing, until, "all %s have a result; group %s has %d of %d and takes targets that appear later",
		targets(l.members()), g.name, g.size(), l.capacity())
}

func (l *planner) decisive() *group {
	if n := l.opened(); n > 0 && n < len(l.groups) {
		return l.groups[n-1]
	}
	for _, g := range l.groups {
		if !counting.AllClosed(l.counts(g)) {
			return g
		}
	}
	return nil
}

// parts returns the parts of a message about members without a result, with their obstacles.
func (l *planner) parts(g *group, c v1alpha1.Counts) []string {
	t := l.tally(g)
	out := []string{fmt.Sprintf("%d pending%s", c.Pending, among(t.OfPending, obstaclesOfPending))}
	if c.InProgress > 0 {
		out = append(out, fmt.Sprintf("%d in progress%s", c.InProgress, among(t.OfInProgress, obstaclesOfInProgress)))
	}
	return out
}

// maxSought is the maximum number of members without a result for which some are named.
const maxSought = 20

// awaited returns the names of up to three members without a result, if few are left, with their
// obstacles. Members that have not started come first.
func (l *planner) awaited(g *group, c v1alpha1.Counts) []string {
	if g.members == nil || c.Pending+c.InProgress > maxSought {
		return nil
	}
	counter, found := l.counterOf(g), map[counting.Bucket][]string{}
	for i, t := range g.members() {
		entry := counter.EntryOf(t, counting.MemberOf(g.object, i))
		if entry.Bucket.IsClosed() || len(found[entry.Bucket]) == counting.MaxExamples {
			continue
		}
		found[entry.Bucket] = append(found[entry.Bucket], l.nameWith(string(g.object.Spec.Targets[i]), t, entry.Obstacle))
	}
	names := append(found[counting.Pending], found[counting.InProgress]...)
	return names[:min(len(names), counting.MaxExamples)]
}
