// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package action is the life of one update on one device: every event has an answer in every state,
// and closed is closed.
//
// The rules are pure. They change the TargetStatus they are given (callers pass a copy), know no
// client, no clock and no log, and take time as a value.
package action

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// Event is something that happens to an action.
type Event string

// What a device does or says.
const (
	// Retrieve is a device fetching the deployment. It is no report.
	Retrieve Event = "Retrieve"
	// Start is a device saying that the command has arrived and that it turns to it. Installing has
	// not started.
	Start Event = "Start"
	// Confirm is somebody at the device agreeing to the update.
	Confirm Event = "Confirm"
	// Deny is somebody at the device not agreeing, or not yet.
	Deny Event = "Deny"
	// Proceed is a device at work, at a stage it does not tell.
	Proceed Event = "Proceed"
	// Download is a device fetching artifacts.
	Download Event = "Download"
	// Downloaded is a device that has all artifacts.
	Downloaded Event = "Downloaded"
	// Install is a device changing itself.
	Install Event = "Install"
	// EventInstalled is a device that has changed itself; its result is still to come. (Installed
	// asks what a target runs.)
	EventInstalled Event = "Installed"
	// Remove is a device removing software.
	Remove Event = "Remove"
	// Warn is a word that is noted and changes nothing.
	Warn Event = "Warn"
	// Succeed is the device's result: done.
	Succeed Event = "Succeed"
	// Fail is the device's result: failed.
	Fail Event = "Fail"
	// Abandon is the device's result: canceled, whether it was asked to or not.
	Abandon Event = "Abandon"
	// CancelAccepted answers a cancel: the device has canceled.
	CancelAccepted Event = "CancelAccepted"
	// CancelRejected answers a cancel: the device goes on.
	CancelRejected Event = "CancelRejected"
)

// What Goshawk does.
const (
	// AskCancel asks the device to cancel.
	AskCancel Event = "AskCancel"
	// ForceCancel closes the action without waiting for the device.
	ForceCancel Event = "ForceCancel"
	// CancelExpired is a cancel that was left unanswered for too long.
	CancelExpired Event = "CancelExpired"
	// ProgressExpired is a result that was not reported in time.
	ProgressExpired Event = "ProgressExpired"
)

// Outcome is what became of an event.
type Outcome string

// Answer is an Outcome as the table of transitions gives it: Moved, Kept, Late or Refused.
type Answer = Outcome

const (
	// Moved takes the action to another state.
	Moved Answer = "Moved"
	// Kept leaves the state as it is; the report itself is kept.
	Kept Answer = "Kept"
	// Late comes after the action has closed. It is counted at most.
	Late Outcome = "Late"
	// Refused makes no sense in this state; nothing changes.
	Refused Outcome = "Refused"
)

// states and events in the order in which people read them.
var (
	states = []v1alpha1.ActionState{
		v1alpha1.ActionWaitingForConfirmation, v1alpha1.ActionRetrieved, v1alpha1.ActionRunning, v1alpha1.ActionDownloading,
		v1alpha1.ActionDownloaded, v1alpha1.ActionInstalling, v1alpha1.ActionRemoving, v1alpha1.ActionCanceling,
		v1alpha1.ActionFinished, v1alpha1.ActionError, v1alpha1.ActionCanceled,
	}
	events = []Event{
		Retrieve, Start, Confirm, Deny, Proceed, Download, Downloaded, Install, EventInstalled, Remove, Warn, Succeed, Fail, Abandon,
		CancelAccepted, CancelRejected, AskCancel, ForceCancel, CancelExpired, ProgressExpired,
	}
)

// step is one cell of the table. Without a state to go to, the action stays where it is.
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

// waiting has not started, so every cancel closes it at once. A device that goes to work unasked
// has started all the same.
var waiting = row{
	Retrieve:        refuse,
	Start:           to(v1alpha1.ActionRetrieved),
	Confirm:         to(v1alpha1.ActionRunning),
	Deny:            stay,
	Proceed:         to(v1alpha1.ActionRunning),
	Download:        to(v1alpha1.ActionDownloading),
	Downloaded:      to(v1alpha1.ActionDownloaded),
	Install:         to(v1alpha1.ActionInstalling),
	EventInstalled:  to(v1alpha1.ActionInstalling),
	Remove:          to(v1alpha1.ActionRemoving),
	Warn:            stay,
	Succeed:         to(v1alpha1.ActionFinished),
	Fail:            to(v1alpha1.ActionError),
	Abandon:         to(v1alpha1.ActionCanceled),
	CancelAccepted:  refuse,
	CancelRejected:  refuse,
	AskCancel:       to(v1alpha1.ActionCanceled),
	ForceCancel:     to(v1alpha1.ActionCanceled),
	CancelExpired:   refuse,
	ProgressExpired: refuse,
}

