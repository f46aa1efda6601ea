// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cancellation says what None, Soft and Force do: the types of an invalidation of a set,
// and the cancellations of a stop, of a deletion and of a cancel request. Every rule that depends
// on one of them reads it here.
//
// The package is pure: it knows no client, no clock and no log.
package cancellation

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// Types are all cancellations, the weakest first.
var Types = []v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce}

// Effect is what happens to an object.
type Effect uint8

// Effects, for actions the weaker one first.
const (
	// Continue: nothing happens to it.
	Continue Effect = iota
	// Refuse: it does not start, and its condition Stalled says why.
	Refuse
	// Stop: it ends, and a rollout waits for the devices that have started.
	Stop
	// StopAtOnce: it ends and waits for no device.
	StopAtOnce
	// Ask: the device is asked to cancel. It may refuse, or finish.
	Ask
	// Close: the action is closed at once. The device is still asked, and its target is
	// inconsistent until the next success.
	Close
)

var effectNames = [...]string{
	Continue: "go on", Refuse: "refused", Stop: "stopped", StopAtOnce: "stopped at once", Ask: "asked to cancel", Close: "closed",
}

func (e Effect) String() string { return effectNames[e] }

// Effects is one column of the table.
type Effects struct {
	// NewUses are what would use the set for the first time: a rollout that was created after the
	// invalidation, an assignment of a target, a target that joins a dynamic group, a retry.
	NewUses Effect
	// AutoAssignments of the set.
	AutoAssignments Effect
	// StartedRollouts are the rollouts that had started before the invalidation. A rollout that
	// started after an invalidation with None is a new use.
	StartedRollouts Effect
	// OtherRollouts were created before the invalidation and have not started.
	OtherRollouts Effect
	// DeleteRollouts reports whether spec.invalidation.deleteRollouts has an effect: rollouts that
	// were created before the invalidation are deleted, once.
	DeleteRollouts bool
	// StartedActions are open actions of any source whose devices have started.
	StartedActions Effect
}

// table has a column for each cancellation. A stop, a deletion and a cancel request have the effect
// on started actions only.
//
//	                     None     Soft             Force
//	new uses of the set  refused  refused          refused
//	auto-assignments     stopped  stopped          stopped
//	started rollouts     go on    stopped          stopped at once
//	other rollouts       refused  stopped          stopped at once
//	deleteRollouts       no       no               yes
//	started actions      go on    asked to cancel  closed
//
// Members of a group that have not started, and actions that wait for confirmation, follow their
// source: they go on if it does, and are canceled if it is stopped or refused, also with None.
// Closed actions and installed sets do not change.
var table = map[v1alpha1.Cancellation]Effects{
	v1alpha1.CancellationNone:  {NewUses: Refuse, AutoAssignments: Stop, StartedRollouts: Continue, OtherRollouts: Refuse, StartedActions: Continue},
	v1alpha1.CancellationSoft:  {NewUses: Refuse, AutoAssignments: Stop, StartedRollouts: Stop, OtherRollouts: Stop, StartedActions: Ask},
	v1alpha1.CancellationForce: {NewUses: Refuse, AutoAssignments: Stop, StartedRollouts: StopAtOnce, OtherRollouts: StopAtOnce, DeleteRollouts: true, StartedActions: Close},
}

// Of returns the effects of a cancellation. An empty one, as a valid set has, has no effect; one
// that this version does not know has the effects of None.
func Of(c v1alpha1.Cancellation) Effects {
	if c == "" {
		return Effects{}
	}
	if effects, ok := table[c]; ok {
		return effects
	}
	return table[v1alpha1.CancellationNone]
}

// Stronger reports whether a does more to started actions than b.
func Stronger(a, b v1alpha1.Cancellation) bool {
	return Of(a).StartedActions > Of(b).StartedActions
}

// Request is what the source of an open action requires for the action.
type Request struct {
	// Cause of the request; empty: the source is not stopped, and requires nothing.
	Cause v1alpha1.CancelCause
	// Cancellation of actions that have started. An action that has not started ends with any
	// request, also with None.
	Cancellation v1alpha1.Cancellation
}
