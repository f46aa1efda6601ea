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
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// snapshot is all that one look at a rollout may know, from the caches.
func (r *RolloutReconciler) snapshot(obj *v1alpha1.Rollout, tally func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) rollout.Tally) rollout.Snapshot {
	s := rollout.Snapshot{
		Now:        r.Now(),
		Rollout:    obj,
		Set:        r.setOf(obj),
		Population: sync.OnceValue(func() []*v1alpha1.Target { return r.Index.Targets(obj.Namespace) }),
		Joiners:    func(n int) []*v1alpha1.Target { return r.joinersOf(obj, n) },
		SetNamed: func(name string) *offer.Set {
			return r.Index.Set(types.NamespacedName{Namespace: obj.Namespace, Name: name})
		},
		Cover:           r.Index.Cover(obj.Namespace),
		RequireApproval: r.RequireApproval,
	}
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil {
			if mayBeOfPlan(g, obj) {
				s.Unreadable = append(s.Unreadable, g.Name)
			}
			continue
		}
		if !fleet.Exists(g, obj) {
			s.Leftover = append(s.Leftover, g)
			continue
		}
		group := rollout.Group{Object: g, Members: sync.OnceValue(func() []*v1alpha1.Target { return r.members(g) })}
		if isNamed(g, obj) {
			group.Tally = tally(obj, g)
		}
		s.Groups = append(s.Groups, group)
	}
	r.relate(&s)
	return s
}

// mayBeOfPlan reports whether a group that cannot be decoded belongs to the plan of its rollout, as
// far as that is known.
func mayBeOfPlan(g *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return r.Status.Plan == nil || g.Unreadable.Lacks("spec.planHash") || g.Spec.PlanHash == r.Status.Plan.Hash
}

// isNamed reports whether status.groups names the group. A dynamic one is created before it does,
// and there is nothing to count it by until then.
func isNamed(g *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return int(g.Spec.Index) < len(r.Status.Groups) && r.Status.Groups[g.Spec.Index].Name == g.Spec.Group
}

// members of a group, aligned with its spec.targets; nil: the target is gone.
func (r *RolloutReconciler) members(g *v1alpha1.DeploymentGroup) []*v1alpha1.Target {
	members := make([]*v1alpha1.Target, len(g.Spec.Targets))
	for i, name := range g.Spec.Targets {
		members[i] = r.Index.Target(types.NamespacedName{Namespace: g.Namespace, Name: string(name)})
	}
	return members
}

// relate fills in what other rollouts of the namespace mean to this one.
func (r *RolloutReconciler) relate(s *rollout.Snapshot) {
	self := s.Rollout
	for _, other := range byOrder(r.Index.Rollouts(self.Namespace)) {
		if other.UID == self.UID || !other.DeletionTimestamp.IsZero() {
			continue
		}
		if other.Unreadable != nil && (self.Status.StartedAt == nil || !r.takesOver(other, self) || other.Status.Plan == nil) {
			continue // it is held: this one waits for nothing of it, and leaves it what it has taken
		}
		switch {
		case self.Status.StartedAt == nil:
			s.Neighbors = append(s.Neighbors, rollout.Neighbor{Rollout: other, Set: r.setOf(other), Shared: sync.OnceValue(func() [][]byte { return r.sharedWith(s.Groups, other) })})
		case r.takesOver(other, self):
			s.Claims = append(s.Claims, r.overlap(s, other))
		case self.Status.State == v1alpha1.RolloutStarting && r.takesOver(self, other) && r.holdsShared(s, other):
			s.Unsettled = append(s.Unsettled, other.Name)
		}
	}
}

// sharedWith marks the members that another rollout has too or, as long as its plan is not known,
// selects.
func (r *RolloutReconciler) sharedWith(groups []rollout.Group, other *v1alpha1.Rollout) [][]byte {
	marks := make([][]byte, len(groups))
	if r.isPlanKnown(other) {
		for i, bits := range r.shared(groups, other, anyGroup) {
			marks[i] = bits
		}
		return marks
	}
	intake, err := rollout.NewIntake(other)
	if err != nil { // it selects no targets until somebody corrects it
		return marks
	}
	set := r.setOf(other)
	for i, g := range groups {
		for position, t := range g.Members() {
			if t != nil && (set == nil || set.Fits(t.Spec.Type)) && intake.Selects(t) {
				marks[i] = rollout.Marked(marks[i], position, len(g.Object.Spec.Targets))
			}
		}
	}
	return marks
}

// isPlanKnown reports whether the index has all groups of a rollout's plan.
func (r *RolloutReconciler) isPlanKnown(obj *v1alpha1.Rollout) bool {
	return obj.Status.Plan != nil && r.knownGroups(obj) >= len(obj.Status.Groups)
}

// knownGroups is how many of the groups that a rollout's status names the index has.
func (r *RolloutReconciler) knownGroups(obj *v1alpha1.Rollout) int {
	known := 0
	for _, g := range r.Index.GroupsOf(obj) {
		if fleet.Exists(g, obj) && isNamed(g, obj) || g.Unreadable != nil && mayBeOfPlan(g, obj) {
			known++
		}
	}
	return known
}

// byOrder sorts rollouts by their place in the order of updates, then by name.
func byOrder(rollouts []*v1alpha1.Rollout) []*v1alpha1.Rollout {
	slices.SortStableFunc(rollouts, func(a, b *v1alpha1.Rollout) int { return rollout.Since(a).Compare(rollout.Since(b)) })
	return rollouts
}

