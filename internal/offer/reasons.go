// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import "github.com/goshawk-dev/goshawk/internal/eligibility"

// Offers speak of updates, sets and reasons in the terms of package eligibility.
type (
	// Code names why a device gets what it gets.
	Code = eligibility.Code
	// Reason is a code in words, and until when it holds.
	Reason = eligibility.Reason
	// Set is what the rules need to know of a distribution set.
	Set = eligibility.Set
	// Intent is one update that reaches a target.
	Intent = eligibility.Intent
)

// Codes of offers that come with something to do, or that speak of no single update.
const (
	CodeDeploy  Code = "Deploy"  // the winning intent starts
	CodeResume  Code = "Resume"  // what has started goes on
	CodeCancel  Code = "Cancel"  // the device is asked to cancel
	CodeConfirm Code = "Confirm" // the device is asked for a confirmation

	CodeNothingWanted Code = "NothingWanted" // no intent reaches the target
	CodeSetGone       Code = "SetGone"       // the set of the open action is gone or changed
)

// Codes of a single update, see package eligibility.
const (
	CodeDone           = eligibility.CodeDone
	CodeAlreadyThere   = eligibility.CodeAlreadyThere
	CodeAlreadyHad     = eligibility.CodeAlreadyHad
	CodeFailed         = eligibility.CodeFailed
	CodeCanceled       = eligibility.CodeCanceled
	CodeSuperseded     = eligibility.CodeSuperseded
	CodeSkipped        = eligibility.CodeSkipped
	CodeDeadlinePassed = eligibility.CodeDeadlinePassed
	CodeStopped        = eligibility.CodeStopped
	CodeFinished       = eligibility.CodeFinished
	CodeSetInvalid     = eligibility.CodeSetInvalid
	CodeNotStarted     = eligibility.CodeNotStarted
	CodeStabilizing    = eligibility.CodeStabilizing
	CodePaused         = eligibility.CodePaused
	CodeGroupNotOpen   = eligibility.CodeGroupNotOpen
	CodeSetNotFound    = eligibility.CodeSetNotFound
	CodeSetNotReady    = eligibility.CodeSetNotReady
	CodeContentChanged = eligibility.CodeContentChanged
	CodeIncompatible   = eligibility.CodeIncompatible
	CodeHold           = eligibility.CodeHold
	CodeWindowClosed   = eligibility.CodeWindowClosed
	CodeRetrying       = eligibility.CodeRetrying
	CodeNotReady       = eligibility.CodeNotReady
	CodeBusy           = eligibility.CodeBusy
	CodeWaitingForStep = eligibility.CodeWaitingForStep
)
