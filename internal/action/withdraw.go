package action

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Withdraw takes back a birth that the device was never told of, because its source turned out to be stopped or paused between the birth and the
// answer. It reports whether it did: an action that the device has reported on is left alone. With a cause the action is closed as Canceled and the device
// not in doubt; without one, as for a pause, it is as if it had never been born, so that the intent is not spent. The id is used up either way.
func Withdraw(s *v1alpha1.TargetStatus, id int32, cause v1alpha1.CancelCause, now time.Time) bool {
	a := find(s, id)
	if a == nil || a.State != v1alpha1.ActionRetrieved || a.Reports > 0 {
		return false
	}
	forget(s, a)
	if cause == "" {
		s.Actions = slices.DeleteFunc(s.Actions, func(b v1alpha1.Action) bool { return b.ID == id })
	} else {
		ask(a, cause, v1alpha1.CancelationSoft, now)
		a.Cancel.Answer = v1alpha1.AnswerAccepted
		enter(a, v1alpha1.ActionCanceled, Report{Now: now})
	}
	s.UpdateStatus = settled(s)
	return true
}

// ByID is the action with this id; nil: it is not listed.
func ByID(s *v1alpha1.TargetStatus, id int32) *v1alpha1.Action { return find(s, id) }
