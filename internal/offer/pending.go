// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// ApplyPending applies to the target's open action what is pending for it: a stop, an invalidation,
// a cancel, a newer update or a deadline, also before a controller has done so. It does not change
// w.Target. If it reports true, the returned status is new and must be stored before the device
// gets an answer.
func ApplyPending(w World) (*v1alpha1.TargetStatus, bool) {
	given := &w.Target.Status
	if action.Open(given) == nil {
		return given, false
	}
	return applyPending(w, given)
}

func applyPending(w World, given *v1alpha1.TargetStatus) (*v1alpha1.TargetStatus, bool) {
	for range maxRounds {
		status, changed := applyPendingOnce(&w)
		if !changed {
			break
		}
		target := *w.Target
		target.Status = *status
		w.Target = &target
	}
	return &w.Target.Status, given != &w.Target.Status
}

// maxRounds bounds how often one change leads to another, for example when an action is adopted by
// an update whose deadline has passed.
const maxRounds = 4

func applyPendingOnce(w *World) (*v1alpha1.TargetStatus, bool) {
	a := action.Open(&w.Target.Status)
	if a == nil {
		return nil, false
	}
	applies := pendingChanges(w, a)
	if len(applies) == 0 {
		return nil, false
	}
	status, changed := w.Target.Status.DeepCopy(), false
	for _, f := range applies {
		changed = f(status) || changed
	}
	return status, changed
}

// change changes a status, and reports whether it did.
type change func(*v1alpha1.TargetStatus) bool

// pendingChanges returns the changes that are pending for an open action, in order.
func pendingChanges(w *World, a *v1alpha1.Action) []change {
	verdicts := judgeAll(w)
	adopter := adopterOf(w, a, verdicts)
	var applies []change
	if adopter != nil {
		applies = append(applies, adoptedBy(w, adopter, a))
	}
	for _, d := range demandsOn(w, a, verdicts, adopter != nil) {
		applies = append(applies, func(s *v1alpha1.TargetStatus) bool { return action.Cancel(s, a.ID, d.cause, d.cancellation, w.Now) })
	}
	if expire := expiredDeadline(a, w.Now); expire != nil {
		applies = append(applies, func(s *v1alpha1.TargetStatus) bool { return expire(s, a.ID, w.Now) })
	}
	if len(applies) == 0 && isAgreed(w, a, verdicts) {
		applies = append(applies, func(s *v1alpha1.TargetStatus) bool {
			return action.Apply(s, action.Report{ID: a.ID, Event: action.Confirm, Details: []string{agreement(w.Target)}, Now: w.Now}) == action.Applied
		})
	}
	return applies
}

// demand is one cause to cancel an open action.
type demand struct {
	cause        v1alpha1.CancelCause
	cancellation v1alpha1.Cancellation
}

// demandsOn returns the causes to cancel an action. An adopted action is not canceled because of
// its old source.
func demandsOn(w *World, a *v1alpha1.Action, verdicts []judged, isAdopted bool) []demand {
	var demands []demand
	ask := func(cause v1alpha1.CancelCause, c v1alpha1.Cancellation) {
		if cancelsStarted(c) && isNews(a, cause, c) {
			demands = append(demands, demand{cause, c})
		}
	}
	if c := w.Target.Spec.Cancel; c != nil && covers(c, a, &w.Target.Status) {
		ask(v1alpha1.CauseRequested, softUnlessSaid(c.Cancellation))
	}
	set := SetFor(*w, a)
	if set != nil {
		ask(v1alpha1.CauseInvalidated, set.Invalidation)
	}
	if isAdopted {
		return demands
	}
	origin := w.Origin(a.Source)
	ask(origin.Cause, origin.Cancellation)
	if !sameContent(set, a) {
		ask(v1alpha1.CauseSetGone, v1alpha1.CancellationSoft)
	}
	if supersedes(w, a, verdicts) {
		ask(v1alpha1.CauseSuperseded, v1alpha1.CancellationSoft)
	}
	if cause := causeNotToStart(a, origin, verdicts); cause != "" {
		ask(cause, v1alpha1.CancellationSoft)
	}
	return demands
}

