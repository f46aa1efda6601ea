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

// Kind is what a device is given.
type Kind string

const (
	// Nothing is given.
	Nothing Kind = "Nothing"
	// Deploy gives a set, as a new action or as the one that is open.
	Deploy Kind = "Deploy"
	// Cancel asks the device to cancel an action.
	Cancel Kind = "Cancel"
	// Confirm asks somebody at the device to agree to an action.
	Confirm Kind = "Confirm"
)

// Offer is what one device gets now, and why.
type Offer struct {
	Kind Kind
	// ActionID that the device knows it by; zero with Nothing.
	ActionID int32
	// Action that is open or, with Cancel, may be closed by force; nil: the offer would create it.
	Action *v1alpha1.Action
	// Intent that would be created; nil when Action is given.
	Intent *eligibility.Intent
	// Set that is deployed; nil: it is gone.
	Set *eligibility.Set
	// Reason why.
	Reason eligibility.Reason
	// OpensAt is when the next maintenance window opens that the target waits for: to start an
	// update that nothing else holds back, or, for an action that has started, to be inside its
	// window again. Zero: it waits for none.
	OpensAt time.Time
}

// For is the offer to the target of this world. Call Settle before and give its status: whatever
// stop, invalidation or deadline applies to an open action comes first.
func For(w World) Offer {
	if a := action.Open(&w.Target.Status); a != nil {
		return forOpen(&w, a)
	}
	if a := pendingCancel(&w); a != nil {
		return Offer{Kind: Cancel, ActionID: a.ID, Action: a, Reason: eligibility.Reason{Code: CodeCancel, Until: answerBy(a), Message: fmt.Sprintf(
			"action %d was closed by force (%s); its cancel stays on offer until the device answers", a.ID, a.Cancel.Cause)}}
	}
	if r := unserved(w.Target); !r.IsZero() {
		return Offer{Kind: Nothing, Reason: r}
	}
	return forVerdicts(&w, judgeAll(&w))
}

// forOpen: what has started goes on, also outside a window; a cancel goes before any deployment.
func forOpen(w *World, a *v1alpha1.Action) Offer {
	switch a.State {
	case v1alpha1.ActionCanceling:
		return Offer{Kind: Cancel, ActionID: a.ID, Action: a, Reason: eligibility.Reason{
			Code: CodeCancel, Message: fmt.Sprintf("action %d is to be canceled (%s)", a.ID, a.Cancel.Cause), Until: action.CancelDeadline(a)}}
	case v1alpha1.ActionWaitingForConfirmation:
		return forWaiting(w, a)
	default:
	}
	set := w.Set(a.DistributionSet)
	if !sameContent(set, a) {
		return Offer{Kind: Nothing, Action: a, Set: set, Reason: eligibility.Reason{
			Code: CodeSetGone, Message: fmt.Sprintf("DistributionSet %s of action %d is gone or has another content", a.DistributionSet, a.ID)}}
	}
	return Offer{Kind: Deploy, ActionID: a.ID, Action: a, Set: set, Reason: eligibility.Reason{
		Code: CodeResume, Message: fmt.Sprintf("action %d has started and goes on", a.ID), Until: action.ProgressDeadline(a)},
		OpensAt: window.NextOpening(a.Update.MaintenanceWindow, w.Now)}
}

// forWaiting: what waits for confirmation has not started. Nobody is asked to agree to what may not
// start now.
func forWaiting(w *World, a *v1alpha1.Action) Offer {
	o := Offer{Kind: Nothing, Action: a, Set: w.Set(a.DistributionSet), Reason: unserved(w.Target)}
	if !o.Reason.IsZero() {
		return o
	}
	own := ownVerdict(a, judgeAll(w))
	switch {
	case own == nil:
		o.Reason = eligibility.Reason{Code: CodeNothingWanted, Message: fmt.Sprintf("what action %d waits for confirmation of does not reach this target now", a.ID)}
	case !own.mayStart():
		o.Reason, o.OpensAt = own.message(w), own.opensAt()
	default:
		o.Kind, o.ActionID = Confirm, a.ID
		o.Reason = eligibility.Reason{Code: CodeConfirm, Message: fmt.Sprintf("action %d waits for confirmation at the device%s", a.ID, denial(a))}
	}
	return o
}

// denial says when somebody last said no; a device may still agree later.
func denial(a *v1alpha1.Action) string {
	if len(a.History) < 2 {
		return ""
	}
	last := a.History[len(a.History)-1]
	return fmt.Sprintf(", where it was denied at %s", stamp(last.Time.Time))
}

// forVerdicts: the first intent without a reason against it wins; if there is none, the first
// reason that is not final says most.
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
	return Offer{Kind: Nothing, Reason: verdicts[best].message(w), OpensAt: firstOpening(verdicts)}
}

