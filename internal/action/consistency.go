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
	// CodeRollbackFailed is the code by which a device says that it could not return to what it ran
	// before.
	CodeRollbackFailed = "ROLLBACK_FAILED"
	// inconsistentSuffix ends the name of what an inconsistent device runs, and words such as
	// INCOMPLETE_INCONSISTENT.
	inconsistentSuffix = "_INCONSISTENT"

	saysSo = "left the device inconsistent, as it says itself"
)

// IsConsistent reports whether nothing speaks against the device running what it is said to run.
func IsConsistent(s *v1alpha1.TargetStatus) bool {
	return !meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionConsistent)
}

// hasGraveDoubt reports whether it is not known what the device runs, for more than a cancel that
// the device accepted before any report said that it was installing.
func hasGraveDoubt(s *v1alpha1.TargetStatus) bool {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConsistent)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonUpdateCanceled
}

// Installed reports whether the device certainly runs this content.
func Installed(s *v1alpha1.TargetStatus, hash string) bool {
	return hash != "" && s.Installed != nil && s.Installed.ContentHash == hash && IsConsistent(s)
}

// HasInstalled reports whether the device says that it has installed what an open action brings,
// whose result is still to come.
func HasInstalled(s *v1alpha1.TargetStatus, a *v1alpha1.Action) bool {
	if a.State == v1alpha1.ActionWaitingForConfirmation || a.State == v1alpha1.ActionCanceling || a.State.IsClosed() {
		return false
	}
	return a.Stage == "INSTALLED" || s.Installed != nil && s.Installed.ContentHash == a.ContentHash && s.Installed.ActionID == 0 && s.Installed.Since != nil &&
		a.StartedAt != nil && !s.Installed.Since.Time.Before(a.StartedAt.Time)
}

// ReportInstalled takes the device's own word for what it runs, outside of any action. A name that
// ends in _INCONSISTENT puts the device in doubt; a name that does not clears no doubt, only a
// success does.
func ReportInstalled(s *v1alpha1.TargetStatus, set, hash string, now time.Time) {
	set, doubtful := strings.CutSuffix(strings.TrimSpace(set), inconsistentSuffix)
	set = text.Clean(set, maxSetName)
	if s.Installed == nil || s.Installed.DistributionSet != set || s.Installed.ContentHash != hash {
		since := stamp(now)
		s.Installed = &v1alpha1.InstalledSet{DistributionSet: set, ContentHash: hash, Since: &since, Source: v1alpha1.InstalledByReport}
	}
	if doubtful {
		message := fmt.Sprintf("The device reports by itself that it runs %q in an inconsistent state. Install a set: a success clears this.", set)
		setConsistent(s, metav1.ConditionFalse, v1alpha1.ReasonReportedByDevice, message, now)
	}
	s.UpdateStatus = settled(s)
}

// Brought reports whether an action of Goshawk brought this content to the device: it is what the
// open action brings, once that has started, or what an action has installed. What the device only
// reports by itself is not brought.
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

// judge draws the conclusions of a result: what runs, and whether that is certain. A success that
// installed nothing was a download.
func judge(s *v1alpha1.TargetStatus, a *v1alpha1.Action, result Event, installed bool, r Report) {
	if installed {
		since := stamp(r.Now)
		s.Installed = &v1alpha1.InstalledSet{DistributionSet: a.DistributionSet, ContentHash: a.ContentHash, Since: &since, ActionID: a.ID, Source: v1alpha1.InstalledByAction}
	}
	switch {
	case r.inconsistencyReason != "":
		markInconsistent(s, a, r.inconsistencyReason, saysSo, r.Now)
	case installed:
		message := fmt.Sprintf("Action %d installed set %q.", a.ID, a.DistributionSet)
		setConsistent(s, metav1.ConditionTrue, v1alpha1.ReasonUpdateSucceeded, message, r.Now)
	case result != Succeed && a.InstallingStarted && a.Update.Rollback != v1alpha1.RollbackSupported:
		reason, cause := undone(a)
		markInconsistent(s, a, reason, cause, r.Now)
	}
}

// undone returns why a device is in doubt after an update that was not finished: the reason of the
// condition, and the cause in words.
func undone(a *v1alpha1.Action) (reason, cause string) {
	switch {
	case a.State != v1alpha1.ActionCanceled:
		return v1alpha1.ReasonUpdateFailed, "failed after installing may have started, and its modules declare no rollback"
	case hasReportedInstalling(a):
		return v1alpha1.ReasonCanceledWhileInstalling, "was canceled while the device was installing, and its modules declare no rollback"
	}
	return v1alpha1.ReasonUpdateCanceled, "was canceled while the device was at work; no report says whether installing had started, and its modules declare no rollback " +
		"(set rollback: Supported in the modules of devices that can return to their old state, such as those with A/B slots)"
}

// hasReportedInstalling reports whether the device has reported that it changes itself, as opposed
// to work of no particular kind. The history has the first of each state. An action that had to
// give up its history counts as one that has.
func hasReportedInstalling(a *v1alpha1.Action) bool {
	if !a.InstallingStarted {
		return false
	}
	return len(a.History) == 0 || slices.ContainsFunc(a.History, func(line v1alpha1.ActionEvent) bool {
		return line.State == v1alpha1.ActionInstalling || line.State == v1alpha1.ActionRemoving
	})
}

// inconsistencyReason is the reason to doubt the device by its own word; empty: it says nothing of
// the kind.
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
// a word in any of its texts.
func saysInconsistent(r Report) bool {
	return strings.TrimSpace(r.StatusCode) == v1alpha1.CodeInconsistent || namesInconsistent(r.StatusCode) || namesInconsistent(r.Stage) ||
		slices.ContainsFunc(r.Details, namesInconsistent)
}

// namesInconsistent looks for a word with the suffix; a full stop may end the sentence.
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

// markInconsistent sets Consistent to False. A graver doubt from before stays in place of
// UpdateCanceled.
func markInconsistent(s *v1alpha1.TargetStatus, a *v1alpha1.Action, reason, cause string, now time.Time) {
	if reason == v1alpha1.ReasonUpdateCanceled && hasGraveDoubt(s) {
		return
	}
	message := fmt.Sprintf("Action %d (set %q) %s.%s It is not certain what the device runs; install a set, the same one or another: a success clears this.",
		a.ID, a.DistributionSet, cause, lastMessages(a))
	setConsistent(s, metav1.ConditionFalse, reason, message, now)
}

// lastMessages are the device's, if it had any.
func lastMessages(a *v1alpha1.Action) string {
	words := ""
	if a.StatusCode != "" {
		words += fmt.Sprintf(" Code: %s.", a.StatusCode)
	}
	if message := cmp.Or(a.FailureMessage, a.Message); message != "" {
		words += fmt.Sprintf(" Message: %q.", message)
	}
	return words
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
