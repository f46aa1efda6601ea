// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// hasPlan makes the plan if there is none, and reports whether there is one. Before the start a
// change of the spec or of the content of the set makes a new plan; targets that are created or
// deleted do not.
func (l *planner) hasPlan() bool {
	old := l.status.Plan
	if old != nil && old.SpecHash == grouping.SpecHash(l.Rollout) && old.ContentHash == l.Set.ContentHash {
		l.status.Stabilizing = nil
		return true
	}
	if l.isHeldByGroups() {
		return false
	}
	if old == nil && l.hasLostStatus() {
		l.stall(v1alpha1.ReasonGroupLost, "the status of this rollout was lost after groups had opened, so it is not known which groups are done: delete and re-create the Rollout")
		return false
	}
	population := l.Population()
	if !l.isStable(population) {
		return false
	}
	created, made, err := grouping.MakePlan(l.Rollout, l.Set, population, l.Inventories, l.Now)
	if err != nil {
		l.stallWith(err)
		return false
	}
	l.adopt(created, made, population)
	return true
}

// hasLostStatus reports whether groups of this rollout have opened although its status has no plan:
// the status was deleted.
func (l *planner) hasLostStatus() bool {
	return slices.ContainsFunc(l.Leftover, func(g *v1alpha1.DeploymentGroup) bool { return g.Status.OpenedAt != nil })
}

func (l *planner) stallWith(err error) {
	if problem := new(grouping.Problem); errors.As(err, &problem) {
		l.stall(problem.Reason, "%s", problem.Message)
		return
	}
	l.stall(v1alpha1.ReasonInvalidSpec, "%s", err.Error())
}

// adopt makes a plan the rollout's plan. From then on groups of other plans are leftovers.
func (l *planner) adopt(created []*v1alpha1.DeploymentGroup, made v1alpha1.PlanStatus, population []*v1alpha1.Target) {
	l.status.Stabilizing = nil
	l.announcePlan(made, created)
	if old := l.status.Plan; old != nil && old.Hash == made.Hash {
		made.CreatedAt = old.CreatedAt
		l.status.Plan = &made
		return
	}
	made.CreatedAt = second(l.Now)
	l.status.Plan, l.status.Groups, l.groups = &made, nil, nil
	byName := make(map[string]*v1alpha1.Target, len(population))
	for _, t := range population {
		byName[t.Name] = t
	}
	for i, object := range created {
		name := object.Spec.Group
		l.status.Groups = append(l.status.Groups, v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupReady})
		g := &group{index: i, name: name, object: object, members: membersOf(object, byName), stale: true}
		l.groups = append(l.groups, g)
		if !l.existsAlready(object) {
			l.plan.Create = append(l.plan.Create, object)
		}
	}
	if empty := l.emptyGroups(); empty != "" {
		l.warningEvent(EventGroupEmpty, "%s; an empty group passes and checks nothing", empty)
	}
}

func membersOf(g *v1alpha1.DeploymentGroup, byName map[string]*v1alpha1.Target) func() []*v1alpha1.Target {
	return func() []*v1alpha1.Target {
		members := make([]*v1alpha1.Target, len(g.Spec.Targets))
		for i, name := range g.Spec.Targets {
			members[i] = byName[string(name)]
		}
		return members
	}
}

// existsAlready reports whether the group exists already, created by a reconcile that ended before
// it wrote the status.
func (l *planner) existsAlready(g *v1alpha1.DeploymentGroup) bool {
	return slices.ContainsFunc(l.Leftover, func(o *v1alpha1.DeploymentGroup) bool { return o.Name == g.Name })
}

// deleteOtherGroups deletes the groups of other plans, once there is a plan.
func (l *planner) deleteOtherGroups() {
	if l.status.Plan == nil && !l.isOver() {
		return
	}
	wanted := ""
	if l.status.Plan != nil {
		wanted = l.status.Plan.Hash
	}
	for _, g := range l.Leftover {
		if g.Spec.PlanHash != wanted {
			l.plan.Delete = append(l.plan.Delete, g)
		}
	}
	for _, g := range l.Groups {
		if g.Object.Spec.PlanHash != wanted {
			l.plan.Delete = append(l.plan.Delete, g.Object)
		}
	}
}

func (l *planner) announcePlan(made v1alpha1.PlanStatus, created []*v1alpha1.DeploymentGroup) {
	old := l.status.Plan
	if old == nil {
		l.event(EventPlanned, "planned %s in %s, plan %s", targets(made.Targets), text.Count(made.Groups, "group"), made.Hash)
		return
	}
	why := "spec changed"
	if old.ContentHash != made.ContentHash {
		why = "the content of " + l.subject() + " changed"
	}
	if old.Hash == made.Hash {
		l.event(EventPlanChanged, "%s, and the plan is the same as before", why)
		return
	}
	var before []*v1alpha1.DeploymentGroup
	for _, g := range l.Groups {
		before = append(before, g.Object)
	}
	if difference := grouping.Changes(before, created); difference != "" {
		why += " (" + text.LimitBytes(difference, 500) + ")"
	}
	l.event(EventPlanChanged, "%s: planned %s in %s instead of %d in %d, plan %s; an approval of plan %s is no longer valid",
		why, targets(made.Targets), text.Count(made.Groups, "group"), old.Targets, old.Groups, made.Hash, old.Hash)
}
