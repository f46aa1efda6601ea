// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// software returns entries of the group "g", each written as name:version.
func software(names ...string) []v1alpha1.SoftwareReference {
	var list []v1alpha1.SoftwareReference
	for _, name := range names {
		n, version, _ := strings.Cut(name, ":")
		list = append(list, v1alpha1.SoftwareReference{Group: "g", Name: n, Version: version, Type: "software"})
	}
	return list
}

func removes(names ...string) creationOption {
	return func(b *Creation) { b.DistributionSet, b.Remove = "", software(names...) }
}

func warningFails(b *Creation) { b.Update.FinishedWarning = v1alpha1.FinishedWarningFailure }

// status applies a status of SoftwareUpdatable about modules, or entries of a removal, to the
// newest action.
func status(word string, names ...string) testStep {
	return func(l *testTarget) {
		a := Newest(&l.s)
		e, _ := FromSoftwareUpdatable(word)
		r := Report{ID: a.ID, Event: e, Stage: word, ModuleCount: max(len(a.Modules), len(a.Remove), 1), Now: l.now}
		for _, name := range names {
			if a.Removes() {
				name = "g:" + name
			}
			r.Modules = append(r.Modules, name)
		}
		l.outcome = Apply(&l.s, r)
	}
}

// everyState has steps that lead a new action to each state.
var everyState = map[v1alpha1.ActionState][]testStep{
	v1alpha1.ActionWaitingForConfirmation: {starts("one", asksToConfirm)},
	v1alpha1.ActionRetrieved:              {starts("one")},
	v1alpha1.ActionRunning:                {starts("one"), reports(Proceed)},
	v1alpha1.ActionDownloading:            {starts("one"), status("DOWNLOADING", "app:1")},
	v1alpha1.ActionDownloaded:             {starts("one"), status("DOWNLOADED", "app:1")},
	v1alpha1.ActionInstalling:             {starts("one"), status("INSTALLING", "app:1")},
	v1alpha1.ActionRemoving:               {starts("one"), status("REMOVING", "app:1")},
	v1alpha1.ActionCanceling:              {starts("one"), stopped},
	v1alpha1.ActionFinished:               {starts("one"), status("FINISHED_SUCCESS", "app:1")},
	v1alpha1.ActionError:                  {starts("one"), status("FINISHED_ERROR", "app:1")},
	v1alpha1.ActionCanceled:               {starts("one"), status("FINISHED_CANCELED", "app:1")},
}

// TestEveryStatusInEveryState applies each status of SoftwareUpdatable to an action in each state.
func TestEveryStatusInEveryState(t *testing.T) {
	const same = v1alpha1.ActionState("")
	type want struct{ working, canceling v1alpha1.ActionState }
	wants := map[string]want{
		"STARTED":             {same, same},
		"DOWNLOADING":         {v1alpha1.ActionDownloading, same},
		"DOWNLOADING_WAITING": {v1alpha1.ActionDownloading, same},
		"DOWNLOADED":          {v1alpha1.ActionDownloaded, same},
		"INSTALLING":          {v1alpha1.ActionInstalling, same},
		"INSTALLING_WAITING":  {v1alpha1.ActionInstalling, same},
		"INSTALLED":           {v1alpha1.ActionInstalling, same},
		"REMOVING":            {v1alpha1.ActionRemoving, same},
		"REMOVING_WAITING":    {v1alpha1.ActionRemoving, same},
		"REMOVED":             {v1alpha1.ActionRemoving, same}, // a step of an installation
		"CANCELING":           {same, same},
		"CANCELING_WAITING":   {same, same},
		"CANCEL_REJECTED":     {same, v1alpha1.ActionRetrieved},
		"FINISHED_CANCELED":   {v1alpha1.ActionCanceled, v1alpha1.ActionCanceled},
		"FINISHED_SUCCESS":    {v1alpha1.ActionFinished, v1alpha1.ActionFinished},
		"FINISHED_WARNING":    {v1alpha1.ActionFinished, v1alpha1.ActionFinished},
		"FINISHED_ERROR":      {v1alpha1.ActionError, v1alpha1.ActionError},
		"FINISHED_REJECTED":   {v1alpha1.ActionError, v1alpha1.ActionError},
	}
	if len(wants) != 18 {
		t.Fatalf("the table has %d statuses, want 18", len(wants))
	}
	wants["DOWNLOADED_FILE_STORED"], wants["SOMETHING_NEW"] = want{same, same}, want{same, same}
	for word, w := range wants {
		for state, steps := range everyState {
			t.Run(word+" in "+string(state), func(t *testing.T) {
				l := newTarget(steps...)
				if got := Newest(&l.s).State; got != state {
					t.Fatalf("the steps lead to %s", got)
				}
				before := l.s.DeepCopy()
				status(word, "app:1")(l)
				expected := w.working
				switch {
				case state.IsClosed():
					expected = same
				case state == v1alpha1.ActionCanceling:
					expected = w.canceling
				case state == v1alpha1.ActionWaitingForConfirmation && word == "STARTED":
					expected = v1alpha1.ActionRetrieved
				}
				if expected == same {
					expected = state
				}
				if got := Newest(&l.s).State; got != expected {
					t.Errorf("got %s, want %s", got, expected)
				}
				if state.IsClosed() {
					if diff := cmp.Diff(before, &l.s); diff != "" || l.outcome != Late {
						t.Errorf("a closed action: outcome %s, changes:\n%s", l.outcome, diff)
					}
				}
			})
		}
	}
}

