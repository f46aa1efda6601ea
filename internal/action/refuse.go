// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// CloseAsRefused closes an action with one of Goshawk's own codes, because the device cannot carry
// it out and has not got it: as Error, or as Canceled if it is to be canceled. It reports whether
// it did: an action that is closed or that the device has reported about is not changed, nor is one
// that waits for confirmation, unless it removes software.
func CloseAsRefused(s *v1alpha1.TargetStatus, id int32, code, message string, now time.Time) bool {
	a := find(s, id)
	if a == nil || !HasNoReport(a) && (a.State != v1alpha1.ActionCanceling || a.Reports > 0) && (a.State != v1alpha1.ActionWaitingForConfirmation || !a.Removes()) {
		return false
	}
	next, answer := Next(a.State, Refuse)
	if answer != Moved {
		return false
	}
	r := Condense(Report{Details: []string{message}, Now: now})
	r.StatusCode = code
	a.StatusCode, a.Message = code, r.message
	switch {
	case next == v1alpha1.ActionError:
		a.FailureMessage = text.Clean(r.message, maxLine)
	case a.Cancel != nil:
		a.Cancel.Answer = v1alpha1.AnswerAccepted
	}
	for _, p := range partsOf(a) {
		*p.state = next
	}
	forget(s, a)
	enter(a, next, r)
	s.UpdateStatus = updateStatusOf(s)
	return true
}

// isRefused reports whether an action was closed by CloseAsRefused.
func isRefused(a *v1alpha1.Action) bool {
	return a.StatusCode == v1alpha1.CodeNoFeature || a.StatusCode == v1alpha1.CodeRemoveNotSupported
}
