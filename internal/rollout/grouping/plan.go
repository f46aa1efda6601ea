// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
)

// MakePlan selects the targets and spreads them over groups. It returns the DeploymentGroups to
// create, and status.plan, which is written when all of them exist. An error is a *Problem.
func MakePlan(r *v1alpha1.Rollout, set *eligibility.Set, population []*v1alpha1.Target, inventories query.Inventories, now time.Time) ([]*v1alpha1.DeploymentGroup, v1alpha1.PlanStatus, error) {
	selected, _, err := Select(r, set, population, inventories)
	if err != nil && !(IsNoTargets(err) && mayStartEmpty(r, now)) {
		return nil, v1alpha1.PlanStatus{}, err
	}
	planned, err := Partition(r, selected, inventories)
	if err != nil {
		return nil, v1alpha1.PlanStatus{}, err
	}
	at := metav1.NewTime(now)
	status := v1alpha1.PlanStatus{
		Hash:        PlanHash(set.ContentHash, SpecHash(r), planned),
		ContentHash: set.ContentHash,
		SpecHash:    SpecHash(r),
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

// mayStartEmpty reports whether a rollout may be planned without targets: it is dynamic, and
// targets can join later.
func mayStartEmpty(r *v1alpha1.Rollout, now time.Time) bool {
	d := r.Spec.Dynamic
	return d != nil && (d.Until == nil || d.Until.After(now))
}

// NewDeploymentGroup returns the object of a planned group. It has none of the labels and
// annotations of the rollout: with those, a GitOps tool would treat the object as one of its own.
func NewDeploymentGroup(r *v1alpha1.Rollout, planHash string, index int, g Group) *v1alpha1.DeploymentGroup {
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

// deploymentGroupName returns <rollout>-<group>-<hash>. The name of the rollout is shortened if
// the result would be too long.
func deploymentGroupName(r *v1alpha1.Rollout, planHash, group string) string {
	sum := sha256.Sum256([]byte(planHash + string(r.Identity())))
	tail := "-" + group + "-" + hex.EncodeToString(sum[:5])
	return shortened(r.Name, 253-len(tail)) + tail
}

// LabelValue returns the value of RolloutLabel on the groups of a rollout of this name.
func LabelValue(name string) string { return shortened(name, 63) }

// shortened cuts a name to a length, and removes last characters that may not end a name.
func shortened(name string, length int) string {
	if len(name) <= length {
		return name
	}
	return strings.TrimRight(name[:length], "-.")
}

// BelongsTo reports whether a group belongs to the plan of a rollout: it names the rollout, the
// hash of its plan, and the UID in the rollout's status. If the status has no UID, because it was
// restored from another cluster, name and hash are enough. Groups of another plan, or of a deleted
// rollout with the same name, are ignored everywhere.
func BelongsTo(group *v1alpha1.DeploymentGroup, r *v1alpha1.Rollout) bool {
	return r != nil && r.Name == group.Spec.Rollout && r.Namespace == group.Namespace && r.Status.Plan != nil && r.Status.Plan.Hash == group.Spec.PlanHash &&
		(r.Status.UID == "" || r.Status.UID == group.Spec.RolloutUID)
}
