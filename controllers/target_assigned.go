package controllers

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// What is said of a target's own assignment.

// targetAssigned tells what became of spec.assignment and spec.cancel; nil: neither is set. An assignment that somebody has to mend goes first: the counters of
// rollouts go by its reason.
func targetAssigned(w offer.World) *metav1.Condition {
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

// wrongCancel says that spec.cancel names an id that was never given; empty: it does not.
func wrongCancel(t *v1alpha1.Target) string {
	if t.Spec.Cancel == nil || t.Spec.Cancel.UpTo < t.Status.NextActionID {
		return ""
	}
	return fmt.Sprintf("spec.cancel.upTo is %d, but this target was never given an id above %d, so it is ignored: copy the id from status.actions",
		t.Spec.Cancel.UpTo, t.Status.NextActionID-1)
}

// assignmentNow tells what became of spec.assignment; nil: there is none.
func assignmentNow(w offer.World) *metav1.Condition {
	wanted := w.Target.Spec.Assignment
	switch own := ownVerdict(w); {
	case wanted == nil:
		return nil
	case offer.IsAhead(wanted, w.Now):
		return assignedAs(w, metav1.ConditionTrue, v1alpha1.ReasonWaitingForStart, fmt.Sprintf(
			"%s is assigned as of %s (spec.assignment.assignedAt) and waits until then", wanted.DistributionSet, wanted.AssignedAt.UTC().Format(time.RFC3339)))
	case own == nil:
		return assignedAs(w, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, "spec.assignment has been noted")
	default:
		status, reason, message := assignedWords(*own)
		return assignedAs(w, status, reason, message)
	}
}

func assignedAs(w offer.World, status metav1.ConditionStatus, reason, message string) *metav1.Condition {
	return &metav1.Condition{Type: v1alpha1.ConditionAssigned, Status: status, Reason: reason, Message: message,
		ObservedGeneration: w.Target.Generation, LastTransitionTime: metav1.NewTime(w.Now)}
}

// ownVerdict is that on the target's own assignment; nil: it does not reach the target.
func ownVerdict(w offer.World) *offer.Verdict {
	if w.Target.Spec.Assignment == nil {
		return nil
	}
	for _, v := range offer.Judge(w) {
		if v.Intent.Source.Kind == v1alpha1.SourceTarget {
			return &v
		}
	}
	return nil
}

// assignedWords turns the verdict on an assignment into a condition: what needs somebody to act is False.
func assignedWords(v offer.Verdict) (metav1.ConditionStatus, string, string) {
	switch {
	case v.Reason.Code == offer.CodeWindowClosed && v.Reason.Until.IsZero(): // it never opens
		return metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, v.Reason.Message
	case slices.Contains(passing, v.Reason.Code):
		return metav1.ConditionTrue, v1alpha1.ReasonProgressing, offeredWords(&v.Intent.Update)
	}
	switch v.Reason.Code {
	case offer.CodeSetInvalid:
		return metav1.ConditionFalse, v1alpha1.ReasonDistributionSetInvalid, v.Reason.Message
	case offer.CodeSetNotFound:
		return metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound, v.Reason.Message
	case offer.CodeSetNotReady, offer.CodeIncompatible, offer.CodeFailed, offer.CodeContentChanged:
		return metav1.ConditionFalse, string(v.Reason.Code), v.Reason.Message
	default:
		return metav1.ConditionTrue, string(v.Reason.Code), v.Reason.Message
	}
}

// passing are verdicts that change with the hour. They are not written down, or every target would be written again when they do.
var passing = []offer.Code{"", offer.CodeWindowClosed, offer.CodeSettling}

// offeredWords hold whether the maintenance window is open or not, so that no target is written when it opens or closes.
func offeredWords(u *v1alpha1.Update) string {
	words := fmt.Sprintf("%s is offered to the device", u.DistributionSet)
	if u.MaintenanceWindow != nil {
		words += " in the maintenance window " + offer.WindowWords(u.MaintenanceWindow)
	}
	return words
}

// nextWords is when time alone changes what is said of an assignment; zero: never. Its windows open and close without a word.
func nextWords(w offer.World) time.Time {
	switch wanted := w.Target.Spec.Assignment; {
	case offer.IsAhead(wanted, w.Now):
		return wanted.AssignedAt.Time
	case !offer.IsSeen(wanted, w.Target.Status.Assignment): // its time has come since the last look began
		return w.Now
	}
	if own := ownVerdict(w); own != nil && own.Reason.Code != offer.CodeWindowClosed && own.Reason.Until.After(w.Now) {
		return own.Reason.Until
	}
	return time.Time{}
}
