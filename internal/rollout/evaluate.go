package rollout

import (
	"fmt"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// begin opens the first group, once older rollouts have given up the targets that this one shares with them.
func (l *look) begin() bool {
	if l.opened() > 0 || l.held {
		return false
	}
	if len(l.Unsettled) > 0 {
		l.status.State = v1alpha1.RolloutStarting
		l.wait(v1alpha1.ReasonSuperseding, noTime, "waits until older rollouts have given up the targets they share with this one: %s", list(l.Unsettled))
		return true
	}
	l.status.State = v1alpha1.RolloutRunning
	l.open(0)
	return false
}

// open lets the members of a group have the update, and remembers who has it already.
func (l *look) open(i int) {
	g, st := l.groups[i], l.at(i)
	st.State, st.OpenedAt = v1alpha1.GroupRunning, second(l.Now)
	there := l.latch(g)
	l.tell(EventGroupOpened, "group %s opened: %s, %d of them have the set already", g.name, targets(existing(l.tally(g).Counts)), there)
}

// latch marks the members that run the planned content when their group opens. It tells how many.
func (l *look) latch(g *group) int {
	g.object.Status.OpenedAt = l.at(g.index).OpenedAt
	if l.spec.Update.Reinstall {
		return 0
	}
	there, n := 0, len(g.object.Spec.Targets)
	for i, t := range g.members() {
		if t != nil && action.Installed(&t.Status, l.status.Plan.ContentHash) {
			g.object.Status.AlreadyThere = Marked(g.object.Status.AlreadyThere, i, n)
			g.stale = true
			there++
		}
	}
	return there
}

// brake asks for errors, before anything else is decided: group by group, then over the whole rollout. A group in Error is asked again
// after a resume.
func (l *look) brake() bool {
	for _, g := range l.groups[:l.opened()] {
		if l.at(g.index).State != v1alpha1.GroupFinished && l.hasFailed(g) {
			l.trip(g)
		}
	}
	if !l.isPaused() {
		l.tripBudget()
	}
	return l.isPaused()
}

// hasFailed is the error condition of a group. It holds its peace on fewer results than minimumReports, unless no more are coming.
func (l *look) hasFailed(g *group) bool {
	tally := l.tally(g)
	if !isClosed(tally.Counts) && tally.Succeeded+tally.Failed < l.spec.MinimumReports {
		return false
	}
	return exceeded(l.failed(g), concerned(tally), l.conditions(g).ErrorThreshold)
}

// concerned are the members whose failure would say something about the update.
func concerned(t *Tally) int32 {
	return existing(t.Counts) - t.Superseded - t.Counts.Skipped
}

// failed is how many failures count: after a resume, those since.
func (l *look) failed(g *group) int32 {
	if l.status.Handled != nil && l.status.Handled.ResumedAt != nil {
		return l.tally(g).FailedSinceResume
	}
	return l.counts(g).Failed
}

func (l *look) conditions(g *group) v1alpha1.GroupConditions {
	for i := range l.spec.Groups {
		if l.spec.Groups[i].Name == g.name {
			return conditionsOf(l.spec, &l.spec.Groups[i])
		}
	}
	return conditionsOf(l.spec, nil)
}

// exceeded: strictly more than percent of n. Nothing of nothing is not.
func exceeded(failed, n, percent int32) bool { return 100*int64(failed) > int64(percent)*int64(n) }

// reached: at least percent of n. Nothing of nothing is.
func reached(succeeded, n, percent int32) bool {
	return 100*int64(succeeded) >= int64(percent)*int64(n)
}

// trip takes the error action, of which there is one: Pause.
func (l *look) trip(g *group) {
	l.at(g.index).State = v1alpha1.GroupError
	message := fmt.Sprintf("group %s: %d of %d failed%s, more than errorThreshold %d percent",
		g.name, l.failed(g), concerned(l.tally(g)), l.sinceResume(), l.conditions(g).ErrorThreshold)
	l.warn(EventGroupFailed, "%s", message)
	if !l.isPaused() {
		l.brakeBy(v1alpha1.PauseByErrorThreshold, "%s", message)
		l.warn(EventPaused, "%s", message)
	}
}

func (l *look) sinceResume() string {
	if l.status.Handled == nil || l.status.Handled.ResumedAt == nil {
		return ""
	}
	return " since " + stamp(l.status.Handled.ResumedAt.Time)
}

// tripBudget asks over all groups at once: many small groups, each just under its threshold, must not cost the fleet.
func (l *look) tripBudget() {
	budget := l.spec.ErrorBudget
	if budget == nil {
		return
	}
	var failed, total int32
	for _, g := range l.groups {
		failed, total = failed+l.failed(g), total+existing(l.counts(g))
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
	l.brakeBy(v1alpha1.PauseByErrorBudget, "%d of %d targets of the rollout failed%s, more than errorBudget %s", failed, total, l.sinceResume(), allowed)
	l.warn(EventPaused, "%s", l.status.PauseMessage)
}

// evaluate finishes groups whose members all have a result, and opens the next group when the last open one lets it: by its success, because
// nobody is awaited any more, or because the pause behind it has been lifted. A group that opens is asked at once, so empty ones pass.
func (l *look) evaluate() bool {
	for i := 0; i < l.opened() && !l.isPaused(); i++ {
		g := l.groups[i]
		had := l.at(i).State
		closed := isClosed(l.tally(g).Counts)
		if had == v1alpha1.GroupRunning && closed {
			l.finishGroup(g)
		}
		if i+1 < len(l.groups) && i+1 == l.opened() && !l.held {
			l.release(g, had, closed)
		}
	}
	return l.isPaused()
}

func (l *look) finishGroup(g *group) {
	l.at(g.index).State = v1alpha1.GroupFinished
	t := l.tally(g)
	l.tell(EventGroupFinished, "group %s finished: %d of %d succeeded, %d failed, %d canceled, %d skipped",
		g.name, t.Succeeded, existing(t.Counts), t.Failed, t.Canceled, t.Counts.Skipped)
}

// release takes the success action of the last open group: the next group opens, or the rollout pauses before it. An empty group pauses nobody.
func (l *look) release(g *group, had v1alpha1.GroupState, closed bool) {
	t, c := l.tally(g), l.conditions(g)
	total := existing(t.Counts)
	passed := had != v1alpha1.GroupRunning || l.lifted == v1alpha1.PauseBySuccessAction
	switch {
	case passed:
		l.lifted = ""
	case !closed && !reached(t.Succeeded, total, c.SuccessThreshold):
		return
	case c.SuccessAction == v1alpha1.SuccessActionPause && total > 0:
		l.brakeBy(v1alpha1.PauseBySuccessAction, "group %s: %d of %d succeeded; successAction Pause holds group %s",
			g.name, t.Succeeded, total, l.groups[g.index+1].name)
		l.tell(EventPaused, "%s", l.status.PauseMessage)
		return
	case had == v1alpha1.GroupRunning && !closed:
		l.tell(EventGroupSucceeded, "group %s: %d of %d succeeded, successThreshold %d percent is reached", g.name, t.Succeeded, total, c.SuccessThreshold)
	}
	l.open(g.index + 1)
}

// advance opens groups whatever the conditions say. It lifts no pause, and a request from before the start is of no concern: a cluster
// that is rebuilt does not repeat it.
func (l *look) advance() bool {
	if l.spec.Advance == nil {
		return false
	}
	at, h := requested(l.spec.Advance.At), l.status.Handled
	if !at.After(l.status.StartedAt.Time) || h != nil && h.AdvanceAt != nil && h.AdvanceAt.Time.Equal(at) {
		return false
	}
	to := l.groupNamed(l.spec.Advance.To)
	if to < 0 {
		l.stall(v1alpha1.ReasonInvalidSpec, "spec.advance.to: there is no group %s; the groups are %s", l.spec.Advance.To, list(l.groupNames()))
		return false
	}
	l.recheck(at)
	if l.held || at.After(l.Now) {
		return false
	}
	l.handled().AdvanceAt = micro(at)
	l.tell(EventAdvanced, "spec.advance opens the groups up to %s whatever their conditions say", l.spec.Advance.To)
	for i := l.opened(); i <= to; i++ {
		l.open(i)
	}
	return false
}

func (l *look) groupNamed(name string) int {
	for i, g := range l.groups {
		if g.name == name {
			return i
		}
	}
	return -1
}

// finish ends a rollout that has nothing left to open and awaits nobody.
func (l *look) finish() bool {
	failed := 0
	for i, g := range l.groups {
		switch l.at(i).State {
		case v1alpha1.GroupFinished:
		case v1alpha1.GroupError:
			failed++
			if !isClosed(l.counts(g)) {
				return false
			}
		default:
			return false
		}
	}
	l.status.State, l.status.FinishedAt = v1alpha1.RolloutFinished, micro(l.Now)
	total := l.total()
	if failed > 0 {
		l.warn(EventFinished, "finished with %d of %d groups in Error: %d of %d targets succeeded, %d failed", failed, len(l.groups), total.Succeeded, existing(total), total.Failed)
	} else {
		l.tell(EventFinished, "finished: %d of %d targets succeeded, %d failed", total.Succeeded, existing(total), total.Failed)
	}
	return true
}

// total adds up the counts of all groups.
func (l *look) total() v1alpha1.Counts {
	var sum v1alpha1.Counts
	for _, g := range l.groups {
		c := l.counts(g)
		sum.Targets += c.Targets
		sum.Scheduled += c.Scheduled
		sum.Pending += c.Pending
		sum.InProgress += c.InProgress
		sum.Succeeded += c.Succeeded
		sum.Failed += c.Failed
		sum.Canceled += c.Canceled
		sum.Skipped += c.Skipped
		sum.Removed += c.Removed
	}
	return sum
}
