// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// states and events in the order in which the documentation lists them.
var (
	states = []v1alpha1.ActionState{
		v1alpha1.ActionWaitingForConfirmation, v1alpha1.ActionRetrieved, v1alpha1.ActionRunning, v1alpha1.ActionDownloading,
		v1alpha1.ActionDownloaded, v1alpha1.ActionInstalling, v1alpha1.ActionRemoving, v1alpha1.ActionCanceling,
		v1alpha1.ActionFinished, v1alpha1.ActionError, v1alpha1.ActionCanceled,
	}
	events = []Event{
		Retrieve, Start, Confirm, Deny, Proceed, Download, Downloaded, Install, EventInstalled, Remove, Removed, Warn, Succeed, FinishWithWarning, Fail, Abandon,
		CancelAccepted, CancelRejected, AskCancel, ForceCancel, CancelExpired, ProgressExpired, Refuse,
	}
)

func TestEveryPairOfStateAndEvent(t *testing.T) {
	for _, s := range states {
		if got, want := len(table[s]), len(events); got != want {
			t.Errorf("%s has a row for %d events of %d", s, got, want)
		}
		for _, e := range events {
			next, answer := Next(s, e)
			_, listed := table[s][e]
			switch {
			case !listed:
				t.Errorf("%s has no row for %s", s, e)
			case s.IsClosed() && (next != s || answer != Late):
				t.Errorf("%s is closed, but %s leads to %s, %s", s, e, next, answer)
			case (answer == Moved) != (next != s):
				t.Errorf("%s and %s: %s to %s", s, e, answer, next)
			}
		}
	}
	if len(table) != len(states) {
		t.Errorf("the table has %d states, want %d", len(table), len(states))
	}
}

func TestNextRefusesUnknownStatesAndEvents(t *testing.T) {
	if s, answer := Next("Sleeping", Succeed); s != "Sleeping" || answer != Refused {
		t.Errorf("an unknown state: %s, %s", s, answer)
	}
	if s, answer := Next(v1alpha1.ActionRunning, "Explode"); s != v1alpha1.ActionRunning || answer != Refused {
		t.Errorf("an unknown event: %s, %s", s, answer)
	}
}

func TestCreateRecordsTheCreation(t *testing.T) {
	weight := int32(7)
	l := newTarget(starts("one", func(b *Creation) { b.Update.Weight = &weight; b.Modules = []string{"os:1"} }))
	at := metav1.NewTime(noon.Add(time.Minute))
	want := v1alpha1.TargetStatus{
		ObservedGeneration: 3,
		UpdateStatus:       v1alpha1.UpdateStatusPending,
		HadSets:            []string{hash("one")[:16]},
		NextActionID:       2,
		Actions: []v1alpha1.Action{{
			ID:              1,
			Source:          v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "rollout-of-one", UID: "uid-of-one"},
			DistributionSet: "one",
			ContentHash:     hash("one"),
			Update:          v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeForced, Weight: &weight},
			State:           v1alpha1.ActionRetrieved,
			Modules:         []v1alpha1.ModuleState{{Name: "os:1", State: v1alpha1.ActionRetrieved}},
			History:         []v1alpha1.ActionEvent{{Time: at, State: v1alpha1.ActionRetrieved}},
			StartedAt:       &at,
		}},
	}
	if diff := cmp.Diff(want, l.s); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestCreateIsRefusedWhileAnActionIsOpen(t *testing.T) {
	l := newTarget(starts("one"))
	before := l.s.DeepCopy()
	if a := Create(&l.s, Creation{DistributionSet: "two", ContentHash: hash("two"), Now: l.now}); a != nil {
		t.Errorf("got action %d, want none", a.ID)
	}
	if diff := cmp.Diff(before, &l.s); diff != "" {
		t.Errorf("it changed:\n%s", diff)
	}
}

