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
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// snapshot collects all facts for one reconcile of a rollout from the caches.
func (r *RolloutReconciler) snapshot(obj *v1alpha1.Rollout, tally func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) counting.Tally) rollout.Snapshot {
	s := r.Index.Snapshot(obj, r.Now(), tally)
	s.JoinCandidates = func(n int) []*v1alpha1.Target { return r.targetsToJoin(obj, n) }
	s.RequireApproval = r.RequireApproval
	r.addOtherRollouts(&s)
	return s
}

// addOtherRollouts adds the facts about other rollouts of the namespace that affect this one once
// it has started.
func (r *RolloutReconciler) addOtherRollouts(s *rollout.Snapshot) {
	self := s.Rollout
	if self.Status.StartedAt == nil {
		return
	}
	for _, other := range r.Index.RolloutsInOrder(self.Namespace) {
		if other.UID == self.UID || !other.DeletionTimestamp.IsZero() {
			continue
		}
		if other.Unreadable != nil && (!r.takesOver(other, self) || other.Status.Plan == nil) {
			continue // its groups cannot be decoded, so it does nothing: do not wait for it, and leave it the targets that it has taken
		}
		switch {
		case r.takesOver(other, self):
			s.Overlaps = append(s.Overlaps, r.overlap(s, other))
		case self.Status.State == v1alpha1.RolloutStarting && r.takesOver(self, other) && r.holdsShared(s, other):
			s.OlderRollouts = append(s.OlderRollouts, other.Name)
		}
	}
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
		started, opened := r.Index.Shared(s.Groups, newer, fleet.AnyGroup), r.Index.Shared(s.Groups, newer, fleet.OpenGroup)
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
		return !fleet.OpenGroup(o, g) && !hasGivenUp(g, s.Rollout.Identity())
	}
	return len(r.Index.Shared(s.Groups, older, unopened)) > 0
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
	known := r.Index.KnownGroups(obj)
	if obj.Status.Plan == nil || known >= len(obj.Status.Groups) {
		return false, nil
	}
	var live v1alpha1.DeploymentGroupList
	if err := r.Live.List(ctx, &live, client.InNamespace(obj.Namespace), client.MatchingLabels{v1alpha1.RolloutLabel: grouping.LabelValue(obj.Name)}); err != nil {
		return false, fmt.Errorf("list deployment groups of rollout %s: %w", obj.Name, err)
	}
	exist := 0
	for i := range live.Items {
		if fleet.IsKnown(&live.Items[i], obj) {
			exist++
		}
	}
	return exist > known, nil
}
