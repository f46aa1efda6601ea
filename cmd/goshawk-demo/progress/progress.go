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
	// longestName is how many characters of a group's name are shown.
	longestName = 24
	// longestBar is how many columns a bar takes at most.
	longestBar  = 40
	shortestBar = 8
	// besides is how many rows of the terminal are kept for what is not a group.
	besides = 10
)

// Progress is a rollout at a glance: a bar for each group, the counts, which explain the bars, what
// failed, and what it waits for.
func Progress(r *v1alpha1.Rollout, now time.Time, s Style) string {
	lines := []line{heading(r, now, s)}
	lines = append(lines, rows(r, s)...)
	lines = append(lines, s.flow(2, 2, legend(totals(r), s))...)
	lines = append(lines, failures(r, s)...)
	return s.render(append(lines, waiting(r, s)...))
}

// Line returns the same in one line, for logs. Two lines differ only if something has happened.
func Line(r *v1alpha1.Rollout) string {
	parts := []string{strings.Join(countsOf(totals(r)), ", "), strings.Join(groupsOf(r), ", ")}
	if w := r.Status.WaitingFor; w != nil && w.Reason != v1alpha1.ReasonProgressing { // of what moves, the numbers say what it waits for
		parts = append(parts, "waits: "+w.Message)
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return strings.TrimSuffix(r.Name+" "+stateOf(r)+": "+strings.Join(parts, "; "), ": ")
}

// countsOf are those that are not 0, the farthest from the end first.
func countsOf(c v1alpha1.Counts) []string {
	var counts []string
	for _, b := range slices.Backward(buckets) {
		if n := b.count(c); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, b.name))
		}
	}
	return counts
}

// groupsOf are those that have opened, with what has succeeded.
func groupsOf(r *v1alpha1.Rollout) []string {
	var groups []string
	for i := range r.Status.Groups {
		if g := &r.Status.Groups[i]; g.OpenedAt != nil {
			groups = append(groups, fmt.Sprintf("%s %s %s", g.Name, g.State, done(g.Counts)))
		}
	}
	return groups
}

// heading names the rollout, its state, how long it has been running, and its set, unless that has
// the same name.
func heading(r *v1alpha1.Rollout, now time.Time, s Style) line {
	dot := span{s.word("  ·  ", "  -  "), dim}
	l := line{{r.Name, bold}, dot, {stateOf(r), hueOfRollout(r)}}
	if age := elapsed(r, now); age != "" {
		l = append(l, dot, span{age, plain})
	}
	if set := r.Spec.Update.DistributionSet; set != r.Name {
		l = append(l, dot, span{"set " + set, plain})
	}
	return l
}

// stateOf is empty only before the controller's first look.
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

// elapsed is how long the rollout has been running, or ran.
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

// rows are the groups; of many, those that are neither over nor far ahead.
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

// window is the part of the groups that fits: it starts with the last of those that are over.
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

// done is how many of those that still exist have succeeded.
func done(c v1alpha1.Counts) string { return fmt.Sprintf("%d/%d", c.Succeeded, c.Targets-c.Removed) }

// legend are the counts, each with the character that stands for it in the bars.
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

// failures are the three most frequent.
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

// reported is what the devices of a line of the failure table said.
func reported(f v1alpha1.FailureCount) string {
	switch {
	case f.StatusCode != "":
		return "with code " + f.StatusCode
	case f.Message != "":
		return fmt.Sprintf("with the message %q", f.Message)
	}
	return "without a code"
}

// waiting is the rollout's own sentence on what would move it.
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