func TestUnknownStatusIsReportedAsUnknown(t *testing.T) {
	for word, want := range map[string]bool{"FINISHED_SUCCESS": true, "DOWNLOADED_FILE_STORED": true, "": false, "finished_success": false, "CANCELED": false} {
		if e, known := FromSoftwareUpdatable(word); known != want || !known && e != Warn {
			t.Errorf("%q is %s, known %t; want known %t", word, e, known, want)
		}
	}
}

func TestResultsOfSoftwareUpdatable(t *testing.T) {
	two := withModules("app:1", "os:1")
	type row struct {
		steps     []testStep
		wantState v1alpha1.ActionState
		// wantParts are the states of the modules or entries of the removal, in order.
		wantParts    string
		wantWarning  bool
		inconsistent string
		installed    string
	}
	const (
		finished, failed, canceled = v1alpha1.ActionFinished, v1alpha1.ActionError, v1alpha1.ActionCanceled
	)
	for name, tt := range map[string]row{
		// Aggregation of modules.
		"the first of two modules is done": {
			steps:     []testStep{starts("one", two), status("FINISHED_SUCCESS", "app:1")},
			wantState: v1alpha1.ActionRetrieved, wantParts: "Finished Retrieved",
		},
		"both are done, in another order than the set's": {
			steps:     []testStep{starts("one", two), status("FINISHED_SUCCESS", "os:1"), status("INSTALLING", "app:1"), status("FINISHED_SUCCESS", "app:1")},
			wantState: finished, wantParts: "Finished Finished", installed: "one",
		},
		"the last result arrives before STARTED": {
			steps:     []testStep{starts("one", two), status("FINISHED_SUCCESS", "app:1"), status("STARTED", "app:1"), status("FINISHED_SUCCESS", "os:1")},
			wantState: finished, wantParts: "Finished Finished", installed: "one",
		},
		"a repeated result of one module does not stand for the other": {
			steps:     []testStep{starts("one", two), status("FINISHED_SUCCESS", "app:1"), status("FINISHED_SUCCESS", "app:1")},
			wantState: v1alpha1.ActionRetrieved, wantParts: "Finished Retrieved",
		},
		"a failed module fails the action when the other is done": {
			steps:     []testStep{starts("one", two), status("FINISHED_ERROR", "app:1"), status("FINISHED_SUCCESS", "os:1")},
			wantState: failed, wantParts: "Error Finished",
		},
		"a rejected module fails the action": {
			steps:     []testStep{starts("one", two), status("FINISHED_SUCCESS", "app:1"), status("FINISHED_REJECTED", "os:1")},
			wantState: failed, wantParts: "Finished Error",
		},
		"an error takes precedence over a cancel": {
			steps:     []testStep{starts("one", two), stopped, status("FINISHED_CANCELED", "app:1"), status("FINISHED_ERROR", "os:1")},
			wantState: failed, wantParts: "Canceled Error",
		},
		"a cancel takes precedence over a success": {
			steps:     []testStep{starts("one", two), stopped, status("FINISHED_SUCCESS", "app:1"), status("FINISHED_CANCELED", "os:1")},
			wantState: canceled, wantParts: "Finished Canceled",
		},
		"a status without a module counts for all": {
			steps:     []testStep{starts("one", two), status("INSTALLING"), status("FINISHED_SUCCESS")},
			wantState: finished, wantParts: "Finished Finished", installed: "one",
		},
		"Kanto's stray status after the result": {
			steps:     []testStep{starts("one", two), status("FINISHED_SUCCESS", "app:1"), status("DOWNLOADED_FILE_STORED", "app:1")},
			wantState: v1alpha1.ActionRetrieved, wantParts: "Finished Retrieved",
		},
		"a stage that is repeated from a lower one": {
			steps:     []testStep{starts("one", two), status("INSTALLED", "app:1"), status("DOWNLOADING", "app:1")},
			wantState: v1alpha1.ActionDownloading, wantParts: "Downloading Retrieved",
		},

		// Warnings.
		"a warning is a success by default": {
			steps:     []testStep{starts("one"), status("FINISHED_WARNING", "app:1")},
			wantState: finished, wantParts: "Finished", wantWarning: true, installed: "one",
		},
		"a warning is a failure if the update wants it": {
			steps:     []testStep{starts("one", warningFails), status("FINISHED_WARNING", "app:1")},
			wantState: failed, wantParts: "Error", wantWarning: true,
		},
		"a warning of one module of two": {
			steps:     []testStep{starts("one", two), status("FINISHED_WARNING", "app:1"), status("FINISHED_SUCCESS", "os:1")},
			wantState: finished, wantParts: "Finished! Finished", wantWarning: true, installed: "one",
		},
		"a warning of one module that is a failure": {
			steps:     []testStep{starts("one", two, warningFails), status("FINISHED_WARNING", "app:1"), status("FINISHED_SUCCESS", "os:1")},
			wantState: failed, wantParts: "Error! Finished", wantWarning: true,
		},
		"a warning that is a failure leaves an installation uncertain": {
			steps:     []testStep{starts("one", warningFails), status("INSTALLING"), status("FINISHED_WARNING")},
			wantState: failed, wantWarning: true, inconsistent: v1alpha1.ReasonUpdateFailed,
		},
		"a warning is a late result after force": {
			steps:     []testStep{starts("one"), forced, status("FINISHED_WARNING", "app:1")},
			wantState: canceled, wantParts: "Finished!", installed: "one",
		},

		// Downloads.
		"a download ends with DOWNLOADED and FINISHED_SUCCESS": {
			steps:     []testStep{starts("one", downloadsOnly), status("DOWNLOADED", "app:1"), status("FINISHED_SUCCESS", "app:1")},
			wantState: finished, wantParts: "Finished",
		},
		"a download whose statuses name no module": {
			steps:     []testStep{starts("one", downloadsOnly), status("DOWNLOADING"), status("DOWNLOADED"), status("FINISHED_SUCCESS")},
			wantState: finished,
		},
		"a download of cached artifacts reports only its result": {
			steps:     []testStep{starts("one", downloadsOnly), status("FINISHED_SUCCESS", "app:1")},
			wantState: finished, wantParts: "Finished",
		},
		"two downloads, the first of which fails after DOWNLOADED": {
			steps: []testStep{
				starts("one", downloadsOnly, two), status("DOWNLOADED", "app:1"), status("FINISHED_ERROR", "app:1"), status("DOWNLOADED", "os:1"), status("FINISHED_SUCCESS", "os:1"),
			},
			wantState: failed, wantParts: "Error Downloaded",
		},
		"a download that fails after DOWNLOADED": {
			steps:     []testStep{starts("one", downloadsOnly), status("DOWNLOADED", "app:1"), status("FINISHED_ERROR", "app:1")},
			wantState: finished, wantParts: "Error", // as with DDI the action stays Finished, and the target is in Error
		},

		// Cancels.
		"a refused cancel, and then the result": {
			steps:     []testStep{starts("one"), status("DOWNLOADING", "app:1"), stopped, status("CANCEL_REJECTED", "app:1"), status("FINISHED_SUCCESS", "app:1")},
			wantState: finished, wantParts: "Finished", installed: "one",
		},
		"a cancel that the device works on": {
			steps:     []testStep{starts("one"), stopped, status("CANCELING", "app:1"), status("CANCELING_WAITING", "app:1")},
			wantState: v1alpha1.ActionCanceling, wantParts: "Retrieved",
		},
		"a device that cancels by itself": {
			steps:     []testStep{starts("one"), status("CANCELING", "app:1"), status("FINISHED_CANCELED", "app:1")},
			wantState: canceled, wantParts: "Canceled",
		},

		// Removals.
		"REMOVED without a FINISHED status": {
			steps:     []testStep{starts("one", removes("app:1")), status("REMOVING", "app:1"), status("REMOVED", "app:1")},
			wantState: finished, wantParts: "Finished",
		},
		"REMOVED of one of two": {
			steps:     []testStep{starts("one", removes("app:1", "os:1")), status("REMOVED", "app:1")},
			wantState: v1alpha1.ActionRetrieved, wantParts: "Finished Retrieved",
		},
		"one after the other, then a result for all": {
			steps: []testStep{
				starts("one", removes("app:1", "os:1")), status("REMOVING", "app:1", "os:1"), status("REMOVED", "app:1"), status("REMOVING", "os:1"), status("REMOVED", "os:1"),
				status("FINISHED_SUCCESS", "app:1", "os:1"),
			},
			wantState: finished, wantParts: "Finished Finished",
		},
		"a partly failed removal in Kanto's order: rejected, error, success": {
			steps: []testStep{
				starts("one", removes("a:1", "b:1", "c:1")), status("REMOVING", "a:1"), status("REMOVED", "a:1"), status("REMOVING", "b:1"),
				status("FINISHED_REJECTED", "c:1"), status("FINISHED_ERROR", "b:1"), status("FINISHED_SUCCESS", "a:1"),
			},
			wantState: failed, wantParts: "Finished Error Error", inconsistent: v1alpha1.ReasonUpdateFailed,
		},
		"the same without REMOVED": {
			steps: []testStep{
				starts("one", removes("a:1", "b:1", "c:1")), status("FINISHED_REJECTED", "c:1"), status("FINISHED_ERROR", "b:1"), status("FINISHED_SUCCESS", "a:1"),
			},
			wantState: failed, wantParts: "Finished Error Error",
		},
		"a success that names all entries does not hide an error": {
			steps: []testStep{
				starts("one", removes("a:1", "b:1")), status("FINISHED_ERROR", "b:1"), status("FINISHED_SUCCESS", "a:1", "b:1"),
			},
			wantState: failed, wantParts: "Finished Error",
		},
		"a success without a list does not hide an error": {
			steps:     []testStep{starts("one", removes("a:1", "b:1")), status("FINISHED_ERROR", "a:1"), status("FINISHED_SUCCESS")},
			wantState: failed, wantParts: "Error Finished",
		},
		"software that is not to be removed": {
			steps:     []testStep{starts("one", removes("a:1")), status("REMOVED", "z:9"), status("FINISHED_SUCCESS", "z:9")},
			wantState: v1alpha1.ActionRetrieved, wantParts: "Retrieved",
		},
		"a removal with a warning": {
			steps:     []testStep{starts("one", removes("a:1", "b:1")), status("FINISHED_WARNING", "a:1"), status("REMOVED", "b:1")},
			wantState: finished, wantParts: "Finished! Finished", wantWarning: true,
		},
		"a canceled removal that had removed one entry": {
			steps:     []testStep{starts("one", removes("a:1", "b:1")), status("REMOVED", "a:1"), stopped, status("FINISHED_CANCELED", "b:1")},
			wantState: canceled, wantParts: "Finished Canceled",
		},
		"a removal that removed first and was canceled": {
			steps:     []testStep{starts("one", removes("a:1")), status("REMOVING", "a:1"), stopped, status("FINISHED_CANCELED", "a:1")},
			wantState: canceled, wantParts: "Canceled", inconsistent: v1alpha1.ReasonCanceledWhileInstalling,
		},
		"a removal leaves the installed set as it is": {
			steps:     then(then([]testStep{starts("old")}, installed...), starts("one", removes("a:1")), status("REMOVING"), status("REMOVED")),
			wantState: finished, wantParts: "Finished", installed: "old",
		},
		"a failed removal, and then a success of the same": {
			steps:     []testStep{starts("one", removes("a:1")), status("REMOVING"), status("FINISHED_ERROR"), starts("one", removes("a:1")), status("REMOVED")},
			wantState: finished, wantParts: "Finished",
		},
		"the third attempt of a removal": {
			steps: []testStep{
				starts("one", removes("a:1")), status("REMOVING"), status("FINISHED_ERROR"), starts("one", removes("a:1")), status("REMOVING"), status("FINISHED_ERROR"),
				starts("one", removes("a:1")), status("REMOVED"),
			},
			wantState: finished, wantParts: "Finished",
		},
		"the success of a removal does not end the inconsistency of an installation": {
			steps:     []testStep{starts("old"), reports(Install), reports(Fail), starts("one", removes("a:1")), status("REMOVED")},
			wantState: finished, wantParts: "Finished", inconsistent: v1alpha1.ReasonUpdateFailed,
		},
		"nor does the second attempt of a removal": {
			steps: []testStep{
				starts("old"), reports(Install), reports(Fail), starts("one", removes("a:1")), status("REMOVING"), status("FINISHED_ERROR"), starts("one", removes("a:1")), status("REMOVED"),
			},
			wantState: finished, wantParts: "Finished", inconsistent: v1alpha1.ReasonUpdateFailed,
		},
		"nor does another removal": {
			steps: []testStep{
				starts("one", removes("a:1")), status("REMOVING"), status("FINISHED_ERROR"), starts("two", removes("b:1")), status("REMOVED"),
			},
			wantState: finished, wantParts: "Finished", inconsistent: v1alpha1.ReasonUpdateFailed,
		},
		"a late success of a removal that was closed by force": {
			steps:     []testStep{starts("one", removes("a:1")), status("REMOVING"), forced, status("REMOVED")},
			wantState: canceled, wantParts: "Finished",
		},
		"a late success of an installation before a removal counts": {
			steps:     []testStep{starts("old"), reports(Install), forced, starts("one", removes("a:1")), status("REMOVED"), reports(Succeed, of(1))},
			wantState: finished, wantParts: "Finished", installed: "old",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTarget(tt.steps...)
			a, f := Newest(&l.s), l.facts()
			var parts []string
			for _, p := range partsOf(a) {
				mark := ""
				if *p.warning && len(partsOf(a)) > 1 || *p.warning && tt.wantState == canceled {
					mark = "!"
				}
				parts = append(parts, string(*p.state)+mark)
			}
			got := row{
				wantState: a.State, wantParts: strings.Join(parts, " "), wantWarning: a.Warning, inconsistent: f.Inconsistent, installed: f.Installed,
			}
			tt.steps = nil
			if diff := cmp.Diff(tt, got, cmp.AllowUnexported(row{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailureAfterDownloadedMakesTheTargetError(t *testing.T) {
	l := newTarget(starts("one", downloadsOnly), status("DOWNLOADED", "app:1"), status("FINISHED_ERROR", "app:1"), status("FINISHED_ERROR", "app:1"))
	if l.s.UpdateStatus != v1alpha1.UpdateStatusError || l.s.Installed != nil {
		t.Errorf("updateStatus is %s, installed %+v; want Error and nothing", l.s.UpdateStatus, l.s.Installed)
	}
}

// TestDeviceReports1000Statuses checks the quota of the seed: progress beyond it is dropped, each
// result is applied.
func TestDeviceReports1000Statuses(t *testing.T) {
	l := newTarget(starts("one", withModules("app:1", "os:1")))
	for i := range 1200 {
		module := []string{"app:1", "os:1"}[i%2]
		status("DOWNLOADING", module)(l)
		if want := i >= 1000; (l.outcome == Dropped || l.outcome == FirstDropped) != want {
			t.Fatalf("report %d: outcome %s", i+1, l.outcome)
		}
	}
	for _, step := range []testStep{status("FINISHED_SUCCESS", "app:1"), status("FINISHED_WARNING", "os:1")} {
		step(l)
	}
	if a := Newest(&l.s); a.State != v1alpha1.ActionFinished || !a.Warning {
		t.Errorf("state %s, warning %t; want Finished with a warning", a.State, a.Warning)
	}
	r := newTarget(starts("one", removes("a:1", "b:1")))
	for range 1100 {
		status("REMOVING", "a:1")(r)
	}
	status("REMOVED", "a:1")(r)
	status("REMOVED", "b:1")(r)
	if a := Newest(&r.s); a.State != v1alpha1.ActionFinished {
		t.Errorf("the removal is %s after 1100 reports and its results, want Finished", a.State)
	}
}

// TestMayCloseInterpretsTheEvent checks which statuses a device API stores at once.
func TestMayCloseInterpretsTheEvent(t *testing.T) {
	install, removal := Newest(&newTarget(starts("one")).s), Newest(&newTarget(starts("one", removes("a:1"))).s)
	for word, want := range map[string]struct{ install, removal bool }{
		"FINISHED_WARNING": {true, true}, "REMOVED": {false, true}, "REMOVING": {false, false}, "INSTALLED": {false, false}, "FINISHED_REJECTED": {true, true},
	} {
		e, _ := FromSoftwareUpdatable(word)
		if MayClose(install, e) != want.install || MayClose(removal, e) != want.removal {
			t.Errorf("%s: installation %t, removal %t; want %+v", word, MayClose(install, e), MayClose(removal, e), want)
		}
	}
	e, _ := FromSoftwareUpdatable("REMOVED")
	if !IsEvidence(install, e) {
		t.Error("REMOVED during an installation is no evidence of work")
	}
}

func TestSoftwareNamesAreUnambiguous(t *testing.T) {
	a := SoftwareName(v1alpha1.SoftwareReference{Group: "a:b", Name: "c", Version: "1"})
	b := SoftwareName(v1alpha1.SoftwareReference{Group: "a", Name: "b:c", Version: "1"})
	c := SoftwareName(v1alpha1.SoftwareReference{Group: "a%3Ab", Name: "c", Version: "1"})
	if a == b || a == c {
		t.Errorf("the names are %q, %q and %q", a, b, c)
	}
	if got := SoftwareName(v1alpha1.SoftwareReference{Group: "acme.fw", Name: "app", Version: "1.2.0", Type: "software"}); got != "acme.fw:app:1.2.0" {
		t.Errorf("got %q", got)
	}
}

// TestPruneKeepsRemovalsBelow32KiB: 100 removals of 50 entries fit, and the open one keeps its
// list.
func TestPruneKeepsRemovalsBelow32KiB(t *testing.T) {
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("%s-%d:%s", strings.Repeat("n", 36), i, strings.Repeat("1", 38)))
	}
	l := newTarget()
	for i := range 100 {
		for _, do := range []testStep{starts(fmt.Sprint("r", i), removes(names...)), status("REMOVING", names...), status("FINISHED_ERROR", names...)} {
			l.now = l.now.Add(time.Minute)
			do(l)
		}
		Prune(&l.s, noSource)
	}
	starts("last", removes(names...))(l)
	Prune(&l.s, noSource)
	if size := sizeOf(t, &l.s); size > v1alpha1.MaxActionBytes {
		t.Errorf("the actions have %d bytes", size)
	}
	if open := Open(&l.s); open == nil || len(open.Remove) != 50 || slices.ContainsFunc(l.s.Actions, func(a v1alpha1.Action) bool { return a.Removal == "" }) {
		t.Errorf("the open removal or a text about a removal is lost: %d actions", len(l.s.Actions))
	}
}
