// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// CodeRollbackFailed is the code by which a device reports that it could not return to its
	// previous state.
	CodeRollbackFailed = "ROLLBACK_FAILED"
	// inconsistentSuffix is the end of the name of an inconsistent installation, and of words such
	// as INCOMPLETE_INCONSISTENT.
	inconsistentSuffix = "_INCONSISTENT"

	reportedByDevice = "left the device inconsistent, according to its own report"
)

// IsConsistent reports whether it is certain what the device runs.
func IsConsistent(s *v1alpha1.TargetStatus) bool {
	return !meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionConsistent)
}

// isSeriouslyInconsistent reports whether it is unknown what the device runs, for another reason
// than UpdateCanceled.
func isSeriouslyInconsistent(s *v1alpha1.TargetStatus) bool {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConsistent)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonUpdateCanceled
}

// Installed reports whether the device certainly runs this content.
func Installed(s *v1alpha1.TargetStatus, hash string) bool {
	return hash != "" && s.Installed != nil && s.Installed.ContentHash == hash && IsConsistent(s)
}

// HasInstalled reports whether the device has reported that the content of an open action is
// installed, before its final result.
func HasInstalled(s *v1alpha1.TargetStatus, a *v1alpha1.Action) bool {
	if a.State == v1alpha1.ActionWaitingForConfirmation || a.State == v1alpha1.ActionCanceling || a.State.IsClosed() {
		return false
	}
	return a.Stage == "INSTALLED" || s.Installed != nil && s.Installed.ContentHash == a.ContentHash && s.Installed.ActionID == 0 && s.Installed.Since != nil &&
		a.StartedAt != nil && !s.Installed.Since.Time.Before(a.StartedAt.Time)
}

// ReportInstalled records what the device runs according to its own report, outside of any action.
// A name with the suffix _INCONSISTENT makes the device inconsistent. Any other name does not make
// it consistent again; only a success does.
func ReportInstalled(s *v1alpha1.TargetStatus, set, hash string, now time.Time) {
	set, inconsistent := strings.CutSuffix(strings.TrimSpace(set), inconsistentSuffix)
	set = text.Clean(set, maxSetName)
	if s.Installed == nil || s.Installed.DistributionSet != set || s.Installed.ContentHash != hash {
		since := stamp(now)
		s.Installed = &v1alpha1.InstalledSet{DistributionSet: set, ContentHash: hash, Since: &since, Source: v1alpha1.InstalledByReport}
	}
	if inconsistent {
		message := fmt.Sprintf("The device reports that it runs %q in an inconsistent state: install a set; a success clears this condition.", set)
		setConsistent(s, metav1.ConditionFalse, v1alpha1.ReasonReportedByDevice, message, now)
	}
	s.UpdateStatus = updateStatusOf(s)
}

// ReportConsistency records whether the device is consistent according to AttributeConsistent in
// its present report. It changes the condition only if the device contradicts it, so that the
// reason of an inconsistency stays.
func ReportConsistency(s *v1alpha1.TargetStatus, reported string, now time.Time) {
	if !ContradictsConsistency(s, reported) {
		return
	}
	status, message := metav1.ConditionTrue, "The device reports that it is consistent."
	if reported != "true" {
		status, message = metav1.ConditionFalse, "The device reports that it is inconsistent: install a set; a success, or the report that it is consistent, clears this condition."
	}
	setConsistent(s, status, v1alpha1.ReasonReportedByDevice, message, now)
	s.UpdateStatus = updateStatusOf(s)
}

// ContradictsConsistency reports whether a value of AttributeConsistent says the opposite of the
// condition Consistent. Values other than true and false say nothing.
func ContradictsConsistency(s *v1alpha1.TargetStatus, reported string) bool {
	return reported == "true" && !IsConsistent(s) || reported == "false" && IsConsistent(s)
}

// reportsConsistency reports whether the device says with each result if it is inconsistent. If it
// says nothing, it is consistent, also after a failure.
func reportsConsistency(s *v1alpha1.TargetStatus) bool {
	return s.Attributes[v1alpha1.AttributeConsistent] != ""
}

