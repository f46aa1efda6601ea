// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// joinCandidates remembers which targets might join each dynamic rollout. The fleet is gone through
// once for each of them; after that a target that changes is looked at alone.
type joinCandidates struct {
	mu    sync.Mutex
	known map[types.UID]*candidates
}

// candidates of one rollout, by name.
type candidates struct {
	namespace string
	intake    *rollout.Intake
	// eager ones may join, as far as is known; barred ones are selected, and something other than
	// the target keeps them out, such as a newer rollout.
	eager, barred map[string]struct{}
}

// of are the candidates of a rollout. They are found in one pass when it is first asked for.
func (j *joinCandidates) of(r *v1alpha1.Rollout, index *fleet.Index) *candidates {
	if c := j.known[r.UID]; c != nil {
		return c
	}
	c := &candidates{namespace: r.Namespace, eager: map[string]struct{}{}, barred: map[string]struct{}{}}
	if intake, err := rollout.NewIntake(r); err == nil { // a selection that cannot be read has selected nobody, and the rollout has not started
		c.intake = intake
		for _, t := range index.Targets(r.Namespace) {
			c.consider(r, index, t)
		}
	}
	if j.known == nil {
		j.known = map[types.UID]*candidates{}
	}
	j.known[r.UID] = c
	return c
}

// consider takes a target for a candidate, or not, and reports whether it is a new one.
func (c *candidates) consider(r *v1alpha1.Rollout, index *fleet.Index, t *v1alpha1.Target) bool {
	if c.intake == nil || !c.intake.Selects(t) || isMember(index, r, t) {
		delete(c.eager, t.Name)
		delete(c.barred, t.Name)
		return false
	}
	_, wasEager := c.eager[t.Name]
	_, isBarred := c.barred[t.Name]
	if !isBarred {
		c.eager[t.Name] = struct{}{}
	}
	return !wasEager && !isBarred
}

// consider looks at one target for one rollout; true: it may be able to join now, and was not
// before. What bars it may have gone when its own selection, or its type, has changed. A rollout
// that has never been asked about finds it in its first pass.
func (j *joinCandidates) consider(r *v1alpha1.Rollout, index *fleet.Index, t *v1alpha1.Target, changed bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.known[r.UID]
	if c == nil {
		return false
	}
	if changed {
		delete(c.barred, t.Name)
	}
	return c.consider(r, index, t)
}

// reconsider gives those who were barred another look: a rollout or set of the namespace has
// changed.
func (j *joinCandidates) reconsider(namespace string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.known {
		if c.namespace == namespace && len(c.barred) > 0 {
			for name := range c.barred {
				c.eager[name] = struct{}{}
			}
			clear(c.barred)
		}
	}
}

func (j *joinCandidates) forget(uid types.UID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.known, uid)
}

// joinersOf finds up to n targets that may join a rollout now, sorted by name.
func (r *RolloutReconciler) joinersOf(obj *v1alpha1.Rollout, n int) []*v1alpha1.Target {
	r.joinCandidates.mu.Lock()
	defer r.joinCandidates.mu.Unlock()
	c, newer := r.joinCandidates.of(obj, r.Index), r.newerThan(obj)
	set := r.setOf(obj)
	names := make([]string, 0, len(c.eager))
	for name := range c.eager {
		names = append(names, name)
	}
	slices.Sort(names)
	var found []*v1alpha1.Target
	for _, name := range names {
		if len(found) == n {
			break
		}
		t := r.Index.Target(types.NamespacedName{Namespace: obj.Namespace, Name: name})
		switch {
		case t == nil || !c.intake.Selects(t) || isMember(r.Index, obj, t):
			delete(c.eager, name)
		case !c.intake.Takes(obj, set, t) || r.belongsToAny(newer, t):
			delete(c.eager, name)
			c.barred[name] = struct{}{}
		default:
			found = append(found, t)
		}
	}
	return found
}

// newerThan are the rollouts of the namespace that replace this one. What they have once taken is
// theirs for good, also when they have ended.
func (r *RolloutReconciler) newerThan(obj *v1alpha1.Rollout) []*v1alpha1.Rollout {
	set := r.setOf(obj)
	return slices.DeleteFunc(r.Index.Rollouts(obj.Namespace), func(other *v1alpha1.Rollout) bool {
		return !rollout.Replaces(other, obj, set)
	})
}

// belongsToAny reports whether the target is a member of one of the rollouts, or about to join one
// that grows too: two dynamic rollouts do not race for it.
func (r *RolloutReconciler) belongsToAny(rollouts []*v1alpha1.Rollout, t *v1alpha1.Target) bool {
	for _, other := range rollouts {
		if isMember(r.Index, other, t) {
			return true
		}
		set := r.setOf(other)
		if rollout.Grows(other, r.Now()) && set != nil && set.Invalidation == "" {
			if c := r.joinCandidates.of(other, r.Index); c.intake != nil && c.intake.Takes(other, set, t) {
				return true
			}
		}
	}
	return false
}

// isMember reports whether a target is in a group of the rollout's plan.
func isMember(index *fleet.Index, r *v1alpha1.Rollout, t *v1alpha1.Target) bool {
	return slices.ContainsFunc(index.Memberships(client.ObjectKeyFromObject(t)), func(m fleet.Membership) bool {
		return fleet.Exists(m.Group, r)
	})
}