// working is the row of everything between Retrieved and Removing: a device repeats stages after a
// crash, so it may go back and forth.
var working = row{
	Retrieve:        stay,
	Start:           stay,
	Confirm:         refuse,
	Deny:            refuse,
	Proceed:         to(v1alpha1.ActionRunning),
	Download:        to(v1alpha1.ActionDownloading),
	Downloaded:      to(v1alpha1.ActionDownloaded),
	Install:         to(v1alpha1.ActionInstalling),
	EventInstalled:  to(v1alpha1.ActionInstalling),
	Remove:          to(v1alpha1.ActionRemoving),
	Warn:            stay,
	Succeed:         to(v1alpha1.ActionFinished),
	Fail:            to(v1alpha1.ActionError),
	Abandon:         to(v1alpha1.ActionCanceled),
	CancelAccepted:  refuse,
	CancelRejected:  refuse,
	AskCancel:       to(v1alpha1.ActionCanceling),
	ForceCancel:     to(v1alpha1.ActionCanceled),
	CancelExpired:   refuse,
	ProgressExpired: to(v1alpha1.ActionError),
}

// canceling waits for the device: it may report on, finish first, cancel or refuse. A refusal leads
// to Running unless the state the action was asked in is known (cancel.from). The cancel has a
// deadline of its own.
var canceling = row{
	Retrieve:        stay,
	Start:           stay,
	Confirm:         refuse,
	Deny:            refuse,
	Proceed:         stay,
	Download:        stay,
	Downloaded:      stay,
	Install:         stay,
	EventInstalled:  stay,
	Remove:          stay,
	Warn:            stay,
	Succeed:         to(v1alpha1.ActionFinished),
	Fail:            to(v1alpha1.ActionError),
	Abandon:         to(v1alpha1.ActionCanceled),
	CancelAccepted:  to(v1alpha1.ActionCanceled),
	CancelRejected:  to(v1alpha1.ActionRunning),
	AskCancel:       stay,
	ForceCancel:     to(v1alpha1.ActionCanceled),
	CancelExpired:   to(v1alpha1.ActionCanceled),
	ProgressExpired: refuse,
}

// closed is absorbing.
var closed = row{
	Retrieve:        tooLate,
	Start:           tooLate,
	Confirm:         tooLate,
	Deny:            tooLate,
	Proceed:         tooLate,
	Download:        tooLate,
	Downloaded:      tooLate,
	Install:         tooLate,
	EventInstalled:  tooLate,
	Remove:          tooLate,
	Warn:            tooLate,
	Succeed:         tooLate,
	Fail:            tooLate,
	Abandon:         tooLate,
	CancelAccepted:  tooLate,
	CancelRejected:  tooLate,
	AskCancel:       tooLate,
	ForceCancel:     tooLate,
	CancelExpired:   tooLate,
	ProgressExpired: tooLate,
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

// Next is where an event takes an action, and how it is answered. A state or event that is not in
// the table is refused.
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
	case AskCancel, ForceCancel, CancelExpired, ProgressExpired:
		return false
	}
	_, known := working[e]
	return known
}

// isResult reports whether the event ends the update, or one module of it, by the device's own
// word.
func (e Event) isResult() bool {
	return e == Succeed || e == Fail || e == Abandon || e == CancelAccepted
}

// isDownload reports whether the event shows that the device is really at work, as opposed to
// closing without having done anything.
func (e Event) isDownload() bool {
	switch e {
	case Start, Proceed, Download, Downloaded, Install, EventInstalled, Remove:
		return true
	}
	return false
}

// isAboutWork reports whether the text beside the event speaks of the update, as against a question
// or a cancel.
func (e Event) isAboutWork() bool {
	switch e {
	case Confirm, Deny, CancelAccepted, CancelRejected:
		return false
	}
	return true
}

// isInstall reports whether the device may have started to change itself. Proceed tells no stage,
// so it may.
func (e Event) isInstall() bool {
	switch e {
	case Proceed, Install, EventInstalled, Remove:
		return true
	}
	return false
}
