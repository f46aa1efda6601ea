// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package action is the state machine of one action, which is one update on one device. Each event
// has a defined effect in each state, and a closed action stays closed.
//
// The rules are pure. They change the TargetStatus that is passed (callers pass a copy), use no
// client, clock or log, and take the time as a value.
package action

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// Event is something that happens to an action.
type Event string

// Events of a device.
const (
	// Retrieve means that the device fetched the deployment. It is not a report.
	Retrieve Event = "Retrieve"
	// Start means that the device has received the command and will work on it. Installing has not
	// started.
	Start Event = "Start"
	// Confirm means that the update was confirmed at the device.
	Confirm Event = "Confirm"
	// Deny means that the update was denied at the device, or not confirmed yet.
	Deny Event = "Deny"
	// Proceed means that the device is working, at an unknown stage.
	Proceed Event = "Proceed"
	// Download means that the device is downloading artifacts.
	Download Event = "Download"
	// Downloaded means that the device has all artifacts.
	Downloaded Event = "Downloaded"
	// Install means that the device is installing.
	Install Event = "Install"
	// EventInstalled means that the device has installed the update; its result is still to come.
	// (The function Installed returns what a target runs.)
	EventInstalled Event = "Installed"
	// Remove means that the device is removing software.
	Remove Event = "Remove"
	// Removed means that the device has removed software: the result of that software if the action
	// is a removal, else the same as Remove.
	Removed Event = "Removed"
	// Warn is a message that is recorded and has no other effect.
	Warn Event = "Warn"
	// Succeed is the device's result: success.
	Succeed Event = "Succeed"
	// FinishWithWarning is the device's result: success with a warning. It counts as Succeed or
	// Fail, as finishedWarning of the update says.
	FinishWithWarning Event = "FinishWithWarning"
	// Fail is the device's result: failure.
	Fail Event = "Fail"
	// Abandon is the device's result: canceled, whether it was asked to cancel or not.
	Abandon Event = "Abandon"
	// CancelAccepted is the answer to a cancel: the device has canceled.
	CancelAccepted Event = "CancelAccepted"
	// CancelRejected is the answer to a cancel: the device continues.
	CancelRejected Event = "CancelRejected"
)

// Events of Goshawk.
const (
	// AskCancel asks the device to cancel.
	AskCancel Event = "AskCancel"
	// ForceCancel closes the action without waiting for the device.
	ForceCancel Event = "ForceCancel"
	// CancelExpired means that a cancel was not answered in time.
	CancelExpired Event = "CancelExpired"
	// ProgressExpired means that no result was reported in time.
	ProgressExpired Event = "ProgressExpired"
	// Refuse means that the device API closes the action, because the device cannot carry it out
	// and has not got it.
	Refuse Event = "Refuse"
)

// Outcome is the effect of an event.
type Outcome string

// Answer is an Outcome in the table of transitions: Moved, Kept, Late or Refused.
type Answer = Outcome

const (
	// Moved means that the action moves to another state.
	Moved Answer = "Moved"
	// Kept means that the state does not change, and the report is recorded.
	Kept Answer = "Kept"
	// Late means that the action was already closed. At most the report is counted.
	Late Outcome = "Late"
	// Refused means that the event is not valid in this state. Nothing changes.
	Refused Outcome = "Refused"
)

// step is one cell of the table. Without a next state, the state does not change.
type step struct {
	to     v1alpha1.ActionState
	answer Answer
}

type row map[Event]step

var (
	stay    = step{answer: Kept}
	refuse  = step{answer: Refused}
	tooLate = step{answer: Late}
)

func to(s v1alpha1.ActionState) step { return step{to: s, answer: Moved} }

// waiting is the row of an action that has not started, so any cancel closes it at once. If the
// device starts to work without confirmation, the action has started.
var waiting = row{
	Retrieve:          refuse,
	Start:             to(v1alpha1.ActionRetrieved),
	Confirm:           to(v1alpha1.ActionRunning),
	Deny:              stay,
	Proceed:           to(v1alpha1.ActionRunning),
	Download:          to(v1alpha1.ActionDownloading),
	Downloaded:        to(v1alpha1.ActionDownloaded),
	Install:           to(v1alpha1.ActionInstalling),
	EventInstalled:    to(v1alpha1.ActionInstalling),
	Remove:            to(v1alpha1.ActionRemoving),
	Removed:           to(v1alpha1.ActionRemoving),
	Warn:              stay,
	Succeed:           to(v1alpha1.ActionFinished),
	FinishWithWarning: to(v1alpha1.ActionFinished),
	Fail:              to(v1alpha1.ActionError),
	Abandon:           to(v1alpha1.ActionCanceled),
	CancelAccepted:    refuse,
	CancelRejected:    refuse,
	AskCancel:         to(v1alpha1.ActionCanceled),
	ForceCancel:       to(v1alpha1.ActionCanceled),
	CancelExpired:     refuse,
	ProgressExpired:   refuse,
	Refuse:            to(v1alpha1.ActionError),
}

