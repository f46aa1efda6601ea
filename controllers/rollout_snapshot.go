// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// snapshot collects all facts for one reconcile of a rollout from the caches.
func (r *RolloutReconciler) snapshot(obj *v1alpha1.Rollout, tally func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) counting.Tally) rollout.Snapshot {
	s := rollout.Snapshot{
		Now:            r.Now(),
		Rollout:        obj,
		Set:            r.setOf(obj),
		Population:     sync.OnceValue(func() []*v1alpha1.Target { return r.Index.Targets(obj.Namespace) }),
		Inventories:    r.Index.Software,
		JoinCandidates: func(n int) []*v1alpha1.Target { return r.targetsToJoin(obj, n) },
		SetNamed: func(name string) *eligibility.Set {
			return r.Index.Set(types.NamespacedName{Namespace: obj.Namespace, Name: name})
		},
		AutoAssignments: r.Index.AutoAssignmentReach(obj.Namespace),
		RequireApproval: r.RequireApproval,
	}
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil {
			if mayBelongToPlan(g, obj) {
				s.Unreadable = append(s.Unreadable, g.Name)
			}
			continue
		}
		if !grouping.BelongsTo(g, obj) {
			s.Leftover = append(s.Leftover, g)
			continue
		}
		group := rollout.Group{Object: g, Members: sync.OnceValue(func() []*v1alpha1.Target { return r.members(g) })}
		if isNamed(g, obj) {
			group.Tally = tally(obj, g)
		}
		s.Groups = append(s.Groups, group)
	}
	r.addOtherRollouts(&s)
	return s
}

// mayBelongToPlan reports whether a group that cannot be decoded may belong to the plan of its
// rollout.
func mayBelongToPlan(g *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return r.Status.Plan == nil || g.Unreadable.Lacks("spec.planHash") || g.Spec.PlanHash == r.Status.Plan.Hash
}

// isNamed reports whether status.groups names the group. A dynamic group is created before it is
// named, and is not counted until then.
func isNamed(g *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return int(g.Spec.Index) < len(r.Status.Groups) && r.Status.Groups[g.Spec.Index].Name == g.Spec.Group
}

// members returns the members of a group in the order of its spec.targets. A deleted target is nil.
func (r *RolloutReconciler) members(g *v1alpha1.DeploymentGroup) []*v1alpha1.Target {
	members := make([]*v1alpha1.Target, len(g.Spec.Targets))
	for i, name := range g.Spec.Targets {
		members[i] = r.Index.Target(types.NamespacedName{Namespace: g.Namespace, Name: string(name)})
	}
	return members
}

// addOtherRollouts adds the facts about other rollouts of the namespace that affect this one.
func (r *RolloutReconciler) addOtherRollouts(s *rollout.Snapshot) {
	self := s.Rollout
	for _, other := range byOrder(r.Index.Rollouts(self.Namespace)) {
		if other.UID == self.UID || !other.DeletionTimestamp.IsZero() {
			continue
		}
		if other.Unreadable != nil && (self.Status.StartedAt == nil || !r.takesOver(other, self) || other.Status.Plan == nil) {
			continue // its groups cannot be decoded, so it does nothing: do not wait for it, and leave it the targets that it has taken
		}
		switch {
		case self.Status.StartedAt == nil:
			s.Neighbors = append(s.Neighbors, rollout.Neighbor{Rollout: other, Set: r.setOf(other), Shared: sync.OnceValue(func() [][]byte { return r.sharedWith(s.Groups, other) })})
		case r.takesOver(other, self):
			s.Overlaps = append(s.Overlaps, r.overlap(s, other))
		case self.Status.State == v1alpha1.RolloutStarting && r.takesOver(self, other) && r.holdsShared(s, other):
			s.OlderRollouts = append(s.OlderRollouts, other.Name)
		}
	}
}

