// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Report is what a device does or says about one action, in Goshawk's words.
type Report struct {
	ID    int32
	Event Event
	// Stage is the DDI execution that the device reported, as it wrote it.
	Stage string
	// StatusCode as the device sent it.
	StatusCode string
	// Details are the device's lines of text as it sent them, oldest first. They are cleaned and
	// shortened here; see Condense.
	Details []string
	// Progress in percent; nil: the device tells none.
	Progress *int32
	// Module that the report speaks of, as name:version; empty: the whole action.
	Module string
	// ModuleCount is how many modules the action has; 0: unknown, or one result for all of them
	// (DDI). Unless Creation.Modules named them, the first names that are reported are taken for
	// them.
	ModuleCount int
	// Now is the server's time. A device's clock decides nothing.
	Now time.Time

	// condensed: Condense has made the texts ready and set what follows.
	condensed bool
	// message is Details in one line.
	message string
	// inconsistent: the device says that it is.
	inconsistent bool
	// inconsistencyReason is the reason to doubt the device after what it says about itself; empty:
	// none.
	inconsistencyReason string
}

// What became of a report, beside Late and Refused.
const (
	// Folded is a report that has changed the action, or confirmed it.
	Applied Outcome = "Folded"
	// Closed is a report that has closed the action.
	Closed Outcome = "Closed"
	// LateFinal is a result for an action that Goshawk had closed, or of an installation after a
	// mere download. The action stays closed, but what is known of the device may have changed.
	LateFinal Outcome = "LateFinal"
	// FirstDropped is the first report beyond the quota. Tell people once.
	FirstDropped Outcome = "FirstDropped"
	// Dropped is any further report beyond the quota. Nothing has changed.
	Dropped Outcome = "Dropped"
	// Unknown is a report for an id that was never given. The next id is above it now: an older
	// state of the cluster was restored.
	Unknown Outcome = "Unknown"
)

// Fold takes one report into the status and tells what became of it.
func Apply(s *v1alpha1.TargetStatus, r Report) Outcome {
	a := find(s, r.ID)
	switch {
	case a == nil:
		return applyUnlisted(s, r)
	case !r.Event.fromDevice():
		return Refused
	case a.State.IsClosed():
		return applyLate(s, a, r)
	default:
		return applyOpen(s, a, r)
	}
}

// TellToSkip notes whether the deployment that the device has fetched now says `update: skip`. It
// reports whether that is another answer than the last one: an adopting update may be for download
// only where the adopted one was not, or the other way round.
func TellToSkip(s *v1alpha1.TargetStatus, id int32, skip bool) bool {
	a := find(s, id)
	if a == nil || a.State.IsClosed() || a.SkipRequested == skip {
		return false
	}
	a.SkipRequested = skip
	return true
}

// IsEvidence reports whether an event is the first sign of something that a later result is judged
// by: of a download, where the device was told to skip the installation and a success could mean
// that it skipped everything; and of an installation, where a failure or a cancel half-way leaves
// the device inconsistent because its modules declare no rollback. In every other case a result
// means the same whether the sign is known or not.
func IsEvidence(a *v1alpha1.Action, e Event) bool {
	return a.SkipRequested && !a.DownloadSeen && e.isDownload() ||
		a.Update.Rollback != v1alpha1.RollbackSupported && !a.InstallingStarted && mayInstall(a, e)
}

// AssumeWork is for a device API that cannot know what the device has shown before a result, since
// the process that took its reports has forgotten them: the device may have worked, and may have
// started to change itself.
func AssumeWork(s *v1alpha1.TargetStatus, id int32) {
	if a := find(s, id); a != nil && !a.State.IsClosed() && a.State.HasStarted() {
		a.DownloadSeen, a.InstallingStarted = true, a.InstallingStarted || !downloadOnly(a)
	}
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
	r = heard(a, r)
	see(a, r.Event)
	settledCode := hasFailed(a)
	e := verdict(a, r)
	if e == Succeed && hasSkipped(a) {
		e, r.StatusCode = Fail, v1alpha1.CodeSkipped
		forget(s, a)
	}
	next, _ := Next(a.State, e)
	note(a, r, next, settledCode)
	if next.IsClosed() {
		conclude(s, a, e, next, r)
		return Closed
	}
	proceed(s, a, e, next, r)
	return Applied
}