// Brought reports whether an action of Goshawk installed this content on the device: an open action
// that has started, or the action of the present installation. A content that the device only
// reports by itself does not count.
func Brought(s *v1alpha1.TargetStatus, hash string) bool {
	if hash == "" {
		return false
	}
	if a := Open(s); a != nil && a.State.HasStarted() && a.State != v1alpha1.ActionCanceling && a.ContentHash == hash {
		return true
	}
	if s.Installed == nil || s.Installed.ContentHash != hash {
		return false
	}
	return s.Installed.ActionID != 0 || slices.ContainsFunc(s.Actions, func(a v1alpha1.Action) bool {
		return a.State == v1alpha1.ActionFinished && a.ContentHash == hash
	})
}

// updateInstalled applies a result to the target: what runs, and whether that is certain. A success
// that installed nothing was a download.
func updateInstalled(s *v1alpha1.TargetStatus, a *v1alpha1.Action, result Event, installed bool, r Report) {
	if a.Removes() {
		updateRemoved(s, a, result, r)
		return
	}
	if installed {
		since := stamp(r.Now)
		s.Installed = &v1alpha1.InstalledSet{DistributionSet: a.DistributionSet, ContentHash: a.ContentHash, Since: &since, ActionID: a.ID, Source: v1alpha1.InstalledByAction}
	}
	switch {
	case r.inconsistencyReason != "":
		markInconsistent(s, a, r.inconsistencyReason, reportedByDevice, r.Now)
	case installed:
		message := fmt.Sprintf("Action %d installed set %q.", a.ID, a.DistributionSet)
		setConsistent(s, metav1.ConditionTrue, v1alpha1.ReasonUpdateSucceeded, message, r.Now)
	case result != Succeed && a.InstallingStarted && a.Update.Rollback != v1alpha1.RollbackSupported && !reportsConsistency(s):
		reason, cause := undone(a)
		markInconsistent(s, a, reason, cause, r.Now)
	}
}

// updateRemoved applies the result of a removal. It does not change what is known to be installed.
// A success ends the inconsistency that an earlier attempt of the same removal left, and no other.
func updateRemoved(s *v1alpha1.TargetStatus, a *v1alpha1.Action, result Event, r Report) {
	switch {
	case r.inconsistencyReason != "":
		markInconsistent(s, a, r.inconsistencyReason, reportedByDevice, r.Now)
	case result == Succeed && !a.WasInconsistent && !IsConsistent(s):
		setConsistent(s, metav1.ConditionTrue, v1alpha1.ReasonUpdateSucceeded, fmt.Sprintf("Action %d (%s) succeeded.", a.ID, a.Removal), r.Now)
	case result != Succeed && a.InstallingStarted && !reportsConsistency(s):
		reason, cause := undone(a)
		markInconsistent(s, a, reason, cause, r.Now)
	}
}

// wasInconsistent reports whether the target is inconsistent for another reason than an earlier
// attempt of the same removal, which is the newest action.
func wasInconsistent(s *v1alpha1.TargetStatus, hash string) bool {
	if IsConsistent(s) {
		return false
	}
	a := Newest(s)
	if a == nil || !a.Removes() || a.ContentHash != hash || a.WasInconsistent {
		return true
	}
	return meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConsistent).Reason == v1alpha1.ReasonReportedByDevice
}

