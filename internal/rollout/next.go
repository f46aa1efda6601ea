// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// Next decides what the rollout does next. Applied to a world in which its plan has been carried
// out, it wants nothing more until something happens; a decision that takes several writes takes
// several looks.
func Next(s Snapshot) Plan {
	l := newPlanner(s)
	for _, s := range steps {
		l.plan.Steps = append(l.plan.Steps, s.name)
		if s.run(l) == done {
			break
		}
	}
	return l.write()
}

// next is what follows a step.
type next int

const (
	goOn next = iota // the next step
	done             // no further step: the plan is made
)

func doneIf(is bool) next {
	if is {
		return done
	}
	return goOn
}

// steps are taken in this order.
var steps = []struct {
	name string
	run  func(*planner) next
}{
	{"supersedeMembers", (*planner).supersedeMembers},         // members that a newer rollout took are never offered again
	{"refuseInvalid", (*planner).refuseInvalid},               // a set out of circulation is not assigned any more
	{"stop", (*planner).stop},                                 // by spec or by invalidation; final
	{"prepare", (*planner).prepare},                           // not started: plan, approval, startAt
	{"missGroups", (*planner).missGroups},                     // a lost group stops everything
	{"missSet", (*planner).missSet},                           // a lost set opens nothing
	{"retry", (*planner).retry},                               // may take a finished rollout back
	{"rest", (*planner).rest},                                 // finished
	{"expire", (*planner).expire},                             // members that have not started in time are left behind
	{"abandon", (*planner).abandon},                           // another attempt is not awaited for ever either
	{"pause", (*planner).pause},                               // by spec, or lifted by resumedAt
	{"openFirstGroup", (*planner).openFirstGroup},             // older rollouts give up first
	{"checkErrorConditions", (*planner).checkErrorConditions}, // before anything is offered
	{"grow", (*planner).grow},                                 // a dynamic rollout has a group at the end that takes targets in
	{"advance", (*planner).advance},                           // spec.advance opens groups whatever the conditions say
	{"evaluate", (*planner).evaluate},                         // groups finish, groups open
	{"finish", (*planner).finish},                             // nothing left to open or to wait for
}

// planner is one look at a rollout: what is seen, and what is wanted so far.
type planner struct {
	Snapshot
	// next is the rollout with the status that is going to be written.
	next   *v1alpha1.Rollout
	status *v1alpha1.RolloutStatus
	spec   *v1alpha1.RolloutSpec
	groups []*group
	plan   Plan

	// verdict is what the steps have found, beside what they have changed.
	verdict
	// counted is what the offering clock reads; nil: it has not been asked.
	counted *time.Duration
}

// group is one group as it is going to be.
type group struct {
	index int
	name  string
	// object with the status that is going to be written; nil: it has not been seen.
	object *v1alpha1.DeploymentGroup
	// seen is the object as it was read.
	seen *v1alpha1.DeploymentGroup
	// stored is the object's status as far as it has been written.
	stored  v1alpha1.DeploymentGroupStatus
	members func() []*v1alpha1.Target
	tally   counting.Tally
	// rule by which tally was counted.
	rule counting.Rule
	// ahead: its status is written before the rollout's.
	ahead bool
	// kept are the lost failures that a resume or a retry in this look has left; nil: there was
	// none.
	kept *int32
	// stale: the bitmaps have changed since, or not everybody was counted.
	stale bool
}

func newPlanner(s Snapshot) *planner {
	next := *s.Rollout
	next.Status = *s.Rollout.Status.DeepCopy()
	l := &planner{Snapshot: s, next: &next, status: &next.Status, spec: &next.Spec}
	l.status.ObservedGeneration = next.Generation
	l.status.UID = l.identity()
	l.seeGroups()
	return l
}

// identity is by what the groups of the plan and the actions of targets name this rollout. A status
// that does not say it has groups that do.
func (l *planner) identity() types.UID {
	if l.status.UID == "" && l.status.Plan != nil && len(l.Groups) > 0 {
		return l.Groups[0].Object.Spec.RolloutUID
	}
	return l.next.Identity()
}

// seeGroups aligns the groups that are there with those that the status knows.
func (l *planner) seeGroups() {
	seen := make(map[string]*Group, len(l.Groups))
	for i := range l.Groups {
		seen[l.Groups[i].Object.Spec.Group] = &l.Groups[i]
	}
	for i := range l.status.Groups {
		g := &group{index: i, name: l.status.Groups[i].Name}
		if found := seen[g.name]; found != nil {
			object := *found.Object
			object.Status = *found.Object.Status.DeepCopy()
			g.object, g.seen, g.stored, g.members = &object, found.Object, found.Object.Status, found.Members
			g.tally, g.rule = found.Tally, RuleOf(l.Rollout, l.Set, i, l.AutoAssignments)
			g.stale = int(found.Tally.Targets) != len(object.Spec.Targets)
		}
		l.groups = append(l.groups, g)
		if g.object != nil && l.at(i).OpenedAt != nil && g.stored.OpenedAt == nil {
			// The group has opened, and a crash kept its status from being written. A member that
			// this rollout has updated in the meantime did not have the set before.
			l.markAlreadyInstalled(g, func(t *v1alpha1.Target) bool { return action.OfSource(&t.Status, l.Rollout.Identity()) != nil })
		}
	}
}