// causeNotToStart returns the cause to close an action that waits for confirmation, or "" if there
// is none. Such an action has not started, so it is closed by everything that keeps its source from
// ever starting it, also by a stop that lets started actions continue.
func causeNotToStart(a *v1alpha1.Action, origin cancellation.Request, verdicts []judged) v1alpha1.CancelCause {
	if a.State.HasStarted() {
		return ""
	}
	own := ownVerdict(a, verdicts)
	switch {
	case origin.Cause != "":
		return origin.Cause
	case own == nil && a.Source.Kind != v1alpha1.SourceRollout: // of a deleted rollout, Origin has the cause
		return v1alpha1.CauseDeleted
	case own != nil && own.Code == eligibility.CodeWaitingForStep: // the migration step cannot start before this action is closed
		return v1alpha1.CauseMigrationStep
	case own == nil || !own.IsFinal():
		return ""
	case own.Code == eligibility.CodeSetInvalid:
		return v1alpha1.CauseInvalidated
	case own.Code == eligibility.CodeStopped, own.Code == eligibility.CodeFinished, own.Code == eligibility.CodeSkipped, own.Code == eligibility.CodeDeadlinePassed:
		return v1alpha1.CauseStopped
	}
	return v1alpha1.CauseSuperseded
}

// ownVerdict returns the verdict on the intent that an action was created from, or nil if that
// intent no longer reaches the target.
func ownVerdict(a *v1alpha1.Action, verdicts []judged) *judged {
	for i := range verdicts {
		if eligibility.IsOwn(a, verdicts[i].in) {
			return &verdicts[i]
		}
	}
	return nil
}

// cancelsStarted reports whether a cancellation cancels actions that have started.
func cancelsStarted(c v1alpha1.Cancellation) bool {
	return cancellation.Of(c).StartedActions != cancellation.Continue
}

// isNews reports whether a cancel has not been requested yet: each cause requests it once, and
// again only with a stronger cancellation.
func isNews(a *v1alpha1.Action, cause v1alpha1.CancelCause, c v1alpha1.Cancellation) bool {
	if a.Cancel == nil || cancellation.Stronger(c, a.Cancel.Cancellation) {
		return true
	}
	for _, asked := range a.Cancel.Causes {
		if asked == cause {
			return false
		}
	}
	return true
}

// covers reports whether a cancel request applies to an action. A request with an id that no action
// has had yet is ignored, so that it cannot cancel a future action.
func covers(c *v1alpha1.CancelRequest, a *v1alpha1.Action, s *v1alpha1.TargetStatus) bool {
	return c.UpTo >= a.ID && c.UpTo < s.NextActionID
}

func softUnlessSaid(c v1alpha1.Cancellation) v1alpha1.Cancellation {
	if c == "" {
		return v1alpha1.CancellationSoft
	}
	return c
}

// supersedes reports whether a newer update that would start now replaces the open action. An
// auto-assignment waits instead, and a required migration step is never replaced.
func supersedes(w *World, a *v1alpha1.Action, verdicts []judged) bool {
	if a.Update.RequiredMigrationStep || !unserved(w.Target).IsZero() {
		return false
	}
	for i := range verdicts {
		v := &verdicts[i]
		if (v.mayStart() || isReturn(v)) && v.in.Source.Kind != v1alpha1.SourceAutoAssignment && v.in.Update.Superseding != v1alpha1.SupersedingQueue &&
			v.in.Set.ContentHash != a.ContentHash && since(&v.in.Source).After(since(&a.Source)) {
			return true
		}
	}
	return false
}

