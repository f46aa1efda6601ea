package rollout

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// giveUp marks, for good, the members that younger rollouts have taken: in groups that have not opened as soon as the younger one has started, in
// open groups as soon as the member's group there opens. It decides nothing else.
func (l *look) giveUp() bool {
	if !l.hasStarted() || l.isOver() || l.status.State == v1alpha1.RolloutStopping {
		return false
	}
	taken := make([]int, len(l.Claims))
	for _, g := range l.groups {
		if g.object != nil && !l.isHistory(g) && l.giveUpIn(g, taken) {
			l.writeAhead(g)
		}
	}
	for i, claim := range l.Claims {
		if taken[i] > 0 {
			l.tell(EventSuperseded, "rollout %s, which is newer, took %s over", claim.Name, targets(taken[i]))
		}
	}
	return false
}

// giveUpIn tells whether the group's status has anything new to remember.
func (l *look) giveUpIn(g *group, taken []int) bool {
	changed := false
	for i, claim := range l.Claims {
		bits, n := l.claimed(claim, g), len(g.object.Spec.Targets)
		all, added := union(g.object.Status.Superseded, bits, n)
		if added == 0 && (isEmpty(bits) || !l.isToBeNamed(&g.object.Status, claim)) {
			continue
		}
		g.object.Status.Superseded, g.stale, changed = all, true, true
		taken[i] += added
		l.name(&g.object.Status, claim)
	}
	return changed
}

// claimed are the members of a group that a claim takes: of an open group those whose group of the newer
// rollout has opened, and those that run what it brings.
func (l *look) claimed(c Claim, g *group) []byte {
	if !isOpen(l.at(g.index).State) {
		return bitsOf(c.Started, g.index)
	}
	bits, started := bitsOf(c.Open, g.index), bitsOf(c.Started, g.index)
	if isEmpty(started) || c.Content == l.status.Plan.ContentHash {
		return bits
	}
	bits = slices.Clone(bits)
	for i, t := range g.members() {
		if t != nil && Bit(started, i) && !Bit(bits, i) && action.Installed(&t.Status, c.Content) && action.OfSource(&t.Status, l.next.Identity()) == nil {
			bits = Marked(bits, i, len(g.object.Spec.Targets))
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

// maxSupersededBy is how many younger rollouts a group names.
const maxSupersededBy = 100

// isToBeNamed tells whether the group does not name the younger rollout yet and has room for it.
func (l *look) isToBeNamed(s *v1alpha1.DeploymentGroupStatus, c Claim) bool {
	return !slices.ContainsFunc(s.SupersededBy, isBy(c)) && (len(s.SupersededBy) < maxSupersededBy || slices.ContainsFunc(s.SupersededBy, l.isHistoryOf))
}

// isHistoryOf tells whether a younger rollout claims nothing any more. What it took stays taken.
func (l *look) isHistoryOf(s v1alpha1.SupersedingRollout) bool {
	return !slices.ContainsFunc(l.Claims, func(c Claim) bool { return isBy(c)(s) })
}

func isBy(c Claim) func(v1alpha1.SupersedingRollout) bool {
	return func(s v1alpha1.SupersedingRollout) bool { return s.UID == types.UID(c.UID) }
}

// name the younger rollout; when there is no room, one that claims nothing any more leaves, else the one named first.
func (l *look) name(s *v1alpha1.DeploymentGroupStatus, c Claim) {
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
