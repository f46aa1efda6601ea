// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// SetOf returns what the rules need to know of a set. The modules are in the order of spec.modules;
// a module that does not exist is nil.
func SetOf(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) *eligibility.Set {
	s := &eligibility.Set{
		Namespace:             set.Namespace,
		Name:                  set.Name,
		ContentHash:           set.Status.ContentHash,
		CompatibleTargetTypes: set.Spec.CompatibleTargetTypes,
		RequiredMigrationStep: set.Spec.RequiredMigrationStep,
		Rollback:              v1alpha1.RollbackSupported,
		Metadata:              Visible(set.Spec.Metadata),
	}
	changed := contentProblem(set, modules)
	s.Changed = changed != ""
	s.NotDeployable = cmp.Or(notDeployable(set), changed)
	s.Deployable = s.NotDeployable == ""
	s.Transient = isTransient(set)
	for _, m := range modules {
		if m == nil || m.Spec.Rollback != v1alpha1.RollbackSupported {
			s.Rollback = v1alpha1.RollbackNone
		}
		if m != nil {
			s.Modules = append(s.Modules, m)
		}
	}
	if c := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionLocked); c != nil && c.Status == metav1.ConditionTrue {
		s.LockedAt = c.LastTransitionTime.Time
	}
	invalidate(s, set)
	if why := unreadable(set, modules); why != "" {
		s.Unreadable, s.Changed, s.Deployable, s.Transient, s.NotDeployable = true, false, false, false, why
	}
	return s
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
func invalidate(s *eligibility.Set, set *v1alpha1.DistributionSet) {
	if seen := set.Status.Invalidation; seen != nil {
		s.Invalidation = cmp.Or(seen.Cancellation, v1alpha1.CancellationNone)
		if seen.ObservedAt != nil {
			s.InvalidatedAt = seen.ObservedAt.Time
		}
	}
	if i := set.InvalidationInForce(); i != nil {
		s.Invalidation, s.InvalidationReason, s.DeleteRollouts = i.Cancellation, i.Reason, i.DeleteRollouts
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
	if ContentHash(set, modules) != set.Status.ContentHash {
		return "its content has changed since it was locked"
	}
	return ""
}
