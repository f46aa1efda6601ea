// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// life is one target with its clock. Each step takes a minute.
type life struct {
	s       v1alpha1.TargetStatus
	now     time.Time
	outcome Outcome
	changed bool
}

type does func(*life)

func live(steps ...does) *life {
	l := &life{now: noon, s: v1alpha1.TargetStatus{NextActionID: 1, ObservedGeneration: 3}}
	for _, do := range steps {
		l.now = l.now.Add(time.Minute)
		do(l)
	}
	return l
}

// facts are the values of a target's newest action and of the target that users and other rules
// recordEvidence.
type facts struct {
	State     v1alpha1.ActionState
	Answer    v1alpha1.CancelAnswer
	Code      string
	Status    v1alpha1.UpdateStatus
	Installed string
	Doubt     string
	Outcome   Outcome
}

func (l *life) facts() facts {
	f := facts{Status: l.s.UpdateStatus, Outcome: l.outcome}
	if a := Newest(&l.s); a != nil {
		f.State, f.Code = a.State, a.StatusCode
		if a.Cancel != nil {
			f.Answer = a.Cancel.Answer
		}
	}
	if l.s.Installed != nil {
		f.Installed = l.s.Installed.DistributionSet
	}
	if c := meta.FindStatusCondition(l.s.Conditions, v1alpha1.ConditionConsistent); c != nil && c.Status == metav1.ConditionFalse {
		f.Doubt = c.Reason
	}
	return f
}

func (l *life) condition(t *testing.T) metav1.Condition {
	t.Helper()
	c := meta.FindStatusCondition(l.s.Conditions, v1alpha1.ConditionConsistent)
	if c == nil {
		t.Fatal("there is no condition Consistent")
	}
	return *c
}

// hash returns the contentHash of a set in these tests.
func hash(set string) string {
	const pad = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return (set + pad)[:64]
}

func starts(set string, changes ...func(*Creation)) does {
	return func(l *life) {
		b := Creation{
			Source:          v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "rollout-of-" + set, UID: types.UID("uid-of-" + set)},
			DistributionSet: set,
			ContentHash:     hash(set),
			Update:          v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeForced},
			Now:             l.now,
		}
		for _, change := range changes {
			change(&b)
		}
		Create(&l.s, b)
	}
}

func asksToConfirm(b *Creation)  { b.Confirm = true }
func downloadsOnly(b *Creation)  { b.Update.Type = v1alpha1.UpdateTypeDownloadOnly }
func canRollBack(b *Creation)    { b.Update.Rollback = v1alpha1.RollbackSupported }
func knows(m ...string) birthing { return func(b *Creation) { b.Modules = m } }
func within(seconds int32) birthing {
	return func(b *Creation) {
		b.Update.ProgressDeadlineSeconds, b.Update.CancelDeadlineSeconds = &seconds, &seconds
	}
}

type birthing = func(*Creation)

// reports is a report on the newest action.
func reports(e Event, changes ...func(*Report)) does {
	return func(l *life) {
		r := Report{ID: Newest(&l.s).ID, Event: e, Now: l.now}
		for _, change := range changes {
			change(&r)
		}
		l.outcome = Apply(&l.s, r)
	}
}

// adopted moves the newest action to another source that wants the same content with other options.
func adopted(changes ...func(*Creation)) does {
	return func(l *life) {
		b := Creation{Update: v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeForced}}
		for _, change := range changes {
			change(&b)
		}
		l.changed = Adopt(&l.s, Newest(&l.s).ID, v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "heir", UID: "uid-of-heir"}, b.Update)
	}
}

func of(id int32) func(*Report)       { return func(r *Report) { r.ID = id } }
func code(c string) func(*Report)     { return func(r *Report) { r.StatusCode = c } }
func saying(m string) func(*Report)   { return func(r *Report) { r.Details = []string{m} } }
func percent(p int32) func(*Report)   { return func(r *Report) { r.Progress = &p } }
func staging(s string) func(*Report)  { return func(r *Report) { r.Stage = s } }
func about(m string) func(*Report)    { return func(r *Report) { r.Module = m } }
func among(count int) func(*Report)   { return func(r *Report) { r.ModuleCount = count } }
func both(e Event, m string) does     { return reports(e, about(m), among(2)) }
func allOf(events ...Event) []does    { return each(events, func(e Event) does { return reports(e) }) }
func then(a []does, b ...does) []does { return append(append([]does{}, a...), b...) }