func TestIDs(t *testing.T) {
	const now = 194529600 // seconds from 2020 to noon
	cases := map[string]struct {
		next int32
		do   func(s *v1alpha1.TargetStatus)
		want int32
	}{
		"a new target starts at the seconds since 2020": {0, func(s *v1alpha1.TargetStatus) { StartIDs(s, noon) }, now},
		"an old target continues":                       {5, func(s *v1alpha1.TargetStatus) { StartIDs(s, noon) }, 5},
		"a creation takes one id":                       {5, func(s *v1alpha1.TargetStatus) { Create(s, Creation{Now: noon}) }, 6},
		"the last id is never assigned":                 {math.MaxInt32, func(s *v1alpha1.TargetStatus) { Create(s, Creation{Now: noon}) }, math.MaxInt32},
		"raising goes above the id":                     {5, func(s *v1alpha1.TargetStatus) { RaiseNextID(s, 5) }, 6},
		"raising never lowers":                          {5, func(s *v1alpha1.TargetStatus) { RaiseNextID(s, 3) }, 5},
		"a report on an unknown id raises":              {5, reportOn(now + 1000), now + 1001},
		"a report on a known id does not":               {5, reportOn(4), 5},
		"a report on the greatest id":                   {5, reportOn(math.MaxInt32), 5},
		"a report on an id too far in the future":       {5, reportOn(now + idSlack + 1), 5},
		"a report on id 0":                              {5, reportOn(0), 5},
		"a report on a target without ids":              {0, reportOn(7), now},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.TargetStatus{NextActionID: tc.next}
			tc.do(s)
			if s.NextActionID != tc.want {
				t.Errorf("nextActionID is %d, want %d", s.NextActionID, tc.want)
			}
		})
	}
}

func reportOn(id int32) func(*v1alpha1.TargetStatus) {
	return func(s *v1alpha1.TargetStatus) { Apply(s, Report{ID: id, Event: Proceed, Now: noon}) }
}

func TestHadSets(t *testing.T) {
	cases := map[string]struct {
		steps []testStep
		want  []string
	}{
		"newest last, each once": {
			then(then(then(then([]testStep{starts("one")}, installed...), starts("two")), installed...), starts("one")), []string{"two", "one"},
		},
		"a skip does not count": {
			then(then([]testStep{starts("one")}, installed...), starts("two", downloadsOnly), reports(Succeed)), []string{"one"},
		},
		"a skip of a set that failed before": {
			[]testStep{starts("one"), reports(Download), reports(Fail), starts("one", downloadsOnly), reports(Succeed)}, []string{"one"},
		},
		"a skip of the installed set": {
			then(then([]testStep{starts("one")}, installed...), func(l *testTarget) { l.s.Actions = nil }, starts("one"), reports(Succeed)), []string{"one"},
		},
		"a skip of a set that the target had before, without the action": {
			then(then(then([]testStep{starts("one")}, installed...), then([]testStep{starts("two")}, installed...)...), func(l *testTarget) { l.s.Actions = nil }, starts("one"), reports(Succeed)), []string{"two", "one"},
		},
		"two skips": {
			[]testStep{starts("one", downloadsOnly), reports(Succeed), starts("one", downloadsOnly), reports(Succeed)}, nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := newTarget(tc.steps...)
			var want []string
			for _, set := range tc.want {
				want = append(want, hash(set)[:16])
			}
			if len(want) != len(l.s.HadSets) || (len(want) > 0 && cmp.Diff(want, l.s.HadSets) != "") {
				t.Errorf("hadSets is %q, want %q", l.s.HadSets, want)
			}
		})
	}
}

func TestHadSetsAreBounded(t *testing.T) {
	l := newTarget()
	for i := range 60 {
		for _, do := range then([]testStep{starts(fmt.Sprintf("set-%02d-", i))}, installed...) {
			do(l)
		}
	}
	if len(l.s.HadSets) != 50 || HadContent(&l.s, hash("set-09-")) || !HadContent(&l.s, hash("set-10-")) || !HadContent(&l.s, hash("set-59-")) {
		t.Errorf("%d sets are remembered, from %s to %s; want the newest 50", len(l.s.HadSets), l.s.HadSets[0], l.s.HadSets[len(l.s.HadSets)-1])
	}
}

func TestReportsKeepTheTextsOfTheDevice(t *testing.T) {
	l := newTarget(starts("one"), reports(Download, staging("DOWNLOADING"), code("206"), saying("half way"), percent(50)), reports(Install, staging("INSTALLING")))
	a := Newest(&l.s)
	first, last := metav1.NewTime(noon.Add(2*time.Minute)), metav1.NewTime(noon.Add(3*time.Minute))
	half := int32(50)
	got := v1alpha1.Action{
		Stage: a.Stage, StatusCode: a.StatusCode, Message: a.Message, Progress: a.Progress, Reports: a.Reports,
		FirstReportedAt: a.FirstReportedAt, ReportedAt: a.ReportedAt, InstallingStarted: a.InstallingStarted, DownloadSeen: a.DownloadSeen,
	}
	want := v1alpha1.Action{
		Stage: "INSTALLING", Message: "half way", Progress: &half, Reports: 2, // a report without a code takes the code back, as in hawkBit
		FirstReportedAt: &first, ReportedAt: &last, InstallingStarted: true, DownloadSeen: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("action (-want +got):\n%s", diff)
	}
}

