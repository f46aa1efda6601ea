// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// AutoAssignmentReach returns what the counters must know of the auto-assignments of a namespace.
// Which targets they have reached cannot be seen from actions: there is no action before the device
// starts, and none at all if the device already runs the set of the auto-assignment.
func (x *Index) AutoAssignmentReach(namespace string) counting.AutoAssignments {
	x.mu.RLock()
	defer x.mu.RUnlock()
	autos := counting.AutoAssignments{Version: x.autoVersions[namespace]}
	for key := range x.autos {
		if key.Namespace == namespace {
			autos.HaveReached = x.autoHasReached
			break
		}
	}
	return autos
}

// autoHasReached reports whether an auto-assignment that is newer than since has reached the target
// and replaces older updates.
func (x *Index) autoHasReached(t *v1alpha1.Target, since time.Time) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for a := range x.started(t.Namespace) {
		in := autoassignment.IntentOf(a.object, t, a.setIn(x))
		if in.OpenedAt.After(since) && eligibility.AutoHasReached(&in, t) && a.query.Matches(t) { // the most expensive check last, because it may run for every member
			return true
		}
	}
	return false
}

// noteAutos increments the version of AutoAssignmentReach if an auto-assignment was created or
// deleted, or offers something else. A change of counters does not count.
func (x *Index) noteAutos(old, now client.Object) {
	before, was := old.(*v1alpha1.AutoAssignment)
	after, is := now.(*v1alpha1.AutoAssignment)
	switch {
	case was && is && autoassignment.OffersSame(before, after):
	case is:
		x.autoVersions[after.Namespace]++
	case was:
		x.autoVersions[before.Namespace]++
	}
}

// noteSetOfAutos must be called before the index applies a change of a set, and the returned
// function after it. The function increments the version of AutoAssignmentReach if an
// auto-assignment of the set offers something else now. A change of counters does not count.
func (x *Index) noteSetOfAutos(old, now client.Object) func() {
	set := now
	if set == nil {
		set = old
	}
	key := client.ObjectKeyFromObject(set)
	before := x.facts[key]
	return func() {
		if isOfferedAlike(before, x.facts[key]) {
			return
		}
		for auto, a := range x.autos {
			if auto.Namespace == key.Namespace && a.object.Spec.Update.DistributionSet == key.Name {
				x.autoVersions[key.Namespace]++
				return
			}
		}
	}
}

func isOfferedAlike(a, b *eligibility.Set) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ContentHash == b.ContentHash && a.Deployable == b.Deployable && a.Invalidation == b.Invalidation && slices.Equal(a.CompatibleTargetTypes, b.CompatibleTargetTypes)
}