func each(events []Event, f func(Event) does) []does {
	var steps []does
	for _, e := range events {
		steps = append(steps, f(e))
	}
	return steps
}

func cancels(cause v1alpha1.CancelCause, c v1alpha1.Cancellation) does {
	return func(l *life) { l.changed = Cancel(&l.s, Newest(&l.s).ID, cause, c, l.now) }
}

var (
	stopped   = cancels(v1alpha1.CauseStopped, v1alpha1.CancellationSoft)
	forced    = cancels(v1alpha1.CauseStopped, v1alpha1.CancellationForce)
	installed = allOf(Proceed, Succeed)
)

func waits(d time.Duration) does { return func(l *life) { l.now = l.now.Add(d) } }

func expires(l *life) {
	id := Newest(&l.s).ID
	l.changed = ExpireCancel(&l.s, id, l.now) || ExpireProgress(&l.s, id, l.now)
}

func TestStories(t *testing.T) {
	type story struct {
		steps []does
		want  facts
	}
	const (
		inSync, failed, pending, registered = v1alpha1.UpdateStatusInSync, v1alpha1.UpdateStatusError, v1alpha1.UpdateStatusPending, v1alpha1.UpdateStatusRegistered
	)
	stories := map[string]story{
		// Without faults.
		"a creation is Retrieved and Pending": {
			[]does{starts("one")},
			facts{State: v1alpha1.ActionRetrieved, Status: pending},
		},
		"a device that works and succeeds is InSync": {
			[]does{starts("one"), reports(Download), reports(Downloaded), reports(Install), reports(EventInstalled), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"stages may be repeated after a crash": {
			[]does{starts("one"), reports(Install), reports(Download)},
			facts{State: v1alpha1.ActionDownloading, Status: pending, Outcome: Applied},
		},
		"after a failure while downloading the device is consistent": {
			[]does{starts("one"), reports(Download), reports(Fail, code("404"))},
			facts{State: v1alpha1.ActionError, Code: "404", Status: failed, Outcome: Closed},
		},
		"the second creation waits until the first action has closed": {
			[]does{starts("one"), reports(Download), starts("two")},
			facts{State: v1alpha1.ActionDownloading, Status: pending, Outcome: Applied},
		},

		// Confirmation.
		"an action that waits for confirmation is not deployed": {
			[]does{starts("one", asksToConfirm), reports(Retrieve)},
			facts{State: v1alpha1.ActionWaitingForConfirmation, Status: pending, Outcome: Refused},
		},
		"confirming leads to Running, and fetching keeps it there": {
			[]does{starts("one", asksToConfirm), reports(Confirm), reports(Retrieve)},
			facts{State: v1alpha1.ActionRunning, Status: pending, Outcome: Applied},
		},
		"a denied action continues to wait": {
			[]does{starts("one", asksToConfirm), reports(Deny, saying("not during the shift"))},
			facts{State: v1alpha1.ActionWaitingForConfirmation, Status: pending, Outcome: Applied},
		},
		"a soft cancel closes at once what has not started": {
			[]does{starts("one", asksToConfirm), stopped},
			facts{State: v1alpha1.ActionCanceled, Status: registered},
		},
		"after a forced cancel before the start the device is consistent": {
			[]does{starts("one", asksToConfirm), forced},
			facts{State: v1alpha1.ActionCanceled, Status: registered},
		},
		"confirming twice is refused": {
			[]does{starts("one", asksToConfirm), reports(Confirm), reports(Confirm)},
			facts{State: v1alpha1.ActionRunning, Status: pending, Outcome: Refused},
		},
		"a device that works without confirmation has started": {
			[]does{starts("one", asksToConfirm), reports(Install), forced},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},

		// Cancels.
		"a started device is asked to cancel": {
			[]does{starts("one"), reports(Download), stopped},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"reports while canceling do not end the cancel": {
			[]does{starts("one"), stopped, reports(Install)},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"a device may finish first": {
			[]does{starts("one"), reports(Install), stopped, reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a device may fail first": {
			[]does{starts("one"), reports(Download), stopped, reports(Fail)},
			facts{State: v1alpha1.ActionError, Answer: v1alpha1.AnswerOvertaken, Status: failed, Outcome: Closed},
		},
		"a device accepts before it installs": {
			[]does{starts("one"), reports(Download), stopped, reports(CancelAccepted)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Closed},
		},
		"a refusal returns to the state it was asked in": {
			[]does{starts("one"), reports(Download), stopped, reports(Install), reports(CancelRejected)},
			facts{State: v1alpha1.ActionDownloading, Answer: v1alpha1.AnswerRejected, Status: pending, Outcome: Applied},
		},
		"after a refusal the same cause is not asked again": {
			[]does{starts("one"), stopped, reports(CancelRejected), stopped},
			facts{State: v1alpha1.ActionRetrieved, Answer: v1alpha1.AnswerRejected, Status: pending, Outcome: Applied},
		},
		"after a refusal another cause is asked": {
			[]does{starts("one"), stopped, reports(CancelRejected), cancels(v1alpha1.CauseInvalidated, v1alpha1.CancellationSoft)},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"after a refusal the same cause may force": {
			[]does{starts("one"), stopped, reports(CancelRejected), forced},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},
		"None cancels nothing": {
			[]does{starts("one"), cancels(v1alpha1.CauseStopped, v1alpha1.CancellationNone)},
			facts{State: v1alpha1.ActionRetrieved, Status: pending},
		},
		"force while canceling closes at once": {
			[]does{starts("one"), reports(Download), stopped, forced},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},
		"an answer to no cancel is refused": {
			[]does{starts("one"), reports(CancelAccepted)},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Outcome: Refused},
		},
		"a device may cancel by itself": {
			[]does{starts("one"), reports(Download), reports(Abandon)},
			facts{State: v1alpha1.ActionCanceled, Status: registered, Outcome: Closed},
		},
		"the device cannot do what only Goshawk does": {
			[]does{starts("one"), reports(ForceCancel)},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Outcome: Refused},
		},
		"a cancel without answer ends at its deadline": {
			[]does{starts("one", within(600)), stopped, waits(10 * time.Minute), expires},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerDeadlineExceeded, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning},
		},
		"a cancel waits until its deadline": {
			[]does{starts("one", within(600)), stopped, waits(7 * time.Minute), expires},
			facts{State: v1alpha1.ActionCanceling, Status: pending},
		},
		"no result ends at the progress deadline": {
			[]does{starts("one", within(600)), waits(10 * time.Minute), expires},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeProgressDeadlineExceeded, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning},
		},
		"waiting for confirmation is not progress": {
			[]does{starts("one", asksToConfirm, within(600)), waits(time.Hour), expires},
			facts{State: v1alpha1.ActionWaitingForConfirmation, Status: pending},
		},
		"the progress deadline counts from the confirmation": {
			[]does{starts("one", asksToConfirm, within(600)), waits(time.Hour), reports(Confirm), expires},
			facts{State: v1alpha1.ActionRunning, Status: pending, Outcome: Applied},
		},
		"without deadlines a device may take for ever": {
			[]does{starts("one"), waits(10000 * time.Hour), expires},
			facts{State: v1alpha1.ActionRetrieved, Status: pending},
		},

		// Late reports.
		"a late stage is dropped": {
			[]does{starts("one"), reports(Download), reports(Fail), reports(Install)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Late},
		},
		"a second result is dropped": {
			[]does{starts("one"), reports(Download), reports(Fail), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Late},
		},
		"a late success after a forced cancel updates the state of the device": {
			[]does{starts("one"), reports(Install), forced, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late failure after a forced cancel keeps the device inconsistent": {
			[]does{starts("one"), reports(Install), forced, reports(Fail)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: LateFinal},
		},
		"a late success after a cancel deadline counts": {
			[]does{starts("one", within(600)), reports(Install), stopped, waits(time.Hour), expires, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerDeadlineExceeded, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late success after a progress deadline counts": {
			[]does{starts("one", within(600)), reports(Install), waits(time.Hour), expires, reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeProgressDeadlineExceeded, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late success is stale once a newer action has succeeded": {
			then([]does{starts("one"), reports(Install), forced, starts("two")}, reports(Proceed), reports(Succeed), reports(Succeed, of(1))),
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "two", Outcome: LateFinal},
		},
		"a late success is stale also when the device has said since what it runs": {
			[]does{
				starts("one"), reports(Install), forced, starts("two"), reports(Proceed), reports(Succeed),
				func(l *life) { ReportInstalled(&l.s, "three", hash("three"), l.now) }, reports(Succeed, of(1)),
			},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "three", Outcome: LateFinal},
		},
		"a late success counts while a newer action is open": {
			[]does{starts("one"), reports(Install), forced, starts("two"), reports(Succeed, of(1))},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Installed: "one", Outcome: LateFinal},
		},
		"a late success counts, also where nothing was reported before it": {
			[]does{starts("one"), forced, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late success of a device that was told to skip proves nothing": {
			[]does{starts("one", downloadsOnly), forced, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: Late},
		},
		"work that is first reported after a forced cancel makes its success count": {
			[]does{starts("one"), forced, reports(Proceed), reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a success after an accepted cancel is not trusted": {
			[]does{starts("one"), reports(Download), stopped, reports(CancelAccepted), reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Late},
		},
		"an answer ends the offer of a forced cancel": {
			[]does{starts("one"), forced, reports(CancelAccepted)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},

		// A success that installed nothing.
		"a device that reports once, after its reboot, has succeeded": {
			[]does{starts("one"), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success after nothing but a warning is a success": {
			[]does{starts("one"), reports(Retrieve), reports(Warn), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success that was asked to cancel and reported nothing before is a success": {
			[]does{starts("one"), stopped, reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success of a device that was told to skip is swupdate's skip": {
			[]does{starts("one", downloadsOnly), reports(Succeed, saying("Skipped Update."))},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Outcome: Closed},
		},
		"fetching the deployment is no download": {
			[]does{starts("one", downloadsOnly), reports(Retrieve), reports(Warn), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Outcome: Closed},
		},
		"a download shows that a device that was told to skip has not": {
			[]does{starts("one", downloadsOnly), reports(Download), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"an adopting download-only update does not make a skip of what was told to install": {
			[]does{starts("one"), adopted(downloadsOnly), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"an adopting update does not make an installation of a skip": {
			[]does{starts("one", downloadsOnly), adopted(), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Outcome: Closed},
		},
		"a device that is told again to install, and succeeds, has installed": {
			[]does{starts("one", downloadsOnly), adopted(), func(l *life) { l.changed = TellToSkip(&l.s, 1, false) }, reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},

		// Consistency.
		"a failure after installing started": {
			[]does{starts("one"), reports(Install), reports(Fail, code("7"))},
			facts{State: v1alpha1.ActionError, Code: "7", Status: failed, Doubt: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a device that proceeds may have started to install": {
			[]does{starts("one"), reports(Proceed), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Doubt: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a failure that modules roll back": {
			[]does{starts("one", canRollBack), reports(Install), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"a rollback that fails too": {
			[]does{starts("one", canRollBack), reports(Install), reports(Fail, code(CodeRollbackFailed))},
			facts{State: v1alpha1.ActionError, Code: CodeRollbackFailed, Status: failed, Doubt: v1alpha1.ReasonRollbackFailed, Outcome: Closed},
		},
		"inconsistent although modules roll back": {
			[]does{starts("one", canRollBack), reports(Install), reports(Fail, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeInconsistent, Status: failed, Doubt: v1alpha1.ReasonRollbackFailed, Outcome: Closed},
		},
		"a device says INCONSISTENT": {
			[]does{starts("one"), reports(Download), reports(Fail, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeInconsistent, Status: failed, Doubt: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"a name in the message has Mender's suffix": {
			[]does{starts("one"), reports(Download), reports(Fail, saying("device runs app-2.0_INCONSISTENT."))},
			facts{State: v1alpha1.ActionError, Status: failed, Doubt: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"Kanto's overall result": {
			[]does{starts("one"), reports(Download), reports(Fail, code("INCOMPLETE_INCONSISTENT"))},
			facts{State: v1alpha1.ActionError, Code: "INCOMPLETE_INCONSISTENT", Status: failed, Doubt: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"a message that merely speaks of inconsistency": {
			[]does{starts("one"), reports(Download), reports(Fail, saying("the _INCONSISTENT_ marker was not set"))},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"the device is inconsistent before the result": {
			[]does{starts("one"), reports(Warn, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionRetrieved, Code: v1alpha1.CodeInconsistent, Status: pending, Doubt: v1alpha1.ReasonReportedByDevice, Outcome: Applied},
		},
		"a success that says INCONSISTENT clears nothing": {
			[]does{starts("one"), reports(Install), reports(Succeed, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionFinished, Code: v1alpha1.CodeInconsistent, Status: failed, Installed: "one", Doubt: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"after the next success the device is consistent": {
			then([]does{starts("one"), reports(Install), reports(Fail), starts("one")}, installed...),
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"after a skip the device is still inconsistent": {
			[]does{starts("one"), reports(Install), reports(Fail), starts("one", downloadsOnly), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Doubt: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a device says by itself what it runs": {
			[]does{func(l *life) { ReportInstalled(&l.s, "factory", hash("factory"), l.now) }},
			facts{Status: inSync, Installed: "factory"},
		},
		"a device says by itself that it is inconsistent": {
			[]does{func(l *life) { ReportInstalled(&l.s, "app-2.0_INCONSISTENT", "", l.now) }},
			facts{Status: failed, Installed: "app-2.0", Doubt: v1alpha1.ReasonReportedByDevice},
		},
		"after its own report the device is still inconsistent": {
			[]does{starts("one"), reports(Install), reports(Fail), func(l *life) { ReportInstalled(&l.s, "one", hash("one"), l.now) }},
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "one", Doubt: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a device that runs what had failed is InSync again": {
			[]does{starts("one"), reports(Download), reports(Fail), func(l *life) { ReportInstalled(&l.s, "one", hash("one"), l.now) }},
			facts{State: v1alpha1.ActionError, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a device that runs the set from before the failure is in Error": {
			[]does{func(l *life) { ReportInstalled(&l.s, "one", hash("one"), l.now) }, starts("one"), reports(Download), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "one", Outcome: Closed},
		},
		"a device that fell back to another set stays in Error": {
			[]does{starts("one"), reports(Download), reports(Fail), func(l *life) { ReportInstalled(&l.s, "old", hash("old"), l.now) }},
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "old", Outcome: Closed},
		},
		"a failed reinstallation of what runs is an Error": {
			then(then([]does{starts("one")}, installed...), starts("one"), reports(Download), reports(Fail)),
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "one", Outcome: Closed},
		},

		// Download only.
		"a download finishes without an installation": {
			[]does{starts("one", downloadsOnly), reports(Download), reports(Downloaded)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"a download leaves alone what is installed": {
			then(then([]does{starts("one")}, installed...), starts("two", downloadsOnly), reports(Downloaded)),
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a plain success of a download installs nothing": {
			[]does{starts("one", downloadsOnly), reports(Download), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"the end of a download, reported again, is no installation": {
			[]does{starts("one", downloadsOnly), reports(Download), reports(Downloaded), reports(Downloaded)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Late},
		},
		"a later failure of what was downloaded": {
			[]does{starts("one", downloadsOnly), reports(Downloaded), reports(Install), reports(Fail)},
			facts{State: v1alpha1.ActionFinished, Status: failed, Doubt: v1alpha1.ReasonUpdateFailed, Outcome: LateFinal},
		},
		"a later failure before anything was installed leaves the device consistent": {
			[]does{starts("one", downloadsOnly), reports(Downloaded), reports(Fail)},
			facts{State: v1alpha1.ActionFinished, Status: failed, Outcome: LateFinal},
		},
		"a download that fails while proceeding leaves the device consistent": {
			[]does{starts("one", downloadsOnly), reports(Proceed), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"the end of a download is no installation": {
			[]does{starts("one", downloadsOnly), reports(Downloaded, about("os:1")), reports(Succeed, about("os:1"))},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Late},
		},
		"the end of a download, reported module by module, is no installation": {
			[]does{starts("one", downloadsOnly), reports(Downloaded), reports(Succeed, about("os:1"))},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Late},
		},
		"a download that was asked to cancel may be done first": {
			[]does{starts("one", downloadsOnly), reports(Download), stopped, reports(Downloaded)},
			facts{State: v1alpha1.ActionFinished, Answer: v1alpha1.AnswerOvertaken, Status: registered, Outcome: Closed},
		},

		// Modules.
		"one module of two has succeeded": {
			[]does{starts("one"), both(Install, "os:1"), both(Succeed, "os:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"both modules have succeeded": {
			[]does{starts("one"), both(Install, "os:1"), both(Succeed, "os:1"), both(Install, "app:1"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a failure does not end the action while another module works": {
			[]does{starts("one"), both(Install, "os:1"), both(Fail, "os:1"), both(Install, "app:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"an error is sticky, and so is its code": {
			[]does{
				starts("one"), both(Install, "os:1"), reports(Fail, about("os:1"), among(2), code("7")),
				reports(Install, about("app:1"), among(2), code("0")), reports(Succeed, about("app:1"), among(2), code("0")),
			},
			facts{State: v1alpha1.ActionError, Code: "7", Status: failed, Doubt: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a success after its own module's failure does not count": {
			[]does{starts("one"), both(Download, "os:1"), both(Fail, "os:1"), both(Succeed, "os:1"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"an error outweighs a cancel": {
			[]does{starts("one"), both(Download, "os:1"), both(Fail, "os:1"), both(Abandon, "app:1")},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"a cancel outweighs a success": {
			[]does{starts("one"), both(Download, "os:1"), stopped, both(Abandon, "os:1"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Closed},
		},
		"software that is not part of the action decides nothing": {
			[]does{starts("one", knows("app:2", "os:2")), both(Install, "app:2"), both(Succeed, "app:2"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"software that is not part of the action holds nothing up": {
			[]does{starts("one", knows("app:2", "os:2")), both(Remove, "app:1"), both(Install, "app:2"), both(Succeed, "app:2"), both(Succeed, "os:2")},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a late report about a module that is done has no effect": {
			[]does{starts("one"), both(Install, "os:1"), both(Succeed, "os:1"), both(Download, "os:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"modules answer a cancel one by one": {
			[]does{starts("one"), both(Download, "os:1"), stopped, both(CancelAccepted, "os:1"), both(CancelAccepted, "app:1")},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Closed},
		},
		"a cancel that one module has answered goes on": {
			[]does{starts("one"), both(Download, "os:1"), stopped, both(CancelAccepted, "os:1")},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"a result without a module speaks for all that are open": {
			[]does{starts("one"), both(Install, "os:1"), both(Fail, "os:1"), both(Install, "app:1"), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Status: failed, Doubt: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a module without a count is the only one": {
			[]does{starts("one"), reports(Install, about("os:1")), reports(Succeed, about("os:1"))},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a late success of one module does not count yet": {
			[]does{starts("one"), both(Install, "os:1"), forced, both(Succeed, "os:1")},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Doubt: v1alpha1.ReasonClosedWhileRunning, Outcome: Late},
		},
		"two modules are downloaded one after the other": {
			[]does{starts("one", downloadsOnly), both(Downloaded, "os:1"), both(Downloaded, "app:1")},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"the first of two downloads does not end the action": {
			[]does{starts("one", downloadsOnly), both(Downloaded, "os:1"), both(Succeed, "os:1")},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Outcome: Applied},
		},

		// Ids.
		"an id that is listed no longer is late": {
			then(then([]does{starts("one")}, installed...), func(l *life) { l.s.Actions = nil; l.outcome = Apply(&l.s, Report{ID: 1, Event: Succeed, Now: l.now}) }),
			facts{Status: inSync, Installed: "one", Outcome: Late},
		},
		"an id that was never given": {
			[]does{func(l *life) { l.outcome = Apply(&l.s, Report{ID: 9, Event: Succeed, Now: l.now}) }},
			facts{Outcome: Unknown},
		},
	}
	for name, tc := range stories {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, live(tc.steps...).facts()); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAssumeWork(t *testing.T) {
	for name, tt := range map[string]struct {
		update         v1alpha1.ActionUpdate
		event          Event
		wantState      v1alpha1.ActionState
		wantConsistent bool
	}{
		"a success is no skip":                         {event: Succeed, wantState: v1alpha1.ActionFinished, wantConsistent: true},
		"a failure may have happened while installing": {event: Fail, wantState: v1alpha1.ActionError},
		"so may one that the device rolls back":        {update: v1alpha1.ActionUpdate{Rollback: v1alpha1.RollbackSupported}, event: Fail, wantState: v1alpha1.ActionError, wantConsistent: true},
		"a mere download changes nothing on a device":  {update: v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeDownloadOnly}, event: Fail, wantState: v1alpha1.ActionError, wantConsistent: true},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
			s := &v1alpha1.TargetStatus{}
			a := Create(s, Creation{DistributionSet: "fw", ContentHash: "0123456789abcdef", Update: tt.update, Now: now})
			AssumeWork(s, a.ID)
			Apply(s, Report{ID: a.ID, Event: tt.event, Now: now})
			if got := ByID(s, a.ID).State; got != tt.wantState || IsConsistent(s) != tt.wantConsistent {
				t.Errorf("%s, consistent %t; want %s, %t", got, IsConsistent(s), tt.wantState, tt.wantConsistent)
			}
		})
	}
}
