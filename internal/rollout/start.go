package rollout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// prepare takes a rollout that has not started to its start: there is a set to assign, a plan of it, agreement to the plan, and it is time.
func (l *look) prepare() bool {
	if l.hasStarted() || l.isOver() {
		return false
	}
	l.status.State = v1alpha1.RolloutCreating
	for _, gate := range gates {
		if !gate(l) {
			return true
		}
	}
	l.start()
	return true
}

// gates before the start, in order.
var gates = []func(*look) bool{
	(*look).hasSet,
	(*look).hasPlan,
	(*look).isApproved,
	(*look).isWanted,
	(*look).isTime,
	(*look).isUnambiguous,
	(*look).hasGroups,
}

func (l *look) hasSet() bool {
	l.missSetNow()
	return l.problem == nil
}

// missSet holds back groups when the set of a started rollout is not what was planned. It recovers.
func (l *look) missSet() bool {
	if !l.isOver() {
		l.missSetNow()
	}
	l.held = l.held || l.problem != nil
	return false
}

func (l *look) missSetNow() {
	set, name := l.Set, l.spec.Update.DistributionSet
	switch {
	case set == nil:
		l.stall(v1alpha1.ReasonReferenceNotFound, "spec.update.distributionSet: there is no DistributionSet %s in namespace %s; create it%s", name, l.Rollout.Namespace, l.orCorrect())
	case set.Invalidation == "" && !set.Deployable:
		l.stall(v1alpha1.ReasonDistributionSetNotReady, "DistributionSet %s is not ready: %s", name, set.NotDeployable)
	case l.hasStarted() && set.ContentHash != l.status.Plan.ContentHash:
		l.stall(v1alpha1.ReasonContentChanged, "DistributionSet %s has not the content that was planned: restore its modules, or set spec.state to Stopped and create another Rollout", name)
	}
}

func (l *look) orCorrect() string {
	if l.hasStarted() {
		return " again as it was"
	}
	return ", or correct the name"
}

// hasPlan makes the plan, once. Until the start another spec or another content of the set makes a new one; targets that appear or vanish
// do not.
func (l *look) hasPlan() bool {
	old := l.status.Plan
	if old != nil && old.SpecHash == SpecHash(l.spec) && old.ContentHash == l.Set.ContentHash {
		return true
	}
	population := l.Population()
	if !l.isSettled(population) {
		return false
	}
	created, made, err := MakePlan(l.Rollout, l.Set, population, l.Now)
	if err != nil {
		l.stallWith(err)
		return false
	}
	l.adopt(created, made, population)
	return true
}

// isSettled tells whether membership has been quiet long enough: Git applies manifests in any order.
func (l *look) isSettled(population []*v1alpha1.Target) bool {
	selected, since, err := Select(l.Rollout, l.Set, population)
	settle := int32(5)
	if l.spec.SettleSeconds != nil {
		settle = *l.spec.SettleSeconds
	}
	end := since.Add(time.Duration(settle) * time.Second)
	if problem := new(Problem); errors.As(err, &problem) && problem.Reason != v1alpha1.ReasonNoTargets || !l.Now.Before(end) {
		return true
	}
	l.takingOver = v1alpha1.ReasonSettling
	l.wait(v1alpha1.ReasonSettling, end, "%s selected so far; the plan is made when membership has been quiet for %d seconds", targets(len(selected)), settle)
	return false
}

func (l *look) stallWith(err error) {
	if problem := new(Problem); errors.As(err, &problem) {
		l.stall(problem.Reason, "%s", problem.Message)
		return
	}
	l.stall(v1alpha1.ReasonInvalidSpec, "%s", err.Error())
}

