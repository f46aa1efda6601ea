// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// advance opens groups even if their conditions are not met. It lifts no pause. A request from
// before the start is ignored, so that a cluster that is rebuilt from Git does not repeat it.
func (l *planner) advance() next {
	if l.spec.Advance == nil {
		return goOn
	}
	at, h := requested(l.spec.Advance.At), l.status.Handled
	if !at.After(l.status.StartedAt.Time) || h != nil && h.AdvanceAt != nil && h.AdvanceAt.Time.Equal(at) {
		return goOn
	}
	to := l.groupNamed(l.spec.Advance.To)
	if to < 0 {
		l.stall(v1alpha1.ReasonInvalidSpec, "spec.advance.to: there is no group %s; the groups are %s", l.spec.Advance.To, list(l.groupNames()))
		return goOn
	}
	l.recheck(at)
	if l.held || at.After(l.Now) {
		return goOn
	}
	l.handled().AdvanceAt = micro(at)
	l.event(EventAdvanced, "spec.advance opens the groups up to %s even if their conditions are not met", l.spec.Advance.To)
	for i := l.opened(); i <= to; i++ {
		l.open(i)
	}
	return goOn
}

func (l *planner) groupNamed(name string) int {
	for i, g := range l.groups {
		if g.name == name {
			return i
		}
	}
	return -1
}
