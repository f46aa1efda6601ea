// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// applyLate applies a report for a closed action. It never changes the state. The answer to a
// cancel that is still offered is recorded. If Goshawk closed the action without waiting, a result
// still updates what is known about the device. A report that changes nothing of this is not
// counted either, so that it costs no write: after the result of the device, a repeated result, or
// the earlier reports that another replica of the device API has buffered.
func applyLate(s *v1alpha1.TargetStatus, a *v1alpha1.Action, r Report) Outcome {
	if r.Event == Retrieve {
		return Late
	}
	before := s.DeepCopy()
	outcome := lateOutcome(s, a, r)
	if a.Reports < v1alpha1.MaxReports && !equality.Semantic.DeepEqual(before, s) {
		a.Reports++
	}
	return outcome
}

// lateOutcome applies a report for a closed action, and does not count it.
func lateOutcome(s *v1alpha1.TargetStatus, a *v1alpha1.Action, r Report) Outcome {
	if cancelOnOffer(a) && recordAnswer(a, r.Event) {
		return Applied
	}
	if !closedByUs(a) && !hasDownloadedOnly(a) {
		return Late
	}
	r = prepared(a, r)
	recordEvidence(a, r.Event)
	listenLate(a, r)
	return lateResult(s, a, verdict(a, r), r)
}

// listenLate records messages of the device after Goshawk has closed the action, within the quota.
func listenLate(a *v1alpha1.Action, r Report) {
	switch {
	case r.Event == Fail:
		explain(a, r.Details)
	case r.Event.isAboutWork() && !r.Event.isResult() && a.Reports < v1alpha1.MaxReports:
		listen(a, r)
	}
}

// recordAnswer records the answer to a cancel.
func recordAnswer(a *v1alpha1.Action, e Event) bool {
	switch e {
	case CancelAccepted, Abandon:
		a.Cancel.Answer = v1alpha1.AnswerAccepted
	case CancelRejected:
		a.Cancel.Answer = v1alpha1.AnswerRejected
	default:
		return false
	}
	return true
}

func lateResult(s *v1alpha1.TargetStatus, a *v1alpha1.Action, e Event, r Report) Outcome {
	downloaded := hasDownloadedOnly(a)
	// Three reports show no installation: a success of a device that was asked to skip and reported
	// no download; after a download-only update the success of a device that reports module by
	// module, which is the end of that download; and a repeated Downloaded.
	endOfDownload := e == Succeed && downloadOnly(a) && (len(r.names()) > 0 || r.ModuleCount > 0) && !a.InstallingStarted
	noInstallation := e == Succeed && hasSkipped(a, r) || endOfDownload || downloaded && r.Event == Downloaded
	if (e != Succeed && e != Fail) || noInstallation {
		return Late
	}
	if cancelOnOffer(a) {
		a.Cancel.Answer = v1alpha1.AnswerOvertaken
	}
	if outdated(s, a) {
		return LateFinal
	}
	if e == Fail && downloaded {
		record(a, v1alpha1.ActionError, r)
	}
	switch {
	case e == Succeed || downloaded:
		updateInstalled(s, a, e, e == Succeed && (downloaded || !downloadOnly(a)), r)
	case r.inconsistencyReason != "":
		markInconsistent(s, a, r.inconsistencyReason, reportedByDevice, r.Now)
	}
	s.UpdateStatus = updateStatusOf(s)
	if e == Fail && downloaded && Open(s) == nil {
		s.UpdateStatus = v1alpha1.UpdateStatusError
	}
	return LateFinal
}

// AwaitsInstallation reports whether the action finished with a download whose installation may
// still be reported: neither its result nor that of a newer action is known. A failed installation
// is a line in the history, because the action stays Finished.
func AwaitsInstallation(s *v1alpha1.TargetStatus, id int32) bool {
	a := find(s, id)
	return a != nil && hasDownloadedOnly(a) && !outdated(s, a) &&
		!slices.ContainsFunc(a.History, func(line v1alpha1.ActionEvent) bool { return line.State == v1alpha1.ActionError })
}

// hasDownloadedOnly reports whether the action finished without an installation, which may still
// follow.
func hasDownloadedOnly(a *v1alpha1.Action) bool {
	return downloadOnly(a) && a.State == v1alpha1.ActionFinished
}

// closedByUs reports whether Goshawk closed the action without a result of the device: by force, or
// because a deadline passed.
func closedByUs(a *v1alpha1.Action) bool {
	if a.State == v1alpha1.ActionError {
		return a.StatusCode == v1alpha1.CodeProgressDeadlineExceeded
	}
	return closedByForce(a) || (a.State == v1alpha1.ActionCanceled && a.Cancel != nil && a.Cancel.Answer == v1alpha1.AnswerDeadlineExceeded)
}

// outdated reports whether a newer result is known: this action has succeeded late, or a newer one
// has succeeded since. A removal says nothing about the set that is installed.
func outdated(s *v1alpha1.TargetStatus, a *v1alpha1.Action) bool {
	if s.Installed != nil && s.Installed.ActionID >= a.ID {
		return true
	}
	return newest(s, func(b *v1alpha1.Action) bool {
		return b.ID > a.ID && b.State == v1alpha1.ActionFinished && !downloadOnly(b) && (a.Removes() || !b.Removes())
	}) != nil
}
