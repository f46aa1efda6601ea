package action

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// settled is the one word about the target that follows from its actions: never InSync without knowing what runs.
func settled(s *v1alpha1.TargetStatus) v1alpha1.UpdateStatus {
	switch {
	case Open(s) != nil:
		return v1alpha1.UpdateStatusPending
	case !IsConsistent(s) || lastFailed(s):
		return v1alpha1.UpdateStatusError
	case s.Installed != nil:
		return v1alpha1.UpdateStatusInSync
	}
	return v1alpha1.UpdateStatusRegistered
}

// lastFailed tells whether the newest action failed and the device has not been found to run its content since.
func lastFailed(s *v1alpha1.TargetStatus) bool {
	a := Newest(s)
	if a == nil || a.State != v1alpha1.ActionError {
		return false
	}
	i := s.Installed
	if i == nil || i.ActionID != 0 {
		return i == nil || i.ActionID < a.ID
	}
	return i.ContentHash == "" || i.ContentHash != a.ContentHash || i.Since.Before(a.ClosedAt)
}
