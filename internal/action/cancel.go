// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// Cancel cancels an open action, and reports whether anything changed. An action that has not
// started is Canceled at once. For a started action the device is asked (Soft), once per cause, or
// the action is closed without waiting (Force), which makes the device inconsistent and keeps the
// cancel offered.
func Cancel(s *v1alpha1.TargetStatus, id int32, cause v1alpha1.CancelCause, c v1alpha1.Cancellation, now time.Time) bool {
	a, effect := find(s, id), cancellation.Of(c).StartedActions
	if a == nil || effect == cancellation.Continue {
		return false
	}
	event := AskCancel
	if effect == cancellation.Close {
		event = ForceCancel
	}
	next, answer := Next(a.State, event)
	if answer != Moved || (next == v1alpha1.ActionCanceling && asked(a, cause)) {
		return false
	}
	from := a.State
	ask(a, cause, c, now)
	enter(a, next, Report{Now: now})
	if next.IsClosed() && from.HasStarted() {
		markInconsistent(s, a, v1alpha1.ReasonClosedWhileRunning, "was canceled by force after the device had started", now)
	}
	s.UpdateStatus = updateStatusOf(s)
	return true
}

// ExpireCancel closes an action whose cancel was not answered by the deadline, and reports whether
// it did.
func ExpireCancel(s *v1alpha1.TargetStatus, id int32, now time.Time) bool {
	a := find(s, id)
	if a == nil || !passed(CancelDeadline(a), now) {
		return false
	}
	next, _ := Next(a.State, CancelExpired)
	a.Cancel.Answer = v1alpha1.AnswerDeadlineExceeded
	enter(a, next, Report{Now: now})
	markInconsistent(s, a, v1alpha1.ReasonClosedWhileRunning, "was closed because the device did not answer its cancel in time", now)
	s.UpdateStatus = updateStatusOf(s)
	return true
}

// ask records the cancel. If a cancel was already in progress, the state from before that cancel is
// kept.
func ask(a *v1alpha1.Action, cause v1alpha1.CancelCause, c v1alpha1.Cancellation, now time.Time) {
	from, causes := a.State, []v1alpha1.CancelCause(nil)
	if a.Cancel != nil {
		causes = a.Cancel.Causes
		if a.State == v1alpha1.ActionCanceling {
			from = a.Cancel.From
		}
	}
	if !slices.Contains(causes, cause) {
		causes = append(causes, cause)
	}
	requested := stamp(now)
	a.Cancel = &v1alpha1.CancelStatus{Cause: cause, Cancellation: c, RequestedAt: &requested, From: from, Causes: causes}
}

// asked reports whether the device was already asked to cancel for this cause.
func asked(a *v1alpha1.Action, cause v1alpha1.CancelCause) bool {
	return a.Cancel != nil && slices.Contains(a.Cancel.Causes, cause)
}

// cancelOnOffer reports whether the action was closed by force and the device has not yet reacted.
func cancelOnOffer(a *v1alpha1.Action) bool {
	return closedByForce(a) && a.Cancel.Answer == ""
}

// closedByForce excludes actions that had not started, because their devices need no cancel.
func closedByForce(a *v1alpha1.Action) bool {
	return a.State == v1alpha1.ActionCanceled && a.Cancel != nil && cancellation.Of(a.Cancel.Cancellation).StartedActions == cancellation.Close && a.Cancel.From.HasStarted()
}

// overtake ends cancels that are still offered for actions older than id, because the device has
// started a newer action.
func overtake(s *v1alpha1.TargetStatus, id int32) {
	for i := range s.Actions {
		if a := &s.Actions[i]; a.ID < id && cancelOnOffer(a) {
			a.Cancel.Answer = v1alpha1.AnswerOvertaken
		}
	}
}