func TestEvidenceOfWork(t *testing.T) {
	cases := map[Event]struct{ download, install bool }{
		Start: {true, false}, Download: {true, false}, Downloaded: {true, false},
		Proceed: {true, true}, Install: {true, true}, EventInstalled: {true, true}, Remove: {true, true},
		Warn: {false, false}, Retrieve: {false, false},
	}
	for e, want := range cases {
		a := Newest(&newTarget(starts("one"), reports(e)).s)
		if a.DownloadSeen != want.download || a.InstallingStarted != want.install {
			t.Errorf("%s: downloadSeen %t, installingStarted %t; want %t, %t", e, a.DownloadSeen, a.InstallingStarted, want.download, want.install)
		}
	}
}

// Devices report no progress, or an earlier one, with their success.
func TestProgressIsThatOfAnActionThatHasNotSucceeded(t *testing.T) {
	downloads := func(l *testTarget) { Newest(&l.s).Update.Type = v1alpha1.UpdateTypeDownloadOnly }
	for name, test := range map[string]struct {
		then testStep
		want *int32
	}{
		"while it works":           {reports(Install), new(int32(90))},
		"a success":                {reports(Succeed), nil},
		"a success with progress":  {reports(Succeed, percent(90)), nil},
		"a success with a warning": {reports(FinishWithWarning), nil},
		"a download":               {func(l *testTarget) { downloads(l); reports(Downloaded, percent(100))(l) }, nil},
		"the first of two modules": {func(l *testTarget) { reports(Succeed, about("a:1"), among(2))(l) }, new(int32(90))},
		"a failure":                {reports(Fail), new(int32(90))},
		"a failure with progress":  {reports(Fail, percent(30)), new(int32(30))},
		"a device that cancels":    {reports(Abandon), new(int32(90))},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTarget(starts("one"), reports(Download, percent(90)), test.then)
			if got := Newest(&l.s).Progress; !reflect.DeepEqual(got, test.want) {
				t.Errorf("progress is %v, want %v", got, test.want)
			}
		})
	}
}

func TestTextsAreCleanedAndShortened(t *testing.T) {
	long := strings.Repeat("ü€𝄞", 400)
	l := newTarget(starts("one"), reports(Download, code(long), saying("a\x1b[2Jb\u202e\nc\xff"), staging(long), percent(250)))
	a := Newest(&l.s)
	if want := "a[2Jb c\uFFFD"; a.Message != want {
		t.Errorf("message is %q, want %q", a.Message, want)
	}
	if *a.Progress != 100 {
		t.Errorf("progress is %d, want 100", *a.Progress)
	}
	reports(Download, saying(long), percent(-3))(l)
	if *a.Progress != 0 {
		t.Errorf("progress is %d, want 0", *a.Progress)
	}
	reports(Fail, saying(long), code(long))(l)
	if utf8.RuneCountInString(a.Message) != 512 || !strings.HasPrefix(a.Message, "ü€𝄞") || !strings.HasSuffix(a.Message, "ü€𝄞") || !strings.Contains(a.Message, "[… 719 characters were cut …]") {
		t.Errorf("the message is %q, want both ends of it", a.Message)
	}
	lengths := map[string]int{a.Stage: 64, a.StatusCode: 64, a.History[len(a.History)-1].Message: 256, a.History[len(a.History)-1].StatusCode: 64}
	for text, want := range lengths {
		if !utf8.ValidString(text) || utf8.RuneCountInString(text) != want || !strings.HasSuffix(text, "…") {
			t.Errorf("got %d characters, want %d that end in …: %q", utf8.RuneCountInString(text), want, text)
		}
	}
}

