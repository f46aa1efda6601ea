// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Kind says what a device is offered.
type Kind string

const (
	// Nothing is offered.
	Nothing Kind = "Nothing"
	// Deploy offers a set, as a new action or as the open one.
	Deploy Kind = "Deploy"
	// Cancel asks the device to cancel an action.
	Cancel Kind = "Cancel"
	// Confirm asks the device for a confirmation of an action.
	Confirm Kind = "Confirm"
)

// Offer is what one device gets if it polls now, and why.
type Offer struct {
	Kind Kind
	// ActionID is the id that the device gets; zero with Nothing.
	ActionID int32
	// Action is the open action or, with Cancel, possibly one that was closed by force. It is nil
	// if the device would create the action by fetching the offer.
	Action *v1alpha1.Action
	// Intent of the action that would be created; nil when Action is set.
	Intent *eligibility.Intent
	// Set that is deployed; nil if it does not exist.
	Set *eligibility.Set
	// Reason says why this is offered.
	Reason eligibility.Reason
	// OpensAt is when the next maintenance window opens that the target waits for, or zero if it
	// waits for none: the window of an update that waits for nothing else, or the next opening of
	// the window of the open action.
	OpensAt time.Time
}

// For returns the offer to the target of this world. The status of the target must be the one that
// ApplyPending returned, so that a stop, an invalidation or a deadline of the open action is
// already applied.
func For(w World) Offer {
	w.explains = true
	return Decide(w)
}

// Decide is For for callers that do not need the message of the reason, which takes time to make.
func Decide(w World) Offer {
	if a := action.Open(&w.Target.Status); a != nil {
		return forOpen(&w, a)
	}
	if a := pendingCancel(&w); a != nil {
		return Offer{Kind: Cancel, ActionID: a.ID, Action: a, Reason: w.reason(CodeCancel, answerBy(a), func() string {
			return fmt.Sprintf("action %d was closed by force (%s); its cancel stays on offer until the device answers", a.ID, a.Cancel.Cause)
		})}
	}
	if r := unserved(w.Target); !r.IsZero() {
		return Offer{Kind: Nothing, Reason: r}
	}
	return forVerdicts(&w, judgeAll(&w))
}

// forOpen returns the offer for an open action: the cancel if it is to be canceled, else its set,
// also outside its maintenance window.
func forOpen(w *World, a *v1alpha1.Action) Offer {
	switch a.State {
	case v1alpha1.ActionCanceling:
		return Offer{Kind: Cancel, ActionID: a.ID, Action: a, Reason: w.reason(CodeCancel, action.CancelDeadline(a), func() string {
			return fmt.Sprintf("action %d is to be canceled (%s)", a.ID, a.Cancel.Cause)
		})}
	case v1alpha1.ActionWaitingForConfirmation:
		return forWaiting(w, a)
	default:
	}
	set := SetFor(*w, a)
	if !sameContent(set, a) {
		return Offer{Kind: Nothing, Action: a, Set: set, Reason: w.reason(CodeSetGone, time.Time{}, func() string {
			return fmt.Sprintf("DistributionSet %s of action %d was deleted or has another content", a.DistributionSet, a.ID)
		})}
	}
	return Offer{Kind: Deploy, ActionID: a.ID, Action: a, Set: set, OpensAt: window.NextOpening(a.Update.MaintenanceWindow, w.Now),
		Reason: w.reason(CodeResume, action.ProgressDeadline(a), func() string { return fmt.Sprintf("action %d has started and continues", a.ID) })}
}

