// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// What the planner of a rollout needs to know of the groups of its own and of other plans.

// Snapshot returns the facts for one plan of a rollout. Of what concerns a rollout only after its
// start, the candidates for a dynamic group and the overlaps with other rollouts are left out.
// tally returns the counters of a group.
func (x *Index) Snapshot(r *v1alpha1.Rollout, now time.Time, tally func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) counting.Tally) rollout.Snapshot {
	s := rollout.Snapshot{
		Now:         now,
		Rollout:     r,
		Set:         x.SetOf(r.Namespace, &r.Spec.Update),
		Population:  sync.OnceValue(func() []*v1alpha1.Target { return x.Targets(r.Namespace) }),
		Inventories: x.Software,
		SetNamed: func(name string) *eligibility.Set {
			return x.Set(types.NamespacedName{Namespace: r.Namespace, Name: name})
		},
		AutoAssignments: x.AutoAssignmentReach(r.Namespace),
	}
	for _, g := range x.GroupsOf(r) {
		if g.Unreadable != nil {
			if mayBelongToPlan(g, r) {
				s.Unreadable = append(s.Unreadable, g.Name)
			}
			continue
		}
		if !grouping.BelongsTo(g, r) {
			s.Leftover = append(s.Leftover, g)
			continue
		}
		group := rollout.Group{Object: g, Members: sync.OnceValue(func() []*v1alpha1.Target { return x.Members(g) })}
		if isNamed(g, r) {
			group.Tally = tally(r, g)
		}
		s.Groups = append(s.Groups, group)
	}
	if r.Status.StartedAt == nil {
		s.Neighbors = x.neighbors(r, s.Groups)
	}
	return s
}

// neighbors returns the other rollouts of the namespace. One that cannot be decoded is left out:
// its groups cannot be decoded either, so it does nothing, and nothing waits for it.
func (x *Index) neighbors(r *v1alpha1.Rollout, groups []rollout.Group) []rollout.Neighbor {
	var neighbors []rollout.Neighbor
	for _, other := range x.RolloutsInOrder(r.Namespace) {
		if other.UID == r.UID || !other.DeletionTimestamp.IsZero() || other.Unreadable != nil {
			continue
		}
		neighbors = append(neighbors, rollout.Neighbor{
			Rollout: other, Set: x.SetOf(other.Namespace, &other.Spec.Update),
			Shared: sync.OnceValue(func() [][]byte { return x.SharedWith(groups, other) }),
		})
	}
	return neighbors
}

// RolloutsInOrder returns the rollouts of a namespace, sorted by their place in the order of
// updates, then by name.
func (x *Index) RolloutsInOrder(namespace string) []*v1alpha1.Rollout {
	rollouts := x.Rollouts(namespace)
	slices.SortStableFunc(rollouts, func(a, b *v1alpha1.Rollout) int { return rollout.Since(a).Compare(rollout.Since(b)) })
	return rollouts
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

// Members returns the members of a group in the order of its spec.targets. A deleted target is nil.
func (x *Index) Members(g *v1alpha1.DeploymentGroup) []*v1alpha1.Target {
	members := make([]*v1alpha1.Target, len(g.Spec.Targets))
	for i, name := range g.Spec.Targets {
		members[i] = x.Target(types.NamespacedName{Namespace: g.Namespace, Name: string(name)})
	}
	return members
}

// SharedWith marks the members that the other rollout has as well or, as long as its plan is not
// known, selects as well.
func (x *Index) SharedWith(groups []rollout.Group, other *v1alpha1.Rollout) [][]byte {
	marks := make([][]byte, len(groups))
	if x.isPlanKnown(other) {
		for i, bits := range x.Shared(groups, other, AnyGroup) {
			marks[i] = bits
		}
		return marks
	}
	filter, err := rollout.NewJoinFilter(other, x.Software)
	if err != nil { // an invalid selection selects no targets
		return marks
	}
	set := x.SetOf(other.Namespace, &other.Spec.Update)
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
func (x *Index) isPlanKnown(obj *v1alpha1.Rollout) bool {
	return obj.Status.Plan != nil && x.KnownGroups(obj) >= len(obj.Status.Groups)
}

// KnownGroups returns how many of the groups in a rollout's status the index has.
func (x *Index) KnownGroups(obj *v1alpha1.Rollout) int {
	known := 0
	for _, g := range x.GroupsOf(obj) {
		if IsKnown(g, obj) {
			known++
		}
	}
	return known
}

// IsKnown reports whether a group counts as one of the groups in a rollout's status. A group that
// cannot be decoded counts if it may be one of them.
func IsKnown(g *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return grouping.BelongsTo(g, r) && isNamed(g, r) || g.Unreadable != nil && g.Spec.RolloutUID == r.Identity() && mayBelongToPlan(g, r)
}

// AnyGroup lets every group of the other rollout count.
func AnyGroup(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) bool { return true }

// OpenGroup lets the open groups of the other rollout count.
func OpenGroup(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
	return int(g.Spec.Index) < len(r.Status.Groups) && r.Status.Groups[g.Spec.Index].OpenedAt != nil
}

// Shared marks, by group index, the members that the other rollout has as well, in groups that
// count. Groups without such members are left out.
func (x *Index) Shared(groups []rollout.Group, other *v1alpha1.Rollout, counts func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) bool) map[int][]byte {
	theirs := map[string]struct{}{}
	for _, g := range x.GroupsOf(other) {
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