// group i as the status has it.
func (l *planner) at(i int) *v1alpha1.GroupStatus { return &l.status.Groups[i] }

// tally of a group by the rule and the bitmaps as they are going to be: the group is counted anew
// only when they have changed.
func (l *planner) tally(g *group) *counting.Tally {
	rule := l.ruleOf(g)
	if g.object != nil && g.members != nil && (g.stale || !rule.Equal(&g.rule)) {
		g.tally = counting.Recount(g.object, rule, g.members())
		g.rule, g.stale = rule, false
	}
	return &g.tally
}

func (l *planner) ruleOf(g *group) counting.Rule {
	return RuleOf(l.next, l.Set, g.index, l.AutoAssignments)
}

func (l *planner) counterOf(g *group) *counting.Counter { return counting.NewCounter(l.ruleOf(g)) }

// counts of a group. Once closed, they are history: a target that is deleted later does not rewrite
// them.
func (l *planner) counts(g *group) v1alpha1.Counts {
	if g.object == nil || l.isHistory(g) {
		return l.at(g.index).Counts
	}
	return l.tally(g).Counts
}

// isHistory reports whether the counts of a group are frozen: they were written when it closed, or
// later.
func (l *planner) isHistory(g *group) bool {
	st := l.at(g.index)
	return g.index < len(l.Rollout.Status.Groups) && isEnded(l.Rollout.Status.Groups[g.index].State) && isEnded(st.State) && counting.AllClosed(st.Counts) && st.Targets > 0
}

func isEnded(s v1alpha1.GroupState) bool {
	return s == v1alpha1.GroupFinished || s == v1alpha1.GroupError
}

// opened is how many groups have opened; groups open in order.
func (l *planner) opened() int {
	for i, g := range l.status.Groups {
		if !isOpen(g.State) {
			return i
		}
	}
	return len(l.status.Groups)
}

func (l *planner) isPaused() bool { return l.status.PauseReason != "" }

func (l *planner) isOver() bool {
	return l.status.State == v1alpha1.RolloutFinished || l.status.State == v1alpha1.RolloutStopped
}

func (l *planner) hasStarted() bool { return l.status.StartedAt != nil }

// writeAhead has the group's status written before the rollout's.
func (l *planner) writeAhead(g *group) {
	status := GroupStatus{g.seen, *g.object.Status.DeepCopy()}
	if i := slices.IndexFunc(l.plan.Supersede, func(s GroupStatus) bool { return s.Object == g.seen }); i >= 0 {
		l.plan.Supersede[i] = status
	} else {
		l.plan.Supersede = append(l.plan.Supersede, status)
	}
	g.ahead = true
}

// recheck asks for another look at that time.
func (l *planner) recheck(at time.Time) {
	after := at.Sub(l.Now)
	if after > 0 && (l.plan.RecheckAfter == 0 || after < l.plan.RecheckAfter) {
		l.plan.RecheckAfter = after
	}
}

func (l *planner) event(reason, format string, args ...any) {
	l.plan.Events = append(l.plan.Events, Event{normal, reason, fmt.Sprintf(format, args...)})
}

func (l *planner) warningEvent(reason, format string, args ...any) {
	l.plan.Events = append(l.plan.Events, Event{warning, reason, fmt.Sprintf(format, args...)})
}

// handled are the requests that have been carried out, ready to be added to.
func (l *planner) handled() *v1alpha1.HandledRequests {
	if l.status.Handled == nil {
		l.status.Handled = &v1alpha1.HandledRequests{}
	}
	return l.status.Handled
}

// requested is a time of spec as handled echoes it.
func requested(t metav1.Time) time.Time { return t.Truncate(time.Microsecond) }

// noTime: only an event moves it.
var noTime time.Time

// second and micro are times as the API keeps them, so that what was written reads back the same.
func second(t time.Time) *metav1.Time {
	at := metav1.NewTime(t.Truncate(time.Second))
	return &at
}

func micro(t time.Time) *metav1.MicroTime {
	at := metav1.NewMicroTime(t.Truncate(time.Microsecond))
	return &at
}

// groupNames in the order they open.
func (l *planner) groupNames() []string {
	var out []string
	for _, g := range l.status.Groups {
		out = append(out, g.Name)
	}
	return slices.Clip(out)
}
