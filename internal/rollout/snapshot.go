// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout decides what a rollout does next. A group has succeeded when 100*succeeded >=
// successThreshold*total; it has failed when 100*failed > errorThreshold*(total - superseded -
// skipped). Failure is checked first. A group that was planned empty has succeeded and never pauses
// the rollout. A group that has lost all its results, or more than half of its members, pauses the
// rollout before the next group.
//
// Next takes a Snapshot and returns a Plan. The package uses no client, no clock and no log.
package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// Snapshot has all facts for one plan.
type Snapshot struct {
	Now     time.Time
	Rollout *v1alpha1.Rollout
	// Set named by spec.update.distributionSet; nil if it does not exist.
	Set *eligibility.Set
	// Population returns all targets of the namespace, sorted by name. It is called only while a
	// plan is made.
	Population func() []*v1alpha1.Target
	// Inventories has the software of the targets, for expressions that read it.
	Inventories query.Inventories
	// JoinCandidates returns up to n targets that may join a dynamic rollout now, sorted by name:
	// they are selected, the set fits, they are in no group of this rollout, and no newer rollout
	// has or takes them. It is called only when a group has room. It may be nil if no target can
	// join.
	JoinCandidates func(n int) []*v1alpha1.Target
	// Groups are the DeploymentGroups of this rollout's uid whose planHash is status.plan.hash, by
	// index.
	Groups []Group
	// Leftover are DeploymentGroups of this uid with another planHash: of a plan that was not
	// written completely, or that a newer plan has replaced.
	Leftover []*v1alpha1.DeploymentGroup
	// Unreadable are the names of stored DeploymentGroups of this uid, and possibly of this plan,
	// that cannot be decoded. They are in neither Groups nor Leftover. Sorted.
	Unreadable []string
	// Overlaps has what newer rollouts that have started take from this one, the oldest first.
	Overlaps []Overlap
	// OlderRollouts are the names of older rollouts that still have shared targets in groups that
	// have not opened. Sorted. It is filled only while the rollout is Starting.
	OlderRollouts []string
	// Neighbors are the other rollouts of the namespace, sorted by their place in the order. It is
	// filled only before the start.
	Neighbors []Neighbor
	// SetNamed returns a set of the namespace, or nil if there is none. It is called before the
	// start.
	SetNamed func(name string) *eligibility.Set
	// AutoAssignments of the namespace.
	AutoAssignments counting.AutoAssignments
	// RequireApproval is the manager's --require-approval.
	RequireApproval bool
}

// Group is one deployment group with its members.
type Group struct {
	Object *v1alpha1.DeploymentGroup
	// Members returns the targets in the order of Object.Spec.Targets; a deleted target is nil. It
	// is called only when the tally is not sufficient.
	Members func() []*v1alpha1.Target
	// Tally of the members, by the Rule of the Rollout as it was read and the bitmaps of Object.
	Tally counting.Tally
}

// Overlap is what one newer rollout takes from this one.
type Overlap struct {
	Name string
	UID  string
	// Content is the contentHash that the newer rollout brings.
	Content string
	// OpenGroups is the number of opened groups of the newer rollout.
	OpenGroups int32
	// Started and Open are, for each group of this rollout, bitmaps over spec.targets of the
	// members that the newer one has in any group, and in an open group. nil marks no member.
	Started, Open [][]byte
}

// Plan has the changes to make. They are carried out in the order of its fields.
type Plan struct {
	// Create has groups to create before Status, which lists them, is written.
	Create []*v1alpha1.DeploymentGroup
	// Supersede has group statuses to write before Status: members that a newer rollout took over,
	// and members that did not start in time, are marked before they are counted.
	Supersede []GroupStatus
	// Status to write, with the resource version of the Rollout that was read.
	Status v1alpha1.RolloutStatus
	// Decided is true when Status changes more than counters: it is written at once, but only after
	// a recount has confirmed it.
	Decided bool
	// Mirror has group statuses to write after Status.
	Mirror []GroupStatus
	// Join lets targets join a dynamic group.
	Join *Join
	// Delete has groups to delete, with their finalizer.
	Delete []*v1alpha1.DeploymentGroup
	// DeleteSelf deletes the rollout: its set was invalidated with deleteRollouts.
	DeleteSelf bool
	// CancelOpenActions is true when a stop has to be applied to open actions.
	CancelOpenActions bool
	// Events to record after the status was written.
	Events []Event
	// RecheckAfter is the delay after which time alone changes the plan; 0 if only an event can.
	RecheckAfter time.Duration
	// Steps are the names of the steps that made the plan, in their order, for the log.
	Steps []string
}

// GroupStatus is a status to be written to a DeploymentGroup.
type GroupStatus struct {
	Object *v1alpha1.DeploymentGroup
	Status v1alpha1.DeploymentGroupStatus
}

// Event is a Kubernetes event about one decision.
type Event struct {
	// Type is Normal or Warning, as Kubernetes has it.
	Type, Reason, Message string
}
