// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// For returns the intents that reach a target: its own assignment, the groups that it is a member
// of, and the auto-assignments that select it.
// Members of a group share an intent, so do not change any of them.
func (x *Index) For(target *v1alpha1.Target, now time.Time) []*eligibility.Intent {
	assigned, ok := offer.AssignmentIntent(target, func(u *v1alpha1.Update) *eligibility.Set { return x.SetOf(target.Namespace, u) })
	x.mu.RLock()
	defer x.mu.RUnlock()
	members := x.members[types.NamespacedName{Namespace: target.Namespace, Name: target.Name}]
	intents := make([]*eligibility.Intent, 0, len(members)+1)
	if ok {
		assigned.Closed = rollout.WaitForRebuild(target, "spec.assignment", assigned, x.candidates(target.Namespace), now)
		intents = append(intents, assigned)
	}
	for i := range members {
		if in := x.ofGroup(target, &members[i], now); in != nil {
			intents = append(intents, in)
		}
	}
	return append(intents, x.autoIntents(target, now)...)
}

// ofGroup returns the intent that reaches a target as a member of a group, or nil if the group
// belongs to no rollout. The caller holds the lock.
func (x *Index) ofGroup(target *v1alpha1.Target, m *membership, now time.Time) *eligibility.Intent {
	group := x.groups[m.group]
	r := x.rollouts[types.NamespacedName{Namespace: group.Namespace, Name: group.Spec.Rollout}]
	if !grouping.BelongsTo(group, r) {
		return nil
	}
	in := x.ofPlainMember(m.shared, r, group)
	if member := counting.MemberOf(group, int(m.position)); !member.IsPlain() {
		own := rollout.IntentOfMember(r, group, member, in.Set)
		in = &own
	}
	if !in.Closed.IsZero() {
		return in
	}
	if waits := rollout.WaitForNewer(target, r, x.candidates(target.Namespace), now); !waits.IsZero() {
		own := *in
		in, own.Closed = &own, waits
	}
	return in
}

// sharedIntent is the intent of the plain members of a group. It is only a cache: it is made again
// if one of the objects that it is made from is another one. These objects never change.
type sharedIntent struct{ last atomic.Pointer[madeIntent] }

// madeIntent is an intent with the objects that it was made from. set is nil for a removal, which
// is made from the rollout.
type madeIntent struct {
	rollout *v1alpha1.Rollout
	group   *v1alpha1.DeploymentGroup
	set     *eligibility.Set
	intent  eligibility.Intent
}

// ofPlainMember returns the intent of the plain members of a group. The caller holds the lock.
func (x *Index) ofPlainMember(shared *sharedIntent, r *v1alpha1.Rollout, group *v1alpha1.DeploymentGroup) *eligibility.Intent {
	set := x.facts[types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet}]
	last := shared.last.Load()
	if last == nil || last.rollout != r || last.group != group || last.set != set {
		last = &madeIntent{r, group, set, rollout.IntentOf(r, group, x.setOf(r.Namespace, &r.Spec.Update))}
		shared.last.Store(last)
	}
	return &last.intent
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
