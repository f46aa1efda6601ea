// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// setCounts counts the actions of each set and the targets that run each content. Each change of a
// Target updates the counters incrementally, so the cost of a report does not depend on the size of
// the fleet. The counters are rebuilt from the caches when the process starts.
type setCounts struct {
	mu        sync.Mutex
	actions   map[types.NamespacedName]actionCounts
	installed map[content]int32
}

// content identifies the content that runs on targets of a namespace.
type content struct{ namespace, hash string }

// actionCounts counts the actions of one set.
type actionCounts struct {
	// open actions. pending is the number of open actions that were not asked to cancel because of
	// the invalidation.
	open, pending int32
	// canceling actions are open, canceled actions are closed. refused actions continue, or ended
	// with a result of their own.
	canceling, canceled, refused int32
}

func (c actionCounts) plus(o actionCounts, sign int32) actionCounts {
	return actionCounts{
		open: c.open + sign*o.open, pending: c.pending + sign*o.pending,
		canceling: c.canceling + sign*o.canceling, canceled: c.canceled + sign*o.canceled, refused: c.refused + sign*o.refused,
	}
}

// unapplied returns the number of open actions that an invalidation has not been applied to.
func (c actionCounts) unapplied(kind v1alpha1.Cancellation) int32 {
	switch cancellation.Of(kind).StartedActions {
	case cancellation.Ask:
		return c.pending
	case cancellation.Close:
		return c.open
	default:
		return 0
	}
}

// of returns the counters of a set's actions.
func (s *setCounts) of(key types.NamespacedName) actionCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actions[key]
}

// running returns the number of targets of a namespace that run a content.
func (s *setCounts) running(namespace, hash string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.installed[content{namespace, hash}]
}

// observe counts one change of a target and returns the names of the sets and the content hashes
// whose counters changed. old is nil for a new target, now is nil for a deleted one.
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
	addActionCounts(difference, old, -1)
	addActionCounts(difference, now, 1)
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

// addActionCounts adds sign times the actions of a target to the counters of their sets.
func addActionCounts(counts map[types.NamespacedName]actionCounts, t *v1alpha1.Target, sign int32) {
	if t == nil {
		return
	}
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if a.Removes() {
			continue
		}
		key := types.NamespacedName{Namespace: t.Namespace, Name: a.DistributionSet}
		counts[key] = counts[key].plus(countsOfAction(a), sign)
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

// countsOfAction returns the counters of a single action.
func countsOfAction(a *v1alpha1.Action) actionCounts {
	var c actionCounts
	if !a.State.IsClosed() {
		c.open = 1
	}
	switch {
	case a.State == v1alpha1.ActionCanceling:
		c.canceling = 1
	case !isCanceledByInvalidation(a):
		c.pending = c.open
	case a.State == v1alpha1.ActionCanceled:
		c.canceled = 1
	default:
		c.refused = 1
	}
	return c
}

// isCanceledByInvalidation reports whether the action was asked to cancel because its set is
// invalid.
func isCanceledByInvalidation(a *v1alpha1.Action) bool {
	return a.Cancel != nil && (a.Cancel.Cause == v1alpha1.CauseInvalidated || slices.Contains(a.Cancel.Causes, v1alpha1.CauseInvalidated))
}

func contentOf(t *v1alpha1.Target) content {
	if t == nil || t.Status.Installed == nil || t.Status.Installed.ContentHash == "" {
		return content{}
	}
	return content{t.Namespace, t.Status.Installed.ContentHash}
}
