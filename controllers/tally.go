// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// Tallies counts the members of each group by bucket. A report of one target updates the counters
// incrementally, so its cost does not depend on the size of the fleet. These counters show when a
// decision may be due; before a decision the group is counted again.
type Tallies struct {
	index *fleet.Index

	mu     sync.Mutex
	groups map[types.NamespacedName]*groupTally
}

// groupTally holds the counters of one group and the basis that they were computed from.
type groupTally struct {
	uid     types.UID
	counter *counting.Counter
	bits    memberBits
	entries []counting.Entry
	sum     counting.Tally
}

// memberBits are the bitmaps of a group at the time it was counted.
type memberBits struct {
	superseded, alreadyThere, skipped, expired, abandoned string
	// batches that have expired.
	batches int
}

// NewTallies returns empty counters over an index.
func NewTallies(index *fleet.Index) *Tallies {
	return &Tallies{index: index, groups: map[types.NamespacedName]*groupTally{}}
}

// Of returns the counters of one group. The group is counted again when the rule or the bitmaps of
// the group have changed, for example because the group opened.
func (t *Tallies) Of(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) counting.Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	rule, bits := t.ruleOf(r, g), bitsOf(g)
	present := t.groups[client.ObjectKeyFromObject(g)]
	if present == nil || present.uid != g.UID || !present.counter.Equal(&rule) || present.bits != bits || len(present.entries) != len(g.Spec.Targets) {
		present = t.count(g, rule, bits)
	}
	return present.sum.Clone()
}

// Recount counts a group from the cache and ignores the existing counters.
func (t *Tallies) Recount(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) counting.Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count(g, t.ruleOf(r, g), bitsOf(g)).sum.Clone()
}

func (t *Tallies) count(g *v1alpha1.DeploymentGroup, rule counting.Rule, bits memberBits) *groupTally {
	counted := &groupTally{uid: g.UID, counter: counting.NewCounter(rule), bits: bits, entries: make([]counting.Entry, len(g.Spec.Targets))}
	for i, name := range g.Spec.Targets {
		target := t.index.Target(types.NamespacedName{Namespace: g.Namespace, Name: string(name)})
		counted.entries[i] = counted.counter.EntryOf(target, counting.MemberOf(g, i))
		counted.sum.Add(counted.entries[i], string(name))
	}
	t.groups[client.ObjectKeyFromObject(g)] = counted
	return counted
}

// TargetChanged updates the counters of each group that contains the target, and returns the
// rollouts whose counters changed.
func (t *Tallies) TargetChanged(key types.NamespacedName) []types.NamespacedName {
	memberships := t.index.Memberships(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	target := t.index.Target(key)
	var changed []types.NamespacedName
	for _, m := range memberships {
		counted := t.groups[client.ObjectKeyFromObject(m.Group)]
		if counted == nil || counted.uid != m.Group.UID || int(m.Position) >= len(counted.entries) {
			continue
		}
		entry := counted.counter.EntryOf(target, counting.MemberOf(m.Group, int(m.Position)))
		if before := counted.entries[m.Position]; before != entry {
			counted.sum.Remove(before, key.Name)
			counted.sum.Add(entry, key.Name)
			counted.entries[m.Position] = entry
			changed = append(changed, types.NamespacedName{Namespace: key.Namespace, Name: m.Group.Spec.Rollout})
		}
	}
	return changed
}

// Forget drops the counters of a deleted group.
func (t *Tallies) Forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.groups, key)
}

func (t *Tallies) ruleOf(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) counting.Rule {
	set := t.index.SetOf(r.Namespace, &r.Spec.Update)
	return rollout.RuleOf(r, set, int(g.Spec.Index), t.index.AutoAssignmentReach(r.Namespace))
}

func bitsOf(g *v1alpha1.DeploymentGroup) memberBits {
	s := &g.Status
	return memberBits{string(s.Superseded), string(s.AlreadyThere), string(s.Skipped), string(s.Expired), string(s.Abandoned), len(s.ExpiredAt)}
}
