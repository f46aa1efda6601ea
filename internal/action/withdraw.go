// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// IsSilent reports whether an action has only just started: the device has fetched it, or somebody
// has agreed to it, and nothing has been heard since.
func IsSilent(a *v1alpha1.Action) bool {
	switch a.State {
	case v1alpha1.ActionRetrieved:
		return a.Reports == 0
	case v1alpha1.ActionRunning: // without a sign of work it was confirmed
		return !a.DownloadSeen && a.Cancel == nil && a.ReportedAt != nil && a.ReportedAt.Equal(a.StartedAt)
	}
	return false
}

// Withdraw takes back a start that the device was never told of, because its source turned out to
// be stopped or paused between the start and the answer. It reports whether it did: an action that
// the device has reported on is left alone. With a cause the action is closed as Canceled and the
// device not in doubt. Without one, as for a pause, the intent is not spent: a creation is as if it
// had never been, though its id is used up, and what was confirmed waits for confirmation again.
func Withdraw(s *v1alpha1.TargetStatus, id int32, cause v1alpha1.CancelCause, now time.Time) bool {
	a := find(s, id)
	if a == nil || !IsSilent(a) {
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
	s.UpdateStatus = settled(s)
	return true
}

// unconfirm makes an action wait again as it did before somebody agreed to it.
func unconfirm(a *v1alpha1.Action) {
	a.State, a.Stage = v1alpha1.ActionWaitingForConfirmation, ""
	a.History = slices.DeleteFunc(a.History, func(e v1alpha1.ActionEvent) bool { return e.State != v1alpha1.ActionWaitingForConfirmation })
	if len(a.History) > 0 {
		asked := a.History[0].Time
		a.StartedAt = &asked
	}
}

// ByID is the action with this id; nil: it is not listed.
func ByID(s *v1alpha1.TargetStatus, id int32) *v1alpha1.Action { return find(s, id) }
