// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// grow keeps a group at the end that takes in targets that appear later (hawkBit: dynamic group).
// It is created before status.groups names it, and exists for nobody until then, so that the plan
// and its hash stay what they were. A group that is full, or has ended in Error, is succeeded by
// another.
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

// growthEnd says why no targets join any more; empty: they do. It ends the growth, never the
// evaluation.
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

// members are all that were planned or have joined.
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

// trailing is the group that targets join now; nil: there is none.
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
	// maxName is how long the name of a target may be.
	maxName = 253
	// maxBatches is how many times targets may join one group.
	maxBatches = 1000
)

func bytesOf(g *group) int {
	bytes := 0
	for _, name := range g.object.Spec.Targets {
		bytes += len(name)
	}
	return bytes
}

// sizeOfEmptyPlan is the capacity of trailing groups where neither the spec nor a planned group
// gives one.
const sizeOfEmptyPlan = 100

// capacity of a trailing group: as asked for, or as large as the last planned one.
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

// denominator is what percentages of a group are of: the members that exist or, in a dynamic group
// that no other has succeeded, its capacity, so that the first few decide nothing.
func (l *planner) denominator(g *group) int32 {
	n := counting.Existing(l.counts(g))
	if g.isDynamic() && g.index == len(l.groups)-1 && l.spec.Dynamic != nil {
		n = max(n, int32(l.capacity()))
	}
	return n
}

func (l *planner) appendGroup() {
	planned := grouping.Group{Name: l.nextName(), Conditions: l.trailingConditions()}
	object := grouping.NewDeploymentGroup(l.Rollout, l.status.Plan.Hash, len(l.groups), planned)
	object.Spec.Dynamic = true
	if !slices.ContainsFunc(l.Groups, func(g Group) bool { return g.Object.Name == object.Name }) { // else a look did not live to name it
		l.plan.Create = append(l.plan.Create, object)
	}
	l.status.Groups = append(l.status.Groups, v1alpha1.GroupStatus{Name: planned.Name, State: v1alpha1.GroupScheduled})
	l.groups = append(l.groups, &group{index: len(l.groups), name: planned.Name, object: object, members: func() []*v1alpha1.Target { return nil }})
	l.event(EventGroupAdded, "group %s takes in targets that appear later, up to %d", planned.Name, l.capacity())
}

// nextName goes on counting: group-4 after group-3, dynamic-1 after explicit groups.
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

// trailingConditions are those of the last planned group.
func (l *planner) trailingConditions() v1alpha1.GroupConditions {
	if n := len(l.spec.Groups); n > 0 {
		return grouping.Conditions(l.spec, &l.spec.Groups[n-1])
	}
	return grouping.Conditions(l.spec, nil)
}

// Grows reports whether targets that appear later join a rollout, as far as its status and its set
// say.
func Grows(r *v1alpha1.Rollout, now time.Time) bool {
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
