// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// updateStatusOf derives the updateStatus of a target from its actions. After a canceled update it
// is the same as before, unless the device may have changed: it is never InSync while it is
// uncertain what the device runs.
func updateStatusOf(s *v1alpha1.TargetStatus) v1alpha1.UpdateStatus {
	switch {
	case Open(s) != nil:
		return v1alpha1.UpdateStatusPending
	case isSeriouslyInconsistent(s) || lastFailed(s):
		return v1alpha1.UpdateStatusError
	case s.Installed != nil:
		return v1alpha1.UpdateStatusInSync
	}
	return v1alpha1.UpdateStatusRegistered
}

// lastFailed reports whether the newest action that was not canceled has failed, and the device was
// not found to run its content since.
func lastFailed(s *v1alpha1.TargetStatus) bool {
	a := newest(s, func(a *v1alpha1.Action) bool { return a.State != v1alpha1.ActionCanceled })
	if a == nil || a.State != v1alpha1.ActionError {
		return false
	}
	i := s.Installed
	if i == nil || i.ActionID != 0 {
		return i == nil || i.ActionID < a.ID
	}
	return i.ContentHash == "" || i.ContentHash != a.ContentHash || i.Since.Before(a.ClosedAt)
}