// undone returns why a device is inconsistent after an update that did not finish: the reason of
// the condition, and a text.
func undone(a *v1alpha1.Action) (reason, cause string) {
	switch {
	case a.Removes() && a.State != v1alpha1.ActionCanceled:
		return v1alpha1.ReasonUpdateFailed, "failed after removing may have started"
	case a.Removes() && hasReportedInstalling(a):
		return v1alpha1.ReasonCanceledWhileInstalling, "was canceled while the device was removing software"
	case a.Removes():
		return v1alpha1.ReasonUpdateCanceled, "was canceled while the device was working on it; no report says whether removing had started"
	case a.State != v1alpha1.ActionCanceled:
		return v1alpha1.ReasonUpdateFailed, "failed after installing may have started, and its modules declare no rollback"
	case hasReportedInstalling(a):
		return v1alpha1.ReasonCanceledWhileInstalling, "was canceled while the device was installing, and its modules declare no rollback"
	}
	return v1alpha1.ReasonUpdateCanceled, "was canceled while the device was working on it; no report says whether installing had started, and its modules declare no rollback " +
		"(set rollback: Supported in the modules of devices that can return to their old state, such as those with A/B slots)"
}

// hasReportedInstalling reports whether the device has reported that it is installing or removing,
// as opposed to unspecified work. The history has the first report of each state. An action whose
// history was pruned counts as installing.
func hasReportedInstalling(a *v1alpha1.Action) bool {
	if !a.InstallingStarted {
		return false
	}
	return len(a.History) == 0 || slices.ContainsFunc(a.History, func(line v1alpha1.ActionEvent) bool {
		return line.State == v1alpha1.ActionInstalling || line.State == v1alpha1.ActionRemoving
	})
}

// inconsistencyReason returns the condition reason for an inconsistent device according to its own
// report, or "".
func inconsistencyReason(a *v1alpha1.Action, r Report) string {
	switch {
	case r.StatusCode == CodeRollbackFailed, r.inconsistent && a.Update.Rollback == v1alpha1.RollbackSupported:
		return v1alpha1.ReasonRollbackFailed
	case r.inconsistent:
		return v1alpha1.ReasonReportedByDevice
	}
	return ""
}

// saysInconsistent reports whether a report says that the device is inconsistent, by its code or by
// a word in one of its texts.
func saysInconsistent(r Report) bool {
	return strings.TrimSpace(r.StatusCode) == v1alpha1.CodeInconsistent || namesInconsistent(r.StatusCode) || namesInconsistent(r.Stage) ||
		slices.ContainsFunc(r.Details, namesInconsistent)
}

// namesInconsistent reports whether a text contains a word with the suffix. A full stop may follow.
func namesInconsistent(text string) bool {
	if !strings.Contains(text, inconsistentSuffix) {
		return false
	}
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r)
	})
	for _, word := range words {
		if strings.HasSuffix(strings.TrimRight(word, "-."), inconsistentSuffix) {
			return true
		}
	}
	return false
}

// markInconsistent sets Consistent to False. A stronger reason from before is not replaced by
// UpdateCanceled.
func markInconsistent(s *v1alpha1.TargetStatus, a *v1alpha1.Action, reason, cause string, now time.Time) {
	if reason == v1alpha1.ReasonUpdateCanceled && isSeriouslyInconsistent(s) {
		return
	}
	subject, fix := fmt.Sprintf("set %q", a.DistributionSet), "install this set again, or another one"
	if a.Removes() {
		subject, fix = a.Removal, "remove it again, or install a set"
	}
	message := fmt.Sprintf("Action %d (%s) %s.%s It is not certain what the device runs: %s; a success clears this condition.",
		a.ID, subject, cause, lastMessages(a), fix)
	setConsistent(s, metav1.ConditionFalse, reason, message, now)
}

// lastMessages returns the code and message of the device, if any, as sentences.
func lastMessages(a *v1alpha1.Action) string {
	text := ""
	if a.StatusCode != "" {
		text += fmt.Sprintf(" Code: %s.", a.StatusCode)
	}
	if message := cmp.Or(a.FailureMessage, a.Message); message != "" {
		text += fmt.Sprintf(" Message: %q.", message)
	}
	return text
}

func setConsistent(s *v1alpha1.TargetStatus, status metav1.ConditionStatus, reason, message string, now time.Time) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type:               v1alpha1.ConditionConsistent,
		Status:             status,
		Reason:             reason,
		Message:            message,
		ObservedGeneration: max(s.ObservedGeneration, 0),
		LastTransitionTime: stamp(now),
	})
	slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

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
