// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// The condition Assigned of a target: one message for every state of its own assignment, from the
// verdict on it, the offer and the state of its action.

// Assigned returns the condition that reports the state of spec.assignment and spec.cancel, or nil
// if both are absent or there is nothing to report. It is False where a person has to act. If both
// have to be fixed, its reason is about the assignment: the counters of rollouts use the reason.
func Assigned(w World) *metav1.Condition {
	assigned, wrong := assignmentNow(w), wrongCancel(w.Target)
	if wrong == "" {
		return assigned
	}
	if assigned != nil && assigned.Status == metav1.ConditionFalse {
		assigned.Message += "; besides, " + wrong
		return assigned
	}
	return assignedAs(w, metav1.ConditionFalse, v1alpha1.ReasonUnknownCancelID, wrong)
}

// wrongCancel returns a message if spec.cancel names an id that no action has had yet, else "".
func wrongCancel(t *v1alpha1.Target) string {
	if t.Spec.Cancel == nil || t.Spec.Cancel.UpTo < t.Status.NextActionID {
		return ""
	}
	return fmt.Sprintf("spec.cancel.upTo is %d, but this target was never given an id above %d, so it is ignored: copy the id from status.actions",
		t.Spec.Cancel.UpTo, t.Status.NextActionID-1)
}

func assignmentNow(w World) *metav1.Condition {
	wanted := w.Target.Spec.Assignment
	switch own := verdictOnAssignment(w); {
	case wanted == nil:
		return nil
	case IsAhead(wanted, w.Now):
		return assignedAs(w, metav1.ConditionTrue, v1alpha1.ReasonWaitingForStart, fmt.Sprintf(
			"%s is assigned as of %s (spec.assignment.assignedAt) and waits until then", wanted.Subject(), stamp(wanted.AssignedAt.Time)))
	case own == nil:
		return assignedAs(w, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, "spec.assignment has been accepted")
	default:
		status, reason, message := own.condition(w)
		return assignedAs(w, status, reason, message)
	}
}

func assignedAs(w World, status metav1.ConditionStatus, reason, message string) *metav1.Condition {
	return &metav1.Condition{Type: v1alpha1.ConditionAssigned, Status: status, Reason: reason, Message: message,
		ObservedGeneration: w.Target.Generation, LastTransitionTime: metav1.NewTime(w.Now.Truncate(time.Second))}
}

// verdictOnAssignment returns the verdict on the target's own assignment, or nil if no assignment
// reaches the target.
func verdictOnAssignment(w World) *Verdict {
	if w.Target.Spec.Assignment == nil {
		return nil
	}
	for _, v := range Judge(w) {
		if v.Intent.Source.Kind == v1alpha1.SourceTarget {
			return &v
		}
	}
	return nil
}

// condition returns status, reason and message for a verdict and the action of the assignment.
func (v Verdict) condition(w World) (status metav1.ConditionStatus, reason, message string) {
	a := eligibility.Own(&w.Target.Status, v.Intent)
	isOpen := a != nil && !a.State.IsClosed()
	if isOpen {
		reason, message = v.atWork(w, a)
	}
	switch toFix := v.toFix(); {
	case toFix != "" && isOpen:
		return metav1.ConditionFalse, toFix, v.Reason.Message + "; " + message
	case toFix != "":
		return metav1.ConditionFalse, toFix, v.Reason.Message
	case isOpen:
		return metav1.ConditionTrue, reason, message
	}
	switch v.Reason.Code {
	case "", eligibility.CodeWindowClosed:
		reason, message = v.ahead(w)
		return metav1.ConditionTrue, reason, message
	case eligibility.CodeFailed:
		return metav1.ConditionFalse, string(v.Reason.Code), v.Reason.Message + again(v)
	case eligibility.CodeDone, eligibility.CodeCanceled, eligibility.CodeSuperseded:
		return metav1.ConditionTrue, string(v.Reason.Code), v.closing(w, a) + again(v)
	default:
		return metav1.ConditionTrue, string(v.Reason.Code), v.Reason.Message
	}
}

