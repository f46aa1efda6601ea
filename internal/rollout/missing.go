// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// checkGroups stalls and holds a started rollout while a group of its plan is missing. Only a pause
// by spec is still possible. No new plan is made.
func (l *planner) checkGroups() next {
	missing := l.missing()
	if len(missing) == 0 || l.isOver() {
		return goOn
	}
	l.stallForGroups(missing)
	l.hold()
	l.pause()
	return done
}

// missing returns the names of the groups of the plan that are not in the snapshot.
func (l *planner) missing() []string {
	var out []string
	for _, g := range l.groups {
		if g.seen == nil {
			out = append(out, g.name)
		}
	}
	return out
}

// stallForGroups stalls the rollout because of missing groups. A group that cannot be decoded is
// not lost.
func (l *planner) stallForGroups(missing []string) {
	if !l.isHeldByGroups() {
		l.stallForLostGroups(missing)
	}
}

// isHeldByGroups reports whether groups cannot be decoded, and stalls the rollout if so.
func (l *planner) isHeldByGroups() bool {
	if len(l.Unreadable) == 0 {
		return false
	}
	l.stall(v1alpha1.ReasonGroupUnreadable, "the stored DeploymentGroup %s cannot be decoded: its event Unreadable names the field; no further group opens until the field is fixed", list(l.Unreadable))
	return true
}

func (l *planner) stallForLostGroups(missing []string) {
	l.stall(v1alpha1.ReasonGroupLost, "the DeploymentGroup of group %s was deleted, so its list of targets is lost: delete and re-create the Rollout", list(missing))
}

// checkSet holds a started rollout while its set does not have the planned content.
func (l *planner) checkSet() next {
	if !l.isOver() {
		l.stallForSet()
	}
	if l.problem != nil {
		l.hold()
	}
	return goOn
}

func (l *planner) stallForSet() {
	set, name := l.Set, l.spec.Update.DistributionSet
	switch {
	case set == nil:
		l.stall(v1alpha1.ReasonReferenceNotFound, "spec.update.distributionSet: there is no DistributionSet %s in namespace %s; create it%s", name, l.Rollout.Namespace, l.orSetName())
	case !set.IsInvalid() && !set.Deployable:
		l.stall(v1alpha1.ReasonDistributionSetNotReady, "DistributionSet %s is not ready: %s", name, set.NotDeployable)
	case l.hasStarted() && set.ContentHash != l.status.Plan.ContentHash:
		l.stall(v1alpha1.ReasonContentChanged, "the content of DistributionSet %s has changed since the plan was made: restore its modules, or set spec.state to Stopped and create another Rollout", name)
	}
}

func (l *planner) orSetName() string {
	if l.hasStarted() {
		return " again as it was"
	}
	return ", or correct the name"
}