// proceed keeps the action open.
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
		// The device goes on while it is asked to cancel; history keeps how far it got.
		record(a, working[e].to, r)
	}
	if !before.HasStarted() && next.HasStarted() {
		started := stamp(r.Now)
		a.StartedAt = &started
		overtake(s, a.ID)
	}
	if r.inconsistencyReason != "" {
		markInconsistent(s, a, r.inconsistencyReason, saysSo, r.Now)
	}
}

// conclude closes the action by the device's own word.
func conclude(s *v1alpha1.TargetStatus, a *v1alpha1.Action, result Event, next v1alpha1.ActionState, r Report) {
	if a.State == v1alpha1.ActionCanceling && a.Cancel != nil {
		a.Cancel.Answer = v1alpha1.AnswerOvertaken
		if next == v1alpha1.ActionCanceled {
			a.Cancel.Answer = v1alpha1.AnswerAccepted
		}
	}
	enter(a, next, r)
	settleMessages(s, a)
	judge(s, a, result, result == Succeed && !downloadOnly(a), r)
	s.UpdateStatus = settled(s)
}

// enter takes the action to a state.
func enter(a *v1alpha1.Action, next v1alpha1.ActionState, r Report) {
	a.State = next
	if next.IsClosed() {
		at := stamp(r.Now)
		a.ClosedAt = &at
	}
	record(a, next, r)
}

// note keeps what a report says. Once a module has failed, its code and message stay: what other
// modules say later must not hide them.
func note(a *v1alpha1.Action, r Report, next v1alpha1.ActionState, settledCode bool) {
	if a.Reports < v1alpha1.MaxReports || next.IsClosed() {
		a.Reports++
	}
	at := stamp(r.Now)
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
	if settledCode {
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

// see notes how far the device may have got.
func see(a *v1alpha1.Action, e Event) {
	a.DownloadSeen = a.DownloadSeen || e.isDownload()
	a.InstallingStarted = a.InstallingStarted || mayInstall(a, e)
}

// mayInstall reports whether the event shows that the device may have started to change itself. A
// device that is only to download proceeds with just that.
func mayInstall(a *v1alpha1.Action, e Event) bool {
	downloading := e == Proceed && downloadOnly(a) && !a.State.IsClosed()
	return e.isInstall() && !downloading
}

// MayClose reports whether an event may close the action by the device's own report: a result, an
// answer to a cancel that accepts it, or the end of the download where nothing more is asked for. A
// device API stores it at once.
func MayClose(a *v1alpha1.Action, e Event) bool {
	return e.isResult() || e == Downloaded && downloadOnly(a)
}

// beyondQuota reports whether a report is one too many. A report that decides something, or first
// shows how far the device may have got, never is.
func beyondQuota(a *v1alpha1.Action, e Event) bool {
	decides := MayClose(a, e) || e == CancelRejected || e == Confirm
	return a.Reports >= v1alpha1.MaxReports && !decides && !IsEvidence(a, e)
}

// drop tells the first report beyond the quota from the others: only the first is still counted.
func drop(a *v1alpha1.Action) Outcome {
	if a.Reports > v1alpha1.MaxReports {
		return Dropped
	}
	a.Reports++
	return FirstDropped
}

// hasSkipped reports whether a success of the device means that it did nothing: the deployment that
// it fetched told it to skip the installation, and nothing shows a download. swupdate reports this.
// In every other case a success is a success, whatever was reported before: many clients report
// only once, and artifacts may come from anywhere.
func hasSkipped(a *v1alpha1.Action) bool { return a.SkipRequested && !a.DownloadSeen }

func downloadOnly(a *v1alpha1.Action) bool { return a.Update.Type == v1alpha1.UpdateTypeDownloadOnly }

// heard is the report with its texts cleaned, its progress in bounds, and with what the device says
// about its own consistency.
func heard(a *v1alpha1.Action, r Report) Report {
	r = Condense(r)
	r.inconsistencyReason = inconsistencyReason(a, r)
	if r.Progress != nil {
		percent := min(max(*r.Progress, 0), 100)
		r.Progress = &percent
	}
	return r
}
