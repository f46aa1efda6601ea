// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Forecast is when a rollout that goes on as before is expected to reach Event. The devices of a
// group are updated at the same time, so a group that has not opened is expected to take as long as
// the groups before it, whatever its size.
type Forecast struct {
	// Event is what is expected. Empty: there is no forecast.
	Event string `json:"event,omitempty"`
	// At is when it is expected, with the median of the groups so far. Earliest and Latest take the
	// shortest and the longest of them.
	At       *metav1.Time `json:"at,omitempty"`
	Earliest *metav1.Time `json:"earliest,omitempty"`
	Latest   *metav1.Time `json:"latest,omitempty"`
	// Basis says what the forecast was computed from.
	Basis string `json:"basis,omitempty"`
	// None is why there is no forecast.
	None string `json:"none,omitempty"`
}

// sampleSize is the number of targets of a group that must have succeeded before its own pace
// counts; smaller groups need all that their threshold needs.
const sampleSize = 3

// forecast returns when a rollout is expected to open all its groups and to reach the threshold of
// the last one, or why that cannot be said. It returns nil if the rollout has ended. Members that
// had the content when their group opened took no time; without the groups they are not known.
func forecast(r *v1alpha1.Rollout, groups []*v1alpha1.DeploymentGroup, now time.Time) *Forecast {
	s := &r.Status
	none := func(format string, args ...any) *Forecast { return &Forecast{None: fmt.Sprintf(format, args...)} }
	switch {
	case rollout.IsOver(r):
		return nil
	case s.State == v1alpha1.RolloutStopping || rollout.IsStopped(r):
		return none("the rollout is being stopped")
	case s.StartedAt == nil && r.Spec.StartAt != nil && r.Spec.StartAt.After(now):
		return none("the rollout has not started; spec.startAt is %s", formatTime(r.Spec.StartAt.Time))
	case s.StartedAt == nil:
		return none("the rollout has not started")
	case s.PauseReason != "":
		return none("the rollout is paused")
	}
	opened := openedGroups(s)
	switch {
	case opened == 0:
		return none("no group has opened")
	case rollout.AcceptsTargets(r, now):
		return none("targets that appear later join the rollout (spec.dynamic)")
	}
	p := paceOf(r, opened, alreadyThere(groups, s.Groups[opened-1].Name), now)
	last, event := p.lastAhead()
	g := &s.Groups[opened-1]
	if p.hasReached(g) && last == opened-1 {
		return none("%s; the end depends on the last %s without a result", openedAll(r, opened), text.Count(withoutResult(s), "target"))
	}
	switch {
	case len(p.samples) > 0:
	case g.Succeeded == 0:
		return none("no target of group %s has succeeded yet", g.Name)
	default:
		return none("only %d of %d targets of group %s have succeeded", g.Succeeded, g.Counts.Existing(), g.Name)
	}
	f := p.forecast(last)
	if f.At == nil {
		return none("the maintenance window does not open long enough")
	}
	f.Event = event
	return f
}

// alreadyThere returns how many members of a group had the content when it opened.
func alreadyThere(groups []*v1alpha1.DeploymentGroup, name string) int32 {
	n := 0
	for _, g := range groups {
		if g.Spec.Group == name {
			n += marked(g.Status.AlreadyThere)
		}
	}
	return int32(n)
}

// openedGroups returns how many groups have opened. Groups open in order.
func openedGroups(s *v1alpha1.RolloutStatus) int {
	n := slices.IndexFunc(s.Groups, func(g v1alpha1.GroupStatus) bool { return g.OpenedAt == nil })
	if n < 0 {
		return len(s.Groups)
	}
	return n
}

func openedAll(r *v1alpha1.Rollout, opened int) string {
	if opened < len(r.Status.Groups) {
		return fmt.Sprintf("group %s has reached its threshold", r.Status.Groups[opened-1].Name)
	}
	return "the last group has reached its threshold"
}

// withoutResult returns the number of targets of open groups that have no result.
func withoutResult(s *v1alpha1.RolloutStatus) int32 {
	var n int32
	for i := range s.Groups {
		n += s.Groups[i].Pending + s.Groups[i].InProgress
	}
	return n
}

// pace is how long the groups of a rollout took so far.
type pace struct {
	rollout *v1alpha1.Rollout
	opened  int
	now     time.Time
	// elapsed is how long the last open group has been open.
	elapsed time.Duration
	// own is how long this group takes at its own pace. 0: too few of its targets have succeeded.
	own time.Duration
	// samples are own, and the times between the openings of two groups, sorted.
	samples []time.Duration
}

