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

// testTarget is one target with its clock. Each step takes one minute.
type testTarget struct {
	s       v1alpha1.TargetStatus
	now     time.Time
	outcome Outcome
	changed bool
}

type testStep func(*testTarget)

func newTarget(steps ...testStep) *testTarget {
	l := &testTarget{now: noon, s: v1alpha1.TargetStatus{NextActionID: 1, ObservedGeneration: 3}}
	for _, do := range steps {
		l.now = l.now.Add(time.Minute)
		do(l)
	}
	return l
}

// facts are the values of a target and of its newest action that users and other rules rely on.
type facts struct {
	State        v1alpha1.ActionState
	Answer       v1alpha1.CancelAnswer
	Code         string
	Status       v1alpha1.UpdateStatus
	Installed    string
	Inconsistent string
	Outcome      Outcome
}

func (l *testTarget) facts() facts {
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
		f.Inconsistent = c.Reason
	}
	return f
}

func (l *testTarget) condition(t *testing.T) metav1.Condition {
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

func starts(set string, changes ...func(*Creation)) testStep {
	return func(l *testTarget) {
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

func asksToConfirm(b *Creation)              { b.Confirm = true }
func downloadsOnly(b *Creation)              { b.Update.Type = v1alpha1.UpdateTypeDownloadOnly }
func canRollBack(b *Creation)                { b.Update.Rollback = v1alpha1.RollbackSupported }
func withModules(m ...string) creationOption { return func(b *Creation) { b.Modules = m } }
func within(seconds int32) creationOption {
	return func(b *Creation) {
		b.Update.ProgressDeadlineSeconds, b.Update.CancelDeadlineSeconds = &seconds, &seconds
	}
}

type creationOption = func(*Creation)

// reports applies a report on the newest action.
func reports(e Event, changes ...func(*Report)) testStep {
	return func(l *testTarget) {
		r := Report{ID: Newest(&l.s).ID, Event: e, Now: l.now}
		for _, change := range changes {
			change(&r)
		}
		l.outcome = Apply(&l.s, r)
	}
}

// adopted moves the newest action to another source for the same content, with other options.
func adopted(changes ...func(*Creation)) testStep {
	return func(l *testTarget) {
		b := Creation{Update: v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeForced}}
		for _, change := range changes {
			change(&b)
		}
		l.changed = Adopt(&l.s, Newest(&l.s).ID, v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "adopter", UID: "uid-of-adopter"}, b.Update)
	}
}

func of(id int32) func(*Report)       { return func(r *Report) { r.ID = id } }
func code(c string) func(*Report)     { return func(r *Report) { r.StatusCode = c } }
func saying(m string) func(*Report)   { return func(r *Report) { r.Details = []string{m} } }
func percent(p int32) func(*Report)   { return func(r *Report) { r.Progress = &p } }
func staging(s string) func(*Report)  { return func(r *Report) { r.Stage = s } }
func about(m string) func(*Report)    { return func(r *Report) { r.Module = m } }
func among(count int) func(*Report)   { return func(r *Report) { r.ModuleCount = count } }
func both(e Event, m string) testStep { return reports(e, about(m), among(2)) }
func allOf(events ...Event) []testStep {
	return each(events, func(e Event) testStep { return reports(e) })
}
func then(a []testStep, b ...testStep) []testStep { return append(append([]testStep{}, a...), b...) }

func each(events []Event, f func(Event) testStep) []testStep {
	var steps []testStep
	for _, e := range events {
		steps = append(steps, f(e))
	}
	return steps
}

func cancels(cause v1alpha1.CancelCause, c v1alpha1.Cancellation) testStep {
	return func(l *testTarget) { l.changed = Cancel(&l.s, Newest(&l.s).ID, cause, c, l.now) }
}

var (
	stopped   = cancels(v1alpha1.CauseStopped, v1alpha1.CancellationSoft)
	forced    = cancels(v1alpha1.CauseStopped, v1alpha1.CancellationForce)
	installed = allOf(Proceed, Succeed)
)

func waits(d time.Duration) testStep { return func(l *testTarget) { l.now = l.now.Add(d) } }

func expires(l *testTarget) {
	id := Newest(&l.s).ID
	l.changed = ExpireCancel(&l.s, id, l.now) || ExpireProgress(&l.s, id, l.now)
}

func TestResultsOfEvents(t *testing.T) {
	type row struct {
		steps []testStep
		want  facts
	}
	const (
		inSync, failed, pending, registered = v1alpha1.UpdateStatusInSync, v1alpha1.UpdateStatusError, v1alpha1.UpdateStatusPending, v1alpha1.UpdateStatusRegistered
	)
	rows := map[string]row{
		// Without faults.
		"a creation is Retrieved and Pending": {
			[]testStep{starts("one")},
			facts{State: v1alpha1.ActionRetrieved, Status: pending},
		},
		"a device that works and succeeds is InSync": {
			[]testStep{starts("one"), reports(Download), reports(Downloaded), reports(Install), reports(EventInstalled), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"stages may be repeated after a crash": {
			[]testStep{starts("one"), reports(Install), reports(Download)},
			facts{State: v1alpha1.ActionDownloading, Status: pending, Outcome: Applied},
		},
		"after a failure while downloading the device is consistent": {
			[]testStep{starts("one"), reports(Download), reports(Fail, code("404"))},
			facts{State: v1alpha1.ActionError, Code: "404", Status: failed, Outcome: Closed},
		},
		"the second creation waits until the first action has closed": {
			[]testStep{starts("one"), reports(Download), starts("two")},
			facts{State: v1alpha1.ActionDownloading, Status: pending, Outcome: Applied},
		},

		// Confirmation.
		"an action that waits for confirmation is not deployed": {
			[]testStep{starts("one", asksToConfirm), reports(Retrieve)},
			facts{State: v1alpha1.ActionWaitingForConfirmation, Status: pending, Outcome: Refused},
		},
		"confirming leads to Running, and fetching keeps it there": {
			[]testStep{starts("one", asksToConfirm), reports(Confirm), reports(Retrieve)},
			facts{State: v1alpha1.ActionRunning, Status: pending, Outcome: Applied},
		},
		"a denied action continues to wait": {
			[]testStep{starts("one", asksToConfirm), reports(Deny, saying("not during the shift"))},
			facts{State: v1alpha1.ActionWaitingForConfirmation, Status: pending, Outcome: Applied},
		},
		"a soft cancel closes an action that has not started at once": {
			[]testStep{starts("one", asksToConfirm), stopped},
			facts{State: v1alpha1.ActionCanceled, Status: registered},
		},
		"after a forced cancel before the start the device is consistent": {
			[]testStep{starts("one", asksToConfirm), forced},
			facts{State: v1alpha1.ActionCanceled, Status: registered},
		},
		"confirming twice is refused": {
			[]testStep{starts("one", asksToConfirm), reports(Confirm), reports(Confirm)},
			facts{State: v1alpha1.ActionRunning, Status: pending, Outcome: Refused},
		},
		"a device that works without confirmation has started": {
			[]testStep{starts("one", asksToConfirm), reports(Install), forced},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},

		// Cancels.
		"a started device is asked to cancel": {
			[]testStep{starts("one"), reports(Download), stopped},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"reports while canceling do not end the cancel": {
			[]testStep{starts("one"), stopped, reports(Install)},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"a device may finish first": {
			[]testStep{starts("one"), reports(Install), stopped, reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a device may fail first": {
			[]testStep{starts("one"), reports(Download), stopped, reports(Fail)},
			facts{State: v1alpha1.ActionError, Answer: v1alpha1.AnswerOvertaken, Status: failed, Outcome: Closed},
		},
		"a device accepts before it installs": {
			[]testStep{starts("one"), reports(Download), stopped, reports(CancelAccepted)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Closed},
		},
		"a refusal returns to the state it was asked in": {
			[]testStep{starts("one"), reports(Download), stopped, reports(Install), reports(CancelRejected)},
			facts{State: v1alpha1.ActionDownloading, Answer: v1alpha1.AnswerRejected, Status: pending, Outcome: Applied},
		},
		"after a refusal the same cause is not asked again": {
			[]testStep{starts("one"), stopped, reports(CancelRejected), stopped},
			facts{State: v1alpha1.ActionRetrieved, Answer: v1alpha1.AnswerRejected, Status: pending, Outcome: Applied},
		},
		"after a refusal another cause is asked": {
			[]testStep{starts("one"), stopped, reports(CancelRejected), cancels(v1alpha1.CauseInvalidated, v1alpha1.CancellationSoft)},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"after a refusal a forced cancel with the same cause is possible": {
			[]testStep{starts("one"), stopped, reports(CancelRejected), forced},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},
		"None cancels nothing": {
			[]testStep{starts("one"), cancels(v1alpha1.CauseStopped, v1alpha1.CancellationNone)},
			facts{State: v1alpha1.ActionRetrieved, Status: pending},
		},
		"force while canceling closes at once": {
			[]testStep{starts("one"), reports(Download), stopped, forced},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},
		"an answer without a cancel is refused": {
			[]testStep{starts("one"), reports(CancelAccepted)},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Outcome: Refused},
		},
		"a device may cancel by itself": {
			[]testStep{starts("one"), reports(Download), reports(Abandon)},
			facts{State: v1alpha1.ActionCanceled, Status: registered, Outcome: Closed},
		},
		"an event of Goshawk is refused as a report": {
			[]testStep{starts("one"), reports(ForceCancel)},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Outcome: Refused},
		},
		"a cancel without answer ends at its deadline": {
			[]testStep{starts("one", within(600)), stopped, waits(10 * time.Minute), expires},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerDeadlineExceeded, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning},
		},
		"a cancel waits until its deadline": {
			[]testStep{starts("one", within(600)), stopped, waits(7 * time.Minute), expires},
			facts{State: v1alpha1.ActionCanceling, Status: pending},
		},
		"no result ends at the progress deadline": {
			[]testStep{starts("one", within(600)), waits(10 * time.Minute), expires},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeProgressDeadlineExceeded, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning},
		},
		"waiting for confirmation is not progress": {
			[]testStep{starts("one", asksToConfirm, within(600)), waits(time.Hour), expires},
			facts{State: v1alpha1.ActionWaitingForConfirmation, Status: pending},
		},
		"the progress deadline counts from the confirmation": {
			[]testStep{starts("one", asksToConfirm, within(600)), waits(time.Hour), reports(Confirm), expires},
			facts{State: v1alpha1.ActionRunning, Status: pending, Outcome: Applied},
		},
		"without deadlines an action does not expire": {
			[]testStep{starts("one"), waits(10000 * time.Hour), expires},
			facts{State: v1alpha1.ActionRetrieved, Status: pending},
		},

		// Late reports.
		"a late stage is dropped": {
			[]testStep{starts("one"), reports(Download), reports(Fail), reports(Install)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Late},
		},
		"a second result is dropped": {
			[]testStep{starts("one"), reports(Download), reports(Fail), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Late},
		},
		"a late success after a forced cancel updates the state of the device": {
			[]testStep{starts("one"), reports(Install), forced, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late failure after a forced cancel keeps the device inconsistent": {
			[]testStep{starts("one"), reports(Install), forced, reports(Fail)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: LateFinal},
		},
		"a late success after a cancel deadline counts": {
			[]testStep{starts("one", within(600)), reports(Install), stopped, waits(time.Hour), expires, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerDeadlineExceeded, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late success after a progress deadline counts": {
			[]testStep{starts("one", within(600)), reports(Install), waits(time.Hour), expires, reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeProgressDeadlineExceeded, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late success is stale once a newer action has succeeded": {
			then([]testStep{starts("one"), reports(Install), forced, starts("two")}, reports(Proceed), reports(Succeed), reports(Succeed, of(1))),
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "two", Outcome: LateFinal},
		},
		"a late success is stale also after a newer report of the installed set": {
			[]testStep{
				starts("one"), reports(Install), forced, starts("two"), reports(Proceed), reports(Succeed),
				func(l *testTarget) { ReportInstalled(&l.s, "three", hash("three"), l.now) }, reports(Succeed, of(1)),
			},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "three", Outcome: LateFinal},
		},
		"a late success counts while a newer action is open": {
			[]testStep{starts("one"), reports(Install), forced, starts("two"), reports(Succeed, of(1))},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Installed: "one", Outcome: LateFinal},
		},
		"a late success counts also without an earlier report": {
			[]testStep{starts("one"), forced, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a late success of a device that was asked to skip does not count": {
			[]testStep{starts("one", downloadsOnly), forced, reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: Late},
		},
		"work that is first reported after a forced cancel makes its success count": {
			[]testStep{starts("one"), forced, reports(Proceed), reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: LateFinal},
		},
		"a success after an accepted cancel does not count": {
			[]testStep{starts("one"), reports(Download), stopped, reports(CancelAccepted), reports(Succeed)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Late},
		},
		"an answer ends the offer of a forced cancel": {
			[]testStep{starts("one"), forced, reports(CancelAccepted)},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: Applied},
		},

		// A success that installed nothing.
		"a device that reports only a success has succeeded": {
			[]testStep{starts("one"), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success after a warning only is a success": {
			[]testStep{starts("one"), reports(Retrieve), reports(Warn), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success as the first report after a cancel is a success": {
			[]testStep{starts("one"), stopped, reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Answer: v1alpha1.AnswerOvertaken, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success of a device that was asked to skip is Skipped, as of swupdate": {
			[]testStep{starts("one", downloadsOnly), reports(Succeed, saying("Skipped Update."))},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Outcome: Closed},
		},
		"fetching the deployment is no download": {
			[]testStep{starts("one", downloadsOnly), reports(Retrieve), reports(Warn), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Outcome: Closed},
		},
		"a success after a download is not Skipped": {
			[]testStep{starts("one", downloadsOnly), reports(Download), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"adoption by a download-only update does not turn a success into Skipped": {
			[]testStep{starts("one"), adopted(downloadsOnly), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"adoption by another update does not turn Skipped into an installation": {
			[]testStep{starts("one", downloadsOnly), adopted(), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Outcome: Closed},
		},
		"after adoption and another fetch a success is an installation": {
			[]testStep{starts("one", downloadsOnly), adopted(), func(l *testTarget) { l.changed = SetSkipRequested(&l.s, 1, false) }, reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},

		// Consistency.
		"a failure after installing started": {
			[]testStep{starts("one"), reports(Install), reports(Fail, code("7"))},
			facts{State: v1alpha1.ActionError, Code: "7", Status: failed, Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a device that proceeds may have started to install": {
			[]testStep{starts("one"), reports(Proceed), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a failure that modules roll back": {
			[]testStep{starts("one", canRollBack), reports(Install), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"a rollback that fails too": {
			[]testStep{starts("one", canRollBack), reports(Install), reports(Fail, code(CodeRollbackFailed))},
			facts{State: v1alpha1.ActionError, Code: CodeRollbackFailed, Status: failed, Inconsistent: v1alpha1.ReasonRollbackFailed, Outcome: Closed},
		},
		"inconsistent although modules roll back": {
			[]testStep{starts("one", canRollBack), reports(Install), reports(Fail, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeInconsistent, Status: failed, Inconsistent: v1alpha1.ReasonRollbackFailed, Outcome: Closed},
		},
		"a device reports INCONSISTENT": {
			[]testStep{starts("one"), reports(Download), reports(Fail, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeInconsistent, Status: failed, Inconsistent: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"a name in the message has Mender's suffix": {
			[]testStep{starts("one"), reports(Download), reports(Fail, saying("device runs app-2.0_INCONSISTENT."))},
			facts{State: v1alpha1.ActionError, Status: failed, Inconsistent: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"Kanto's overall result": {
			[]testStep{starts("one"), reports(Download), reports(Fail, code("INCOMPLETE_INCONSISTENT"))},
			facts{State: v1alpha1.ActionError, Code: "INCOMPLETE_INCONSISTENT", Status: failed, Inconsistent: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"a message that only mentions inconsistency": {
			[]testStep{starts("one"), reports(Download), reports(Fail, saying("the _INCONSISTENT_ marker was not set"))},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"the device is inconsistent before the result": {
			[]testStep{starts("one"), reports(Warn, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionRetrieved, Code: v1alpha1.CodeInconsistent, Status: pending, Inconsistent: v1alpha1.ReasonReportedByDevice, Outcome: Applied},
		},
		"a success with INCONSISTENT leaves the device inconsistent": {
			[]testStep{starts("one"), reports(Install), reports(Succeed, code(v1alpha1.CodeInconsistent))},
			facts{State: v1alpha1.ActionFinished, Code: v1alpha1.CodeInconsistent, Status: failed, Installed: "one", Inconsistent: v1alpha1.ReasonReportedByDevice, Outcome: Closed},
		},
		"after the next success the device is consistent": {
			then([]testStep{starts("one"), reports(Install), reports(Fail), starts("one")}, installed...),
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"after a skip the device is still inconsistent": {
			[]testStep{starts("one"), reports(Install), reports(Fail), starts("one", downloadsOnly), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Code: v1alpha1.CodeSkipped, Status: failed, Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a device reports its installed set": {
			[]testStep{func(l *testTarget) { ReportInstalled(&l.s, "factory", hash("factory"), l.now) }},
			facts{Status: inSync, Installed: "factory"},
		},
		"a device reports an inconsistent installed set": {
			[]testStep{func(l *testTarget) { ReportInstalled(&l.s, "app-2.0_INCONSISTENT", "", l.now) }},
			facts{Status: failed, Installed: "app-2.0", Inconsistent: v1alpha1.ReasonReportedByDevice},
		},
		"after its own report the device is still inconsistent": {
			[]testStep{starts("one"), reports(Install), reports(Fail), func(l *testTarget) { ReportInstalled(&l.s, "one", hash("one"), l.now) }},
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "one", Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a device that reports the failed set as installed is InSync again": {
			[]testStep{starts("one"), reports(Download), reports(Fail), func(l *testTarget) { ReportInstalled(&l.s, "one", hash("one"), l.now) }},
			facts{State: v1alpha1.ActionError, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a device that runs the failed set since before the failure is in Error": {
			[]testStep{func(l *testTarget) { ReportInstalled(&l.s, "one", hash("one"), l.now) }, starts("one"), reports(Download), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "one", Outcome: Closed},
		},
		"a device that reports another set as installed stays in Error": {
			[]testStep{starts("one"), reports(Download), reports(Fail), func(l *testTarget) { ReportInstalled(&l.s, "old", hash("old"), l.now) }},
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "old", Outcome: Closed},
		},
		"a failed reinstallation of the installed set is an Error": {
			then(then([]testStep{starts("one")}, installed...), starts("one"), reports(Download), reports(Fail)),
			facts{State: v1alpha1.ActionError, Status: failed, Installed: "one", Outcome: Closed},
		},

		// Download only.
		"a download finishes without an installation": {
			[]testStep{starts("one", downloadsOnly), reports(Download), reports(Downloaded)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"a download does not change the installed set": {
			then(then([]testStep{starts("one")}, installed...), starts("two", downloadsOnly), reports(Downloaded)),
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a success of a download installs nothing": {
			[]testStep{starts("one", downloadsOnly), reports(Download), reports(Succeed)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"the end of a download, reported again, is no installation": {
			[]testStep{starts("one", downloadsOnly), reports(Download), reports(Downloaded), reports(Downloaded)},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Late},
		},
		"a later failure of the downloaded set": {
			[]testStep{starts("one", downloadsOnly), reports(Downloaded), reports(Install), reports(Fail)},
			facts{State: v1alpha1.ActionFinished, Status: failed, Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: LateFinal},
		},
		"a later failure without an installation leaves the device consistent": {
			[]testStep{starts("one", downloadsOnly), reports(Downloaded), reports(Fail)},
			facts{State: v1alpha1.ActionFinished, Status: failed, Outcome: LateFinal},
		},
		"a download that fails while proceeding leaves the device consistent": {
			[]testStep{starts("one", downloadsOnly), reports(Proceed), reports(Fail)},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"the end of a download is no installation": {
			[]testStep{starts("one", downloadsOnly), reports(Downloaded, about("os:1")), reports(Succeed, about("os:1"))},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Late},
		},
		"the end of a download, reported module by module, is no installation": {
			[]testStep{starts("one", downloadsOnly), reports(Downloaded), reports(Succeed, about("os:1"))},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Late},
		},
		"a download may finish before its cancel is answered": {
			[]testStep{starts("one", downloadsOnly), reports(Download), stopped, reports(Downloaded)},
			facts{State: v1alpha1.ActionFinished, Answer: v1alpha1.AnswerOvertaken, Status: registered, Outcome: Closed},
		},

		// Modules.
		"one module of two has succeeded": {
			[]testStep{starts("one"), both(Install, "os:1"), both(Succeed, "os:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"both modules have succeeded": {
			[]testStep{starts("one"), both(Install, "os:1"), both(Succeed, "os:1"), both(Install, "app:1"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a failure does not end the action while another module works": {
			[]testStep{starts("one"), both(Install, "os:1"), both(Fail, "os:1"), both(Install, "app:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"the error of one module and its code are kept": {
			[]testStep{
				starts("one"), both(Install, "os:1"), reports(Fail, about("os:1"), among(2), code("7")),
				reports(Install, about("app:1"), among(2), code("0")), reports(Succeed, about("app:1"), among(2), code("0")),
			},
			facts{State: v1alpha1.ActionError, Code: "7", Status: failed, Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"a success after its own module's failure does not count": {
			[]testStep{starts("one"), both(Download, "os:1"), both(Fail, "os:1"), both(Succeed, "os:1"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"an error takes precedence over a cancel": {
			[]testStep{starts("one"), both(Download, "os:1"), both(Fail, "os:1"), both(Abandon, "app:1")},
			facts{State: v1alpha1.ActionError, Status: failed, Outcome: Closed},
		},
		"a cancel takes precedence over a success": {
			[]testStep{starts("one"), both(Download, "os:1"), stopped, both(Abandon, "os:1"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Closed},
		},
		"a result of software that is not part of the action has no effect": {
			[]testStep{starts("one", withModules("app:2", "os:2")), both(Install, "app:2"), both(Succeed, "app:2"), both(Succeed, "app:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"open software that is not part of the action does not delay the result": {
			[]testStep{starts("one", withModules("app:2", "os:2")), both(Remove, "app:1"), both(Install, "app:2"), both(Succeed, "app:2"), both(Succeed, "os:2")},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a late report about a module that is done has no effect": {
			[]testStep{starts("one"), both(Install, "os:1"), both(Succeed, "os:1"), both(Download, "os:1")},
			facts{State: v1alpha1.ActionInstalling, Status: pending, Outcome: Applied},
		},
		"modules answer a cancel one by one": {
			[]testStep{starts("one"), both(Download, "os:1"), stopped, both(CancelAccepted, "os:1"), both(CancelAccepted, "app:1")},
			facts{State: v1alpha1.ActionCanceled, Answer: v1alpha1.AnswerAccepted, Status: registered, Outcome: Closed},
		},
		"a cancel that one module has answered continues": {
			[]testStep{starts("one"), both(Download, "os:1"), stopped, both(CancelAccepted, "os:1")},
			facts{State: v1alpha1.ActionCanceling, Status: pending, Outcome: Applied},
		},
		"a result without a module counts for all open modules": {
			[]testStep{starts("one"), both(Install, "os:1"), both(Fail, "os:1"), both(Install, "app:1"), reports(Succeed)},
			facts{State: v1alpha1.ActionError, Status: failed, Inconsistent: v1alpha1.ReasonUpdateFailed, Outcome: Closed},
		},
		"without a count of modules one module is the whole action": {
			[]testStep{starts("one"), reports(Install, about("os:1")), reports(Succeed, about("os:1"))},
			facts{State: v1alpha1.ActionFinished, Status: inSync, Installed: "one", Outcome: Closed},
		},
		"a late success of one module does not count yet": {
			[]testStep{starts("one"), both(Install, "os:1"), forced, both(Succeed, "os:1")},
			facts{State: v1alpha1.ActionCanceled, Status: failed, Inconsistent: v1alpha1.ReasonClosedWhileRunning, Outcome: Late},
		},
		"two modules are downloaded one after the other": {
			[]testStep{starts("one", downloadsOnly), both(Downloaded, "os:1"), both(Downloaded, "app:1")},
			facts{State: v1alpha1.ActionFinished, Status: registered, Outcome: Closed},
		},
		"the first of two downloads does not end the action": {
			[]testStep{starts("one", downloadsOnly), both(Downloaded, "os:1"), both(Succeed, "os:1")},
			facts{State: v1alpha1.ActionRetrieved, Status: pending, Outcome: Applied},
		},

		// Ids.
		"a report with an id that is no longer listed is late": {
			then(then([]testStep{starts("one")}, installed...), func(l *testTarget) {
				l.s.Actions = nil
				l.outcome = Apply(&l.s, Report{ID: 1, Event: Succeed, Now: l.now})
			}),
			facts{Status: inSync, Installed: "one", Outcome: Late},
		},
		"a report with an id that was never given is unknown": {
			[]testStep{func(l *testTarget) { l.outcome = Apply(&l.s, Report{ID: 9, Event: Succeed, Now: l.now}) }},
			facts{Outcome: Unknown},
		},
	}
	for name, tc := range rows {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, newTarget(tc.steps...).facts()); diff != "" {
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
		"a success is not Skipped":                     {event: Succeed, wantState: v1alpha1.ActionFinished, wantConsistent: true},
		"a failure may have happened while installing": {event: Fail, wantState: v1alpha1.ActionError},
		"a failure that the device rolls back":         {update: v1alpha1.ActionUpdate{Rollback: v1alpha1.RollbackSupported}, event: Fail, wantState: v1alpha1.ActionError, wantConsistent: true},
		"a download installs nothing":                  {update: v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeDownloadOnly}, event: Fail, wantState: v1alpha1.ActionError, wantConsistent: true},
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
