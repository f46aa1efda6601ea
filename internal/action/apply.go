// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Report is a report of a device about one action, translated to Goshawk's events.
type Report struct {
	ID    int32
	Event Event
	// Stage is the DDI execution as the device sent it.
	Stage string
	// StatusCode as the device sent it.
	StatusCode string
	// Details are the device's lines of text as it sent them, oldest first. Condense cleans and
	// shortens them.
	Details []string
	// Progress in percent, or nil if the device reports none.
	Progress *int32
	// Module that the report is about, as name:version or, for a removal, SoftwareName. It is empty
	// for the whole action.
	Module string
	// Modules are further modules, or entries of a removal, that the report is about.
	Modules []string
	// ModuleCount is the number of modules of the action. 0 means unknown, or one result for all
	// modules (DDI). If Creation.Modules is not set, the first reported names are used.
	ModuleCount int
	// Now is the time of the server. The clock of a device is never used.
	Now time.Time

	// warned is set if the result came with a warning.
	warned bool
	// condensed is set if Condense has prepared the texts and set the fields below.
	condensed bool
	// message is Details in one line.
	message string
	// inconsistent is set if the device reports that it is inconsistent.
	inconsistent bool
	// inconsistencyReason is the condition reason for an inconsistent device according to its own
	// report, or "".
	inconsistencyReason string
}

// Outcomes of a report, in addition to Late and Refused.
const (
	// Applied is a report that has changed the action, or confirmed its state.
	Applied Outcome = "Applied"
	// Closed is a report that has closed the action.
	Closed Outcome = "Closed"
	// LateFinal is a result for an action that Goshawk had closed, or the result of an installation
	// after a download-only update. The action stays closed, but the state of the device may have
	// changed.
	LateFinal Outcome = "LateFinal"
	// FirstDropped is the first report beyond the quota. It is worth one event.
	FirstDropped Outcome = "FirstDropped"
	// Dropped is any further report beyond the quota. Nothing has changed.
	Dropped Outcome = "Dropped"
	// Unknown is a report for an id that was never assigned, for example because an older state of
	// the cluster was restored. The next id is now above it.
	Unknown Outcome = "Unknown"
)

// Apply applies one report to the status and returns its outcome.
func Apply(s *v1alpha1.TargetStatus, r Report) Outcome {
	a := find(s, r.ID)
	if a == nil {
		return applyUnlisted(s, r)
	}
	r = interpreted(a, r)
	switch {
	case !r.Event.fromDevice():
		return Refused
	case a.State.IsClosed():
		return applyLate(s, a, r)
	default:
		return applyOpen(s, a, r)
	}
}

// SetSkipRequested records whether the deployment that the device has just fetched contains
// `update: skip`. It reports whether this differs from the last response: a download-only action
// can be adopted by an update that is not download-only, and the other way round.
func SetSkipRequested(s *v1alpha1.TargetStatus, id int32, skip bool) bool {
	a := find(s, id)
	if a == nil || a.State.IsClosed() || a.SkipRequested == skip {
		return false
	}
	a.SkipRequested = skip
	return true
}

// IsEvidence reports whether an event must be known to interpret a later result: a download, if the
// device was asked to skip the installation and a success could mean that it skipped everything;
// and an installation, if a failure or cancel during it leaves the device inconsistent because its
// modules declare no rollback. In all other cases the event does not change the meaning of a
// result.
func IsEvidence(a *v1alpha1.Action, e Event) bool {
	return a.SkipRequested && !a.DownloadSeen && e.isDownload() ||
		a.Update.Rollback != v1alpha1.RollbackSupported && !a.InstallingStarted && mayInstall(a, e)
}

// AssumeWork is for a device API that has lost the earlier reports of a device in a restart: it
// assumes that the device has worked and may have started to install.
func AssumeWork(s *v1alpha1.TargetStatus, id int32) {
	if a := find(s, id); a != nil && !a.State.IsClosed() && a.State.HasStarted() {
		a.DownloadSeen, a.InstallingStarted = true, a.InstallingStarted || !downloadOnly(a)
	}
}

// interpreted returns a report with the event that it means for this action.
func interpreted(a *v1alpha1.Action, r Report) Report {
	r.warned = r.warned || r.Event == FinishWithWarning
	r.Event = meaning(a, r.Event)
	return r
}