// takesOver reports whether the newer of two rollouts replaces the older one, which has not ended.
func (r *RolloutReconciler) takesOver(newer, older *v1alpha1.Rollout) bool {
	return !rollout.IsOver(older) && rollout.Replaces(newer, older, r.setOf(older))
}

// setOf is the set that a rollout brings; nil: there is none.
func (r *RolloutReconciler) setOf(obj *v1alpha1.Rollout) *offer.Set {
	return r.Index.Set(types.NamespacedName{Namespace: obj.Namespace, Name: obj.Spec.Update.DistributionSet})
}

// overlap is what a newer rollout takes from this one. It is worked out anew only when the newer
// one has opened a group or either of them has grown.
func (r *RolloutReconciler) overlap(s *rollout.Snapshot, newer *v1alpha1.Rollout) rollout.Overlap {
	basis := claimBasis{plan: newer.Status.Plan.Hash, open: openGroups(newer), groups: len(s.Groups)}
	for _, g := range s.Groups {
		basis.own += len(g.Object.Spec.Targets)
	}
	for _, g := range r.Index.GroupsOf(newer) {
		basis.theirs += len(g.Spec.Targets)
	}
	return r.overlaps.get(claimKey{self: s.Rollout.UID, newer: newer.UID}, basis, func() rollout.Overlap {
		c := rollout.Overlap{Name: newer.Name, UID: string(newer.Identity()), Content: newer.Status.Plan.ContentHash, OpenGroups: int32(basis.open)}
		started, opened := r.shared(s.Groups, newer, anyGroup), r.shared(s.Groups, newer, openGroup)
		for i := range s.Groups {
			c.Started, c.Open = append(c.Started, started[i]), append(c.Open, opened[i])
		}
		return c
	})
}

// holdsShared reports whether an older rollout still has targets of this one in groups that have
// not opened, without having given them up.
func (r *RolloutReconciler) holdsShared(s *rollout.Snapshot, older *v1alpha1.Rollout) bool {
	unopened := func(o *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
		return !openGroup(o, g) && !hasCeded(g, s.Rollout.Identity())
	}
	return len(r.shared(s.Groups, older, unopened)) > 0
}

// anyGroup and openGroup choose which groups of the other rollout count.
func anyGroup(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) bool { return true }

func openGroup(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
	return int(g.Spec.Index) < len(r.Status.Groups) && r.Status.Groups[g.Spec.Index].OpenedAt != nil
}

// shared marks, group by group, the members that the other rollout has too, in groups that count;
// groups without are left out.
func (r *RolloutReconciler) shared(groups []rollout.Group, other *v1alpha1.Rollout, counts func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) bool) map[int][]byte {
	theirs := map[string]struct{}{}
	for _, g := range r.Index.GroupsOf(other) {
		if fleet.Exists(g, other) && counts(other, g) {
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
				marks[i] = rollout.Marked(marks[i], position, len(g.Object.Spec.Targets))
			}
		}
	}
	return marks
}

// hasCeded reports whether a group that has not opened has given up to a newer rollout what they
// share.
func hasCeded(g *v1alpha1.DeploymentGroup, newer types.UID) bool {
	return slices.ContainsFunc(g.Status.SupersededBy, func(s v1alpha1.SupersedingRollout) bool { return s.UID == newer })
}

// overlaps remembers what newer rollouts take from each rollout.
type overlaps struct {
	mu    sync.Mutex
	known map[claimKey]knownClaim
}

type claimKey struct{ self, newer types.UID }

// claimBasis is what a claim was worked out from.
type claimBasis struct {
	plan string
	// open groups of the newer rollout, and groups of this one that the cache shows.
	open, groups int
	// own and theirs are how many members both have: dynamic groups grow.
	own, theirs int
}

type knownClaim struct {
	basis   claimBasis
	overlap rollout.Overlap
}

func (c *overlaps) get(key claimKey, basis claimBasis, work func() rollout.Overlap) rollout.Overlap {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[key]; ok && known.basis == basis {
		return known.overlap
	}
	if c.known == nil {
		c.known = map[claimKey]knownClaim{}
	}
	overlap := work()
	c.known[key] = knownClaim{basis, overlap}
	return overlap
}

// forget drops what concerns a rollout that is gone.
func (c *overlaps) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(key claimKey, _ knownClaim) bool { return key.self == uid || key.newer == uid })
}

// cacheLags reports whether the cache misses groups that exist: what was just created must not be
// taken for lost.
func (r *RolloutReconciler) cacheLags(ctx context.Context, obj *v1alpha1.Rollout) (bool, error) {
	known := r.knownGroups(obj)
	if obj.Status.Plan == nil || known >= len(obj.Status.Groups) {
		return false, nil
	}
	var live v1alpha1.DeploymentGroupList
	if err := r.Live.List(ctx, &live, client.InNamespace(obj.Namespace), client.MatchingLabels{v1alpha1.RolloutLabel: rollout.RolloutLabelValue(obj.Name)}); err != nil {
		return false, fmt.Errorf("list deployment groups of rollout %s: %w", obj.Name, err)
	}
	exist := 0
	for i := range live.Items {
		if fleet.Exists(&live.Items[i], obj) && isNamed(&live.Items[i], obj) {
			exist++
		}
	}
	return exist > known, nil
}
