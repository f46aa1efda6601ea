// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package eligibility

import "time"

// Code says why an update may not start on a target.
type Code string

// Codes. Those of the first block are final: the update will never start on the target.
const (
	CodeDone           Code = "Done"           // the update was carried out
	CodeAlreadyThere   Code = "AlreadyThere"   // the set is installed
	CodeAlreadyHad     Code = "AlreadyHad"     // an auto-assignment offers a set once, and the target had it
	CodeFailed         Code = "Failed"         // the update failed and is not tried again
	CodeCanceled       Code = "Canceled"       // the action of the update was canceled
	CodeSuperseded     Code = "Superseded"     // a newer update took the target over
	CodeSkipped        Code = "Skipped"        // the member did not start in time and left its group
	CodeDeadlinePassed Code = "DeadlinePassed" // the member did not start in time and counts as failed
	CodeStopped        Code = "Stopped"        // the source was stopped
	CodeFinished       Code = "Finished"       // the rollout has finished
	CodeSetInvalid     Code = "SetInvalid"     // the set is invalidated

	CodeNotStarted     Code = "NotStarted"     // the source has not started
	CodeStabilizing    Code = "Stabilizing"    // the source waits for newer rollouts that were created together with it
	CodePaused         Code = "Paused"         // the source is paused
	CodeGroupNotOpen   Code = "GroupNotOpen"   // the target's group has not opened
	CodeSetNotFound    Code = "SetNotFound"    // no DistributionSet of that name
	CodeSetNotReady    Code = "SetNotReady"    // the set is incomplete, not locked, or changed
	CodeContentChanged Code = "ContentChanged" // the set does not have the planned content
	CodeIncompatible   Code = "Incompatible"   // the set does not fit the target's type
	CodeHold           Code = "Hold"           // spec.hold of the target is true
	// The device, connected by MQTT, has not reported which features it has.
	CodeAwaitingFeatures Code = "AwaitingFeatures"
	CodeWindowClosed     Code = "WindowClosed" // the maintenance window is closed
	CodeRetrying         Code = "Retrying"     // the backoff before the next attempt is not over

	// These come from the state of the target and from the order of updates.
	CodeNotReady       Code = "NotReady"       // the target itself is not Ready
	CodeBusy           Code = "Busy"           // another action is open
	CodeWaitingForStep Code = "WaitingForStep" // a required migration step must be carried out first
)

// IsFinal reports whether the update will never start on the target.
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

// Reason is a code with its message, and until when it holds if time alone changes it.
type Reason struct {
	Code Code
	// Message is one sentence about what is awaited or wrong.
	Message string
	// Until is when time alone changes the reason; zero if only an event can.
	Until time.Time
}

// IsZero reports whether there is no reason.
func (r Reason) IsZero() bool { return r.Code == "" }