// toFix returns the reason of an assignment that a person has to fix, or "" if it needs no fix.
func (v Verdict) toFix() string {
	switch v.Reason.Code {
	case eligibility.CodeWindowClosed:
		if v.Reason.Until.IsZero() { // it never opens
			return v1alpha1.ReasonInvalidSpec
		}
	case eligibility.CodeSetInvalid:
		return v1alpha1.ReasonDistributionSetInvalid
	case eligibility.CodeSetNotFound:
		return v1alpha1.ReasonReferenceNotFound
	case eligibility.CodeSetNotReady, eligibility.CodeIncompatible, eligibility.CodeContentChanged:
		return string(v.Reason.Code)
	default:
	}
	return ""
}

// ahead returns reason and message for an assignment that may start now or in its maintenance
// window, and that the device has not fetched.
func (v Verdict) ahead(w World) (reason, message string) {
	update := &v.Intent.Update
	if o := For(w); o.Reason.Code == eligibility.CodeNotReady {
		return string(o.Reason.Code), fmt.Sprintf("%s waits: %s", update.Subject(), o.Reason.Message)
	} else if v.Reason.IsZero() && o.Intent != nil && o.Intent.Source.Kind != v1alpha1.SourceTarget {
		return v1alpha1.ReasonWaitingForDevice, fmt.Sprintf("%s waits: %s first", update.Subject(), o.Reason.Message)
	}
	message = fmt.Sprintf("%s has not been fetched: %s", update.Subject(), awaitedContact(w.Target))
	if update.ConfirmationRequired && !confirmsByItself(w.Target) {
		message += ", which is then asked to confirm it"
	}
	return v1alpha1.ReasonWaitingForDevice, message + inWindow(update.MaintenanceWindow, w.Now)
}

// awaitedContact returns by which contact the device gets an update that may start now or in its
// maintenance window: the next poll, or over MQTT the present or the next connection.
func awaitedContact(t *v1alpha1.Target) string {
	online := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline)
	switch {
	case online != nil && eligibility.IsConnected(online):
		return "it is sent over the present connection of the device"
	case online != nil && online.Reason == v1alpha1.ReasonDisconnected:
		return "it waits for the next connection of the device"
	}
	return "it waits for the next poll of the device"
}

// inWindow returns the part of a message about a maintenance window: its schedule, and from when to
// when it is open, now or next. So the message changes when the window closes, not when it opens.
func inWindow(mw *v1alpha1.MaintenanceWindow, now time.Time) string {
	if mw == nil {
		return ""
	}
	text := " in the maintenance window " + window.Describe(mw)
	if opens, closes := window.Opening(mw, now); !closes.IsZero() {
		text += fmt.Sprintf(", open from %s to %s", stamp(opens), stamp(closes))
	}
	return text
}

// atWork returns reason and message for the open action of an assignment.
func (v Verdict) atWork(w World, a *v1alpha1.Action) (reason, message string) {
	set := a.Subject()
	switch a.State {
	case v1alpha1.ActionWaitingForConfirmation:
		return v.confirmation(w, a)
	case v1alpha1.ActionCanceling:
		return v1alpha1.ReasonCanceling, fmt.Sprintf("action %d (%s) is being canceled (%s): the device is asked until it answers", a.ID, set, a.Cancel.Cause)
	case v1alpha1.ActionRetrieved:
		message = fmt.Sprintf("the device has fetched %s as action %d and has not reported yet", set, a.ID)
	case v1alpha1.ActionDownloading:
		message = fmt.Sprintf("the device downloads %s (action %d)", set, a.ID)
	case v1alpha1.ActionDownloaded:
		message = fmt.Sprintf("the device has downloaded %s (action %d) and has not started to install it", set, a.ID)
	case v1alpha1.ActionInstalling:
		message = fmt.Sprintf("the device installs %s (action %d)", set, a.ID)
	case v1alpha1.ActionRemoving:
		message = fmt.Sprintf("the device removes software for %s (action %d)", set, a.ID)
		if a.Removes() {
			message = fmt.Sprintf("the device is at work on the %s (action %d): it removes software", set, a.ID)
		}
	default:
		message = fmt.Sprintf("the device is at work on %s (action %d)", set, a.ID)
	}
	if action.HasInstalled(&w.Target.Status, a) {
		message = fmt.Sprintf("the device has installed %s (action %d) and has not confirmed the result", set, a.ID)
	}
	if c := a.Cancel; c != nil && c.Answer == v1alpha1.AnswerRejected {
		message += fmt.Sprintf("; it has refused to cancel (%s)", c.Cause)
	}
	return v1alpha1.ReasonProgressing, message
}

