// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// longestName is the maximum number of characters shown of a group's name.
	longestName = 24
	// longestBar is the maximum number of columns of a bar.
	longestBar  = 40
	shortestBar = 8
	// besides is the number of rows of the terminal that are reserved for lines other than groups.
	besides = 10
)

// Progress returns a view of a rollout: a bar for each group, the counts, which explain the bars,
// the failures, and what the rollout waits for.
func Progress(r *v1alpha1.Rollout, now time.Time, s Style) string {
	lines := []line{heading(r, now, s)}
	lines = append(lines, rows(r, s)...)
	lines = append(lines, s.flow(2, 2, legend(totals(r), s))...)
	lines = append(lines, failures(r, s)...)
	return s.render(append(lines, waiting(r, s)...))
}

// Line returns the same in one line, for logs. Two lines differ only if the status has changed.
func Line(r *v1alpha1.Rollout) string {
	parts := []string{strings.Join(countsOf(totals(r)), ", "), strings.Join(groupsOf(r), ", ")}
	if w := r.Status.WaitingFor; w != nil && w.Reason != v1alpha1.ReasonProgressing { // while it progresses, the counts show what it waits for
		parts = append(parts, "waits: "+w.Message)
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return strings.TrimSuffix(r.Name+" "+stateOf(r)+": "+strings.Join(parts, "; "), ": ")
}

// countsOf returns the counts that are not 0, not started ones first.
func countsOf(c v1alpha1.Counts) []string {
	var counts []string
	for _, b := range slices.Backward(buckets) {
		if n := b.count(c); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, b.name))
		}
	}
	return counts
}

// groupsOf returns the groups that have opened, each with the number of succeeded targets.
func groupsOf(r *v1alpha1.Rollout) []string {
	var groups []string
	for i := range r.Status.Groups {
		if g := &r.Status.Groups[i]; g.OpenedAt != nil {
			groups = append(groups, fmt.Sprintf("%s %s %s", g.Name, g.State, done(g.Counts)))
		}
	}
	return groups
}

// heading returns the name of the rollout, its state, how long it has been running, and its set if
// that has another name.
func heading(r *v1alpha1.Rollout, now time.Time, s Style) line {
	dot := span{s.word("  ·  ", "  -  "), dim}
	l := line{{r.Name, bold}, dot, {stateOf(r), hueOfRollout(r)}}
	if age := elapsed(r, now); age != "" {
		l = append(l, dot, span{age, plain})
	}
	switch update := &r.Spec.Update; {
	case len(update.Remove) > 0:
		l = append(l, dot, span{update.Subject(), plain})
	case update.DistributionSet != r.Name:
		l = append(l, dot, span{"set " + update.DistributionSet, plain})
	}
	return l
}

// stateOf returns the state of the rollout, which is empty before the first reconcile.
func stateOf(r *v1alpha1.Rollout) string {
	if r.Status.State == "" {
		return string(v1alpha1.RolloutCreating)
	}
	return string(r.Status.State)
}

func totals(r *v1alpha1.Rollout) v1alpha1.Counts {
	if r.Status.Targets == nil {
		return v1alpha1.Counts{}
	}
	return *r.Status.Targets
}

// elapsed returns how long the rollout has been running, or ran.
func elapsed(r *v1alpha1.Rollout, now time.Time) string {
	if r.Status.StartedAt == nil {
		return ""
	}
	if r.Status.FinishedAt != nil {
		now = r.Status.FinishedAt.Time
	}
	age := max(now.Sub(r.Status.StartedAt.Time), 0).Round(time.Second)
	if age < time.Minute {
		return fmt.Sprintf("%d s", int(age.Seconds()))
	}
	return strings.TrimSuffix(age.String(), "0s")
}

// rows returns a line for each group. If there are too many groups, it returns those around the
// running one.
func rows(r *v1alpha1.Rollout, s Style) []line {
	groups := r.Status.Groups
	from, to := 0, len(groups)
	if s.Height > 0 {
		from, to = window(groups, max(s.Height-besides, 3))
	}
	var lines []line
	if from > 0 {
		lines = append(lines, line{{fmt.Sprintf("  %d groups before", from), dim}})
	}
	names := 0
	for i := range groups {
		names = max(names, min(len(groups[i].Name), longestName))
	}
	for i := from; i < to; i++ {
		lines = append(lines, row(&groups[i], names, s))
	}
	if rest := len(groups) - to; rest > 0 {
		lines = append(lines, line{{fmt.Sprintf("  %d groups after", rest), dim}})
	}
	return lines
}