func TestHistoryHasTheFirstOfEachState(t *testing.T) {
	l := newTarget(
		starts("one", asksToConfirm), reports(Confirm), reports(Download), reports(Downloaded), reports(Download), stopped,
		reports(Install, code("busy"), saying("flashing")), reports(CancelRejected), reports(Remove), reports(Install, code("again")), reports(Succeed),
	)
	var got []string
	for _, line := range Newest(&l.s).History {
		got = append(got, fmt.Sprintf("%s %s %s %s", line.Time.Format("15:04"), line.State, line.StatusCode, line.Message))
	}
	want := []string{
		"12:01 WaitingForConfirmation  ", "12:02 Running  ", "12:03 Downloading  ", "12:04 Downloaded  ", "12:06 Canceling  ",
		"12:07 Installing busy flashing", "12:09 Removing  ", "12:11 Finished  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestHistoryKeepsTheNewestTen(t *testing.T) {
	a := &v1alpha1.Action{}
	for _, s := range states {
		record(a, s, Report{Now: noon})
	}
	if len(a.History) != 10 || a.History[0].State != states[1] || a.History[9].State != states[10] {
		t.Errorf("history has %d lines from %s to %s", len(a.History), a.History[0].State, a.History[len(a.History)-1].State)
	}
}

func TestQuotaOfReports(t *testing.T) {
	l := newTarget(starts("one"))
	for i := range v1alpha1.MaxReports {
		if reports(Download)(l); l.outcome != Applied {
			t.Fatalf("report %d: %s", i+1, l.outcome)
		}
	}
	reports(Downloaded)(l)
	if a := Newest(&l.s); l.outcome != FirstDropped || a.State != v1alpha1.ActionDownloading {
		t.Errorf("the first report beyond the quota: %s, state %s", l.outcome, a.State)
	}
	before := l.s.DeepCopy()
	reports(Downloaded)(l)
	if diff := cmp.Diff(before, &l.s); diff != "" || l.outcome != Dropped {
		t.Errorf("the second report beyond the quota: %s, changes:\n%s", l.outcome, diff)
	}
	reports(Install)(l)
	if a := Newest(&l.s); l.outcome != Applied || !a.InstallingStarted {
		t.Errorf("the first report of installing: %s, installingStarted %t; a failure after it must make the device inconsistent", l.outcome, a.InstallingStarted)
	}
	stopped(l)
	if reports(CancelRejected)(l); l.outcome != Applied {
		t.Errorf("a refusal beyond the quota: %s", l.outcome)
	}
	counted := Newest(&l.s).Reports
	reports(Succeed)(l)
	if a := Newest(&l.s); l.outcome != Closed || a.Reports != counted+1 {
		t.Errorf("a result beyond the quota: %s, reports %d after %d", l.outcome, a.Reports, counted)
	}
}

// TestLateReports checks which reports on a closed action change its target, and that only those
// are counted: each change is one write.
func TestLateReports(t *testing.T) {
	for name, c := range map[string]struct {
		before []testStep
		late   []Event
		counts []bool
	}{
		"after a failure": {
			before: []testStep{starts("one"), reports(Proceed), reports(Fail)},
			late:   []Event{Download, Downloaded, Proceed, Install, Warn, Succeed, Fail, Abandon, CancelAccepted, CancelRejected, Retrieve},
			counts: []bool{false, false, false, false, false, false, false, false, false, false, false},
		},
		"after a success": {
			before: []testStep{starts("one"), reports(Succeed)},
			late:   []Event{Download, Proceed, Install, Succeed, Fail},
			counts: []bool{false, false, false, false, false},
		},
		"after an accepted cancel": {
			before: []testStep{starts("one"), reports(Proceed), stopped, reports(CancelAccepted)},
			late:   []Event{Proceed, Succeed, Fail, CancelAccepted, CancelRejected},
			counts: []bool{false, false, false, false, false},
		},
		"after a cancel by force: the first evidence, the answer, and the first success": {
			before: []testStep{starts("one"), forced},
			late:   []Event{Install, Install, CancelAccepted, CancelAccepted, Succeed, Succeed, Proceed},
			counts: []bool{true, false, true, false, true, false, false},
		},
		"after a progress deadline": {
			before: []testStep{starts("one", within(60)), waits(time.Hour), expires},
			late:   []Event{Install, Install, Succeed, Succeed, Fail},
			counts: []bool{true, false, true, false, false},
		},
		"after a download-only update": {
			before: []testStep{starts("one", downloadsOnly), reports(Downloaded)},
			late:   []Event{Downloaded, Install, Proceed, Succeed, Succeed},
			counts: []bool{false, true, false, true, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTarget(c.before...)
			for i, e := range c.late {
				before := l.s.DeepCopy()
				reports(e)(l)
				a, was := Newest(&l.s), Newest(before)
				if got := a.Reports - was.Reports; (got == 1) != c.counts[i] || got > 1 {
					t.Errorf("report %d, %s, adds %d to the count; is it counted: want %t", i+1, e, got, c.counts[i])
				}
				if diff := cmp.Diff(before, &l.s); (diff != "") != c.counts[i] {
					t.Errorf("report %d, %s: want a change: %t; changes:\n%s", i+1, e, c.counts[i], diff)
				}
				if a.State != was.State || a.Stage != was.Stage {
					t.Errorf("report %d, %s, changes state and stage from %s %s to %s %s", i+1, e, was.State, was.Stage, a.State, a.Stage)
				}
			}
		})
	}
}

func TestDeviceIsAskedOncePerCause(t *testing.T) {
	l := newTarget(starts("one"))
	for _, cause := range []v1alpha1.CancelCause{v1alpha1.CauseStopped, v1alpha1.CauseSuperseded, v1alpha1.CauseInvalidated} {
		ask := cancels(cause, v1alpha1.CancellationSoft)
		if ask(l); !l.changed {
			t.Errorf("%s was not asked", cause)
		}
		if ask(l); l.changed {
			t.Errorf("%s was asked again while canceling", cause)
		}
		reports(CancelRejected)(l)
		if ask(l); l.changed {
			t.Errorf("%s was asked again after the refusal", cause)
		}
	}
	stopped(l) // was requested and refused before
	if l.changed {
		t.Error("Stopped was asked again after other causes")
	}
	if forced(l); !l.changed {
		t.Error("force was not applied after a soft cancel")
	}
	c := *Newest(&l.s).Cancel
	at := metav1.NewTime(l.now)
	want := v1alpha1.CancelStatus{
		Cause: v1alpha1.CauseStopped, Cancellation: v1alpha1.CancellationForce, RequestedAt: &at, From: v1alpha1.ActionRetrieved,
		Causes: []v1alpha1.CancelCause{v1alpha1.CauseStopped, v1alpha1.CauseSuperseded, v1alpha1.CauseInvalidated},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("cancel (-want +got):\n%s", diff)
	}
	if forced(l); l.changed {
		t.Error("a closed action was canceled again")
	}
}

func TestSecondCauseIsAskedAfterTheRefusal(t *testing.T) {
	invalidated := cancels(v1alpha1.CauseInvalidated, v1alpha1.CancellationSoft)
	l := newTarget(starts("one"), stopped, invalidated, reports(CancelRejected), invalidated)
	if a := Newest(&l.s); a.State != v1alpha1.ActionCanceling || a.Cancel.Cause != v1alpha1.CauseInvalidated {
		t.Errorf("state %s, cause %s; want the second cause asked", a.State, a.Cancel.Cause)
	}
}

func TestForceKeepsTheStateBeforeTheCancel(t *testing.T) {
	a := Newest(&newTarget(starts("one"), reports(Install), stopped, forced).s)
	if a.Cancel.From != v1alpha1.ActionInstalling {
		t.Errorf("cancel.from is %s, want Installing", a.Cancel.From)
	}
}

func TestPendingCancel(t *testing.T) {
	cases := map[string]struct {
		steps []testStep
		want  int32
	}{
		"after a forced cancel":                              {[]testStep{starts("one"), forced}, 1},
		"not after a soft one":                               {[]testStep{starts("one"), stopped, reports(CancelAccepted)}, 0},
		"not for an action that had not started":             {[]testStep{starts("one", asksToConfirm), forced}, 0},
		"not once there is a result":                         {[]testStep{starts("one"), reports(Proceed), forced, reports(Fail)}, 0},
		"after late progress reports":                        {[]testStep{starts("one"), forced, reports(Install)}, 1},
		"not once a newer action has started":                {[]testStep{starts("one"), forced, starts("two")}, 0},
		"while a newer action waits for confirmation":        {[]testStep{starts("one"), forced, starts("two", asksToConfirm)}, 1},
		"not once a newer action was confirmed":              {[]testStep{starts("one"), forced, starts("two", asksToConfirm), reports(Confirm)}, 0},
		"after a newer action was canceled before its start": {[]testStep{starts("one"), forced, starts("two", asksToConfirm), stopped}, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := newTarget(tc.steps...)
			got := int32(0)
			if a := PendingCancel(&l.s); a != nil {
				got = a.ID
			}
			if got != tc.want {
				t.Errorf("the cancel of action %d is offered, want that of %d", got, tc.want)
			}
			if l.s.Actions[0].Cancel.Answer == v1alpha1.AnswerOvertaken && tc.want != 0 {
				t.Error("it counts as overtaken")
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	newer := v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "second", UID: "uid-2", Attempt: 1}
	update := v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeSoft}
	cases := map[string]struct {
		steps []testStep
		want  bool
	}{
		"an open action":                  {[]testStep{starts("one"), reports(Install)}, true},
		"not one that is asked to cancel": {[]testStep{starts("one"), stopped}, false},
		"not a closed one":                {[]testStep{starts("one"), reports(Fail)}, false},
		"not a second time":               {[]testStep{starts("one"), func(l *testTarget) { Adopt(&l.s, 1, newer, update) }}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := newTarget(tc.steps...)
			before := *Newest(&l.s)
			if got := Adopt(&l.s, 1, newer, update); got != tc.want {
				t.Fatalf("adopted: %t, want %t", got, tc.want)
			}
			if tc.want {
				before.Source, before.Update = newer, update
			}
			if diff := cmp.Diff(before, *Newest(&l.s)); diff != "" {
				t.Errorf("action (-want +got):\n%s", diff)
			}
		})
	}
	if Adopt(&v1alpha1.TargetStatus{}, 1, newer, update) {
		t.Error("an action that does not exist was adopted")
	}
}

func TestNewSourceOfAdoptedActionMayCancel(t *testing.T) {
	adopt := func(l *testTarget) { Adopt(&l.s, 1, v1alpha1.ActionSource{UID: "uid-2"}, v1alpha1.ActionUpdate{}) }
	requested := cancels(v1alpha1.CauseRequested, v1alpha1.CancellationSoft)
	l := newTarget(starts("one"), stopped, reports(CancelRejected), requested, reports(CancelRejected), adopt, requested)
	if l.changed {
		t.Error("a cancel that was requested by spec.cancel was asked again")
	}
	if stopped(l); !l.changed {
		t.Error("the stop of the new source was not asked")
	}
}

func TestLookups(t *testing.T) {
	l := newTarget(then(then([]testStep{starts("one")}, installed...), starts("two"), reports(Fail), starts("one"))...)
	if a := Open(&l.s); a == nil || a.ID != 3 {
		t.Errorf("Open: %+v", a)
	}
	if a := OfSource(&l.s, "uid-of-two"); a == nil || a.ID != 2 {
		t.Errorf("OfSource two: %+v", a)
	}
	if a := OfSource(&l.s, "uid-of-one"); a == nil || a.ID != 3 {
		t.Errorf("OfSource one: %+v", a)
	}
	if a := OfSource(&l.s, "uid-of-none"); a != nil {
		t.Errorf("OfSource of an unknown source: %+v", a)
	}
	if reports(Fail)(l); Open(&l.s) != nil || Newest(&l.s).ID != 3 {
		t.Errorf("Open: %+v, Newest: %+v", Open(&l.s), Newest(&l.s))
	}
}

func TestDeadlines(t *testing.T) {
	l := newTarget(starts("one", within(600)))
	started := noon.Add(time.Minute)
	a := Newest(&l.s)
	if got, want := ProgressDeadline(a), started.Add(10*time.Minute); !got.Equal(want) || !CancelDeadline(a).IsZero() {
		t.Errorf("started: progress until %s, cancel until %s; want %s and none", got, CancelDeadline(a), want)
	}
	l.now = started.Add(5 * time.Minute)
	stopped(l)
	if got, want := CancelDeadline(a), started.Add(15*time.Minute); !got.Equal(want) || !ProgressDeadline(a).IsZero() {
		t.Errorf("canceling: cancel until %s, progress until %s; want %s and none", got, ProgressDeadline(a), want)
	}
}

func TestConditionConsistent(t *testing.T) {
	l := newTarget(starts("one"), reports(Install), reports(Fail, code("7"), saying("no space left")))
	at := metav1.NewTime(noon.Add(3 * time.Minute))
	want := metav1.Condition{
		Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUpdateFailed,
		ObservedGeneration: 3, LastTransitionTime: at,
		Message: `Action 1 (set "one") failed after installing may have started, and its modules declare no rollback. Code: 7. Message: "no space left". ` +
			`It is not certain what the device runs: install this set again, or another one; a success clears this condition.`,
	}
	if diff := cmp.Diff(want, l.condition(t)); diff != "" {
		t.Errorf("condition (-want +got):\n%s", diff)
	}
	if IsConsistent(&l.s) {
		t.Error("the target is consistent")
	}

	for _, do := range []testStep{waits(time.Minute), starts("two"), forced} {
		do(l)
	}
	if c := l.condition(t); c.Reason != v1alpha1.ReasonClosedWhileRunning || !c.LastTransitionTime.Equal(&at) {
		t.Errorf("inconsistent for a second reason: %s, since %s; want ClosedWhileRunning since %s", c.Reason, c.LastTransitionTime, at)
	}

	l.s.ObservedGeneration = -1
	for _, do := range then([]testStep{waits(time.Minute), starts("two")}, installed...) {
		do(l)
	}
	c := l.condition(t)
	since := metav1.NewTime(l.now)
	if c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.ReasonUpdateSucceeded || !c.LastTransitionTime.Equal(&since) || c.ObservedGeneration != 0 {
		t.Errorf("after a success: %+v", c)
	}
}

// saysConsistent is a device that sends AttributeConsistent.
func saysConsistent(value string) testStep {
	return func(l *testTarget) {
		l.s.Attributes = map[string]v1alpha1.AttributeValue{v1alpha1.AttributeConsistent: v1alpha1.AttributeValue(value)}
		ReportConsistency(&l.s, value, l.now)
	}
}

// TestDeviceThatReportsItsConsistency is about devices with AttributeConsistent: their word counts,
// in place of what their failures suggest.
func TestDeviceThatReportsItsConsistency(t *testing.T) {
	yes, no := saysConsistent("true"), saysConsistent("false")
	removal := func(b *Creation) { b.Remove = []v1alpha1.SoftwareReference{{Group: "app", Name: "web", Version: "1"}} }
	inconsistent := []testStep{yes, starts("one"), reports(Install), reports(Fail, code(v1alpha1.CodeInconsistent))}
	for name, tt := range map[string]struct {
		steps []testStep
		want  string // the reason of the inconsistency; "": consistent
		state v1alpha1.UpdateStatus
	}{
		"a failure without the attribute":                   {[]testStep{starts("one"), reports(Install), reports(Fail)}, v1alpha1.ReasonUpdateFailed, v1alpha1.UpdateStatusError},
		"a failure that was rolled back":                    {[]testStep{yes, starts("one"), reports(Install), reports(Fail)}, "", v1alpha1.UpdateStatusError},
		"a failure whose rollback failed":                   {inconsistent, v1alpha1.ReasonReportedByDevice, v1alpha1.UpdateStatusError},
		"the attribute does not replace the reason":         {then([]testStep{yes, starts("one"), reports(Install), reports(Fail, code(CodeRollbackFailed))}, no), v1alpha1.ReasonRollbackFailed, v1alpha1.UpdateStatusError},
		"a cancel that was rolled back":                     {[]testStep{yes, starts("one"), reports(Install), stopped, reports(CancelAccepted)}, "", v1alpha1.UpdateStatusRegistered},
		"a removal that was rolled back":                    {[]testStep{yes, starts("", removal), reports(Remove), reports(Fail)}, "", v1alpha1.UpdateStatusError},
		"a removal whose rollback failed":                   {[]testStep{yes, starts("", removal), reports(Remove), reports(Fail, code(v1alpha1.CodeInconsistent))}, v1alpha1.ReasonReportedByDevice, v1alpha1.UpdateStatusError},
		"a success":                                         {then(then(inconsistent, starts("one")), installed...), "", v1alpha1.UpdateStatusInSync},
		"a success that leaves other software inconsistent": {then(inconsistent, starts("two"), reports(Proceed), reports(Succeed, code(v1alpha1.CodeInconsistent))), v1alpha1.ReasonReportedByDevice, v1alpha1.UpdateStatusError},
		"the attribute alone, after a change by hand":       {then(then([]testStep{starts("one")}, installed...), no), v1alpha1.ReasonReportedByDevice, v1alpha1.UpdateStatusError},
		"the attribute after a repair by hand":              {then(inconsistent, yes), "", v1alpha1.UpdateStatusError},
		"the attribute after a forced cancel":               {[]testStep{yes, starts("one"), reports(Install), forced, yes}, "", v1alpha1.UpdateStatusRegistered},
		"a forced cancel, before the attribute":             {[]testStep{yes, starts("one"), reports(Install), forced}, v1alpha1.ReasonClosedWhileRunning, v1alpha1.UpdateStatusError},
		"a value without meaning":                           {then(inconsistent, saysConsistent("maybe")), v1alpha1.ReasonReportedByDevice, v1alpha1.UpdateStatusError},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTarget(tt.steps...).facts()
			if f.Inconsistent != tt.want || f.Status != tt.state {
				t.Errorf("inconsistent %q, %s; want %q, %s", f.Inconsistent, f.Status, tt.want, tt.state)
			}
		})
	}
}

