// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// ProgressDeadline returns when an action must have a result, or zero if there is no deadline. An
// action that waits for confirmation has not started and has no deadline; for a cancel see
// CancelDeadline.
func ProgressDeadline(a *v1alpha1.Action) time.Time {
	if _, answer := Next(a.State, ProgressExpired); answer != Moved {
		return time.Time{}
	}
	return after(a.StartedAt, a.Update.ProgressDeadlineSeconds)
}

// CancelDeadline returns when a cancel must be answered, or zero if there is no deadline or no
// cancel.
func CancelDeadline(a *v1alpha1.Action) time.Time {
	if a.State != v1alpha1.ActionCanceling || a.Cancel == nil {
		return time.Time{}
	}
	return after(a.Cancel.RequestedAt, a.Update.CancelDeadlineSeconds)
}

// ExpireProgress closes an action that has no result by its deadline, and reports whether it did.
func ExpireProgress(s *v1alpha1.TargetStatus, id int32, now time.Time) bool {
	a := find(s, id)
	if a == nil || !passed(ProgressDeadline(a), now) {
		return false
	}
	next, _ := Next(a.State, ProgressExpired)
	a.StatusCode = v1alpha1.CodeProgressDeadlineExceeded
	enter(a, next, Report{Now: now, StatusCode: a.StatusCode})
	markInconsistent(s, a, v1alpha1.ReasonClosedWhileRunning, "was closed because the device reported no result in time", now)
	s.UpdateStatus = updateStatusOf(s)
	return true
}

func after(start *metav1.Time, seconds *int32) time.Time {
	if start == nil || seconds == nil {
		return time.Time{}
	}
	return start.Add(time.Duration(*seconds) * time.Second)
}

func passed(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }
