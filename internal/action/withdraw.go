// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// HasNoReport reports whether an action has only just started: the device fetched it, or it was
// confirmed at the device, and there was no report since.
func HasNoReport(a *v1alpha1.Action) bool {
	switch a.State {
	case v1alpha1.ActionRetrieved:
		return a.Reports == 0
	case v1alpha1.ActionRunning: // confirmed, but no work was reported
		return !a.DownloadSeen && a.Cancel == nil && a.ReportedAt != nil && a.ReportedAt.Equal(a.StartedAt)
	default:
		return false
	}
}

// Withdraw undoes a start before the device gets the response, because the source was stopped or
// paused between the start and the response. It reports whether it did: an action with a report of
// the device is not changed. With a cause, the action is closed as Canceled and the device stays
// consistent. Without a cause, as for a pause, the intent can be offered again: a new action is
// removed, although its id is used up, and a confirmed action waits for confirmation again.
func Withdraw(s *v1alpha1.TargetStatus, id int32, cause v1alpha1.CancelCause, now time.Time) bool {
	a := find(s, id)
	if a == nil || !HasNoReport(a) {
		return false
	}
	if a.State == v1alpha1.ActionRunning {
		unconfirm(a)
		if cause != "" {
			Cancel(s, id, cause, v1alpha1.CancellationSoft, now)
		}
		return true
	}
	forget(s, a)
	if cause == "" {
		s.Actions = slices.DeleteFunc(s.Actions, func(b v1alpha1.Action) bool { return b.ID == id })
	} else {
		ask(a, cause, v1alpha1.CancellationSoft, now)
		a.Cancel.Answer = v1alpha1.AnswerAccepted
		enter(a, v1alpha1.ActionCanceled, Report{Now: now})
	}
	s.UpdateStatus = updateStatusOf(s)
	return true
}

// unconfirm makes an action wait for confirmation again.
func unconfirm(a *v1alpha1.Action) {
	a.State, a.Stage = v1alpha1.ActionWaitingForConfirmation, ""
	a.History = slices.DeleteFunc(a.History, func(e v1alpha1.ActionEvent) bool { return e.State != v1alpha1.ActionWaitingForConfirmation })
	if len(a.History) > 0 {
		asked := a.History[0].Time
		a.StartedAt = &asked
	}
}

// ByID returns the action with this id, or nil if it is not listed.
func ByID(s *v1alpha1.TargetStatus, id int32) *v1alpha1.Action { return find(s, id) }