// meaning returns what an event means for this action. A result with a warning is a success or a
// failure, as the update wants it. Removed software is the result of a removal, and a step of an
// installation.
func meaning(a *v1alpha1.Action, e Event) Event {
	switch {
	case e == FinishWithWarning && a.Update.FinishedWarning == v1alpha1.FinishedWarningFailure:
		return Fail
	case e == FinishWithWarning, e == Removed && a.Removes():
		return Succeed
	case e == Removed:
		return Remove
	}
	return e
}

func applyUnlisted(s *v1alpha1.TargetStatus, r Report) Outcome {
	if s.NextActionID > 0 && r.ID > 0 && r.ID < s.NextActionID {
		return Late
	}
	StartIDs(s, r.Now)
	if int64(r.ID) <= int64(FirstID(r.Now))+idSlack {
		RaiseNextID(s, r.ID)
	}
	return Unknown
}

func applyOpen(s *v1alpha1.TargetStatus, a *v1alpha1.Action, r Report) Outcome {
	_, answer := Next(a.State, r.Event)
	switch {
	case answer == Refused:
		return Refused
	case r.Event == Retrieve:
		return Applied
	case beyondQuota(a, r.Event):
		return drop(a)
	}
	r = prepared(a, r)
	recordEvidence(a, r.Event)
	keepCode := hasFailed(a)
	e := verdict(a, r)
	if e == Succeed && hasSkipped(a, r) {
		e, r.StatusCode = Fail, v1alpha1.CodeSkipped
		forget(s, a)
	}
	next, _ := Next(a.State, e)
	recordReport(a, r, next, keepCode)
	if next.IsClosed() {
		conclude(s, a, e, next, r)
		return Closed
	}
	proceed(s, a, e, next, r)
	return Applied
}

// proceed applies a report that keeps the action open.
func proceed(s *v1alpha1.TargetStatus, a *v1alpha1.Action, e Event, next v1alpha1.ActionState, r Report) {
	before := a.State
	if e == CancelRejected && a.Cancel != nil {
		a.Cancel.Answer = v1alpha1.AnswerRejected
		if a.Cancel.From != "" {
			next = a.Cancel.From
		}
	}
	enter(a, next, r)
	if next == v1alpha1.ActionCanceling && working[e].to != "" {
		// The device continues while it is asked to cancel; the history records its progress.
		record(a, working[e].to, r)
	}
	if !before.HasStarted() && next.HasStarted() {
		started := stamp(r.Now)
		a.StartedAt = &started
		overtake(s, a.ID)
	}
	if r.inconsistencyReason != "" {
		markInconsistent(s, a, r.inconsistencyReason, reportedByDevice, r.Now)
	}
}

// conclude closes the action with the result that the device reported.
func conclude(s *v1alpha1.TargetStatus, a *v1alpha1.Action, result Event, next v1alpha1.ActionState, r Report) {
	if a.State == v1alpha1.ActionCanceling && a.Cancel != nil {
		a.Cancel.Answer = v1alpha1.AnswerOvertaken
		if next == v1alpha1.ActionCanceled {
			a.Cancel.Answer = v1alpha1.AnswerAccepted
		}
	}
	if next == v1alpha1.ActionFinished {
		a.Progress = nil // the last one before the success says nothing any more
	}
	enter(a, next, r)
	finalizeMessages(s, a)
	updateInstalled(s, a, result, result == Succeed && !downloadOnly(a), r)
	s.UpdateStatus = updateStatusOf(s)
}

// enter moves the action to a state.
func enter(a *v1alpha1.Action, next v1alpha1.ActionState, r Report) {
	a.State = next
	if next.IsClosed() {
		at := stamp(r.Now)
		a.ClosedAt = &at
	}
	record(a, next, r)
}

// maxHistory is the maximum number of lines in the history of an action.
const maxHistory = 10

// record adds a line when a state is reached for the first time. The newest lines are kept.
func record(a *v1alpha1.Action, state v1alpha1.ActionState, r Report) {
	if r.Event == Deny {
		recordDenial(a, r)
		return
	}
	for _, line := range a.History {
		if line.State == state {
			return
		}
	}
	a.History = append(a.History, v1alpha1.ActionEvent{
		Time:       stamp(r.Now),
		State:      state,
		StatusCode: r.StatusCode,
		Message:    text.Clean(r.message, maxHistoryMessage),
	})
	if extra := len(a.History) - maxHistory; extra > 0 {
		a.History = slices.Delete(a.History, 0, extra)
	}
}

