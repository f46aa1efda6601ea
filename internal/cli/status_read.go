// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// mostMembers is the largest number of targets in rollouts whose members are read, to find what
// they share: 2 MB of names. The examples of failed targets do not depend on it.
const mostMembers = 50_000

// explain returns the status of the rollouts. What a list does not show is read for named rollouts
// only.
func (s *statusCommand) explain(ctx context.Context, rollouts []*v1alpha1.Rollout) ([]explain.Status, error) {
	var statuses []explain.Status
	for _, r := range rollouts {
		world := explain.StatusWorld{Rollout: r, Now: s.Now()}
		if len(s.names) > 0 {
			if err := s.readDetails(ctx, &world); err != nil {
				return nil, err
			}
		}
		statuses = append(statuses, explain.StatusOf(world))
	}
	return statuses, nil
}

// readDetails reads the examples of failed targets and, if they are not too many, the members of
// the rollout and of the other rollouts that have not ended.
func (s *statusCommand) readDetails(ctx context.Context, w *explain.StatusWorld) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	for _, failure := range w.Rollout.Status.Failures {
		for _, name := range failure.Examples {
			t := &v1alpha1.Target{}
			err := c.Get(ctx, client.ObjectKey{Namespace: w.Rollout.Namespace, Name: name}, t)
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				return err
			default:
				w.Failed = append(w.Failed, t)
			}
		}
	}
	members := plannedTargets(w.Rollout)
	if members == 0 {
		return nil
	}
	if members <= mostMembers {
		if w.Groups, err = groupsOf(ctx, s.Options, w.Rollout); err != nil {
			return err
		}
	}
	if rollout.IsOver(w.Rollout) {
		return nil
	}
	rollouts, err := listAll[v1alpha1.Rollout](ctx, s.Options, &v1alpha1.RolloutList{}, client.InNamespace(w.Rollout.Namespace))
	if err != nil {
		return err
	}
	w.RequiredMigrationStep = s.isMigrationStep(ctx, c, w.Rollout)
	for _, r := range rollouts {
		n := plannedTargets(r)
		if r.Name == w.Rollout.Name || n == 0 || rollout.IsOver(r) {
			continue
		}
		if members+n > mostMembers {
			w.NotCompared = append(w.NotCompared, r.Name)
			continue
		}
		members += n
		groups, err := groupsOf(ctx, s.Options, r)
		if err != nil {
			return err
		}
		w.Others = append(w.Others, explain.OtherRollout{Rollout: r, Groups: groups, RequiredMigrationStep: s.isMigrationStep(ctx, c, r)})
	}
	return nil
}

func plannedTargets(r *v1alpha1.Rollout) int32 {
	if r.Status.Plan == nil {
		return 0
	}
	return r.Status.Plan.Targets
}

// isMigrationStep returns the field requiredMigrationStep of the set of a rollout, or false if the
// set cannot be read.
func (s *statusCommand) isMigrationStep(ctx context.Context, c client.Client, r *v1alpha1.Rollout) bool {
	set := &v1alpha1.DistributionSet{}
	name := r.Spec.Update.DistributionSet
	return name != "" && c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, set) == nil && set.Spec.RequiredMigrationStep
}

// groupsOf returns the groups of the plan of a rollout, in their order.
func groupsOf(ctx context.Context, o *Options, r *v1alpha1.Rollout) ([]*v1alpha1.DeploymentGroup, error) {
	groups, err := listAll[v1alpha1.DeploymentGroup](ctx, o, &v1alpha1.DeploymentGroupList{}, client.InNamespace(r.Namespace),
		client.MatchingLabels{v1alpha1.RolloutLabel: grouping.LabelValue(r.Name)})
	if err != nil {
		return nil, err
	}
	groups = slices.DeleteFunc(groups, func(g *v1alpha1.DeploymentGroup) bool { return !grouping.BelongsTo(g, r) })
	slices.SortFunc(groups, func(a, b *v1alpha1.DeploymentGroup) int { return int(a.Spec.Index - b.Spec.Index) })
	return groups, nil
}