// sharedWith marks the members that the other rollout has as well or, as long as its plan is not
// known, selects as well.
func (r *RolloutReconciler) sharedWith(groups []rollout.Group, other *v1alpha1.Rollout) [][]byte {
	marks := make([][]byte, len(groups))
	if r.isPlanKnown(other) {
		for i, bits := range r.shared(groups, other, anyGroup) {
			marks[i] = bits
		}
		return marks
	}
	filter, err := rollout.NewJoinFilter(other, r.Index.Software)
	if err != nil { // an invalid selection selects no targets
		return marks
	}
	set := r.setOf(other)
	for i, g := range groups {
		for position, t := range g.Members() {
			if t != nil && (set == nil || set.Fits(t.Spec.Type)) && filter.Selects(t) {
				marks[i] = bitmap.Set(marks[i], position, len(g.Object.Spec.Targets))
			}
		}
	}
	return marks
}

// isPlanKnown reports whether the index has all groups of a rollout's plan.
func (r *RolloutReconciler) isPlanKnown(obj *v1alpha1.Rollout) bool {
	return obj.Status.Plan != nil && r.knownGroups(obj) >= len(obj.Status.Groups)
}

// knownGroups returns how many of the groups in a rollout's status the index has.
func (r *RolloutReconciler) knownGroups(obj *v1alpha1.Rollout) int {
	known := 0
	for _, g := range r.Index.GroupsOf(obj) {
		if isKnown(g, obj) {
			known++
		}
	}
	return known
}

// isKnown reports whether a group counts as one of the groups in a rollout's status. A group that
// cannot be decoded counts if it may be one of them.
func isKnown(g *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return grouping.BelongsTo(g, r) && isNamed(g, r) || g.Unreadable != nil && g.Spec.RolloutUID == r.Identity() && mayBelongToPlan(g, r)
}

// byOrder sorts rollouts by their place in the order of updates, then by name.
func byOrder(rollouts []*v1alpha1.Rollout) []*v1alpha1.Rollout {
	slices.SortStableFunc(rollouts, func(a, b *v1alpha1.Rollout) int { return rollout.Since(a).Compare(rollout.Since(b)) })
	return rollouts
}

// takesOver reports whether the newer of two rollouts supersedes the older one, which has not
// ended.
func (r *RolloutReconciler) takesOver(newer, older *v1alpha1.Rollout) bool {
	return !rollout.IsOver(older) && rollout.Replaces(newer, older, r.setOf(older))
}

// setOf returns the set that a rollout deploys, or what takes its place in a removal. It returns
// nil if the set does not exist.
func (r *RolloutReconciler) setOf(obj *v1alpha1.Rollout) *eligibility.Set {
	return r.Index.SetOf(obj.Namespace, &obj.Spec.Update)
}

// overlap returns what a newer rollout takes from this one. It is computed again only when the
// newer rollout has opened a group, or when one of the two has grown.
func (r *RolloutReconciler) overlap(s *rollout.Snapshot, newer *v1alpha1.Rollout) rollout.Overlap {
	basis := overlapBasis{plan: newer.Status.Plan.Hash, open: openGroups(newer), groups: len(s.Groups)}
	for _, g := range s.Groups {
		basis.own += len(g.Object.Spec.Targets)
	}
	for _, g := range r.Index.GroupsOf(newer) {
		basis.theirs += len(g.Spec.Targets)
	}
	return r.overlaps.get(overlapKey{self: s.Rollout.UID, newer: newer.UID}, basis, func() rollout.Overlap {
		c := rollout.Overlap{Name: newer.Name, UID: string(newer.Identity()), Content: newer.Status.Plan.ContentHash, OpenGroups: int32(basis.open)}
		started, opened := r.shared(s.Groups, newer, anyGroup), r.shared(s.Groups, newer, openGroup)
		for i := range s.Groups {
			c.Started, c.Open = append(c.Started, started[i]), append(c.Open, opened[i])
		}
		return c
	})
}

