// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// describeWaiting fills waitingFor, where no rule has said it: what would move next, with numbers.
// Nothing when the rollout is done.
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
		l.waiting.Message = truncate(l.waiting.Message, 1024)
	}
	l.status.WaitingFor = l.waiting
}

// waitForAnswers: a stopped rollout may have devices that are still at work.
func (l *planner) waitForAnswers() {
	if n := l.total().InProgress; n > 0 {
		l.wait(v1alpha1.ReasonStopped, noTime, "stopped; no result yet of %s that had started", targets(n))
	}
}

// waitForGroup speaks of the group that the next step depends on: the last open one while others
// have not opened, else the first that is not closed.
func (l *planner) waitForGroup() {
	g := l.decisive()
	if g == nil {
		l.waitForNewTargets()
		return
	}
	c, conditions := l.counts(g), l.conditions(g)
	message := fmt.Sprintf("group %s: %d of %d succeeded", g.name, c.Succeeded, counting.Existing(c))
	if c.Failed > 0 {
		message += fmt.Sprintf(", %d failed", c.Failed)
	}
	if lost := l.lost(g); lost > 0 {
		message += fmt.Sprintf(", %d more failed and %s removed since, which counts", lost, wasWere(lost))
	}
	if g.index+1 < len(l.groups) && !isOpen(l.at(g.index+1).State) {
		message += fmt.Sprintf(", waits for %d percent", conditions.SuccessThreshold)
	} else {
		message += ", waits for the rest"
	}
	message += "; " + strings.Join(l.parts(g, c), ", ")
	if names := l.awaited(g, c); len(names) > 0 {
		message += ", e.g. " + strings.Join(names, ", ")
	}
	until := l.nextDeadline()
	if !until.IsZero() {
		message += fmt.Sprintf("; who has not started by %s %s", formatTime(until), l.fateOfLate())
	}
	if w := l.spec.Update.MaintenanceWindow; w != nil && c.Pending > 0 {
		message += "; devices start only in the maintenance window " + window.Describe(w)
		if opens := window.NextOpening(w, l.Now); !opens.IsZero() {
			until = opens
		}
	}
	l.waitUntil(v1alpha1.ReasonProgressing, until, message+l.growthMessage())
}

func (l *planner) fateOfLate() string {
	if l.isSkipping() {
		return "leaves the group, uncounted"
	}
	return "has failed with " + v1alpha1.CodeStartDeadlineExceeded
}

// growthMessage say why nobody joins a dynamic rollout any more.
func (l *planner) growthMessage() string {
	if why := l.growthEnd(); l.spec.Dynamic != nil && why != "" {
		return "; no more targets join: " + why
	}
	return ""
}

// waitForNewTargets: a dynamic rollout has brought the update to everybody that is there.
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
		l.wait(v1alpha1.ReasonProgressing, until, "no target is selected yet; group %s takes in up to %d that appear later", g.name, l.capacity())
		return
	}
	l.wait(v1alpha1.ReasonProgressing, until, "all %s have a result; group %s has %d of %d and takes in those that appear later",
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

// parts are the numbers of those awaited, and what keeps them.
func (l *planner) parts(g *group, c v1alpha1.Counts) []string {
	t := l.tally(g)
	out := []string{fmt.Sprintf("%d pending%s", c.Pending, among(t.OfPending, obstaclesOfPending))}
	if c.InProgress > 0 {
		out = append(out, fmt.Sprintf("%d in progress%s", c.InProgress, among(t.OfInProgress, obstaclesOfInProgress)))
	}
	return out
}

// maxSought is up to how many awaited members are worth a walk over the group to name some.
const maxSought = 20

// awaited names up to three members without a result, once few are left: those that have not
// started first. Each says what keeps it.
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