// isReturn reports whether the target's own assignment names the installed set, as after a revert:
// an action that was started meanwhile is canceled then.
func isReturn(v *judged) bool {
	return v.in.Source.Kind == v1alpha1.SourceTarget && v.Code == eligibility.CodeAlreadyThere && !v.in.Set.Removes()
}

// adopterOf returns the newest intent for the content of the open action, or nil if there is none:
// it takes the action over, in place of a cancel and a second installation of the same content.
// Adoption starts nothing on the device, so it is possible during spec.hold and outside a window.
func adopterOf(w *World, a *v1alpha1.Action, verdicts []judged) *eligibility.Intent {
	if a.State == v1alpha1.ActionCanceling || !a.State.HasStarted() || !unserved(w.Target).IsZero() {
		return nil
	}
	if set := SetFor(*w, a); set != nil && cancelsStarted(set.Invalidation) {
		return nil
	}
	var adopter *eligibility.Intent
	for i := range verdicts {
		v := &verdicts[i]
		if canTakeOver(v) && v.in.Set.ContentHash == a.ContentHash && !eligibility.IsOwn(a, v.in) && isHeir(a, v.in) &&
			(adopter == nil || since(&v.in.Source).After(since(&adopter.Source))) {
			adopter = v.in
		}
	}
	return adopter
}

func canTakeOver(v *judged) bool {
	return v.mayStart() || v.Code == eligibility.CodeHold || v.Code == eligibility.CodeAwaitingFeatures || v.Code == eligibility.CodeWindowClosed
}

// isHeir reports whether an intent is newer than the action, or is the action's own source, created
// again with the same startAt.
func isHeir(a *v1alpha1.Action, in *eligibility.Intent) bool {
	c := since(&in.Source).Compare(since(&a.Source))
	return c > 0 || c == 0 && eligibility.IsRecreated(a, in)
}

// adoptedBy returns the change that hands the action over to a new source. The action gets the name
// of the new source's set, because the set of the old source may be deleted next. If the new source
// has tried before, the action is its next attempt.
func adoptedBy(w *World, in *eligibility.Intent, a *v1alpha1.Action) change {
	source := *in.Source.DeepCopy()
	source.Attempt = max(a.Source.Attempt, 1)
	if own := eligibility.Own(&w.Target.Status, in); own != nil {
		source.Attempt = max(own.Source.Attempt, 1) + 1
	}
	return func(s *v1alpha1.TargetStatus) bool {
		if !action.Adopt(s, a.ID, source, lasting(in)) {
			return false
		}
		action.ByID(s, a.ID).DistributionSet = in.Update.DistributionSet
		return true
	}
}

// isAgreed reports whether the action waits for a confirmation that is no longer needed.
func isAgreed(w *World, a *v1alpha1.Action, verdicts []judged) bool {
	if a.State.HasStarted() || !unserved(w.Target).IsZero() {
		return false
	}
	own := ownVerdict(a, verdicts)
	return own != nil && own.mayStart() && (confirmsByItself(w.Target) || !own.in.Update.ConfirmationRequired)
}

// agreement returns the message that says why the action was confirmed without asking the device.
func agreement(t *v1alpha1.Target) string {
	if t.Spec.AutoConfirm == v1alpha1.AutoConfirmAlways {
		return "confirmed without asking: spec.autoConfirm is Always"
	}
	if !confirmsByItself(t) {
		return "confirmed without asking: confirmationRequired was taken back"
	}
	text := "confirmed without asking: auto-confirm is active at the device"
	if by := t.Status.AutoConfirm.Initiator; by != "" {
		text += ", activated by " + by
	}
	return text
}

// expiredDeadline returns the function that applies the deadline that has passed, or nil if none
// has.
func expiredDeadline(a *v1alpha1.Action, now time.Time) func(*v1alpha1.TargetStatus, int32, time.Time) bool {
	passed := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	switch {
	case passed(action.CancelDeadline(a)):
		return action.ExpireCancel
	case passed(action.ProgressDeadline(a)):
		return action.ExpireProgress
	}
	return nil
}
