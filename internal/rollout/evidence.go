// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// The results of a group after Targets were deleted: a user who may delete Targets must not be able
// to loosen a condition that was approved.

// lost returns how many of the counted failures were of Targets that have been deleted, or deleted
// and created again, since. They count as failed until a resume; a retry concerns only existing
// members. The status has the number of counted failures, but not the names of the targets. A
// failure that was not written to the status before its Target was deleted is not counted.
func (l *planner) lost(g *group) int32 {
	if g.object == nil || g.index >= len(l.Rollout.Status.Groups) || g.kept != nil && *g.kept == 0 {
		return 0
	}
	if g.kept != nil {
		return min(*g.kept, l.tally(g).Counts.Removed+l.createdAnew(g))
	}
	was, removed := &l.Rollout.Status.Groups[g.index], l.tally(g).Counts.Removed
	lost, missing := was.RemovedFailures, max(0, was.CountedFailures-was.RemovedFailures-l.failing(g))
	since := max(0, removed-was.Counts.Removed) // a cache that is behind shows fewer failures, and no more removals
	if missing <= since && lost+missing <= removed {
		return lost + missing
	}
	anew := l.createdAnew(g)
	return min(lost+min(missing, since+anew), removed+anew)
}

// keepLost stores the number of lost failures before a retry or a resume changes the counts. After
// a resume it is 0.
func (l *planner) keepLost(resumed bool) {
	for _, g := range l.groups {
		kept := int32(0)
		if !resumed {
			kept = l.lost(g)
		}
		g.kept = &kept
	}
}

// createdAnew returns how many members have no result because their Target was deleted and created
// again after they could start.
func (l *planner) createdAnew(g *group) int32 {
	n := int32(0)
	if g.members == nil || l.at(g.index).OpenedAt == nil {
		return n
	}
	counter := l.counterOf(g)
	for i, t := range g.members() {
		m := counting.MemberOf(g.object, i)
		if t == nil || !t.CreationTimestamp.After(later(l.at(g.index).OpenedAt.Time, m.Joined)) {
			continue
		}
		if b := counter.BucketOf(t, m); b != counting.Succeeded && b != counting.Failed {
			n++
		}
	}
	return n
}

// lostAndRemoved returns how many lost failures are of removed members, which have to be added to
// denominators.
func (l *planner) lostAndRemoved(g *group) int32 {
	return min(l.lost(g), l.tally(g).Counts.Removed)
}

// weakness returns why the results of a group are not sufficient to open the next one, or "" if
// they are. They always are for a group that was planned empty, and if no target waits in a later
// group.
func (l *planner) weakness(g *group) string {
	t, planned := l.tally(g), int32(g.size())
	if planned == 0 || !l.isAwaitedBehind(g) {
		return ""
	}
	removed := t.Counts.Removed - l.lostAndRemoved(g)
	switch results := t.Succeeded + t.Failed + l.lost(g); {
	case results == 0 && counting.AllClosed(t.Counts):
		return fmt.Sprintf("group %s: no result is left of %s that %s planned: %s", g.name, targets(planned), wasWere(planned), without(t))
	case 2*removed > planned:
		return fmt.Sprintf("group %s: %d of %s that were planned %s removed; %d of the others succeeded, %d failed",
			g.name, removed, targets(planned), wasWere(removed), t.Succeeded, t.Failed)
	}
	return ""
}

// isAwaitedBehind reports whether a later group has scheduled members, or is open for targets that
// appear later.
func (l *planner) isAwaitedBehind(g *group) bool {
	for _, next := range l.groups[g.index+1:] {
		if next.isDynamic() || l.counts(next).Scheduled > 0 {
			return true
		}
	}
	return false
}

// without returns the part of a message that says what happened to the members without a result.
func without(t *counting.Tally) string {
	var out []string
	for _, part := range []struct {
		n    int32
		what string
	}{
		{t.Counts.Removed, "removed"}, {t.Superseded, "taken over by a newer update"}, {t.Canceled - t.Superseded, "canceled"}, {t.Counts.Skipped, "skipped"},
	} {
		if part.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return strings.Join(out, ", ")
}

func wasWere(n int32) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// maxEmpty is the maximum number of empty groups in a warning.
const maxEmpty = 3

// emptyGroups returns a warning about groups that were planned without members, and why, or "" if
// there are none. Such a group finishes at once, with every successAction.
func (l *planner) emptyGroups() string {
	var out []string
	more := 0
	for i, g := range l.groups {
		switch {
		case g.object == nil || g.isDynamic() || g.size() > 0:
		case len(out) == maxEmpty:
			more++
		default:
			out = append(out, fmt.Sprintf("group %s is empty: %s", g.name, l.whyEmpty(i)))
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %s more", text.Count(more, "group")))
	}
	return strings.Join(out, "; ")
}

func (l *planner) whyEmpty(i int) string {
	planned := l.status.Plan.Targets
	switch {
	case planned == 0:
		return "no target is selected"
	case i >= len(l.spec.Groups):
		return fmt.Sprintf("%s in %s", targets(planned), text.Count(int(l.status.Plan.Groups), "group"))
	}
	g := &l.spec.Groups[i]
	switch selects := g.TargetSelector != nil || g.TargetExpression != ""; {
	case g.Percentage == nil && selects:
		return "its selection matches no target that is left"
	case g.Percentage == nil:
		return "no target is left for it"
	case selects:
		return fmt.Sprintf("%d percent of the targets that its selection matches", *g.Percentage)
	}
	return fmt.Sprintf("%d percent of %s", *g.Percentage, targets(planned))
}

// withEmptyGroups adds the warning about empty groups to a message for approvers.
func (l *planner) withEmptyGroups(message string) string {
	if warning := l.emptyGroups(); warning != "" {
		message += "; warning: " + warning
	}
	return message
}

// noteCounted stores how many failures of an open group count.
func (l *planner) noteCounted(g *group) {
	if st := l.at(g.index); isOpen(st.State) && g.object != nil {
		st.CountedFailures, st.RemovedFailures = l.failed(g), l.lost(g)
	}
}

// isBehindGroup reports whether a pause is between two groups, so that its resume opens the next
// one.
func isBehindGroup(r v1alpha1.PauseReason) bool {
	return r == v1alpha1.PauseBySuccessAction || r == v1alpha1.PauseByWeakGroup
}