// forWaiting returns the offer for an action that waits for confirmation. Such an action has not
// started; the device is asked for the confirmation only while it may start.
func forWaiting(w *World, a *v1alpha1.Action) Offer {
	o := Offer{Kind: Nothing, Action: a, Set: SetFor(*w, a), Reason: unserved(w.Target)}
	if !o.Reason.IsZero() {
		return o
	}
	own := ownVerdict(a, judgeAll(w))
	switch {
	case own == nil:
		o.Reason = w.reason(CodeNothingWanted, time.Time{}, func() string {
			return fmt.Sprintf("action %d waits for confirmation, but its source no longer reaches this target", a.ID)
		})
	case !own.mayStart():
		o.Reason, o.OpensAt = own.reason(w), own.opensAt()
	default:
		o.Kind, o.ActionID = Confirm, a.ID
		o.Reason = w.reason(CodeConfirm, time.Time{}, func() string {
			return fmt.Sprintf("action %d waits for confirmation at the device%s", a.ID, denial(a))
		})
	}
	return o
}

// denial returns the part of a message that says when the device last denied the action, or "". A
// device may confirm after a denial.
func denial(a *v1alpha1.Action) string {
	if len(a.History) < 2 {
		return ""
	}
	last := a.History[len(a.History)-1]
	return fmt.Sprintf(", where it was denied at %s", stamp(last.Time.Time))
}

// forVerdicts returns the offer for the first intent that may start. If none may, the reason of the
// offer is the first that is not final, else the first.
func forVerdicts(w *World, verdicts []judged) Offer {
	best := -1
	for i := range verdicts {
		v := &verdicts[i]
		if v.mayStart() {
			return start(w, v.in)
		}
		if best < 0 || verdicts[best].IsFinal() && !v.IsFinal() {
			best = i
		}
	}
	if best < 0 {
		return Offer{Kind: Nothing, Reason: eligibility.Reason{Code: CodeNothingWanted, Message: "no rollout, assignment or auto-assignment reaches this target"}}
	}
	return Offer{Kind: Nothing, Reason: verdicts[best].reason(w), OpensAt: firstOpening(verdicts)}
}

