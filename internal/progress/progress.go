// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// longestName is the maximum number of characters shown of a group's name.
	longestName = 24
	// longestBar is the maximum number of columns of a bar.
	longestBar  = 40
	shortestBar = 8
	// besides is the number of rows of the terminal that are reserved for lines other than groups.
	besides = 12
	// mostFailed is the number of failed targets that are shown below a group.
	mostFailed = 5
)

// Progress returns a view of a rollout: what it waits for, a bar for each group with examples of
// its failed targets, the counts, which explain the bars, the failures, the other rollouts that
// have the same targets, and when it is expected to end.
func Progress(r explain.Status, now time.Time, s Style) string {
	lines := []line{heading(&r, now, s)}
	lines = append(lines, waiting(&r, s)...)
	lines = append(lines, rows(&r, s)...)
	lines = append(lines, s.flow(2, 2, legend(r.Targets, s))...)
	lines = append(lines, failures(&r, s)...)
	lines = append(lines, overlaps(&r, s)...)
	return s.render(append(lines, forecast(&r, now, s)...))
}

// Line returns the same in one line, for logs. Two lines differ only if the status has changed.
func Line(r explain.Status) string {
	parts := []string{strings.Join(countsOf(r.Targets), ", "), strings.Join(groupsOf(&r), ", ")}
	switch {
	case r.Message == "", r.Reason == v1alpha1.ReasonProgressing: // while it progresses, the counts show what it waits for
	default:
		parts = append(parts, r.Sentence())
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return strings.TrimSuffix(r.Name+" "+string(r.State)+": "+strings.Join(parts, "; "), ": ")
}

// Summary returns a bar of all targets with this width, for a list of rollouts.
func Summary(c v1alpha1.Counts, columns int, s Style) string {
	var out strings.Builder
	s.renderLine(&out, s.bar(c, columns))
	return out.String()
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
func groupsOf(r *explain.Status) []string {
	var groups []string
	for i := range r.Groups {
		if g := &r.Groups[i]; g.OpenedAt != nil {
			groups = append(groups, fmt.Sprintf("%s %s %s", g.Name, g.State, Done(g.Targets)))
		}
	}
	return groups
}

// heading returns the name of the rollout, its state, how long it has been running, and its set if
// that has another name.
func heading(r *explain.Status, now time.Time, s Style) line {
	dot := span{s.word("  ·  ", "  -  "), dim}
	l := line{{r.Name, bold}, dot, {string(r.State), hueOfRollout(r)}}
	if r.StartedAt != nil {
		l = append(l, dot, span{explain.Duration(r.Elapsed(now)), plain})
	}
	switch {
	case r.Removes:
		l = append(l, dot, span{r.Update, plain})
	case r.Update != r.Name:
		l = append(l, dot, span{"set " + r.Update, plain})
	}
	return l
}

// rows returns a line for each group, and below it its failed targets. If there are too many
// groups, it returns those around the running one.
func rows(r *explain.Status, s Style) []line {
	groups := r.Groups
	from, to := 0, len(groups)
	if s.Height > 0 {
		from, to = window(groups, max(s.Height-besides, 3))
	}
	var lines []line
	if from > 0 {
		lines = append(lines, line{{fmt.Sprintf("  %s%s before", s.word("├─ ", "|- "), text.Count(from, "group")), dim}})
	}
	names := 0
	for i := range groups {
		names = max(names, min(len(groups[i].Name), longestName))
	}
	room := failedRoom(groups, s)
	for i := from; i < to; i++ {
		isLast := i == len(groups)-1
		lines = append(lines, row(&groups[i], names, isLast, s))
		below := s.word("│  ", "|  ")
		if isLast {
			below = "   "
		}
		lines = append(lines, failedTargets(groups[i].Failed, int(groups[i].Targets.Failed), "  "+below, min(mostFailed, room), s)...)
	}
	if rest := len(groups) - to; rest > 0 {
		lines = append(lines, line{{fmt.Sprintf("  %s%s after", s.word("└─ ", "`- "), text.Count(rest, "group")), dim}})
	}
	return append(lines, failedTargets(r.Failed, 0, "  ", min(mostFailed, room), s)...)
}

// failedRoom returns how many failed targets fit below each group.
func failedRoom(groups []explain.GroupProgress, s Style) int {
	if s.Height <= 0 {
		return mostFailed
	}
	withFailures := 0
	for i := range groups {
		if len(groups[i].Failed) > 0 {
			withFailures++
		}
	}
	return max(0, (s.Height-besides-min(len(groups), s.Height-besides))/max(withFailures, 1)-1)
}

// failedTargets returns a line for each of at most this number of failed targets.
func failedTargets(failed []explain.FailedTarget, all int, indent string, most int, s Style) []line {
	shown := failed[:min(len(failed), most)]
	names := 0
	for i := range shown {
		names = max(names, len(shown[i].Name))
	}
	var lines []line
	for i := range shown {
		f := &shown[i]
		branch := s.word("├─ ", "|- ")
		if i == len(shown)-1 && all <= len(shown) {
			branch = s.word("└─ ", "`- ")
		}
		l := line{{indent + branch, dim}, {fmt.Sprintf("%s %-*s", s.word("×", "x"), names, f.Name), red}, {"  " + howFailed(f), plain}}
		if f.Inconsistent {
			l = append(l, span{s.word("  ·  ", "  -  ") + "inconsistent", yellow})
		}
		lines = append(lines, l)
	}
	if rest := all - len(shown); rest > 0 && len(shown) > 0 {
		lines = append(lines, line{{fmt.Sprintf("%s%s%d more failed", indent, s.word("└─ ", "`- "), rest), dim}})
	}
	return lines
}

// howFailed returns the code and the message of a failed target.
func howFailed(f *explain.FailedTarget) string {
	parts := []string{}
	if f.StatusCode != "" {
		parts = append(parts, "code "+f.StatusCode)
	}
	if f.Message != "" {
		parts = append(parts, strconv.Quote(f.Message))
	}
	if len(parts) == 0 {
		parts = append(parts, "no code and no message")
	}
	if f.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", f.Attempt))
	}
	return strings.Join(parts, ", ")
}

// window returns the range of groups that fits into the terminal: it ends behind the first group
// that has not opened.
func window(groups []explain.GroupProgress, room int) (from, to int) {
	if len(groups) <= room {
		return 0, len(groups)
	}
	next := slices.IndexFunc(groups, func(g explain.GroupProgress) bool {
		return g.State == v1alpha1.GroupScheduled || g.State == v1alpha1.GroupReady
	})
	if next < 0 {
		next = len(groups) - 1
	}
	from = max(0, min(next+1, len(groups))-room)
	return from, from + room
}

func row(g *explain.GroupProgress, names int, isLast bool, s Style) line {
	name := []rune(g.Name)
	if len(name) > longestName {
		name = append(name[:longestName-1:longestName-1], []rune(s.word("…", "~"))...)
	}
	branch := s.word("├─ ", "|- ")
	if isLast {
		branch = s.word("└─ ", "`- ")
	}
	const numbers, state = 9, 9
	columns := max(shortestBar, min(longestBar, s.width()-names-numbers-state-s.barColumns(0)-11))
	l := line{{"  " + branch, dim}, {fmt.Sprintf("%-*s  ", names, string(name)), plain}}
	l = append(l, s.bar(g.Targets, columns)...)
	return append(l,
		span{fmt.Sprintf("  %*s  ", numbers, Done(g.Targets)), plain},
		span{string(g.State), hueOfGroup(g.State)})
}

// Done returns how many of the existing targets have succeeded.
func Done(c v1alpha1.Counts) string { return fmt.Sprintf("%d/%d", c.Succeeded, c.Existing()) }

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

// mostCodes is the number of failures that are shown.
const mostCodes = 5

// failures returns the most frequent failures. Those whose examples are shown below their groups
// have no names.
func failures(r *explain.Status, s Style) []line {
	var lines []line
	for _, f := range r.Failures[:min(len(r.Failures), mostCodes)] {
		text := fmt.Sprintf("%d failed with %s", f.Count, explain.FailureText(f))
		if len(f.Examples) > 0 {
			text += ", such as " + strings.Join(f.Examples, ", ")
		}
		lines = append(lines, s.paragraph(text, red)...)
	}
	return lines
}

// waiting returns what the rollout waits for, or how it has ended, and what else needs attention.
func waiting(r *explain.Status, s Style) []line {
	var lines []line
	if r.Message != "" {
		text := r.Sentence()
		if r.Until != nil {
			text += " (until " + r.Until.UTC().Format(time.RFC3339) + ")"
		}
		lines = s.paragraph(text, hueOfOutcome(r.Outcome))
	}
	for _, n := range r.Notices {
		lines = append(lines, s.paragraph(n.Reason+": "+n.Message, red)...)
	}
	return lines
}

// overlaps returns the other rollouts that have targets of this one.
func overlaps(r *explain.Status, s Style) []line {
	var lines []line
	for _, o := range r.Overlaps {
		lines = append(lines, s.paragraph(fmt.Sprintf("shares %s with %s (%s): %s", text.Count(o.Targets, "target"), o.Rollout, o.State, o.Message), yellow)...)
	}
	if len(r.NotCompared) > 0 {
		lines = append(lines, s.paragraph("too many targets to find those that are shared with "+strings.Join(r.NotCompared, ", "), dim)...)
	}
	if t := r.Superseded; t != nil {
		lines = append(lines, s.paragraph(fmt.Sprintf("%s taken over before the start by %s", text.Count(t.Targets, "target"), strings.Join(t.By, ", ")), yellow)...)
	}
	return lines
}

// forecast returns when the rollout is expected to end.
func forecast(r *explain.Status, now time.Time, s Style) []line {
	switch f := r.Forecast; {
	case f == nil:
		return nil
	case f.At == nil:
		return s.paragraph("no forecast: "+f.None, dim)
	default:
		text := fmt.Sprintf("forecast: %s about %s (in %s", f.Event, f.At.UTC().Format(time.RFC3339), explain.Duration(max(f.At.Sub(now), 0)))
		if f.Earliest != nil && f.Latest != nil {
			text += fmt.Sprintf("; between %s and %s", explain.Duration(max(f.Earliest.Sub(now), 0)), explain.Duration(max(f.Latest.Sub(now), 0)))
		}
		return s.paragraph(text+"): "+f.Basis, dim)
	}
}

func hueOfOutcome(o explain.Outcome) hue {
	switch o {
	case explain.OutcomePausedByErrors, explain.OutcomeFailed:
		return red
	case explain.OutcomeWaitsForPerson:
		return yellow
	case explain.OutcomeFinished:
		return green
	default:
		return plain
	}
}

func hueOfRollout(r *explain.Status) hue {
	switch r.State {
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