// working is the row of all states between Retrieved and Removing. A device repeats stages after a
// crash, so it may move back and forth.
var working = row{
	Retrieve:          stay,
	Start:             stay,
	Confirm:           refuse,
	Deny:              refuse,
	Proceed:           to(v1alpha1.ActionRunning),
	Download:          to(v1alpha1.ActionDownloading),
	Downloaded:        to(v1alpha1.ActionDownloaded),
	Install:           to(v1alpha1.ActionInstalling),
	EventInstalled:    to(v1alpha1.ActionInstalling),
	Remove:            to(v1alpha1.ActionRemoving),
	Removed:           to(v1alpha1.ActionRemoving),
	Warn:              stay,
	Succeed:           to(v1alpha1.ActionFinished),
	FinishWithWarning: to(v1alpha1.ActionFinished),
	Fail:              to(v1alpha1.ActionError),
	Abandon:           to(v1alpha1.ActionCanceled),
	CancelAccepted:    refuse,
	CancelRejected:    refuse,
	AskCancel:         to(v1alpha1.ActionCanceling),
	ForceCancel:       to(v1alpha1.ActionCanceled),
	CancelExpired:     refuse,
	ProgressExpired:   to(v1alpha1.ActionError),
	Refuse:            to(v1alpha1.ActionError),
}

// canceling waits for the device, which may report progress, finish first, cancel or refuse. A
// refusal leads to Running, unless the state before the cancel is known (cancel.from). The cancel
// has its own deadline.
var canceling = row{
	Retrieve:          stay,
	Start:             stay,
	Confirm:           refuse,
	Deny:              refuse,
	Proceed:           stay,
	Download:          stay,
	Downloaded:        stay,
	Install:           stay,
	EventInstalled:    stay,
	Remove:            stay,
	Removed:           stay,
	Warn:              stay,
	Succeed:           to(v1alpha1.ActionFinished),
	FinishWithWarning: to(v1alpha1.ActionFinished),
	Fail:              to(v1alpha1.ActionError),
	Abandon:           to(v1alpha1.ActionCanceled),
	CancelAccepted:    to(v1alpha1.ActionCanceled),
	CancelRejected:    to(v1alpha1.ActionRunning),
	AskCancel:         stay,
	ForceCancel:       to(v1alpha1.ActionCanceled),
	CancelExpired:     to(v1alpha1.ActionCanceled),
	ProgressExpired:   refuse,
	Refuse:            to(v1alpha1.ActionCanceled),
}

// closed is final.
var closed = row{
	Retrieve:          tooLate,
	Start:             tooLate,
	Confirm:           tooLate,
	Deny:              tooLate,
	Proceed:           tooLate,
	Download:          tooLate,
	Downloaded:        tooLate,
	Install:           tooLate,
	EventInstalled:    tooLate,
	Remove:            tooLate,
	Removed:           tooLate,
	Warn:              tooLate,
	Succeed:           tooLate,
	FinishWithWarning: tooLate,
	Fail:              tooLate,
	Abandon:           tooLate,
	CancelAccepted:    tooLate,
	CancelRejected:    tooLate,
	AskCancel:         tooLate,
	ForceCancel:       tooLate,
	CancelExpired:     tooLate,
	ProgressExpired:   tooLate,
	Refuse:            tooLate,
}

var table = map[v1alpha1.ActionState]row{
	v1alpha1.ActionWaitingForConfirmation: waiting,
	v1alpha1.ActionRetrieved:              working,
	v1alpha1.ActionRunning:                working,
	v1alpha1.ActionDownloading:            working,
	v1alpha1.ActionDownloaded:             working,
	v1alpha1.ActionInstalling:             working,
	v1alpha1.ActionRemoving:               working,
	v1alpha1.ActionCanceling:              canceling,
	v1alpha1.ActionFinished:               closed,
	v1alpha1.ActionError:                  closed,
	v1alpha1.ActionCanceled:               closed,
}

// Next returns the state after an event, and the effect of the event. A state or event that is not
// in the table is refused.
func Next(s v1alpha1.ActionState, e Event) (v1alpha1.ActionState, Answer) {
	found, ok := table[s][e]
	switch {
	case !ok:
		return s, Refused
	case found.answer != Moved:
		return s, found.answer
	case found.to == s:
		return s, Kept
	}
	return found.to, Moved
}

// fromDevice reports whether a device can cause the event.
func (e Event) fromDevice() bool {
	switch e {
	case AskCancel, ForceCancel, CancelExpired, ProgressExpired, Refuse:
		return false
	default:
	}
	_, known := working[e]
	return known
}

// isResult reports whether the event is a device's result for the update, or for one module of it.
func (e Event) isResult() bool {
	return e == Succeed || e == FinishWithWarning || e == Fail || e == Abandon || e == CancelAccepted
}

// isDownload reports whether the event shows that the device is really working, as opposed to a
// device that only reports a result.
func (e Event) isDownload() bool {
	switch e {
	case Start, Proceed, Download, Downloaded, Install, EventInstalled, Remove, Removed:
		return true
	default:
		return false
	}
}

// isAboutWork reports whether the text of the event is about the update, as opposed to a
// confirmation or a cancel.
func (e Event) isAboutWork() bool {
	switch e {
	case Confirm, Deny, CancelAccepted, CancelRejected:
		return false
	default:
		return true
	}
}

// isInstall reports whether the device may have started to install. Proceed has no stage, so it may
// have.
func (e Event) isInstall() bool {
	switch e {
	case Proceed, Install, EventInstalled, Remove, Removed:
		return true
	default:
		return false
	}
}