// firstOpening returns the earliest opening of a maintenance window among the intents that wait for
// nothing else, or the zero time if there is none.
func firstOpening(verdicts []judged) time.Time {
	var first time.Time
	for i := range verdicts {
		if at := verdicts[i].opensAt(); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// opensAt returns when the window opens that the intent waits for, or the zero time if it waits for
// something else.
func (j *judged) opensAt() time.Time {
	if j.Code != eligibility.CodeWindowClosed {
		return time.Time{}
	}
	return j.Until
}

func start(w *World, in *eligibility.Intent) Offer {
	o := Offer{Kind: Deploy, ActionID: w.Target.Status.NextActionID, Intent: in, Set: in.Set}
	if in.Update.ConfirmationRequired && !confirmsByItself(w.Target) {
		o.Kind = Confirm
		o.Reason = w.reason(CodeConfirm, time.Time{}, func() string { return label(in) + " needs confirmation at the device" })
		return o
	}
	o.Reason = w.reason(CodeDeploy, time.Time{}, func() string { return label(in) + " offers " + in.Update.Subject() })
	return o
}

// SetFor returns the set of an open action or, if it removes software, what takes the place of a
// set. It returns nil if there is no such set.
func SetFor(w World, a *v1alpha1.Action) *eligibility.Set {
	if a.Removes() {
		return eligibility.SetOfAction(w.Target.Namespace, a)
	}
	return w.Set(a.DistributionSet)
}

// Creation returns the action that is created when the device fetches this offer.
func (o Offer) Creation(w World) action.Creation {
	in := o.Intent
	source := *in.Source.DeepCopy() // the stored status must share no pointer with the caches
	source.Attempt = 1
	if a := eligibility.Own(&w.Target.Status, in); a != nil {
		source.Attempt = max(a.Source.Attempt, 1)
		if !eligibility.IsTakenBack(in, a) { // a withdrawn request for confirmation was no attempt
			source.Attempt++
		}
	}
	return action.Creation{
		Source:          source,
		DistributionSet: in.Update.DistributionSet,
		Remove:          in.Set.Remove,
		ContentHash:     in.Set.ContentHash,
		Update:          lasting(in),
		Confirm:         o.Kind == Confirm,
		Now:             w.Now,
	}
}

// lasting returns the part of the update that is stored with the action, for when its source is
// gone.
func lasting(in *eligibility.Intent) v1alpha1.ActionUpdate {
	u := in.Update.DeepCopy()
	return v1alpha1.ActionUpdate{
		Type: u.Type, ForceAt: u.ForceAt, Weight: u.Weight, MaintenanceWindow: u.MaintenanceWindow,
		Superseding:             u.Superseding,
		ProgressDeadlineSeconds: u.ProgressDeadlineSeconds, CancelDeadlineSeconds: u.CancelDeadlineSeconds,
		FinishedWarning: u.FinishedWarning,
		Rollback:        in.Set.Rollback, RequiredMigrationStep: in.Set.RequiredMigrationStep,
	}
}

// IsForced reports whether a device has to install at once: because of the type of its update,
// because forceAt has passed, or because the device is not consistent.
func IsForced(u v1alpha1.ActionUpdate, consistent bool, now time.Time) bool {
	switch u.Type {
	case v1alpha1.UpdateTypeSoft:
		return !consistent
	case v1alpha1.UpdateTypeTimeForced:
		return !consistent || u.ForceAt == nil || !now.Before(u.ForceAt.Time)
	default:
		return true
	}
}

// unserved returns why a target gets no offer at all, or a zero Reason if it may get one.
func unserved(t *v1alpha1.Target) eligibility.Reason {
	if why := eligibility.NotServed(t); why != "" {
		return eligibility.Reason{Code: eligibility.CodeNotReady, Message: why}
	}
	return eligibility.Reason{}
}

func confirmsByItself(t *v1alpha1.Target) bool {
	return t.Spec.AutoConfirm == v1alpha1.AutoConfirmAlways || t.Status.AutoConfirm != nil && t.Status.AutoConfirm.Active
}

// sameContent reports whether the set still has the content that the action was created with. A set
// that cannot be decoded counts as unchanged.
func sameContent(set *eligibility.Set, a *v1alpha1.Action) bool {
	return set != nil && (set.Unreadable || !set.Changed && set.ContentHash == a.ContentHash)
}

// pendingCancel returns the action that was closed by force and whose cancel is still offered, or
// nil if there is none. Without an answer the cancel is given up after cancelDeadlineSeconds, so
// that it does not block the next update for ever.
func pendingCancel(w *World) *v1alpha1.Action {
	a := action.PendingCancel(&w.Target.Status)
	if a == nil {
		return nil
	}
	if end := answerBy(a); !end.IsZero() && !w.Now.Before(end) {
		return nil
	}
	return a
}

// answerBy returns when a pending cancel is given up, or the zero time if it never is.
func answerBy(a *v1alpha1.Action) time.Time {
	seconds, asked := a.Update.CancelDeadlineSeconds, a.Cancel.RequestedAt
	if seconds == nil || asked == nil {
		return time.Time{}
	}
	return asked.Add(time.Duration(*seconds) * time.Second)
}

// CurrentUpdate returns the update that the action was created with, but with the type and forceAt
// that its source has now: a rollout may change from Soft to Forced.
func CurrentUpdate(w World, a *v1alpha1.Action) v1alpha1.ActionUpdate {
	update := a.Update
	for _, in := range w.Intents {
		if eligibility.IsOwn(a, in) {
			update.Type, update.ForceAt = in.Update.Type, in.Update.ForceAt
		}
	}
	return update
}

// Window returns the maintenance window of an action, and whether it is open. An action that has
// started continues outside its window.
func Window(a *v1alpha1.Action, now time.Time) (mw *v1alpha1.MaintenanceWindow, open bool) {
	mw = a.Update.MaintenanceWindow
	open, _, err := window.At(mw, now)
	return mw, open && err == nil
}