// firstOpening is when the first window opens of the intents that wait for nothing else; zero:
// there is none.
func firstOpening(verdicts []judged) time.Time {
	var first time.Time
	for i := range verdicts {
		if at := verdicts[i].opensAt(); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// opensAt is when the window opens that the intent waits for; zero: it waits for something else.
func (j *judged) opensAt() time.Time {
	if j.Code != eligibility.CodeWindowClosed {
		return time.Time{}
	}
	return j.Until
}

func start(w *World, in *eligibility.Intent) Offer {
	o := Offer{Kind: Deploy, ActionID: w.Target.Status.NextActionID, Intent: in, Set: in.Set,
		Reason: eligibility.Reason{Code: CodeDeploy, Message: fmt.Sprintf("%s offers %s", label(in), in.Update.DistributionSet)}}
	if in.Update.ConfirmationRequired && !confirmsByItself(w.Target) {
		o.Kind = Confirm
		o.Reason = eligibility.Reason{Code: CodeConfirm, Message: fmt.Sprintf("%s needs confirmation at the device", label(in))}
	}
	return o
}

// Creation is the action that taking this offer brings into the world.
func (o Offer) Creation(w World) action.Creation {
	in := o.Intent
	source := *in.Source.DeepCopy() // what is stored shares nothing with the caches
	source.Attempt = 1
	if a := eligibility.Own(&w.Target.Status, in); a != nil {
		source.Attempt = max(a.Source.Attempt, 1)
		if !eligibility.IsTakenBack(in, a) { // a question that was taken back was no attempt
			source.Attempt++
		}
	}
	return action.Creation{
		Source:          source,
		DistributionSet: in.Update.DistributionSet,
		ContentHash:     in.Set.ContentHash,
		Update:          lasting(in),
		Confirm:         o.Kind == Confirm,
		Now:             w.Now,
	}
}

// lasting is what an action keeps of its update for the time when its source is gone.
func lasting(in *eligibility.Intent) v1alpha1.ActionUpdate {
	u := in.Update.DeepCopy()
	return v1alpha1.ActionUpdate{
		Type: u.Type, ForceAt: u.ForceAt, Weight: u.Weight, MaintenanceWindow: u.MaintenanceWindow,
		Superseding:             u.Superseding,
		ProgressDeadlineSeconds: u.ProgressDeadlineSeconds, CancelDeadlineSeconds: u.CancelDeadlineSeconds,
		Rollback: in.Set.Rollback, RequiredMigrationStep: in.Set.RequiredMigrationStep,
	}
}

// IsForced reports whether a device is told to install at once: by the word of its update, by time,
// or because it is not consistent.
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

// unserved says why a target is given nothing, whatever is wanted of it.
func unserved(t *v1alpha1.Target) eligibility.Reason {
	if why := eligibility.NotServed(t); why != "" {
		return eligibility.Reason{Code: eligibility.CodeNotReady, Message: why}
	}
	return eligibility.Reason{}
}

func confirmsByItself(t *v1alpha1.Target) bool {
	return t.Spec.AutoConfirm == v1alpha1.AutoConfirmAlways || t.Status.AutoConfirm != nil && t.Status.AutoConfirm.Active
}

// sameContent reports whether what an action was created with is still there to be deployed. What
// cannot be decoded is still there.
func sameContent(set *eligibility.Set, a *v1alpha1.Action) bool {
	return set != nil && (set.Unreadable || !set.Changed && set.ContentHash == a.ContentHash)
}

// pendingCancel is the action that was closed by force and whose cancel is still on offer. One that
// nobody answers in time is given up, so that it does not block the next update for ever.
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

// answerBy is when a cancel that stays on offer is given up; zero: never.
func answerBy(a *v1alpha1.Action) time.Time {
	seconds, asked := a.Update.CancelDeadlineSeconds, a.Cancel.RequestedAt
	if seconds == nil || asked == nil {
		return time.Time{}
	}
	return asked.Add(time.Duration(*seconds) * time.Second)
}

// Live is what an action was created with, and of its urgency what its source says today: a rollout
// may turn from Soft to Forced.
func Live(w World, a *v1alpha1.Action) v1alpha1.ActionUpdate {
	update := a.Update
	for i := range w.Intents {
		if in := &w.Intents[i]; eligibility.IsOwn(a, in) {
			update.Type, update.ForceAt = in.Update.Type, in.Update.ForceAt
		}
	}
	return update
}

// Window is the maintenance window of an action, and whether it is open. What has started goes on
// outside of it.
func Window(a *v1alpha1.Action, now time.Time) (mw *v1alpha1.MaintenanceWindow, open bool) {
	mw = a.Update.MaintenanceWindow
	open, _, err := window.At(mw, now)
	return mw, open && err == nil
}
