// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Select returns the targets of the population that the rollout selects and that its set fits, in
// the order of the population. quietSince is the latest of these times: the creation of the
// rollout, the creation of a selected target, and the last change of what selects it. An error is a
// *Problem with the reason InvalidExpression or NoTargets; quietSince is set in any case.
func Select(r *v1alpha1.Rollout, set *eligibility.Set, population []*v1alpha1.Target, inventories query.Inventories) (selected []*v1alpha1.Target, quietSince time.Time, err error) {
	quietSince = r.CreationTimestamp.Time
	q, err := query.Compile(r.Spec.Selection, inventories)
	if err != nil {
		return nil, quietSince, &Problem{v1alpha1.ReasonInvalidExpression, "spec." + err.Error()}
	}
	for _, t := range population {
		if CanBePlanned(t) && set.Fits(t.Spec.Type) && q.Matches(t) {
			selected = append(selected, t)
			quietSince = latest(quietSince, selectableSince(t))
		}
	}
	if len(selected) == 0 {
		return nil, quietSince, noTargets(r, set, population)
	}
	return selected, quietSince, nil
}

// CanBePlanned reports whether a target may become a member of a group: it is not being deleted,
// the device API serves it, and it can be decoded. A target that cannot be decoded may have lost
// the fields by which it was selected, and its group could not finish without it. A target that is
// already a member stays one.
func CanBePlanned(t *v1alpha1.Target) bool {
	return t.DeletionTimestamp.IsZero() && t.Unreadable == nil && !eligibility.IsDuplicate(t)
}

func selectableSince(t *v1alpha1.Target) time.Time {
	if t.Status.SelectionChangedAt == nil {
		return t.CreationTimestamp.Time
	}
	return latest(t.CreationTimestamp.Time, t.Status.SelectionChangedAt.Time)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// noTargets returns the problem that no target is selected. It counts each target of the namespace
// under the first reason why it is not selected.
func noTargets(r *v1alpha1.Rollout, set *eligibility.Set, population []*v1alpha1.Target) *Problem {
	if len(population) == 0 {
		return &Problem{v1alpha1.ReasonNoTargets, fmt.Sprintf("namespace %s has no targets: create Targets, or let the devices register", r.Namespace)}
	}
	labels, err := query.Compile(v1alpha1.Selection{TargetSelector: r.Spec.TargetSelector}, nil)
	if err != nil {
		return &Problem{v1alpha1.ReasonInvalidExpression, "spec." + err.Error()}
	}
	var selector, expression, unfit, deleting, duplicates, unreadable int
	for _, t := range population {
		switch {
		case !t.DeletionTimestamp.IsZero():
			deleting++
		case eligibility.IsDuplicate(t):
			duplicates++
		case t.Unreadable != nil:
			unreadable++
		case !labels.Matches(t):
			selector++
		case !set.Fits(t.Spec.Type):
			unfit++
		default:
			expression++
		}
	}
	var out []string
	count := func(n int, why string) {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, why))
		}
	}
	count(selector, "not matched by spec.targetSelector")
	count(expression, "not matched by spec.targetExpression")
	count(unfit, fmt.Sprintf("of a type that is not in compatibleTargetTypes of DistributionSet %s (%s)", set.Name, strings.Join(set.CompatibleTargetTypes, ", ")))
	count(duplicates, "with the controllerID of an older target")
	count(unreadable, "that cannot be decoded (see their events Unreadable)")
	count(deleting, "being deleted")
	return &Problem{v1alpha1.ReasonNoTargets, fmt.Sprintf(
		"none of the %s of namespace %s is selected: %s; widen the selection, or label the targets", text.Count(len(population), "target"), r.Namespace, strings.Join(out, ", "))}
}

// IsNoTargets reports whether an error is the *Problem that no target is selected.
func IsNoTargets(err error) bool {
	problem := new(Problem)
	return errors.As(err, &problem) && problem.Reason == v1alpha1.ReasonNoTargets
}
