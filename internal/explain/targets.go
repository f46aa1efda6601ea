// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// Buckets are the buckets in which a rollout counts targets, as its status names them.
var Buckets = []string{"scheduled", "pending", "inProgress", "succeeded", "failed", "canceled", "skipped", "removed"}

// TargetState is what is known of one target, in one line.
type TargetState struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Group and Bucket of the target in the rollout that was asked for.
	Group  string `json:"group,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	// WaitsFor is why the rollout has no result of it yet. Empty: it waits for the device only.
	WaitsFor     string                   `json:"waitsFor,omitempty"`
	UpdateStatus v1alpha1.UpdateStatus    `json:"updateStatus,omitempty"`
	Installed    string                   `json:"installed,omitempty"`
	InstalledBy  v1alpha1.InstalledSource `json:"installedBy,omitempty"`
	// Action is its newest action, or its newest action of the rollout.
	Action   *PastAction  `json:"action,omitempty"`
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
	// Held is spec.hold.
	Held bool `json:"held,omitempty"`
	// Inconsistent is true if it is not certain what runs on the device.
	Inconsistent bool `json:"inconsistent,omitempty"`
	// Silent is true if the device has not been heard of lately, or has lost its connection.
	Silent bool `json:"silent,omitempty"`
	// Conditions need attention.
	Conditions []Notice `json:"conditions,omitempty"`
}

// TargetFilter selects targets. The zero value selects all.
type TargetFilter struct {
	// Set is the name of the installed set.
	Set string
	// Bucket and Group in the rollout that is asked for.
	Bucket, Group string
	// Code is the statusCode of the shown action.
	Code                       string
	Inconsistent, Silent, Held bool
}

// Matches reports whether the filter selects a target.
func (f *TargetFilter) Matches(s *TargetState) bool {
	switch {
	case f.Set != "" && f.Set != s.Installed, f.Bucket != "" && f.Bucket != s.Bucket, f.Group != "" && f.Group != s.Group:
		return false
	case f.Code != "" && (s.Action == nil || s.Action.StatusCode != f.Code) && !(f.Code == v1alpha1.CodeStartDeadlineExceeded && s.Bucket == "failed" && s.Action == nil):
		return false
	case f.Inconsistent && !s.Inconsistent, f.Silent && !s.Silent, f.Held && !s.Held:
		return false
	}
	return true
}

// Members are the members of a rollout, with the rules by which it counts them.
type Members struct {
	rollout  *v1alpha1.Rollout
	groups   []*v1alpha1.DeploymentGroup
	counters []*counting.Counter
	places   map[v1alpha1.TargetName]place
}

// place is the position of a member in its group.
type place struct{ group, position int32 }

// MembersOf returns the members of a rollout. The set is that of the rollout, nil if it does not
// exist, and autos are the auto-assignments of the namespace.
func MembersOf(r *v1alpha1.Rollout, groups []*v1alpha1.DeploymentGroup, set *eligibility.Set, autos counting.AutoAssignments) *Members {
	m := newMembers(r, groups, set, autos)
	for i, g := range m.groups {
		for position, name := range g.Spec.Targets {
			m.places[name] = place{group: int32(i), position: int32(position)}
		}
	}
	return m
}

// newMembers returns Members without their places by name.
func newMembers(r *v1alpha1.Rollout, groups []*v1alpha1.DeploymentGroup, set *eligibility.Set, autos counting.AutoAssignments) *Members {
	m := &Members{rollout: r, places: map[v1alpha1.TargetName]place{}}
	for _, g := range groups {
		index := int(g.Spec.Index)
		if index >= len(r.Status.Groups) {
			continue // the plan is being written
		}
		m.groups = append(m.groups, g)
		m.counters = append(m.counters, counting.NewCounter(rollout.RuleOf(r, set, index, autos)))
	}
	return m
}

// Rest returns the states of members that have not been passed to StateOf: their Targets were
// deleted. They are sorted by name.
func (m *Members) Rest() []TargetState {
	var rest []TargetState
	for name, p := range m.places {
		rest = append(rest, TargetState{Namespace: m.rollout.Namespace, Name: string(name), Group: m.groups[p.group].Spec.Group, Bucket: bucketName(counting.Removed)})
	}
	slices.SortFunc(rest, func(a, b TargetState) int { return cmp.Compare(a.Name, b.Name) })
	return rest
}

// StateOf returns what is known of a target, and whether it is a member of the rollout. The members
// may be nil: every target is asked for.
func (m *Members) StateOf(t *v1alpha1.Target) (TargetState, bool) {
	s := stateOf(t)
	if m == nil {
		s.setAction(action.Newest(&t.Status))
		return s, true
	}
	p, isMember := m.places[v1alpha1.TargetName(t.Name)]
	if !isMember {
		return s, false
	}
	delete(m.places, v1alpha1.TargetName(t.Name))
	m.addMembership(&s, t, m.entryAt(t, p), p)
	return s, true
}

// stateOf returns what is known of a target without a rollout, and without an action.
func stateOf(t *v1alpha1.Target) TargetState {
	s := TargetState{
		Namespace: t.Namespace, Name: t.Name, UpdateStatus: t.Status.UpdateStatus, LastSeen: t.Status.LastSeen, Held: t.Spec.Hold,
		Inconsistent: fleetcounts.Has(t, fleetcounts.Inconsistent), Silent: fleetcounts.Has(t, fleetcounts.Silent), Installed: fleetcounts.Installed(t),
		Conditions: slices.DeleteFunc(noticesOf(t), func(n Notice) bool { return n.Type == "Hold" }),
	}
	if i := t.Status.Installed; i != nil {
		s.InstalledBy = i.Source
	}
	if t.Unreadable != nil {
		s.Conditions = append(s.Conditions, Notice{Type: "Unreadable", Reason: "Unreadable", Message: "cannot be decoded: " + t.Unreadable.Message})
	}
	return s
}

func (s *TargetState) setAction(a *v1alpha1.Action) {
	if a != nil {
		past := pastAction(a)
		s.Action = &past
	}
}

// entryAt returns how the rollout counts the member at a place, whose target is nil if it was
// deleted.
func (m *Members) entryAt(t *v1alpha1.Target, p place) counting.Entry {
	return m.counters[p.group].EntryOf(t, counting.MemberOf(m.groups[p.group], int(p.position)))
}

// addMembership adds what the rollout knows of a member.
func (m *Members) addMembership(s *TargetState, t *v1alpha1.Target, entry counting.Entry, p place) {
	s.Group, s.Bucket, s.WaitsFor = m.groups[p.group].Spec.Group, bucketName(entry.Bucket), rollout.ObstacleText(m.rollout, t, entry.Obstacle)
	s.setAction(action.OfSource(&t.Status, m.rollout.Identity()))
}

// bucketName returns the name of a bucket as the status of a rollout has it.
func bucketName(b counting.Bucket) string {
	name := b.String()
	return strings.ToLower(name[:1]) + name[1:]
}
