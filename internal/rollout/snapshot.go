// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout decides what a rollout does next. A group has succeeded when 100*succeeded >=
// successThreshold*total; it has failed when 100*failed > errorThreshold*(total - superseded -
// skipped); a group that was planned empty has succeeded and pauses nobody. Error is asked first. A
// group that has lost all its results, or more than half of its members, pauses before the next
// one.
//
// Snapshot in, plan out: the package knows no client, no clock and no log.
package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// Snapshot is all that one look at a rollout may know.
type Snapshot struct {
	Now     time.Time
	Rollout *v1alpha1.Rollout
	// Set named by spec.update.distributionSet; nil: there is none.
	Set *eligibility.Set
	// Population is every target of the namespace, sorted by name. Asked only while a plan is made.
	Population func() []*v1alpha1.Target
	// Joiners are up to n targets that may join a dynamic rollout now, sorted by name: the
	// selection means them and the set fits, they are in no group of this rollout, and no newer one
	// has them or takes them. Asked only when a group has room; nil: nobody.
	Joiners func(n int) []*v1alpha1.Target
	// Groups are the DeploymentGroups of this rollout's uid whose planHash is status.plan.hash, by
	// index.
	Groups []Group
	// Leftover are DeploymentGroups of this uid with another planHash: of a plan that was never
	// finished or is no longer wanted.
	Leftover []*v1alpha1.DeploymentGroup
	// Unreadable are the DeploymentGroups of this uid, and of the plan as far as that is known,
	// that are stored and cannot be decoded. They are in neither Groups nor Leftover. Sorted.
	Unreadable []string
	// Claims are what newer rollouts that have started take from this one, oldest first.
	Claims []Overlap
	// Unsettled are the names of older rollouts that have not yet given up, in groups that have not
	// opened, targets that this one shares. Sorted. Asked while the rollout is Starting.
	Unsettled []string
	// Neighbors are the other rollouts of the namespace, sorted by their place in the order. Asked
	// before the start.
	Neighbors []Neighbor
	// SetNamed is a set of the namespace; nil: there is none. Asked before the start.
	SetNamed func(name string) *eligibility.Set
	// AutoAssignments of the namespace.
	AutoAssignments counting.AutoAssignments
	// RequireApproval is the manager's --require-approval.
	RequireApproval bool
}

// Group is one deployment group with its members.
type Group struct {
	Object *v1alpha1.DeploymentGroup
	// Members are aligned with Object.Spec.Targets; nil: the Target is gone. Asked only when the
	// tally does not suffice.
	Members func() []*v1alpha1.Target
	// Tally of the members, by the Rule of the Rollout as it was read and the bitmaps of Object.
	Tally counting.Tally
}

// Overlap is what one newer rollout takes from this one.
type Overlap struct {
	Name string
	UID  string
	// Content is the hash of what the newer rollout brings.
	Content string
	// OpenGroups is how many groups of the newer rollout have opened.
	OpenGroups int32
	// Started and Open are, group by group of this rollout, bitmaps over spec.targets of the
	// members that the newer one has in any group and in an open group. nil: none.
	Started, Open [][]byte
}

// Plan is what is wanted next. It is carried out in the order of its fields.
type Plan struct {
	// Create these groups, then write Status, which makes them exist.
	Create []*v1alpha1.DeploymentGroup
	// Supersede writes these group statuses before Status: what a newer rollout took is given up,
	// and who did not start in time is left behind, before it is counted.
	Supersede []GroupStatus
	// Status to be written, with the lock of the Rollout that was read.
	Status v1alpha1.RolloutStatus
	// Decided is true when Status is more than new counts: it is written at once, and only after a
	// recount has confirmed it.
	Decided bool
	// Mirror writes these group statuses after Status.
	Mirror []GroupStatus
	// Join lets targets join a dynamic group.
	Join *Join
	// Delete these groups, finalizer and all.
	Delete []*v1alpha1.DeploymentGroup
	// DeleteSelf deletes the rollout: its set was invalidated with deleteRollouts.
	DeleteSelf bool
	// CancelOpenActions asks for open actions to be applied: a stop that started devices have to
	// hear of.
	CancelOpenActions bool
	// Events tell people, once the status has landed.
	Events []Event
	// RecheckAfter is when time alone changes something; zero: only an event can.
	RecheckAfter time.Duration
	// Steps are the names of the steps that made the plan, in their order, for the log.
	Steps []string
}

// GroupStatus is a status to be written to a DeploymentGroup.
type GroupStatus struct {
	Object *v1alpha1.DeploymentGroup
	Status v1alpha1.DeploymentGroupStatus
}

// Event is one decision, told to people.
type Event struct {
	// Type is Normal or Warning, as Kubernetes has it.
	Type, Reason, Message string
}
