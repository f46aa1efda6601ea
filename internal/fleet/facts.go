// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Facts computes the facts about a set that the rules need, from the set and its modules in the
// order of spec.modules. A missing module is nil.
func Facts(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) *eligibility.Set {
	facts := &eligibility.Set{
		Namespace:             set.Namespace,
		Name:                  set.Name,
		ContentHash:           set.Status.ContentHash,
		CompatibleTargetTypes: set.Spec.CompatibleTargetTypes,
		RequiredMigrationStep: set.Spec.RequiredMigrationStep,
		Rollback:              v1alpha1.RollbackSupported,
		Metadata:              offer.Visible(set.Spec.Metadata),
	}
	changed := contentProblem(set, modules)
	facts.Changed = changed != ""
	facts.NotDeployable = cmp.Or(notDeployable(set), changed)
	facts.Deployable = facts.NotDeployable == ""
	facts.Passing = isTransient(set)
	for _, m := range modules {
		if m == nil || m.Spec.Rollback != v1alpha1.RollbackSupported {
			facts.Rollback = v1alpha1.RollbackNone
		}
		if m != nil {
			facts.Modules = append(facts.Modules, m)
		}
	}
	if c := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionLocked); c != nil && c.Status == metav1.ConditionTrue {
		facts.LockedAt = c.LastTransitionTime.Time
	}
	invalidate(facts, set)
	if why := unreadable(set, modules); why != "" {
		facts.Unreadable, facts.Changed, facts.Deployable, facts.Passing, facts.NotDeployable = true, false, false, false, why
	}
	return facts
}

// unreadable returns which part of a set cannot be decoded, and why, or "".
func unreadable(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) string {
	if set.Unreadable != nil {
		return fmt.Sprintf("DistributionSet %s cannot be decoded: %s", set.Name, set.Unreadable.Message)
	}
	for _, m := range modules {
		if m != nil && m.Unreadable != nil {
			return fmt.Sprintf("SoftwareModule %s cannot be decoded: %s", m.Name, m.Unreadable.Message)
		}
	}
	return ""
}

// invalidate sets the invalidation of the set's spec, or that of the invalidation record.
func invalidate(facts *eligibility.Set, set *v1alpha1.DistributionSet) {
	if s := set.Status.Invalidation; s != nil {
		facts.Invalidation = cmp.Or(s.Cancellation, v1alpha1.CancellationNone)
		if s.ObservedAt != nil {
			facts.InvalidatedAt = s.ObservedAt.Time
		}
	}
	if i := set.InvalidationInForce(); i != nil {
		facts.Invalidation, facts.InvalidationReason, facts.DeleteRollouts = i.Cancellation, i.Reason, i.DeleteRollouts
	}
}

// notDeployable returns why a set cannot be deployed, apart from its content, or "".
func notDeployable(set *v1alpha1.DistributionSet) string {
	ready := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case !set.DeletionTimestamp.IsZero():
		return "it is being deleted"
	case ready == nil:
		return "it has not been reconciled yet"
	case ready.Status != metav1.ConditionTrue:
		return ready.Message
	case !set.Status.Locked || set.Status.ContentHash == "":
		return "it is being locked for its first use"
	}
	return ""
}

// isTransient reports whether a set that cannot be deployed yet needs no user action: it has not
// been reconciled yet, or Goshawk is working on it.
func isTransient(set *v1alpha1.DistributionSet) bool {
	ready := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionReady)
	return set.DeletionTimestamp.IsZero() && (ready == nil || meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionReconciling) ||
		ready.Status == metav1.ConditionTrue && !set.Status.Locked)
}

// contentProblem returns how the content differs from the locked content, or "".
func contentProblem(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) string {
	for i, m := range modules {
		if m == nil {
			return fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) does not exist", set.Spec.Modules[i].Name, i)
		}
	}
	if offer.ContentHash(set, modules) != set.Status.ContentHash {
		return "its content has changed since it was locked"
	}
	return ""
}

// World returns everything that an offer to this target depends on.
func (x *Index) World(target *v1alpha1.Target, now time.Time) offer.World {
	return offer.World{
		Now:     now,
		Target:  target,
		Intents: x.For(target, now),
		Set: func(name string) *eligibility.Set {
			return x.Set(sibling(target, name))
		},
		Origin: func(source v1alpha1.ActionSource) offer.Origin {
			return x.origin(target.Namespace, source)
		},
	}
}
