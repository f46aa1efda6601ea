// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// MemberQuery selects members of a rollout. The zero value selects all.
type MemberQuery struct {
	Group, Bucket string
	// Failure of failed members. The zero value: any.
	Failure action.Failure
}

// MemberList are the members of a rollout that a query selects, in the order of the plan.
type MemberList struct {
	members *Members
	found   []foundMember
}

type foundMember struct {
	place
	target *v1alpha1.Target // nil: it was deleted
}

// FindMembers returns the members of a rollout that a query selects, as its controller counts them.
func FindMembers(x *fleet.Index, r *v1alpha1.Rollout, q MemberQuery) *MemberList {
	autos := counting.AutoAssignments{}
	if !rollout.IsOver(r) {
		autos = x.AutoAssignmentReach(r.Namespace)
	}
	l := &MemberList{members: newMembers(r, groupsOfPlan(x, r), x.SetOf(r.Namespace, &r.Spec.Update), autos)}
	for i, g := range l.members.groups {
		if q.Group != "" && g.Spec.Group != q.Group {
			continue
		}
		for position, t := range x.Members(g) {
			p := place{int32(i), int32(position)}
			if q.selects(l.members, t, p) {
				l.found = append(l.found, foundMember{p, t})
			}
		}
	}
	return l
}

// selects reports whether the query selects a member by its result.
func (q *MemberQuery) selects(m *Members, t *v1alpha1.Target, p place) bool {
	if q.Bucket == "" && q.Failure == (action.Failure{}) {
		return true
	}
	entry := m.entryAt(t, p)
	return (q.Bucket == "" || bucketName(entry.Bucket) == q.Bucket) && (q.Failure == action.Failure{} || entry.Failure == q.Failure)
}

// Len returns how many members were found.
func (l *MemberList) Len() int { return len(l.found) }

// MemberState is what is known of a member.
type MemberState struct {
	TargetState
	// Why says why a member counts as succeeded or canceled without a report of its device about
	// that. Empty: its device reported it, or it has no result.
	Why string
}

// States returns what is known of the members from one position up to another one.
func (l *MemberList) States(from, to int) []MemberState {
	var states []MemberState
	for _, found := range l.found[from:to] {
		g, t := l.members.groups[found.group], found.target
		if t == nil {
			name := string(g.Spec.Targets[found.position])
			states = append(states, MemberState{TargetState: TargetState{Namespace: g.Namespace, Name: name, Group: g.Spec.Group, Bucket: bucketName(counting.Removed)}})
			continue
		}
		entry := l.members.entryAt(t, found.place)
		state := MemberState{TargetState: stateOf(t), Why: l.why(found, &entry)}
		l.members.addMembership(&state.TargetState, t, entry, found.place)
		states = append(states, state)
	}
	return states
}

// why returns MemberState.Why.
func (l *MemberList) why(found foundMember, entry *counting.Entry) string {
	own := action.OfSource(&found.target.Status, l.members.rollout.Identity())
	switch entry.Bucket {
	case counting.Succeeded:
		member := counting.MemberOf(l.members.groups[found.group], int(found.position))
		return succeededWords(own, &member)
	case counting.Canceled:
		return canceledWords(own, entry)
	default:
		return ""
	}
}
