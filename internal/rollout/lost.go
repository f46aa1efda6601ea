// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// missGroups stops everything when a group of a started rollout is gone, except that a person may
// still pause. There is never a new plan.
func (l *planner) missGroups() next {
	missing := l.missing()
	if len(missing) == 0 || l.isOver() {
		return goOn
	}
	l.missNow(missing)
	l.hold()
	l.pause()
	return done
}

// missing are the names of groups that the plan has and nobody sees.
func (l *planner) missing() []string {
	var out []string
	for _, g := range l.groups {
		if g.seen == nil {
			out = append(out, g.name)
		}
	}
	return out
}

// missNow says why groups are not there. One that cannot be decoded is not lost.
func (l *planner) missNow(missing []string) {
	if !l.isHeldByGroups() {
		l.loseGroups(missing)
	}
}

// isHeldByGroups reports whether groups that cannot be decoded hold the rollout, and says so.
func (l *planner) isHeldByGroups() bool {
	if len(l.Unreadable) == 0 {
		return false
	}
	l.stall(v1alpha1.ReasonGroupUnreadable, "the stored DeploymentGroup %s cannot be read: its event Unreadable names the field; nothing further opens until the field is fixed", list(l.Unreadable))
	return true
}

func (l *planner) loseGroups(missing []string) {
	l.stall(v1alpha1.ReasonGroupLost, "the DeploymentGroup of group %s is gone and nobody else knows its members: delete and re-create the rollout", list(missing))
}

// missSet holds back groups when the set of a started rollout is not what was planned. It recovers.
func (l *planner) missSet() next {
	if !l.isOver() {
		l.missSetNow()
	}
	if l.problem != nil {
		l.hold()
	}
	return goOn
}

func (l *planner) missSetNow() {
	set, name := l.Set, l.spec.Update.DistributionSet
	switch {
	case set == nil:
		l.stall(v1alpha1.ReasonReferenceNotFound, "spec.update.distributionSet: there is no DistributionSet %s in namespace %s; create it%s", name, l.Rollout.Namespace, l.orCorrect())
	case !set.IsInvalid() && !set.Deployable:
		l.stall(v1alpha1.ReasonDistributionSetNotReady, "DistributionSet %s is not ready: %s", name, set.NotDeployable)
	case l.hasStarted() && set.ContentHash != l.status.Plan.ContentHash:
		l.stall(v1alpha1.ReasonContentChanged, "DistributionSet %s has not the content that was planned: restore its modules, or set spec.state to Stopped and create another Rollout", name)
	}
}

func (l *planner) orCorrect() string {
	if l.hasStarted() {
		return " again as it was"
	}
	return ", or correct the name"
}
