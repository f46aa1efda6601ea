// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// For returns the intents that reach a target: its own assignment, the groups that it is a member
// of, and the auto-assignments that select it.
func (x *Index) For(target *v1alpha1.Target, now time.Time) []eligibility.Intent {
	assigned, ok := offer.AssignmentIntent(target, func(u *v1alpha1.Update) *eligibility.Set { return x.SetOf(target.Namespace, u) })
	x.mu.RLock()
	defer x.mu.RUnlock()
	members := x.members[types.NamespacedName{Namespace: target.Namespace, Name: target.Name}]
	var intents []eligibility.Intent
	if ok {
		assigned.Closed = rollout.WaitForRebuild(target, "spec.assignment", &assigned, x.candidates(target.Namespace), now)
		intents = append(intents, assigned)
	}
	intents = slices.Grow(intents, len(members)) // an intent is large
	for _, m := range members {
		group := x.groups[m.group]
		r := x.rollouts[types.NamespacedName{Namespace: group.Namespace, Name: group.Spec.Rollout}]
		if !grouping.BelongsTo(group, r) {
			continue
		}
		in := rollout.IntentOf(r, group, m.position, x.setOf(r.Namespace, &r.Spec.Update))
		if in.Closed.IsZero() {
			in.Closed = rollout.WaitForNewer(target, r, x.candidates(target.Namespace), now)
		}
		intents = append(intents, in)
	}
	return append(intents, x.autoIntents(target, now)...)
}

// origin returns what the source of an open action requires for that action now. A deleted source
// requires nothing: its deletionCancellation was applied before it was removed.
func (x *Index) origin(namespace string, source v1alpha1.ActionSource) cancellation.Request {
	if source.Kind != v1alpha1.SourceRollout {
		return cancellation.Request{}
	}
	r := x.Rollout(types.NamespacedName{Namespace: namespace, Name: source.Name})
	if r == nil || r.Identity() != source.UID {
		return cancellation.Request{Cause: v1alpha1.CauseDeleted, Cancellation: v1alpha1.CancellationNone}
	}
	return rollout.CancellationOf(r)
}

func sibling(target *v1alpha1.Target, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: target.Namespace, Name: name}
}
