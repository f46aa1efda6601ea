package rollout

import (
	"fmt"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// sentence fills waitingFor, where no rule has said it: what would move next, with numbers. Nothing when the rollout is done.
func (l *look) sentence() {
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
		l.waiting.Message = shorten(l.waiting.Message, 1024)
	}
	l.status.WaitingFor = l.waiting
}

// waitForAnswers: a stopped rollout may have devices that are still at work.
func (l *look) waitForAnswers() {
	if n := l.total().InProgress; n > 0 {
		l.wait(v1alpha1.ReasonStopped, noTime, "stopped; no result yet of %s that had begun", targets(n))
	}
}

// waitForGroup speaks of the group that the next step depends on: the last open one while others have not opened, else the first that is not closed.
func (l *look) waitForGroup() {
	g := l.decisive()
	if g == nil {
		return
	}
	c, conditions := l.counts(g), l.conditions(g)
	message := fmt.Sprintf("group %s: %d of %d succeeded", g.name, c.Succeeded, existing(c))
	if c.Failed > 0 {
		message += fmt.Sprintf(", %d failed", c.Failed)
	}
	if g.index+1 < len(l.groups) && !isOpen(l.at(g.index+1).State) {
		message += fmt.Sprintf(", waits for %d percent", conditions.SuccessThreshold)
	} else {
		message += ", waits for the rest"
	}
	message += "; " + strings.Join(parts(c), ", ")
	if names := l.awaited(g, c); len(names) > 0 {
		message += ", e.g. " + strings.Join(names, ", ")
	}
	l.wait(v1alpha1.ReasonProgressing, noTime, "%s", message)
}

func (l *look) decisive() *group {
	if n := l.opened(); n > 0 && n < len(l.groups) {
		return l.groups[n-1]
	}
	for _, g := range l.groups {
		if !isClosed(l.counts(g)) {
			return g
		}
	}
	return nil
}

// parts are the numbers of those awaited.
func parts(c v1alpha1.Counts) []string {
	out := []string{fmt.Sprintf("%d pending", c.Pending)}
	if c.InProgress > 0 {
		out = append(out, fmt.Sprintf("%d in progress", c.InProgress))
	}
	return out
}

// maxSought is up to how many awaited members are worth a walk over the group to name some.
const maxSought = 20

// awaited names up to three members without a result, once few are left: those that have not begun first.
func (l *look) awaited(g *group, c v1alpha1.Counts) []string {
	if g.members == nil || c.Pending+c.InProgress > maxSought {
		return nil
	}
	rule, found := RuleOf(l.next, l.Set, g.index), map[Bucket][]string{}
	for i, t := range g.members() {
		s := &g.object.Status
		bucket := rule.BucketOf(t, Bit(s.Superseded, i), Bit(s.AlreadyThere, i), Bit(s.Skipped, i))
		found[bucket] = append(found[bucket], string(g.object.Spec.Targets[i]))
	}
	names := append(found[Pending], found[InProgress]...)
	return names[:min(len(names), maxExamples)]
}
