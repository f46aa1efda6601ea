package action

import (
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
	// CodeRollbackFailed is the code by which a device says that it could not return to what it ran before.
	CodeRollbackFailed = "ROLLBACK_FAILED"
	// inconsistentSuffix ends the name of what an inconsistent device runs, and words such as INCOMPLETE_INCONSISTENT.
	inconsistentSuffix = "_INCONSISTENT"

	saysSo = "left the device inconsistent, as it says itself"
)

// IsConsistent tells whether nothing speaks against the device running what it is said to run.
func IsConsistent(s *v1alpha1.TargetStatus) bool {
	return !meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionConsistent)
}

// Installed tells whether the device certainly runs this content.
func Installed(s *v1alpha1.TargetStatus, hash string) bool {
	return hash != "" && s.Installed != nil && s.Installed.ContentHash == hash && IsConsistent(s)
}

// ReportInstalled takes the device's own word for what it runs, outside of any action. A name that ends in _INCONSISTENT puts the
// device in doubt; a name that does not clears no doubt, only a success does.
func ReportInstalled(s *v1alpha1.TargetStatus, set, hash string, now time.Time) {
	set, doubtful := strings.CutSuffix(strings.TrimSpace(set), inconsistentSuffix)
	set = text.Clean(set, maxSetName)
	if s.Installed == nil || s.Installed.DistributionSet != set || s.Installed.ContentHash != hash {
		since := stamp(now)
		s.Installed = &v1alpha1.InstalledSet{DistributionSet: set, ContentHash: hash, Since: &since}
	}
	if doubtful {
		message := fmt.Sprintf("The device reports by itself that it runs %q in an inconsistent state. Install a set: a success clears this.", set)
		setConsistent(s, metav1.ConditionFalse, v1alpha1.ReasonReportedByDevice, message, now)
	}
	s.UpdateStatus = settled(s)
}

// judge draws the conclusions of a result: what runs, and whether that is certain. A success that installed nothing was a download.
func judge(s *v1alpha1.TargetStatus, a *v1alpha1.Action, result Event, installed bool, r Report) {
	if installed {
		since := stamp(r.Now)
		s.Installed = &v1alpha1.InstalledSet{DistributionSet: a.DistributionSet, ContentHash: a.ContentHash, Since: &since, ActionID: a.ID}
	}
	switch {
	case r.suspicion != "":
		doubt(s, a, r.suspicion, saysSo, r.Now)
	case installed:
		message := fmt.Sprintf("Action %d installed set %q.", a.ID, a.DistributionSet)
		setConsistent(s, metav1.ConditionTrue, v1alpha1.ReasonUpdateSucceeded, message, r.Now)
	case result != Succeed && a.InstallingBegan && a.Update.Rollback != v1alpha1.RollbackSupported:
		doubt(s, a, v1alpha1.ReasonUpdateFailed, undone(a), r.Now)
	}
}

func undone(a *v1alpha1.Action) string {
	if a.State == v1alpha1.ActionCanceled {
		return "was canceled after installing may have begun, and its modules declare no rollback"
	}
	return "failed after installing may have begun, and its modules declare no rollback"
}

// suspicion is the reason to doubt the device by its own word; empty: it says nothing of the kind.
func suspicion(a *v1alpha1.Action, r Report) string {
	code := strings.TrimSpace(r.StatusCode)
	says := code == v1alpha1.CodeInconsistent || hasInconsistentWord(code) || hasInconsistentWord(r.Stage) || hasInconsistentWord(r.Message)
	switch {
	case code == CodeRollbackFailed, says && a.Update.Rollback == v1alpha1.RollbackSupported:
		return v1alpha1.ReasonRollbackFailed
	case says:
		return v1alpha1.ReasonReportedByDevice
	}
	return ""
}

// hasInconsistentWord looks for a word with the suffix; a full stop may end the sentence.
func hasInconsistentWord(text string) bool {
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

// doubt says that nobody knows for certain what runs on the device.
func doubt(s *v1alpha1.TargetStatus, a *v1alpha1.Action, reason, cause string, now time.Time) {
	message := fmt.Sprintf("Action %d (set %q) %s.%s Nobody knows for certain what runs; install a set, the same one or another: a success clears this.",
		a.ID, a.DistributionSet, cause, lastWords(a))
	setConsistent(s, metav1.ConditionFalse, reason, message, now)
}

// lastWords are the device's, if it had any.
func lastWords(a *v1alpha1.Action) string {
	words := ""
	if a.StatusCode != "" {
		words += fmt.Sprintf(" Code: %s.", a.StatusCode)
	}
	if a.Message != "" {
		words += fmt.Sprintf(" Message: %q.", a.Message)
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