// paceOf returns the pace so far. Times in which the maintenance window was closed do not count,
// and neither do groups behind which the rollout was paused. there is the number of members of the
// last open group that had the content before.
func paceOf(r *v1alpha1.Rollout, opened int, there int32, now time.Time) *pace {
	p := &pace{rollout: r, opened: opened, now: now}
	groups, w := r.Status.Groups, r.Spec.Update.MaintenanceWindow
	for i := range opened - 1 {
		from, to := groups[i].OpenedAt.Time, groups[i+1].OpenedAt.Time
		if took := window.OpenTime(w, from, to); took > 0 && !p.wasPaused(i, from, to) {
			p.samples = append(p.samples, took)
		}
	}
	g := &groups[opened-1]
	p.elapsed = max(window.OpenTime(w, g.OpenedAt.Time, now), 0)
	updated, need := g.Succeeded-min(there, g.Succeeded), p.needed(g)-there
	if updated > 0 && updated >= min(sampleSize, need) && p.elapsed >= time.Second && !p.hasReached(g) {
		p.own = time.Duration(float64(p.elapsed) * float64(need) / float64(updated))
		p.samples = append(p.samples, p.own)
	}
	slices.Sort(p.samples)
	return p
}

// wasPaused reports whether a pause or an advance lay between the openings of a group and the next
// one, as far as the status shows.
func (p *pace) wasPaused(group int, from, to time.Time) bool {
	h := p.rollout.Status.Handled
	if p.rollout.Status.Groups[group].Passed {
		return true
	}
	within := func(t *metav1.MicroTime) bool {
		return t != nil && t.After(from) && !t.After(to.Add(time.Second))
	}
	return h != nil && (within(h.ResumedAt) || within(h.AdvanceAt))
}

func (p *pace) conditions(g *v1alpha1.GroupStatus) v1alpha1.GroupConditions {
	return grouping.ConditionsOf(&p.rollout.Spec, g.Name)
}

// needed returns how many targets of a group must succeed before the next one opens.
func (p *pace) needed(g *v1alpha1.GroupStatus) int32 {
	existing, percent := int64(g.Counts.Existing()), int64(p.conditions(g).SuccessThreshold)
	return int32((existing*percent + 99) / 100)
}

// hasReached reports whether a group has reached its threshold, or has all its results.
func (p *pace) hasReached(g *v1alpha1.GroupStatus) bool {
	return g.OpenedAt != nil && (counting.AllClosed(g.Counts) || g.Succeeded >= p.needed(g))
}

// lastAhead returns the last group that is reached without a person, and what happens then.
func (p *pace) lastAhead() (group int, event string) {
	groups := p.rollout.Status.Groups
	for i := p.opened - 1; i < len(groups)-1; i++ {
		if g := &groups[i]; p.conditions(g).SuccessAction == v1alpha1.SuccessActionPause && !g.Passed {
			return i, fmt.Sprintf("group %s reaches %d percent, and the rollout then waits for spec.resumedAt", g.Name, p.conditions(g).SuccessThreshold)
		}
	}
	g := &groups[len(groups)-1]
	return len(groups) - 1, fmt.Sprintf("group %s, the last one, reaches %d percent", g.Name, p.conditions(g).SuccessThreshold)
}

// forecast returns when the group at this index is expected to reach its threshold.
func (p *pace) forecast(last int) *Forecast {
	groups := p.rollout.Status.Groups
	ahead := 0
	for i := p.opened; i <= last; i++ {
		if groups[i].Counts.Existing() > 0 {
			ahead++
		}
	}
	at := func(step time.Duration) *metav1.Time {
		current := p.own
		if current == 0 {
			current = step
		}
		if p.hasReached(&groups[p.opened-1]) {
			current = 0
		}
		remaining := max(current-p.elapsed, 0) + time.Duration(ahead)*step
		t := window.AfterOpenTime(p.rollout.Spec.Update.MaintenanceWindow, p.now, remaining)
		if t.IsZero() {
			return nil
		}
		if t.Sub(p.now) > 10*time.Minute {
			t = t.Round(time.Minute)
		}
		return &metav1.Time{Time: t.Truncate(time.Second).UTC()}
	}
	shortest, longest := p.samples[0], p.samples[len(p.samples)-1]
	f := &Forecast{At: at(median(p.samples))}
	switch {
	case shortest == longest || ahead == 0 && p.own > 0:
		f.Basis = fmt.Sprintf("group %s takes %s at its pace so far", groups[p.opened-1].Name, Duration(longest))
		if p.own == 0 {
			f.Basis = fmt.Sprintf("the group before took %s", Duration(longest))
		}
	default:
		f.Earliest, f.Latest = at(shortest), at(longest)
		f.Basis = fmt.Sprintf("a group took %s to %s so far", Duration(shortest), Duration(longest))
	}
	if ahead > 0 {
		f.Basis += fmt.Sprintf("; %s not opened", haveNot(ahead))
	}
	return f
}

// Duration returns a duration for people, in its two largest units.
func Duration(d time.Duration) string {
	d = d.Round(time.Second)
	switch day := 24 * time.Hour; {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return twoUnits(d/time.Minute, "min", d%time.Minute/time.Second, "s")
	case d < day:
		return twoUnits(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	default:
		return twoUnits(d/day, "d", d%day/time.Hour, "h")
	}
}

func twoUnits(large time.Duration, largeUnit string, small time.Duration, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", large, largeUnit)
	}
	return fmt.Sprintf("%d %s %d %s", large, largeUnit, small, smallUnit)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// median returns the median of sorted durations.
func median(sorted []time.Duration) time.Duration {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func haveNot(groups int) string {
	if groups == 1 {
		return "1 group has"
	}
	return fmt.Sprintf("%d groups have", groups)
}