// recordDenial keeps the newest denial, after the line for WaitingForConfirmation. A denial changes
// no state but is of interest to users.
func recordDenial(a *v1alpha1.Action, r Report) {
	message := "denied"
	if r.message != "" {
		message += ": " + r.message
	}
	line := v1alpha1.ActionEvent{Time: stamp(r.Now), State: a.State, StatusCode: r.StatusCode, Message: text.Clean(message, maxHistoryMessage)}
	a.History = append(a.History[:min(len(a.History), 1)], line)
}

// recordReport stores the texts of a report. After a module has failed, its code and message are
// kept, so that later reports of other modules do not hide them.
func recordReport(a *v1alpha1.Action, r Report, next v1alpha1.ActionState, keepCode bool) {
	if a.Reports < v1alpha1.MaxReports || next.IsClosed() {
		a.Reports++
	}
	at := stamp(r.Now)
	a.Warning = a.Warning || r.warned
	if a.FirstReportedAt == nil {
		first := at
		a.FirstReportedAt = &first
	}
	a.ReportedAt = &at
	if r.Stage != "" {
		a.Stage = r.Stage
	}
	if r.Progress != nil {
		a.Progress = r.Progress
	}
	if keepCode {
		return
	}
	switch {
	case r.Event == Fail:
		explain(a, r.Details)
	case r.Event.isAboutWork():
		listen(a, r)
	}
	a.StatusCode = r.StatusCode
	if r.message != "" {
		a.Message = r.message
	}
}

// recordEvidence records how far the device may have got.
func recordEvidence(a *v1alpha1.Action, e Event) {
	a.DownloadSeen = a.DownloadSeen || e.isDownload()
	a.InstallingStarted = a.InstallingStarted || mayInstall(a, e)
}

// mayInstall reports whether the event shows that the device may have started to install. A
// download-only device reports Proceed for the download.
func mayInstall(a *v1alpha1.Action, e Event) bool {
	e = meaning(a, e)
	downloading := e == Proceed && downloadOnly(a) && !a.State.IsClosed()
	return e.isInstall() && !downloading
}

// MayClose reports whether an event may close the action by the device's own report: a result, an
// accepted cancel, or the end of the download of a download-only update. A device API stores such a
// report at once.
func MayClose(a *v1alpha1.Action, e Event) bool {
	return meaning(a, e).isResult() || e == Downloaded && downloadOnly(a)
}

// beyondQuota reports whether a report exceeds the quota. A report that decides something, or is
// the first evidence of how far the device may have got, never does.
func beyondQuota(a *v1alpha1.Action, e Event) bool {
	decides := MayClose(a, e) || e == CancelRejected || e == Confirm
	return a.Reports >= v1alpha1.MaxReports && !decides && !IsEvidence(a, e)
}

// drop distinguishes the first report beyond the quota from later ones: only the first is counted.
func drop(a *v1alpha1.Action) Outcome {
	if a.Reports > v1alpha1.MaxReports {
		return Dropped
	}
	a.Reports++
	return FirstDropped
}

// hasSkipped reports whether a success means that the device did nothing: the deployment that it
// fetched asked it to skip the installation, and nothing indicates a download. swupdate reports
// this. In all other cases a success is a success, whatever was reported before: many clients
// report only once, and artifacts may come from anywhere. A device that reports module by module
// got a command to download, not a request to skip.
func hasSkipped(a *v1alpha1.Action, r Report) bool {
	return a.SkipRequested && !a.DownloadSeen && r.ModuleCount == 0
}

func downloadOnly(a *v1alpha1.Action) bool { return a.Update.Type == v1alpha1.UpdateTypeDownloadOnly }

// prepared returns the report with cleaned texts, with its progress within limits, and with what
// the device reports about its own consistency.
func prepared(a *v1alpha1.Action, r Report) Report {
	r = Condense(r)
	r.inconsistencyReason = inconsistencyReason(a, r)
	if r.Progress != nil {
		percent := min(max(*r.Progress, 0), 100)
		r.Progress = &percent
	}
	return r
}