// confirmation returns reason and message for an action that waits for confirmation at the device,
// also while the device is not asked for it.
func (v Verdict) confirmation(w World, a *v1alpha1.Action) (reason, message string) {
	o := For(w)
	switch o.Reason.Code {
	case CodeConfirm:
		message = o.Reason.Message
	case eligibility.CodeWindowClosed:
		message = fmt.Sprintf("action %d waits for confirmation at the device%s", a.ID, denial(a))
	default:
		return string(o.Reason.Code), fmt.Sprintf("action %d (%s) waits for confirmation and the device is not asked: %s", a.ID, a.Subject(), o.Reason.Message)
	}
	reason = v1alpha1.ReasonAwaitingConfirmation
	if denial(a) != "" {
		reason = v1alpha1.ReasonDenied
	}
	return reason, a.Subject() + ": " + message + inWindow(v.Intent.Update.MaintenanceWindow, w.Now)
}

// closing returns the message about an assignment that is over.
func (v Verdict) closing(w World, a *v1alpha1.Action) string {
	switch now := w.Target.Status.Installed; {
	case v.Reason.Code != eligibility.CodeDone || a == nil:
	case a.Update.Type == v1alpha1.UpdateTypeDownloadOnly:
		return fmt.Sprintf("%s was downloaded as action %d and is not installed: spec.assignment.type is DownloadOnly", a.Subject(), a.ID)
	case now != nil && !a.Removes() && now.ContentHash != a.ContentHash && now.DistributionSet != "":
		return fmt.Sprintf("%s, and the device has %s installed now", v.Reason.Message, now.DistributionSet)
	}
	return v.Reason.Message
}

// again returns the part of a message that says how to assign the same set once more.
func again(v Verdict) string {
	if v.Intent.Set.Removes() {
		return "; to remove the software once more, give spec.assignment.assignedAt the present time"
	}
	return fmt.Sprintf("; to bring %s once more, give spec.assignment.assignedAt the present time", v.Intent.Update.Subject())
}

// AssignedUntil returns when time alone changes the result of Assigned, or the zero time if it
// never does. For a maintenance window that is when it closes, at most once an hour.
func AssignedUntil(w World) time.Time {
	wanted := w.Target.Spec.Assignment
	switch {
	case wanted == nil:
		return time.Time{}
	case IsAhead(wanted, w.Now):
		return wanted.AssignedAt.Time
	case !IsSeen(wanted, w.Target.Status.Assignment): // assignedAt has passed since the last reconcile started
		return w.Now
	}
	own := verdictOnAssignment(w)
	if own == nil {
		return time.Time{}
	}
	if until := own.Reason.Until; own.Reason.Code != eligibility.CodeWindowClosed && until.After(w.Now) {
		return until
	}
	if a := eligibility.Own(&w.Target.Status, own.Intent); a != nil && a.State.HasStarted() || !slices.Contains(awaitingDevice, own.Reason.Code) {
		return time.Time{}
	}
	if mw := own.Intent.Update.MaintenanceWindow; mw != nil {
		_, closes := window.Opening(mw, w.Now)
		return closes
	}
	return time.Time{}
}

// awaitingDevice lists the codes whose message names the opening of a maintenance window.
var awaitingDevice = []eligibility.Code{"", eligibility.CodeWindowClosed}
