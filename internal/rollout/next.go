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

// Next returns the plan for a rollout. After the plan was carried out, Next returns a plan without
// changes until something happens. A decision that needs several writes in sequence takes several
// reconciles.
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

// next says what follows a step.
type next int

const (
	goOn next = iota // the next step
	done             // no further step
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
	{"supersedeMembers", (*planner).supersedeMembers},         // members that a newer rollout took over are never offered the update again
	{"refuseInvalid", (*planner).refuseInvalid},               // an invalidated set is not assigned any more
	{"stop", (*planner).stop},                                 // stops by spec or by invalidation are final
	{"prepare", (*planner).prepare},                           // before the start: plan, approval, startAt
	{"checkGroups", (*planner).checkGroups},                   // a missing group holds the rollout
	{"checkSet", (*planner).checkSet},                         // a missing or changed set holds the rollout
	{"retry", (*planner).retry},                               // may set a finished rollout to Running
	{"endIfOver", (*planner).endIfOver},                       // nothing to do for a finished rollout
	{"expire", (*planner).expire},                             // members that have not started in time fail or are skipped
	{"abandon", (*planner).abandon},                           // members that have not started a retry in time fail
	{"pause", (*planner).pause},                               // pauses by spec, and resumedAt
	{"openFirstGroup", (*planner).openFirstGroup},             // after older rollouts have given up shared targets
	{"checkErrorConditions", (*planner).checkErrorConditions}, // before groups finish or open
	{"grow", (*planner).grow},                                 // a dynamic rollout has a last group that targets can join
	{"advance", (*planner).advance},                           // spec.advance opens groups even if their conditions are not met
	{"evaluate", (*planner).evaluate},                         // finishes and opens groups
	{"finish", (*planner).finish},                             // all groups have opened and closed
}

// planner computes one plan: the snapshot, and the plan so far.
type planner struct {
	Snapshot
	// next is the rollout with its new status.
	next   *v1alpha1.Rollout
	status *v1alpha1.RolloutStatus
	spec   *v1alpha1.RolloutSpec
	groups []*group
	plan   Plan

	// findings of the steps, in addition to their changes.
	findings
	// counted caches the value of the offering clock; nil if it was not computed yet.
	counted *time.Duration
}

// group is one group with its new status.
type group struct {
	index int
	name  string
	// object has the new status; nil if the DeploymentGroup is not in the snapshot.
	object *v1alpha1.DeploymentGroup
	// seen is the object as it was read.
	seen *v1alpha1.DeploymentGroup
	// stored is the status of the object as it was read.
	stored  v1alpha1.DeploymentGroupStatus
	members func() []*v1alpha1.Target
	tally   counting.Tally
	// rule with which tally was counted.
	rule counting.Rule
	// ahead is true if the group's status is written before the rollout's.
	ahead bool
	// kept is the number of lost failures after a resume or a retry in this reconcile; nil if there
	// was neither.
	kept *int32
	// stale is true if the tally must be counted again: bitmaps have changed, or members are
	// missing.
	stale bool
}

func newPlanner(s Snapshot) *planner {
	next := *s.Rollout
	next.Status = *s.Rollout.Status.DeepCopy()
	l := &planner{Snapshot: s, next: &next, status: &next.Status, spec: &next.Spec}
	l.status.ObservedGeneration = next.Generation
	l.status.UID = l.identity()
	if subject := l.spec.Update.Subject(); subject != "" { // else spec.update cannot be decoded
		l.status.Update = subject
	}
	l.seeGroups()
	return l
}

// identity returns the uid by which the groups of the plan and the actions of targets name this
// rollout. If the status does not have it, it is taken from the groups.
func (l *planner) identity() types.UID {
	if l.status.UID == "" && l.status.Plan != nil && len(l.Groups) > 0 {
		return l.Groups[0].Object.Spec.RolloutUID
	}
	return l.next.Identity()
}

// seeGroups makes the list of groups: those of the status, with their objects in the snapshot.
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
			// The group has opened, but a crash prevented the write of its status. A member that
			// this rollout has updated in the meantime did not have the set before.
			l.markAlreadyInstalled(g, func(t *v1alpha1.Target) bool { return action.OfSource(&t.Status, l.Rollout.Identity()) != nil })
		}
	}
}

// at returns the status of group i.
func (l *planner) at(i int) *v1alpha1.GroupStatus { return &l.status.Groups[i] }

// tally returns the counters of a group by its new rule and bitmaps. The group is counted again
// only if these have changed.
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

// counts returns the counts of a group. Those of a closed group do not change any more, for example
// when a target is deleted later.
func (l *planner) counts(g *group) v1alpha1.Counts {
	if g.object == nil || l.isHistory(g) {
		return l.at(g.index).Counts
	}
	return l.tally(g).Counts
}

// isHistory reports whether the counts of a group are frozen: they were written after it closed.
func (l *planner) isHistory(g *group) bool {
	st := l.at(g.index)
	return g.index < len(l.Rollout.Status.Groups) && isEnded(l.Rollout.Status.Groups[g.index].State) && isEnded(st.State) && counting.AllClosed(st.Counts) && st.Targets > 0
}

func isEnded(s v1alpha1.GroupState) bool {
	return s == v1alpha1.GroupFinished || s == v1alpha1.GroupError
}

// opened returns how many groups have opened. Groups open in order.
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

// writeAhead adds the group's status to those that are written before the rollout's.
func (l *planner) writeAhead(g *group) {
	status := GroupStatus{g.seen, *g.object.Status.DeepCopy()}
	if i := slices.IndexFunc(l.plan.Supersede, func(s GroupStatus) bool { return s.Object == g.seen }); i >= 0 {
		l.plan.Supersede[i] = status
	} else {
		l.plan.Supersede = append(l.plan.Supersede, status)
	}
	g.ahead = true
}

// recheck requests another reconcile at that time.
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

// handled returns the record of handled requests, which is created if it is missing.
func (l *planner) handled() *v1alpha1.HandledRequests {
	if l.status.Handled == nil {
		l.status.Handled = &v1alpha1.HandledRequests{}
	}
	return l.status.Handled
}

// requested returns a time of the spec as status.handled stores it.
func requested(t metav1.Time) time.Time { return t.Truncate(time.Microsecond) }

// noTime stands for a wait that only an event ends.
var noTime time.Time

// second and micro truncate a time as the API stores it, so that the status in memory equals the
// stored one.
func second(t time.Time) *metav1.Time {
	at := metav1.NewTime(t.Truncate(time.Second))
	return &at
}

func micro(t time.Time) *metav1.MicroTime {
	at := metav1.NewMicroTime(t.Truncate(time.Microsecond))
	return &at
}

// groupNames returns the names of the groups in the order in which they open.
func (l *planner) groupNames() []string {
	var out []string
	for _, g := range l.status.Groups {
		out = append(out, g.Name)
	}
	return slices.Clip(out)
}
