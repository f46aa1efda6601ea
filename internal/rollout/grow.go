// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// grow keeps a group at the end that targets can join later (hawkBit: dynamic group). The group is
// created before status.groups names it, and is ignored until then, so the plan and its hash do not
// change. A group that is full, or has ended in Error, is followed by another one.
func (l *planner) grow() next {
	if l.spec.Dynamic == nil || l.held || l.growthEnd() != "" {
		return goOn
	}
	if until := l.spec.Dynamic.Until; until != nil {
		l.recheck(until.Time)
	}
	if l.trailing() == nil {
		l.appendGroup()
	}
	return goOn
}

// growthEnd returns why no targets join any more, or "" if they do. Groups are evaluated in both
// cases.
func (l *planner) growthEnd() string {
	d := l.spec.Dynamic
	switch {
	case d == nil:
		return "spec.dynamic was removed"
	case l.Set != nil && l.Set.IsInvalid():
		return "DistributionSet " + l.Set.Name + " was invalidated"
	case d.Until != nil && !d.Until.After(l.Now):
		return fmt.Sprintf("spec.dynamic.until %s has passed", formatTime(d.Until.Time))
	case d.MaxTargets != nil && l.members() >= int(*d.MaxTargets):
		return fmt.Sprintf("spec.dynamic.maxTargets %d is reached", *d.MaxTargets)
	case len(l.groups) >= v1alpha1.MaxGroups && !l.hasRoom(l.groups[len(l.groups)-1]):
		return fmt.Sprintf("a rollout has at most %d groups, and the last one is full", v1alpha1.MaxGroups)
	}
	return ""
}

// members returns the number of targets that were planned or have joined.
func (l *planner) members() int {
	n := 0
	for _, g := range l.groups {
		n += g.size()
	}
	return n
}

func (g *group) size() int {
	if g.object == nil {
		return 0
	}
	return len(g.object.Spec.Targets)
}

func (g *group) isDynamic() bool { return g.object != nil && g.object.Spec.Dynamic }

// trailing returns the group that targets can join, or nil if there is none.
func (l *planner) trailing() *group {
	if l.spec.Dynamic == nil || len(l.groups) == 0 {
		return nil
	}
	if last := l.groups[len(l.groups)-1]; l.hasRoom(last) && l.growthEnd() == "" {
		return last
	}
	return nil
}

// hasRoom reports whether targets may join a group.
func (l *planner) hasRoom(g *group) bool {
	state := l.at(g.index).State
	return g.isDynamic() && (state == v1alpha1.GroupScheduled || state == v1alpha1.GroupRunning) && g.size() < l.capacity() &&
		bytesOf(g)+maxName <= v1alpha1.MaxGroupBytes && len(g.object.Status.Joined) < maxBatches
}

const (
	// maxName is the maximum length of the name of a target.
	maxName = 253
	// maxBatches is the maximum number of batches that may join one group.
	maxBatches = 1000
)

func bytesOf(g *group) int {
	bytes := 0
	for _, name := range g.object.Spec.Targets {
		bytes += len(name)
	}
	return bytes
}

// sizeOfEmptyPlan is the capacity of trailing groups if neither the spec nor a planned group gives
// one.
const sizeOfEmptyPlan = 100

// capacity returns the maximum number of targets in a trailing group: dynamic.groupSize, else the
// size of the last planned group.
func (l *planner) capacity() int {
	if size := l.spec.Dynamic.GroupSize; size != nil {
		return int(*size)
	}
	if l.status.Plan.Targets == 0 {
		return sizeOfEmptyPlan
	}
	planned := min(int(l.status.Plan.Groups), len(l.groups))
	if planned == 0 {
		return 1
	}
	return max(1, l.groups[planned-1].size())
}

// isTrailing reports whether targets may still join a group.
func (l *planner) isTrailing(g *group) bool {
	return g.index == len(l.groups)-1 && g == l.trailing()
}

// denominator returns the number that percentages of a group refer to: its existing members or, for
// the last dynamic group, its capacity, so that the first few results do not decide.
func (l *planner) denominator(g *group) int32 {
	n := l.counts(g).Existing()
	if g.isDynamic() && g.index == len(l.groups)-1 && l.spec.Dynamic != nil {
		n = max(n, int32(l.capacity()))
	}
	return n
}

func (l *planner) appendGroup() {
	planned := grouping.Group{Name: l.nextName(), Conditions: l.trailingConditions()}
	object := grouping.NewDeploymentGroup(l.Rollout, l.status.Plan.Hash, len(l.groups), planned)
	object.Spec.Dynamic = true
	if !slices.ContainsFunc(l.Groups, func(g Group) bool { return g.Object.Name == object.Name }) { // else an earlier reconcile has created it
		l.plan.Create = append(l.plan.Create, object)
	}
	l.status.Groups = append(l.status.Groups, v1alpha1.GroupStatus{Name: planned.Name, State: v1alpha1.GroupScheduled})
	l.groups = append(l.groups, &group{index: len(l.groups), name: planned.Name, object: object, members: func() []*v1alpha1.Target { return nil }})
	l.event(EventGroupAdded, "group %s takes up to %d targets that appear later", planned.Name, l.capacity())
}

// nextName returns the next name: group-4 after group-3, dynamic-1 after explicit groups.
func (l *planner) nextName() string {
	if len(l.spec.Groups) == 0 {
		return fmt.Sprintf("group-%d", len(l.groups)+1)
	}
	for n := max(1, len(l.groups)-int(l.status.Plan.Groups)+1); ; n++ {
		if name := fmt.Sprintf("dynamic-%d", n); l.groupNamed(name) < 0 {
			return name
		}
	}
}

// trailingConditions returns the conditions of trailing groups: those of the last planned group.
func (l *planner) trailingConditions() v1alpha1.GroupConditions {
	if n := len(l.spec.Groups); n > 0 {
		return grouping.Conditions(l.spec, &l.spec.Groups[n-1])
	}
	return grouping.Conditions(l.spec, nil)
}

// AcceptsTargets reports whether targets that appear later join a rollout, according to its spec
// and status.
func AcceptsTargets(r *v1alpha1.Rollout, now time.Time) bool {
	d, s := r.Spec.Dynamic, &r.Status
	switch {
	case d == nil, s.StartedAt == nil, IsStopped(r), !r.DeletionTimestamp.IsZero():
		return false
	case s.State == v1alpha1.RolloutFinished:
		return false
	case d.Until != nil && !d.Until.After(now):
		return false
	}
	return d.MaxTargets == nil || s.Targets == nil || s.Targets.Targets < *d.MaxTargets
}
