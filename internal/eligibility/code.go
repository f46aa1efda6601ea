// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package eligibility

import "time"

// Code names what keeps an update from a target.
type Code string

// Codes. Those of the first block are final: the update will not start on the target any more.
const (
	CodeDone           Code = "Done"           // the update was carried out
	CodeAlreadyThere   Code = "AlreadyThere"   // the set is installed
	CodeAlreadyHad     Code = "AlreadyHad"     // an auto-assignment offers a set once
	CodeFailed         Code = "Failed"         // the update failed and is not tried again
	CodeCanceled       Code = "Canceled"       // the action of the update was canceled
	CodeSuperseded     Code = "Superseded"     // a newer update took the target over
	CodeSkipped        Code = "Skipped"        // did not start in time and left its group
	CodeDeadlinePassed Code = "DeadlinePassed" // did not start in time and counts as failed
	CodeStopped        Code = "Stopped"        // the source was stopped
	CodeFinished       Code = "Finished"       // the rollout has finished
	CodeSetInvalid     Code = "SetInvalid"     // the set is invalidated

	CodeNotStarted     Code = "NotStarted"     // the source has not started
	CodeStabilizing    Code = "Stabilizing"    // newer rollouts that were created together with the source may still start
	CodePaused         Code = "Paused"         // the source is paused
	CodeGroupNotOpen   Code = "GroupNotOpen"   // the target's group has not opened
	CodeSetNotFound    Code = "SetNotFound"    // no DistributionSet of that name
	CodeSetNotReady    Code = "SetNotReady"    // incomplete, not locked, changed
	CodeContentChanged Code = "ContentChanged" // not the content that was planned
	CodeIncompatible   Code = "Incompatible"   // target type
	CodeHold           Code = "Hold"           // spec.hold
	CodeWindowClosed   Code = "WindowClosed"   // outside the maintenance window
	CodeRetrying       Code = "Retrying"       // the next attempt waits for its backoff

	// These come from the state of the target and from the order of updates.
	CodeNotReady       Code = "NotReady"       // the target itself is not Ready
	CodeBusy           Code = "Busy"           // another action is open
	CodeWaitingForStep Code = "WaitingForStep" // a required migration step goes first
)

// IsFinal reports whether the update will not start on the target any more.
func (c Code) IsFinal() bool {
	switch c {
	case CodeDone, CodeAlreadyThere, CodeAlreadyHad, CodeFailed, CodeCanceled, CodeSuperseded, CodeSkipped, CodeDeadlinePassed, CodeStopped, CodeFinished, CodeSetInvalid:
		return true
	default:
		return false
	}
}

// isEndOfSource reports whether the source of the update is over, for all its targets.
func (c Code) isEndOfSource() bool { return c == CodeStopped || c == CodeFinished }

// Reason is a code in words, and until when it holds if time alone changes it.
type Reason struct {
	Code Code
	// Message is one sentence for people.
	Message string
	// Until is when time alone changes the answer. Zero: only an event can.
	Until time.Time
}

// IsZero reports whether there is no reason at all.
func (r Reason) IsZero() bool { return r.Code == "" }