func TestInstalledNeedsAConsistentTarget(t *testing.T) {
	l := newTarget(then([]testStep{starts("one")}, installed...)...)
	since := metav1.NewTime(l.now)
	want := &v1alpha1.InstalledSet{DistributionSet: "one", ContentHash: hash("one"), Since: &since, ActionID: 1, Source: v1alpha1.InstalledByAction}
	if diff := cmp.Diff(want, l.s.Installed); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	if !Installed(&l.s, hash("one")) || Installed(&l.s, hash("two")) || Installed(&l.s, "") {
		t.Error("Installed must be true for set one only")
	}
	for _, do := range []testStep{starts("two"), forced} {
		do(l)
	}
	if Installed(&l.s, hash("one")) {
		t.Error("Installed is true for an inconsistent target")
	}
}

func TestLateSuccessCountsOnce(t *testing.T) {
	l := newTarget(starts("one"), reports(Install), forced, reports(Succeed))
	before := l.s.Installed.DeepCopy()
	for _, do := range []testStep{waits(time.Hour), reports(Succeed)} {
		do(l)
	}
	if diff := cmp.Diff(before, l.s.Installed); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
}

func TestRepeatedReportOfInstalledSetChangesNothing(t *testing.T) {
	l := newTarget(then([]testStep{starts("one")}, installed...)...)
	before := l.s.DeepCopy()
	ReportInstalled(&l.s, "one", hash("one"), l.now.Add(time.Hour))
	if diff := cmp.Diff(before, &l.s); diff != "" {
		t.Errorf("it changed:\n%s", diff)
	}
}

