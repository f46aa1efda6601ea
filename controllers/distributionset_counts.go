// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// setCounts count what the targets of each set do. They follow the Targets one change at a time, so
// that a report costs the same in a fleet of any size. They are rebuilt from the caches when the
// process starts.
type setCounts struct {
	mu        sync.Mutex
	actions   map[types.NamespacedName]actionCounts
	installed map[content]int32
}

// content is what runs on targets of a namespace.
type content struct{ namespace, hash string }

// actionCounts counts the actions of one set.
type actionCounts struct {
	// open actions; pending are those of them that nobody has asked to cancel because the set is
	// invalid.
	open, pending int32
	// canceling actions are open; canceled ones are closed; refused ones go on, or closed with a
	// result of their own.
	canceling, canceled, refused int32
}

func (c actionCounts) plus(o actionCounts, sign int32) actionCounts {
	return actionCounts{
		open: c.open + sign*o.open, pending: c.pending + sign*o.pending,
		canceling: c.canceling + sign*o.canceling, canceled: c.canceled + sign*o.canceled, refused: c.refused + sign*o.refused,
	}
}

// unfolded is how many open actions an invalidation has not reached.
func (c actionCounts) unapplied(cancellation v1alpha1.Cancellation) int32 {
	switch cancellation {
	case v1alpha1.CancellationSoft:
		return c.pending
	case v1alpha1.CancellationForce:
		return c.open
	}
	return 0
}

// of answers the counts of a set's actions.
func (s *setCounts) of(key types.NamespacedName) actionCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actions[key]
}

// running answers how many targets of a namespace run a content.
func (s *setCounts) running(namespace, hash string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.installed[content{namespace, hash}]
}

// observe takes one change of a target in, nil standing for before its start and after its end, and
// answers the names of the sets and the content hashes whose counts changed.
func (s *setCounts) observe(old, now *v1alpha1.Target) (sets, hashes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sets = s.countActions(old, now)
	before, after := contentOf(old), contentOf(now)
	if before == after {
		return sets, nil
	}
	if s.installed == nil {
		s.installed = map[content]int32{}
	}
	for c, sign := range map[content]int32{before: -1, after: 1} {
		if c.hash == "" {
			continue
		}
		if s.installed[c] += sign; s.installed[c] == 0 {
			delete(s.installed, c)
		}
		hashes = append(hashes, c.hash)
	}
	slices.Sort(hashes)
	return sets, hashes
}

func (s *setCounts) countActions(old, now *v1alpha1.Target) []string {
	difference := map[types.NamespacedName]actionCounts{}
	weigh(difference, old, -1)
	weigh(difference, now, 1)
	var sets []string
	for key, d := range difference {
		if d == (actionCounts{}) {
			continue
		}
		s.add(key, d)
		sets = append(sets, key.Name)
	}
	slices.Sort(sets)
	return sets
}

// weigh adds the actions of a target to the counts of their sets, or takes them away.
func weigh(counts map[types.NamespacedName]actionCounts, t *v1alpha1.Target, sign int32) {
	if t == nil {
		return
	}
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		key := types.NamespacedName{Namespace: t.Namespace, Name: a.DistributionSet}
		counts[key] = counts[key].plus(countOf(a), sign)
	}
}

func (s *setCounts) add(key types.NamespacedName, d actionCounts) {
	if s.actions == nil {
		s.actions = map[types.NamespacedName]actionCounts{}
	}
	if s.actions[key] = s.actions[key].plus(d, 1); s.actions[key] == (actionCounts{}) {
		delete(s.actions, key)
	}
}

// countOf is what one action counts as.
func countOf(a *v1alpha1.Action) actionCounts {
	var c actionCounts
	if !a.State.IsClosed() {
		c.open = 1
	}
	switch {
	case a.State == v1alpha1.ActionCanceling:
		c.canceling = 1
	case !heardOfInvalidation(a):
		c.pending = c.open
	case a.State == v1alpha1.ActionCanceled:
		c.canceled = 1
	default:
		c.refused = 1
	}
	return c
}

// heardOfInvalidation reports whether an action was asked to cancel because its set is invalid.
func heardOfInvalidation(a *v1alpha1.Action) bool {
	return a.Cancel != nil && (a.Cancel.Cause == v1alpha1.CauseInvalidated || slices.Contains(a.Cancel.Causes, v1alpha1.CauseInvalidated))
}

func contentOf(t *v1alpha1.Target) content {
	if t == nil || t.Status.Installed == nil || t.Status.Installed.ContentHash == "" {
		return content{}
	}
	return content{t.Namespace, t.Status.Installed.ContentHash}
}