// window returns the range of groups that fits into the terminal. It starts with the last group
// that is finished.
func window(groups []v1alpha1.GroupStatus, room int) (from, to int) {
	if len(groups) <= room {
		return 0, len(groups)
	}
	for from < len(groups) && groups[from].State == v1alpha1.GroupFinished {
		from++
	}
	from = max(0, min(from-1, len(groups)-room))
	return from, from + room
}

func row(g *v1alpha1.GroupStatus, names int, s Style) line {
	name := []rune(g.Name)
	if len(name) > longestName {
		name = append(name[:longestName-1:longestName-1], []rune(s.word("…", "~"))...)
	}
	const numbers, state = 9, 9
	columns := max(shortestBar, min(longestBar, s.width()-names-numbers-state-s.barColumns(0)-8))
	l := line{{fmt.Sprintf("  %-*s  ", names, string(name)), plain}}
	l = append(l, s.bar(g.Counts, columns)...)
	return append(l,
		span{fmt.Sprintf("  %*s  ", numbers, done(g.Counts)), plain},
		span{string(g.State), hueOfGroup(g.State)})
}

// done returns how many of the existing targets have succeeded.
func done(c v1alpha1.Counts) string { return fmt.Sprintf("%d/%d", c.Succeeded, c.Targets-c.Removed) }

// legend returns the counts, each with its character in the bars.
func legend(c v1alpha1.Counts, s Style) []line {
	var items []line
	for _, b := range slices.Backward(buckets) {
		n := b.count(c)
		if b.rare && n == 0 {
			continue
		}
		h := b.hue
		if n == 0 {
			h = dim
		}
		items = append(items, line{{s.word(b.unicode, b.ascii) + " ", h}, {fmt.Sprintf("%d %s", n, b.name), h}})
	}
	if c.Removed > 0 {
		items = append(items, line{{fmt.Sprintf("%d removed", c.Removed), dim}})
	}
	return items
}

// failures returns the three most frequent failures.
func failures(r *v1alpha1.Rollout, s Style) []line {
	var lines []line
	for _, f := range r.Status.Failures[:min(len(r.Status.Failures), 3)] {
		text := fmt.Sprintf("%d failed %s", f.Count, reported(f))
		if len(f.Examples) > 0 {
			text += ", such as " + strings.Join(f.Examples, ", ")
		}
		lines = append(lines, s.paragraph(2, text, red)...)
	}
	return lines
}

// reported returns the code or message that the devices of one entry of status.failures reported.
func reported(f v1alpha1.FailureCount) string {
	switch {
	case f.StatusCode != "":
		return "with code " + f.StatusCode
	case f.Message != "":
		return fmt.Sprintf("with the message %q", f.Message)
	}
	return "without a code"
}

// waiting returns what the rollout waits for.
func waiting(r *v1alpha1.Rollout, s Style) []line {
	w := r.Status.WaitingFor
	if w == nil {
		return nil
	}
	h := plain
	if meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionStalled) {
		h = red
	}
	text := "waits: " + w.Message
	if w.Until != nil {
		text += " (until " + w.Until.UTC().Format(time.RFC3339) + ")"
	}
	return s.paragraph(2, text, h)
}

func hueOfRollout(r *v1alpha1.Rollout) hue {
	switch r.Status.State {
	case v1alpha1.RolloutFinished:
		return green
	case v1alpha1.RolloutPaused, v1alpha1.RolloutStopping, v1alpha1.RolloutStopped:
		return yellow
	default:
		return cyan
	}
}

func hueOfGroup(state v1alpha1.GroupState) hue {
	switch state {
	case v1alpha1.GroupFinished:
		return green
	case v1alpha1.GroupError:
		return red
	case v1alpha1.GroupRunning:
		return cyan
	default:
		return dim
	}
}
