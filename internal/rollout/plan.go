// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/query"
)

// Select returns the targets of the population that the rollout means and that its set fits, in the
// population's order, and since when they have been quiet: the latest of the rollout's creation,
// their own, and the last change of what selects them. An error is a *Problem: InvalidExpression or
// NoTargets; quietSince holds in any case.
func Select(r *v1alpha1.Rollout, set *offer.Set, population []*v1alpha1.Target) (selected []*v1alpha1.Target, quietSince time.Time, err error) {
	quietSince = r.CreationTimestamp.Time
	q, err := query.Compile(r.Spec.Selection)
	if err != nil {
		return nil, quietSince, &Problem{v1alpha1.ReasonInvalidExpression, "spec." + err.Error()}
	}
	for _, t := range population {
		if canBePlanned(t) && set.Fits(t.Spec.Type) && q.Matches(t) {
			selected = append(selected, t)
			quietSince = later(quietSince, selectableSince(t))
		}
	}
	if len(selected) == 0 {
		return nil, quietSince, noTargets(r, set, population)
	}
	return selected, quietSince, nil
}

// canBePlanned reports whether the target is going to stay and is served by the device API. One
// that cannot be decoded is not planned: what selects it may be among what cannot be read, and it
// would hold the others up. A member of a plan stays one.
func canBePlanned(t *v1alpha1.Target) bool {
	return t.DeletionTimestamp.IsZero() && t.Unreadable == nil && !isDuplicate(t)
}

// isDuplicate reports whether an older target has the same controllerID.
func isDuplicate(t *v1alpha1.Target) bool {
	ready := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == v1alpha1.ReasonDuplicate
}

func selectableSince(t *v1alpha1.Target) time.Time {
	if t.Status.SelectionChangedAt == nil {
		return t.CreationTimestamp.Time
	}
	return later(t.CreationTimestamp.Time, t.Status.SelectionChangedAt.Time)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// noTargets says why nobody was selected: each target of the namespace is counted under the first
// reason that keeps it out.
func noTargets(r *v1alpha1.Rollout, set *offer.Set, population []*v1alpha1.Target) *Problem {
	if len(population) == 0 {
		return &Problem{v1alpha1.ReasonNoTargets, fmt.Sprintf("namespace %s has no targets: create Targets, or let the devices register", r.Namespace)}
	}
	labels, err := query.Compile(v1alpha1.Selection{TargetSelector: r.Spec.TargetSelector})
	if err != nil {
		return &Problem{v1alpha1.ReasonInvalidExpression, "spec." + err.Error()}
	}
	var selector, expression, unfit, deleting, duplicates, unreadable int
	for _, t := range population {
		switch {
		case !t.DeletionTimestamp.IsZero():
			deleting++
		case isDuplicate(t):
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
	count(unreadable, "that cannot be read (their events Unreadable say why)")
	count(deleting, "being deleted")
	return &Problem{v1alpha1.ReasonNoTargets, fmt.Sprintf(
		"none of the %s of namespace %s is selected: %s; widen the selection, or label the targets", targets(len(population)), r.Namespace, strings.Join(out, ", "))}
}

func isNoTargets(err error) bool {
	problem := new(Problem)
	return errors.As(err, &problem) && problem.Reason == v1alpha1.ReasonNoTargets
}

// mayStartEmpty reports whether a rollout may be planned without targets: it is dynamic, and takes
// in those that appear later.
func mayStartEmpty(r *v1alpha1.Rollout, now time.Time) bool {
	d := r.Spec.Dynamic
	return d != nil && (d.Until == nil || d.Until.After(now))
}

// MakePlan selects targets, spreads them over groups and writes the plan down: the DeploymentGroups
// to create, and the status that makes them exist. An error is a *Problem.
func MakePlan(r *v1alpha1.Rollout, set *offer.Set, population []*v1alpha1.Target, now time.Time) ([]*v1alpha1.DeploymentGroup, v1alpha1.PlanStatus, error) {
	selected, _, err := Select(r, set, population)
	if err != nil && !(isNoTargets(err) && mayStartEmpty(r, now)) {
		return nil, v1alpha1.PlanStatus{}, err
	}
	planned, err := Partition(r, selected)
	if err != nil {
		return nil, v1alpha1.PlanStatus{}, err
	}
	at := metav1.NewTime(now)
	status := v1alpha1.PlanStatus{
		Hash:        PlanHash(set.ContentHash, specHash(r), planned),
		ContentHash: set.ContentHash,
		SpecHash:    specHash(r),
		CreatedAt:   &at,
		Targets:     int32(len(selected)),
		Groups:      int32(len(planned)),
	}
	groups := make([]*v1alpha1.DeploymentGroup, len(planned))
	for i := range planned {
		groups[i] = NewDeploymentGroup(r, status.Hash, i, planned[i])
	}
	return groups, status, nil
}

// NewDeploymentGroup is a planned group as an object. It carries nothing of the rollout's labels
// and annotations: a GitOps tool would take it for its own.
func NewDeploymentGroup(r *v1alpha1.Rollout, planHash string, index int, g PlannedGroup) *v1alpha1.DeploymentGroup {
	targets := make([]v1alpha1.TargetName, len(g.Targets))
	for i, name := range g.Targets {
		targets[i] = v1alpha1.TargetName(name)
	}
	return &v1alpha1.DeploymentGroup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       r.Namespace,
			Name:            deploymentGroupName(r, planHash, g.Name),
			Labels:          map[string]string{v1alpha1.RolloutLabel: LabelValue(r.Name), v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue},
			Annotations:     map[string]string{v1alpha1.ArgoIgnoreAnnotation: "true"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("Rollout"))},
			Finalizers:      []string{v1alpha1.DeploymentGroupFinalizer},
		},
		Spec: v1alpha1.DeploymentGroupSpec{
			Rollout:    r.Name,
			RolloutUID: r.Identity(),
			Group:      g.Name,
			Index:      int32(index),
			PlanHash:   planHash,
			Conditions: g.Conditions,
			Targets:    targets,
		},
	}
}

// deploymentGroupName is <rollout>-<group>-<hash>, the rollout's name shortened where a name may
// not be that long.
func deploymentGroupName(r *v1alpha1.Rollout, planHash, group string) string {
	sum := sha256.Sum256([]byte(planHash + string(r.Identity())))
	tail := "-" + group + "-" + hex.EncodeToString(sum[:5])
	return shortened(r.Name, 253-len(tail)) + tail
}

// LabelValue is what RolloutLabel says on the groups of a rollout of this name.
func LabelValue(name string) string { return shortened(name, 63) }

// shortened cuts a name so that it still ends as a name may end.
func shortened(name string, length int) string {
	if len(name) <= length {
		return name
	}
	return strings.TrimRight(name[:length], "-.")
}