// holdsShared reports whether an older rollout still has targets of this one in groups that are not
// open yet, and has not given them up.
func (r *RolloutReconciler) holdsShared(s *rollout.Snapshot, older *v1alpha1.Rollout) bool {
	unopened := func(o *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
		return !openGroup(o, g) && !hasGivenUp(g, s.Rollout.Identity())
	}
	return len(r.shared(s.Groups, older, unopened)) > 0
}

// anyGroup and openGroup choose the groups of the other rollout that count.
func anyGroup(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) bool { return true }

func openGroup(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
	return int(g.Spec.Index) < len(r.Status.Groups) && r.Status.Groups[g.Spec.Index].OpenedAt != nil
}

// shared marks, by group index, the members that the other rollout has as well, in groups that
// count. Groups without such members are left out.
func (r *RolloutReconciler) shared(groups []rollout.Group, other *v1alpha1.Rollout, counts func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) bool) map[int][]byte {
	theirs := map[string]struct{}{}
	for _, g := range r.Index.GroupsOf(other) {
		if grouping.BelongsTo(g, other) && counts(other, g) {
			for _, name := range g.Spec.Targets {
				theirs[string(name)] = struct{}{}
			}
		}
	}
	marks := map[int][]byte{}
	if len(theirs) == 0 {
		return marks
	}
	for i, g := range groups {
		for position, name := range g.Object.Spec.Targets {
			if _, ok := theirs[string(name)]; ok {
				marks[i] = bitmap.Set(marks[i], position, len(g.Object.Spec.Targets))
			}
		}
	}
	return marks
}

// hasGivenUp reports whether a group that is not open yet has given up its shared targets to a
// newer rollout.
func hasGivenUp(g *v1alpha1.DeploymentGroup, newer types.UID) bool {
	return slices.ContainsFunc(g.Status.SupersededBy, func(s v1alpha1.SupersedingRollout) bool { return s.UID == newer })
}

// overlaps caches what newer rollouts take from each rollout.
type overlaps struct {
	mu    sync.Mutex
	known map[overlapKey]cachedOverlap
}

type overlapKey struct{ self, newer types.UID }

// overlapBasis is what a cached overlap was computed from.
type overlapBasis struct {
	plan string
	// open groups of the newer rollout, and groups of this one in the cache.
	open, groups int
	// own and theirs are the numbers of members of both: dynamic groups grow.
	own, theirs int
}

type cachedOverlap struct {
	basis   overlapBasis
	overlap rollout.Overlap
}

func (c *overlaps) get(key overlapKey, basis overlapBasis, work func() rollout.Overlap) rollout.Overlap {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[key]; ok && known.basis == basis {
		return known.overlap
	}
	if c.known == nil {
		c.known = map[overlapKey]cachedOverlap{}
	}
	overlap := work()
	c.known[key] = cachedOverlap{basis, overlap}
	return overlap
}

// forget drops the cached overlaps of a deleted rollout.
func (c *overlaps) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(key overlapKey, _ cachedOverlap) bool { return key.self == uid || key.newer == uid })
}

// cacheLags reports whether groups exist that the cache does not have yet. A group that was just
// created must not be treated as deleted.
func (r *RolloutReconciler) cacheLags(ctx context.Context, obj *v1alpha1.Rollout) (bool, error) {
	known := r.knownGroups(obj)
	if obj.Status.Plan == nil || known >= len(obj.Status.Groups) {
		return false, nil
	}
	var live v1alpha1.DeploymentGroupList
	if err := r.Live.List(ctx, &live, client.InNamespace(obj.Namespace), client.MatchingLabels{v1alpha1.RolloutLabel: grouping.LabelValue(obj.Name)}); err != nil {
		return false, fmt.Errorf("list deployment groups of rollout %s: %w", obj.Name, err)
	}
	exist := 0
	for i := range live.Items {
		if isKnown(&live.Items[i], obj) {
			exist++
		}
	}
	return exist > known, nil
}