// adopt makes a plan the plan. Groups of other plans are leftovers from here on.
func (l *look) adopt(created []*v1alpha1.DeploymentGroup, made v1alpha1.PlanStatus, population []*v1alpha1.Target) {
	l.tellPlan(made)
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
		if !l.isThere(object) {
			l.plan.Create = append(l.plan.Create, object)
		}
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

// isThere tells whether the group was created before, by a look that did not live to write its status.
func (l *look) isThere(g *v1alpha1.DeploymentGroup) bool {
	return slices.ContainsFunc(l.Leftover, func(o *v1alpha1.DeploymentGroup) bool { return o.Name == g.Name })
}

// sweep deletes the groups of other plans, as soon as there is one to compare with.
func (l *look) sweep() {
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

func (l *look) tellPlan(made v1alpha1.PlanStatus) {
	old := l.status.Plan
	if old == nil {
		l.tell(EventPlanned, "planned %s in %d groups, plan %s", targets(made.Targets), made.Groups, made.Hash)
		return
	}
	why := "spec changed"
	if old.ContentHash != made.ContentHash {
		why = "the content of DistributionSet " + l.Set.Name + " changed"
	}
	if old.Hash == made.Hash {
		l.tell(EventPlanChanged, "%s, and the plan is the same as before", why)
		return
	}
	l.tell(EventPlanChanged, "%s: planned %s in %d groups instead of %d in %d, plan %s; an approval of plan %s does not hold any more",
		why, targets(made.Targets), made.Groups, old.Targets, old.Groups, made.Hash, old.Hash)
}

func (l *look) isApproved() bool {
	if !l.RequireApproval && !l.spec.ApprovalRequired {
		return true
	}
	hash := l.status.Plan.Hash
	switch {
	case l.spec.Approval == nil:
		l.wait(v1alpha1.ReasonAwaitingApproval, noTime, "waits for approval: to start, set spec.approval.planHash to %s", hash)
	case l.spec.Approval.PlanHash != hash:
		l.wait(v1alpha1.ReasonAwaitingApproval, noTime, "spec.approval.planHash is %s and approves another plan: to start this one, set it to %s", l.spec.Approval.PlanHash, hash)
	default:
		return true
	}
	l.status.State = v1alpha1.RolloutWaitingForApproval
	return false
}

// isWanted asks what spec.state wants.
func (l *look) isWanted() bool {
	l.status.State = v1alpha1.RolloutReady
	switch l.spec.State {
	case v1alpha1.IntentPlanned:
		l.wait(v1alpha1.ReasonPlanned, noTime, "the plan is ready: to start, set spec.state to Running")
	case v1alpha1.IntentPaused:
		l.wait(v1alpha1.ReasonPausedBySpec, noTime, "paused before the start: to start, set spec.state to Running")
	default:
		return true
	}
	return false
}

func (l *look) isTime() bool {
	if l.spec.StartAt == nil || !l.spec.StartAt.After(l.Now) {
		return true
	}
	l.wait(v1alpha1.ReasonWaitingForStart, l.spec.StartAt.Time, "starts at %s (spec.startAt)", stamp(l.spec.StartAt.Time))
	return false
}

// isUnambiguous: a rebuild from Git creates rollouts all at once, and must not downgrade anyone.
func (l *look) isUnambiguous() bool {
	if l.Ambiguous == "" {
		return true
	}
	l.stall(v1alpha1.ReasonOrderAmbiguous,
		"shares targets with rollout %s, which was created at the same time, and neither says which is newer: give spec.startAt to both", l.Ambiguous)
	return false
}

// grace is how long a new plan may take until its groups are seen.
const grace = time.Minute

// hasGroups waits until every group of the plan is seen: a start over half a plan would take the rest for lost.
func (l *look) hasGroups() bool {
	missing := l.missing()
	if len(missing) == 0 {
		return true
	}
	if end := l.status.Plan.CreatedAt.Add(grace); l.Now.Before(end) {
		l.takingOver = v1alpha1.ReasonPlanning
		l.wait(v1alpha1.ReasonPlanning, end, "the plan is being written down: %d of %d groups are there", len(l.groups)-len(missing), len(l.groups))
		return false
	}
	l.loseGroups(missing)
	return false
}

// missing are the names of groups that the plan has and nobody sees.
func (l *look) missing() []string {
	var out []string
	for _, g := range l.groups {
		if g.seen == nil {
			out = append(out, g.name)
		}
	}
	return out
}

func (l *look) loseGroups(missing []string) {
	l.stall(v1alpha1.ReasonGroupLost, "the DeploymentGroup of group %s is gone and nobody else knows its members: delete and re-create the rollout", list(missing))
}

// missGroups stops everything when a group of a started rollout is gone, except that a person may still pause. There is never a new plan.
func (l *look) missGroups() bool {
	missing := l.missing()
	if len(missing) == 0 || l.isOver() {
		return false
	}
	l.loseGroups(missing)
	l.held = true
	l.pause()
	return true
}

// start is the first write of a rollout that starts. It freezes the spec, and comes before any side effect.
func (l *look) start() {
	l.status.State, l.status.StartedAt = v1alpha1.RolloutStarting, micro(l.Now)
	for i := range l.status.Groups {
		l.at(i).State = v1alpha1.GroupScheduled
	}
	l.wait(v1alpha1.ReasonProgressing, noTime, "the first group is about to open")
	l.tell(EventStarted, "started: %s in %d groups", targets(l.status.Plan.Targets), len(l.groups))
}

// rest: a finished rollout wants nothing.
func (l *look) rest() bool { return l.isOver() }

// targets counts targets in a sentence.
func targets[N int | int32](n N) string {
	if n == 1 {
		return "1 target"
	}
	return fmt.Sprintf("%d targets", n)
}
