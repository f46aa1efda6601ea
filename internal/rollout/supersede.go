// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
)

// supersedeMembers marks the members that newer rollouts have taken over: in groups that have not
// opened, when the newer rollout has started; in open groups, when the group of the member in the
// newer rollout has opened. A mark is never removed.
func (l *planner) supersedeMembers() next {
	if !l.hasStarted() || l.isOver() || l.status.State == v1alpha1.RolloutStopping {
		return goOn
	}
	taken := make([]int, len(l.Overlaps))
	for _, g := range l.groups {
		if g.object != nil && !l.isHistory(g) && l.supersedeIn(g, taken) {
			l.writeAhead(g)
		}
	}
	for i, claim := range l.Overlaps {
		if taken[i] > 0 {
			l.event(EventSuperseded, "the newer rollout %s took %s over", claim.Name, targets(taken[i]))
		}
	}
	return goOn
}

// supersedeIn marks the members of one group, and reports whether its status has changed.
func (l *planner) supersedeIn(g *group, taken []int) bool {
	changed := false
	for i, claim := range l.Overlaps {
		bits, n := l.overlapOf(claim, g), len(g.object.Spec.Targets)
		all, added := bitmap.Union(g.object.Status.Superseded, bits, n)
		if added == 0 && (bitmap.IsEmpty(bits) || !l.isNewSuccessor(&g.object.Status, claim)) {
			continue
		}
		g.object.Status.Superseded, g.stale, changed = all, true, true
		taken[i] += added
		l.name(&g.object.Status, claim)
	}
	return changed
}

// overlapOf returns the members of a group that a newer rollout takes over: in an open group those
// whose group in the newer rollout has opened, and those that run its content.
func (l *planner) overlapOf(c Overlap, g *group) []byte {
	if !isOpen(l.at(g.index).State) {
		return bitsOf(c.Started, g.index)
	}
	bits, started := bitsOf(c.Open, g.index), bitsOf(c.Started, g.index)
	if bitmap.IsEmpty(started) || c.Content == l.status.Plan.ContentHash {
		return bits
	}
	bits = slices.Clone(bits)
	for i, t := range g.members() {
		if t != nil && bitmap.Has(started, i) && !bitmap.Has(bits, i) && action.Installed(&t.Status, c.Content) && action.OfSource(&t.Status, l.next.Identity()) == nil {
			bits = bitmap.Set(bits, i, len(g.object.Spec.Targets))
		}
	}
	return bits
}

// bitsOf returns the bitmap of a group, or nil if there is none.
func bitsOf(bitmaps [][]byte, group int) []byte {
	if group >= len(bitmaps) {
		return nil
	}
	return bitmaps[group]
}

// maxSupersededBy is the maximum number of newer rollouts that a group names.
const maxSupersededBy = 100

// isNewSuccessor reports whether the group does not name the newer rollout yet and has room for it.
func (l *planner) isNewSuccessor(s *v1alpha1.DeploymentGroupStatus, c Overlap) bool {
	return !slices.ContainsFunc(s.SupersededBy, isBy(c)) && (len(s.SupersededBy) < maxSupersededBy || slices.ContainsFunc(s.SupersededBy, l.isHistoryOf))
}

// isHistoryOf reports whether a newer rollout takes no further targets from this one.
func (l *planner) isHistoryOf(s v1alpha1.SupersedingRollout) bool {
	return !slices.ContainsFunc(l.Overlaps, func(c Overlap) bool { return isBy(c)(s) })
}

func isBy(c Overlap) func(v1alpha1.SupersedingRollout) bool {
	return func(s v1alpha1.SupersedingRollout) bool { return s.UID == types.UID(c.UID) }
}

// name adds the newer rollout to supersededBy. If the list is full, it replaces a rollout that
// takes no further targets, else the first one.
func (l *planner) name(s *v1alpha1.DeploymentGroupStatus, c Overlap) {
	by := v1alpha1.SupersedingRollout{Name: c.Name, UID: types.UID(c.UID), OpenGroups: c.OpenGroups}
	if i := slices.IndexFunc(s.SupersededBy, isBy(c)); i >= 0 {
		s.SupersededBy[i] = by
		return
	}
	if len(s.SupersededBy) == maxSupersededBy {
		i := max(0, slices.IndexFunc(s.SupersededBy, l.isHistoryOf))
		s.SupersededBy = slices.Delete(s.SupersededBy, i, i+1)
	}
	s.SupersededBy = append(s.SupersededBy, by)
}
