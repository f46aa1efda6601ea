// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// AutoCounts counts, for each AutoAssignment, the targets that it selects and their results. Each
// change of a target updates the counters incrementally. All targets of the namespace are counted
// only when the selection of the AutoAssignment, or the target types of its set, are new to this
// process.
type AutoCounts struct {
	index *fleet.Index

	mu      sync.Mutex
	tallies map[types.NamespacedName]*autoTally
	shared  map[autoPair]int32
}

// autoPair is a pair of AutoAssignments that select a common target, sorted by name.
type autoPair struct{ a, b types.NamespacedName }

// autoTally holds the counters of one AutoAssignment and the basis that they were computed from.
type autoTally struct {
	basis   autoBasis
	entries map[string]autoEntry
	sum     v1alpha1.AutoAssignmentTargets
}

// autoBasis identifies the selection of an AutoAssignment as the index knows it. The index may see
// a change of the AutoAssignment or of its set later than the controller.
type autoBasis struct {
	uid        types.UID
	generation int64
	set, types string
}

func (c *AutoCounts) basisOf(a *v1alpha1.AutoAssignment) autoBasis {
	basis := autoBasis{uid: a.Identity()}
	known := c.index.AutoAssignment(types.NamespacedName{Namespace: a.Namespace, Name: a.Name})
	if known == nil || known.UID != a.UID {
		return basis
	}
	basis.generation = known.Generation
	if set := c.index.SetOf(a.Namespace, &known.Spec.Update); set != nil {
		basis.set, basis.types = set.Name, strings.Join(set.CompatibleTargetTypes, "\n")
	}
	return basis
}

// autoEntry is what one target adds to the counters of an AutoAssignment.
type autoEntry struct{ matched, started, succeeded, failed bool }

// NewAutoCounts returns empty counters over an index.
func NewAutoCounts(index *fleet.Index) *AutoCounts {
	return &AutoCounts{index: index, tallies: map[types.NamespacedName]*autoTally{}, shared: map[autoPair]int32{}}
}

// of returns the counters of an AutoAssignment and, by name, the number of targets that each other
// AutoAssignment selects as well.
func (c *AutoCounts) of(a *v1alpha1.AutoAssignment) (v1alpha1.AutoAssignmentTargets, map[string]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := types.NamespacedName{Namespace: a.Namespace, Name: a.Name}
	if t, basis := c.tallies[key], c.basisOf(a); t == nil || t.basis != basis {
		c.drop(key)
		c.tallies[key] = &autoTally{basis: basis, entries: map[string]autoEntry{}}
		for _, target := range c.index.Targets(a.Namespace) {
			c.recount(types.NamespacedName{Namespace: a.Namespace, Name: target.Name}, target)
		}
	}
	overlaps := map[string]int32{}
	for pair, n := range c.shared {
		switch key {
		case pair.a:
			overlaps[pair.b.Name] = n
		case pair.b:
			overlaps[pair.a.Name] = n
		}
	}
	return c.tallies[key].sum, overlaps
}

// TargetChanged updates the counters for one target and returns the AutoAssignments whose counters
// changed.
func (c *AutoCounts) TargetChanged(key types.NamespacedName) []types.NamespacedName {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recount(key, c.index.Target(key))
}

// recount removes a target from all counters of its namespace and adds it again, unless t is nil
// (the target was deleted).
func (c *AutoCounts) recount(key types.NamespacedName, t *v1alpha1.Target) []types.NamespacedName {
	var changed, before, after []types.NamespacedName
	for name, tally := range c.tallies {
		if name.Namespace != key.Namespace {
			continue
		}
		old, now := tally.entries[key.Name], c.entryOf(name, tally.basis.uid, t)
		if old.matched {
			before = append(before, name)
		}
		if now.matched {
			after = append(after, name)
		}
		if old == now {
			continue
		}
		tally.replace(key.Name, old, now)
		changed = append(changed, name)
	}
	if len(changed) > 0 {
		c.share(before, -1)
		c.share(after, 1)
	}
	return changed
}

func (c *AutoCounts) entryOf(name types.NamespacedName, uid types.UID, t *v1alpha1.Target) autoEntry {
	if t == nil {
		return autoEntry{}
	}
	e := autoEntry{matched: c.index.Selects(name, t)}
	if a := action.OfSource(&t.Status, uid); a != nil {
		e.started, e.succeeded, e.failed = !a.State.IsClosed(), a.State == v1alpha1.ActionFinished, a.State == v1alpha1.ActionError
	}
	return e
}

func (t *autoTally) replace(target string, old, now autoEntry) {
	t.sum = plus(plus(t.sum, old, -1), now, 1)
	if now == (autoEntry{}) {
		delete(t.entries, target)
		return
	}
	t.entries[target] = now
}

func plus(sum v1alpha1.AutoAssignmentTargets, e autoEntry, sign int32) v1alpha1.AutoAssignmentTargets {
	count := func(holds bool, counter *int32) {
		if holds {
			*counter += sign
		}
	}
	count(e.matched, &sum.Matched)
	count(e.started, &sum.Started)
	count(e.succeeded, &sum.Succeeded)
	count(e.failed, &sum.Failed)
	return sum
}

// share adds sign to the counter of each pair of the given AutoAssignments, which select a common
// target.
func (c *AutoCounts) share(names []types.NamespacedName, sign int32) {
	for i, a := range names {
		for _, b := range names[i+1:] {
			pair := autoPair{a, b}
			if b.Name < a.Name {
				pair = autoPair{b, a}
			}
			if c.shared[pair] += sign; c.shared[pair] == 0 {
				delete(c.shared, pair)
			}
		}
	}
}

// forget drops the counters of a deleted AutoAssignment.
func (c *AutoCounts) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
}

func (c *AutoCounts) drop(key types.NamespacedName) {
	delete(c.tallies, key)
	for pair := range c.shared {
		if pair.a == key || pair.b == key {
			delete(c.shared, pair)
		}
	}
}
