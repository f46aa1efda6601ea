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
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// joinCandidates caches which targets may join each dynamic rollout. All targets are checked
// once for each rollout; after that only targets that change are checked again.
type joinCandidates struct {
	mu    sync.Mutex
	known map[types.UID]*candidates
}

// candidates of one rollout, by name.
type candidates struct {
	namespace string
	filter    *rollout.JoinFilter
	// eligible targets may join, as far as is known. blocked targets are selected, but something
	// other than the target itself, such as a newer rollout, keeps them from joining.
	eligible, blocked map[string]struct{}
}

// of returns the candidates of a rollout. The first call for a rollout checks all targets.
func (j *joinCandidates) of(r *v1alpha1.Rollout, index *fleet.Index) *candidates {
	if c := j.known[r.UID]; c != nil {
		return c
	}
	c := &candidates{namespace: r.Namespace, eligible: map[string]struct{}{}, blocked: map[string]struct{}{}}
	if filter, err := rollout.NewJoinFilter(r, index.Software); err == nil { // with an invalid selection the rollout selects no targets and has not started
		c.filter = filter
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

// consider adds or removes a target and reports whether it is a new candidate.
func (c *candidates) consider(r *v1alpha1.Rollout, index *fleet.Index, t *v1alpha1.Target) bool {
	if c.filter == nil || !c.filter.Selects(t) || isMember(index, r, t) {
		delete(c.eligible, t.Name)
		delete(c.blocked, t.Name)
		return false
	}
	_, wasEager := c.eligible[t.Name]
	_, isBarred := c.blocked[t.Name]
	if !isBarred {
		c.eligible[t.Name] = struct{}{}
	}
	return !wasEager && !isBarred
}

// consider checks one target for one rollout. It returns true if the target may be able to join
// now, and was not before. If the target's labels, attributes or type have changed, the reason that
// blocked it may be gone. For a rollout that was never asked for, of finds the target later.
func (j *joinCandidates) consider(r *v1alpha1.Rollout, index *fleet.Index, t *v1alpha1.Target, changed bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.known[r.UID]
	if c == nil {
		return false
	}
	if changed {
		delete(c.blocked, t.Name)
	}
	return c.consider(r, index, t)
}

// reconsider makes all blocked targets candidates again, because a rollout or set of the namespace
// has changed.
func (j *joinCandidates) reconsider(namespace string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.known {
		if c.namespace == namespace && len(c.blocked) > 0 {
			for name := range c.blocked {
				c.eligible[name] = struct{}{}
			}
			clear(c.blocked)
		}
	}
}

func (j *joinCandidates) forget(uid types.UID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.known, uid)
}

// targetsToJoin returns up to n targets that may join a rollout now, sorted by name.
func (r *RolloutReconciler) targetsToJoin(obj *v1alpha1.Rollout, n int) []*v1alpha1.Target {
	r.joinCandidates.mu.Lock()
	defer r.joinCandidates.mu.Unlock()
	c, newer := r.joinCandidates.of(obj, r.Index), r.newerThan(obj)
	set := r.setOf(obj)
	names := make([]string, 0, len(c.eligible))
	for name := range c.eligible {
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
		case t == nil || !c.filter.Selects(t) || isMember(r.Index, obj, t):
			delete(c.eligible, name)
		case !c.filter.Takes(obj, set, t) || r.belongsToAny(newer, t):
			delete(c.eligible, name)
			c.blocked[name] = struct{}{}
		default:
			found = append(found, t)
		}
	}
	return found
}

// newerThan returns the rollouts of the namespace that supersede this one. A target that a newer
// rollout has taken remains with it, also after that rollout has ended.
func (r *RolloutReconciler) newerThan(obj *v1alpha1.Rollout) []*v1alpha1.Rollout {
	set := r.setOf(obj)
	return slices.DeleteFunc(r.Index.Rollouts(obj.Namespace), func(other *v1alpha1.Rollout) bool {
		return !rollout.Replaces(other, obj, set)
	})
}

// belongsToAny reports whether the target is a member of one of the rollouts, or is about to join
// one of them, so that two dynamic rollouts do not compete for it.
func (r *RolloutReconciler) belongsToAny(rollouts []*v1alpha1.Rollout, t *v1alpha1.Target) bool {
	for _, other := range rollouts {
		if isMember(r.Index, other, t) {
			return true
		}
		set := r.setOf(other)
		if rollout.AcceptsTargets(other, r.Now()) && set != nil && !set.IsInvalid() {
			if c := r.joinCandidates.of(other, r.Index); c.filter != nil && c.filter.Takes(other, set, t) {
				return true
			}
		}
	}
	return false
}

// isMember reports whether a target is in a group of the rollout's plan.
func isMember(index *fleet.Index, r *v1alpha1.Rollout, t *v1alpha1.Target) bool {
	return slices.ContainsFunc(index.Memberships(client.ObjectKeyFromObject(t)), func(m fleet.Membership) bool {
		return grouping.BelongsTo(m.Group, r)
	})
}