func TestModuleNames(t *testing.T) {
	long := strings.Repeat("<", 300)
	if a, b := moduleName(long+"a"), moduleName(long+"b"); a == b || a != moduleName(long+"a") || len(a) > maxModuleBytes {
		t.Errorf("long names must stay distinct, stable and short: %q, %q", a, b)
	}
	if got := moduleName("linux:6.6.1"); got != "linux:6.6.1" {
		t.Errorf("a short name became %q", got)
	}
}

func TestDDI(t *testing.T) {
	type words struct{ execution, finished string }
	deployment := map[words]Event{
		{"closed", "failure"}: Fail, {"closed", "success"}: Succeed, {"closed", "none"}: Succeed,
		{"download", "none"}: Download, {"downloaded", "none"}: Downloaded,
		{"proceeding", "none"}: Proceed, {"scheduled", "none"}: Start, {"resumed", "none"}: Proceed, {"proceeding", "failure"}: Proceed,
		{"rejected", "failure"}: Warn, {"canceled", "success"}: Warn, {"sleeping", "success"}: Warn,
	}
	for w, want := range deployment {
		if got := FromDDI(w.execution, w.finished); got != want {
			t.Errorf("deploymentBase %v: %s, want %s", w, got, want)
		}
	}
	cancel := map[words]Event{
		{"closed", "failure"}: CancelRejected, {"closed", "success"}: CancelAccepted, {"closed", "none"}: CancelAccepted,
		{"rejected", "none"}: CancelRejected, {"canceled", "success"}: Warn, {"proceeding", "none"}: Warn, {"sleeping", "success"}: Warn,
	}
	for w, want := range cancel {
		if got := FromDDICancel(w.execution, w.finished); got != want {
			t.Errorf("cancelAction %v: %s, want %s", w, got, want)
		}
	}
}
