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

// supersedeMembers marks, for good, the members that newer rollouts have taken: in groups that have
// not opened as soon as the newer one has started, in open groups as soon as the member's group
// there opens. It decides nothing else.
func (l *planner) supersedeMembers() next {
	if !l.hasStarted() || l.isOver() || l.status.State == v1alpha1.RolloutStopping {
		return goOn
	}
	taken := make([]int, len(l.Claims))
	for _, g := range l.groups {
		if g.object != nil && !l.isHistory(g) && l.supersedeIn(g, taken) {
			l.writeAhead(g)
		}
	}
	for i, claim := range l.Claims {
		if taken[i] > 0 {
			l.event(EventSuperseded, "rollout %s, which is newer, took %s over", claim.Name, targets(taken[i]))
		}
	}
	return goOn
}

// supersedeIn reports whether the group's status has anything new to remember.
func (l *planner) supersedeIn(g *group, taken []int) bool {
	changed := false
	for i, claim := range l.Claims {
		bits, n := l.overlapOf(claim, g), len(g.object.Spec.Targets)
		all, added := bitmap.Union(g.object.Status.Superseded, bits, n)
		if added == 0 && (bitmap.IsEmpty(bits) || !l.isToBeNamed(&g.object.Status, claim)) {
			continue
		}
		g.object.Status.Superseded, g.stale, changed = all, true, true
		taken[i] += added
		l.name(&g.object.Status, claim)
	}
	return changed
}

// overlapOf are the members of a group that a claim takes: of an open group those whose group of
// the newer rollout has opened, and those that run what it brings.
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

// bitsOf is the bitmap of a group; nil: there is none.
func bitsOf(bitmaps [][]byte, group int) []byte {
	if group >= len(bitmaps) {
		return nil
	}
	return bitmaps[group]
}

// maxSupersededBy is how many newer rollouts a group names.
const maxSupersededBy = 100

// isToBeNamed reports whether the group does not name the newer rollout yet and has room for it.
func (l *planner) isToBeNamed(s *v1alpha1.DeploymentGroupStatus, c Overlap) bool {
	return !slices.ContainsFunc(s.SupersededBy, isBy(c)) && (len(s.SupersededBy) < maxSupersededBy || slices.ContainsFunc(s.SupersededBy, l.isHistoryOf))
}

// isHistoryOf reports whether a newer rollout claims nothing any more. What it took stays taken.
func (l *planner) isHistoryOf(s v1alpha1.SupersedingRollout) bool {
	return !slices.ContainsFunc(l.Claims, func(c Overlap) bool { return isBy(c)(s) })
}

func isBy(c Overlap) func(v1alpha1.SupersedingRollout) bool {
	return func(s v1alpha1.SupersedingRollout) bool { return s.UID == types.UID(c.UID) }
}

// name the newer rollout; when there is no room, one that claims nothing any more leaves, else the
// one named first.
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
