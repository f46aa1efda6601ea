// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import "time"

// Code is the one word of a reason. Each says why a device gets what it gets.
type Code string

// Codes of offers. Those of the first block come with something to do, the others with nothing.
const (
	CodeDeploy  Code = "Deploy"  // the winning intent starts
	CodeResume  Code = "Resume"  // what has started goes on
	CodeCancel  Code = "Cancel"  // the device is asked to cancel
	CodeConfirm Code = "Confirm" // somebody at the device is asked to agree

	CodeNothingWanted  Code = "NothingWanted"  // no intent reaches the target
	CodeHold           Code = "Hold"           // spec.hold
	CodeNotReady       Code = "NotReady"       // the target itself is not Ready
	CodeSetNotFound    Code = "SetNotFound"    // no DistributionSet of that name
	CodeSetNotReady    Code = "SetNotReady"    // incomplete, not locked, changed
	CodeSetInvalid     Code = "SetInvalid"     // invalidated
	CodeContentChanged Code = "ContentChanged" // not the content that was planned
	CodeIncompatible   Code = "Incompatible"   // target type
	CodeNotStarted     Code = "NotStarted"     // the source has not started
	CodeStabilizing    Code = "Stabilizing"    // newer rollouts that were created together with the source may still start
	CodePaused         Code = "Paused"         // the source is paused
	CodeStopped        Code = "Stopped"        // the source was stopped
	CodeGroupNotOpen   Code = "GroupNotOpen"   // the target's group has not opened
	CodeSuperseded     Code = "Superseded"     // a newer update took the target over
	CodeSkipped        Code = "Skipped"        // did not start in time
	CodeWindowClosed   Code = "WindowClosed"   // outside the maintenance window
	CodeDeadlinePassed Code = "DeadlinePassed" // startDeadlineSeconds
	CodeAlreadyThere   Code = "AlreadyThere"   // the set is installed
	CodeDone           Code = "Done"           // the intent was carried out
	CodeFailed         Code = "Failed"         // the intent failed and is not tried again
	CodeRetrying       Code = "Retrying"       // the next attempt waits for its backoff
	CodeCanceled       Code = "Canceled"       // the intent's action was canceled
	CodeBusy           Code = "Busy"           // another action is open
	CodeWaitingForStep Code = "WaitingForStep" // a required migration step goes first
	CodeAlreadyHad     Code = "AlreadyHad"     // an auto-assignment offers a set once
	CodeSetGone        Code = "SetGone"        // the set of the open action is gone or changed
)

// Reason says why, and until when if time alone changes it.
type Reason struct {
	Code Code
	// Message is one sentence for people.
	Message string
	// Until is when time alone changes the answer; zero: only an event can.
	Until time.Time
}

// IsZero reports whether there is no reason at all.
func (r Reason) IsZero() bool { return r.Code == "" }
