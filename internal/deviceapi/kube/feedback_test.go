// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	stdcmp "cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Every execution of DDI with every result, from a device that has started.
func TestFeedback(t *testing.T) {
	anyResult := []wire.Finished{wire.FinishedSuccess, wire.FinishedFailure, wire.FinishedNone}
	for execution, states := range map[wire.Execution][]v1alpha1.ActionState{ // in the order of anyResult
		wire.ExecutionClosed:     {v1alpha1.ActionFinished, v1alpha1.ActionError, v1alpha1.ActionFinished},
		wire.ExecutionProceeding: {v1alpha1.ActionRunning, v1alpha1.ActionRunning, v1alpha1.ActionRunning},
		wire.ExecutionScheduled:  {v1alpha1.ActionRunning, v1alpha1.ActionRunning, v1alpha1.ActionRunning},
		wire.ExecutionResumed:    {v1alpha1.ActionRunning, v1alpha1.ActionRunning, v1alpha1.ActionRunning},
		wire.ExecutionDownload:   {v1alpha1.ActionDownloading, v1alpha1.ActionDownloading, v1alpha1.ActionDownloading},
		wire.ExecutionDownloaded: {v1alpha1.ActionDownloaded, v1alpha1.ActionDownloaded, v1alpha1.ActionDownloaded},
		wire.ExecutionRejected:   {v1alpha1.ActionRunning, v1alpha1.ActionRunning, v1alpha1.ActionRunning},
		wire.ExecutionCanceled:   {v1alpha1.ActionRunning, v1alpha1.ActionRunning, v1alpha1.ActionRunning},
	} {
		for i, finished := range anyResult {
			t.Run(fmt.Sprintf("%s with %s", execution, finished), func(t *testing.T) {
				w := newWorld(t, 1)
				d := w.deviceAPI(Options{})
				d.start()
				d.wantReport(nil, firstID, proceeding)
				d.wantReport(nil, firstID, feedback(execution, finished))
				if states[i].IsClosed() {
					w.wantState(firstID, states[i])
					w.wantWrites(1, "a result")
					return
				}
				w.wantWrites(0, "the report before the result")
				d.flushAll()
				if a := w.wantState(firstID, states[i]); a.Reports != 2 || a.Stage != string(execution) {
					t.Errorf("stored are %d reports, the last one of stage %q; want 2 and %s", a.Reports, a.Stage, execution)
				}
			})
		}
	}
}

// A result that arrives before a stop was written is judged after the stop, in the same write.
func TestAResultAndAPendingStopAreOneWrite(t *testing.T) {
	for name, c := range map[string]struct {
		cancellation v1alpha1.Cancellation
		answer       error
		state        v1alpha1.ActionState
	}{
		"None lets the action go on":  {v1alpha1.CancellationNone, nil, v1alpha1.ActionFinished},
		"Soft has asked the device":   {v1alpha1.CancellationSoft, nil, v1alpha1.ActionFinished},
		"Force has closed the action": {v1alpha1.CancellationForce, deviceapi.ErrGone, v1alpha1.ActionCanceled},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.start()
			w.editRollout(stop(c.cancellation))
			d.sync()
			d.wantReport(c.answer, firstID, succeeded)
			w.wantState(firstID, c.state)
			w.wantWrites(1, "the result and the stop")
		})
	}
}

// flushAll writes all buffered reports.
func (d *deviceAPI) flushAll() {
	d.w.t.Helper()
	ended, end := context.WithCancel(context.Background())
	end()
	if err := d.Flush(ended); err != nil {
		d.w.t.Fatal(err)
	}
}

func TestResultsOfADevice(t *testing.T) {
	downloading, downloaded := feedback(wire.ExecutionDownload, wire.FinishedNone), feedback(wire.ExecutionDownloaded, wire.FinishedSuccess)
	type reports []wire.Feedback
	for name, c := range map[string]struct {
		kind      v1alpha1.UpdateType
		reports   reports
		state     v1alpha1.ActionState
		code      string
		status    v1alpha1.UpdateStatus
		installed bool
		doubt     bool
	}{
		"a success installs": {
			"", reports{proceeding, succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a failure makes the device inconsistent": {
			"", reports{proceeding, failed}, v1alpha1.ActionError, "", v1alpha1.UpdateStatusError, false, true},
		"a failed download leaves the device consistent": {
			"", reports{downloading, failed}, v1alpha1.ActionError, "", v1alpha1.UpdateStatusError, false, false},
		"a success that is the only report installs": {
			"", reports{succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a closed report without a result, as hawkBit takes it, installs": {
			"", reports{feedback(wire.ExecutionClosed, wire.FinishedNone)}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a success as the only report on a soft update installs": {
			v1alpha1.UpdateTypeSoft, reports{succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a success directly after a rejected report installs": {
			"", reports{feedback(wire.ExecutionRejected, wire.FinishedNone), succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a download-only with reports on the download and on its end": {
			v1alpha1.UpdateTypeDownloadOnly, reports{downloading, succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusRegistered, false, false},
		"a download ends a download-only": {
			v1alpha1.UpdateTypeDownloadOnly, reports{downloaded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusRegistered, false, false},
		"swupdate skips a download-only": {
			v1alpha1.UpdateTypeDownloadOnly, reports{succeeded}, v1alpha1.ActionError, v1alpha1.CodeSkipped, v1alpha1.UpdateStatusError, false, false},
		"a device reports that it is inconsistent": {
			"", reports{proceeding, coded(failed, "INCONSISTENT")}, v1alpha1.ActionError, "INCONSISTENT", v1alpha1.UpdateStatusError, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Spec.Update.Type = c.kind })
			d := w.deviceAPI(Options{})
			d.start()
			for _, f := range c.reports {
				d.wantReport(nil, firstID, f)
			}
			a, s := w.wantState(firstID, c.state), w.target("dev-0").Status
			if a.StatusCode != c.code || s.UpdateStatus != c.status || (s.Installed != nil) != c.installed || w.isInconsistent() != c.doubt {
				t.Errorf("code %q, target %s, installed %+v, inconsistent: %t", a.StatusCode, s.UpdateStatus, s.Installed, w.isInconsistent())
			}
			w.wantWrites(1, "the result")
		})
	}
}

func coded(f wire.Feedback, code string) wire.Feedback {
	f.Status.Code = wire.Text(code)
	return f
}

func step(cnt, of int, details ...string) wire.Feedback {
	f := feedback(wire.ExecutionProceeding, wire.FinishedNone, details...)
	f.Status.Result.Progress = &wire.Progress{Count: cnt, Of: of}
	return f
}

// Reports before the result are written together with it, in their order and with the times of
// their arrival.
func TestReportsAreWrittenWithTheResult(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	started := w.clock()
	downloading, downloaded := feedback(wire.ExecutionDownload, wire.FinishedNone), feedback(wire.ExecutionDownloaded, wire.FinishedNone)
	for i, f := range []wire.Feedback{downloading, downloaded, step(1, 4, "a"), step(3, 4, "b", "c")} {
		w.wait(time.Second)
		d.wantReport(nil, firstID, f)
		w.wantWrites(0, fmt.Sprintf("report %d", i+1))
	}
	w.wait(time.Second)
	d.wantReport(nil, firstID, succeeded)
	w.wantWrites(1, "the result")
	a := w.wantState(firstID, v1alpha1.ActionFinished)
	if seen := w.target("dev-0").Status.LastSeen; !seen.Time.Equal(w.clock()) {
		t.Errorf("the device was last seen at %s, want %s", seen, w.clock())
	}
	if a.Reports != 5 || a.Message != "b; c" || a.Progress != nil {
		t.Errorf("%d reports, message %q, progress %v", a.Reports, a.Message, a.Progress)
	}
	type line struct {
		After time.Duration
		State v1alpha1.ActionState
	}
	var got []line
	for _, e := range a.History {
		got = append(got, line{e.Time.Sub(started), e.State})
	}
	want := []line{{0, v1alpha1.ActionRetrieved}, {1e9, v1alpha1.ActionDownloading}, {2e9, v1alpha1.ActionDownloaded}, {3e9, v1alpha1.ActionRunning},
		{5e9, v1alpha1.ActionFinished}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the history is not as it happened (-want +got):\n%s", diff)
	}
}

// The reports of a device that works for long are written after the progress interval, and once
// more when the device API ends.
func TestFlush(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{PollInterval: time.Minute, ProgressInterval: time.Second})
	d.start()
	ctx, closeDeviceAPI := context.WithCancel(context.Background())
	closed := make(chan error)
	go func() { closed <- d.Flush(ctx) }()

	d.wantReport(nil, firstID, step(1, 10))
	time.Sleep(250 * time.Millisecond) // the flusher runs twice, and nothing is due, because the clock of the world does not advance
	w.wantWrites(0, "a report that is not due")
	w.wait(time.Second)
	written := 0
	for deadline := time.Now().Add(30 * time.Second); written == 0; time.Sleep(5 * time.Millisecond) {
		if written = w.takeWrites(); time.Now().After(deadline) {
			t.Fatal("a report was never written")
		}
	}
	if written != 1 || w.action(firstID).Reports != 1 {
		t.Errorf("a report that is due cost %d writes, %d are stored; want one of each", written, w.action(firstID).Reports)
	}

	d.wantReport(nil, firstID, step(2, 10))
	closeDeviceAPI()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	w.wantWrites(1, "the end of the device API")
	d.wantReport(nil, firstID, step(3, 10))
	w.wantWrites(1, "a report after the last flush, which would not be written later")
	if a := w.wantState(firstID, v1alpha1.ActionRunning); a.Reports != 3 || *a.Progress != 30 {
		t.Errorf("%d reports with progress %d are stored, want 3 with 30", a.Reports, *a.Progress)
	}
}

func TestReportsOfADeletedTargetAreDropped(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	w.remove(built.Target("dev-0"))
	d.flushAll()
	if n := len(d.progress.due(0)); n != 0 {
		t.Errorf("the reports of %d devices are buffered, want none", n)
	}
}

func TestReportsSurviveAConflict(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, step(1, 2))
	w.editTarget(func(t *v1alpha1.Target) { t.Status.Address = "192.0.2.99" })
	d.wantReport(nil, firstID, succeeded)
	if a := w.wantState(firstID, v1alpha1.ActionFinished); a.Reports != 2 || !a.DownloadSeen {
		t.Errorf("%d reports are stored, want 2", a.Reports)
	}
	if got := w.target("dev-0").Status.Address; got != "192.0.2.99" {
		t.Errorf("the address of the other writer was overwritten: %q", got)
	}
}

// A flush and a result of the same device at the same time: no report counts twice, and the result
// does not count as a skip while the evidence is being written.
func TestFlushAndResultAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	flushing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.set(func(w *world) {
		w.beforeWrite = func(client.Object) error {
			once.Do(func() { close(flushing); <-goOn })
			return nil
		}
	})
	var both sync.WaitGroup
	both.Go(d.flushAll)
	<-flushing
	both.Go(func() { d.wantReport(nil, firstID, succeeded) })
	time.Sleep(20 * time.Millisecond) // lets the result arrive at the device API before the flush ends
	close(goOn)
	both.Wait()
	if a := w.wantState(firstID, v1alpha1.ActionFinished); a.Reports != 2 {
		t.Errorf("%d reports are stored, want 2", a.Reports)
	}
}

func TestResultIsStoredBeforeTheResponse(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errInjected } })
	for range 2 {
		if err := d.report(firstID, succeeded); !isUnavailable(err) {
			t.Fatalf("the error is %v, want unavailable", err)
		}
	}
	w.wantState(firstID, v1alpha1.ActionRetrieved)
	w.set(func(w *world) { w.beforeWrite = nil })
	d.wantReport(nil, firstID, succeeded)
	if a := w.wantState(firstID, v1alpha1.ActionFinished); a.Reports != 2 {
		t.Errorf("%d reports are stored, want 2", a.Reports)
	}
	w.wantWrites(1, "the second attempt")
	d.wantReport(deviceapi.ErrGone, firstID, succeeded)
}

func TestLateReports(t *testing.T) {
	t.Run("after a result", func(t *testing.T) {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		d.start()
		d.wantReport(nil, firstID, proceeding)
		d.wantReport(nil, firstID, failed)
		for _, f := range []wire.Feedback{proceeding, succeeded, failed, feedback(wire.ExecutionRejected, wire.FinishedNone)} {
			d.wantReport(deviceapi.ErrGone, firstID, f)
		}
		d.flushAll()
		w.wantState(firstID, v1alpha1.ActionError)
		if i := w.target("dev-0").Status.Installed; i != nil {
			t.Errorf("a success after the failure was trusted: %+v", i)
		}
	})
	t.Run("a success after a cancel by force counts", func(t *testing.T) {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		d.start()
		d.wantReport(nil, firstID, proceeding)
		w.editRollout(stop(v1alpha1.CancellationForce))
		d.sync()
		d.wantReport(deviceapi.ErrGone, firstID, succeeded)
		w.wantState(firstID, v1alpha1.ActionCanceled)
		if i := w.target("dev-0").Status.Installed; i == nil || i.ActionID != firstID || w.isInconsistent() {
			t.Errorf("installed is %+v, inconsistent: %t; want the set that the device reports", i, w.isInconsistent())
		}
		if p := d.poll(); p.CancelID != 0 {
			t.Errorf("the cancel of %d is still offered", p.CancelID)
		}
		if events := strings.Join(d.newEvents(), "\n"); !strings.Contains(events, "LateResult") {
			t.Errorf("the event is missing: %s", events)
		}
	})
}

// In hawkBit a device with a download-only update cannot report that it installed the set later.
func TestW21_InstallationAfterADownloadOnly(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		result  wire.Feedback
		status  v1alpha1.UpdateStatus
		doubt   bool
	}{
		"it succeeds": {Options{}, succeeded, v1alpha1.UpdateStatusInSync, false},
		"it fails":    {Options{}, failed, v1alpha1.UpdateStatusError, true},
		"it succeeds, and the report goes to another replica": {Options{Replicated: true}, succeeded, v1alpha1.UpdateStatusInSync, false},
		"it fails, and the report goes to another replica":    {Options{Replicated: true}, failed, v1alpha1.UpdateStatusError, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update.Type = v1alpha1.UpdateTypeDownloadOnly
			})
			d := w.deviceAPI(c.options)
			d.start()
			downloaded := feedback(wire.ExecutionDownloaded, wire.FinishedNone)
			for range 2 { // the first response may be lost
				d.wantReport(nil, firstID, downloaded)
			}
			if s := w.target("dev-0").Status; s.Installed != nil {
				t.Fatalf("two reports on the download installed %+v", s.Installed)
			}
			d.wantReport(nil, firstID, proceeding)
			if c.options.Replicated {
				d = w.deviceAPI(c.options)
			}
			d.wantReport(nil, firstID, c.result)
			w.wantState(firstID, v1alpha1.ActionFinished)
			s := w.target("dev-0").Status
			if isInstalled := s.Installed != nil && s.Installed.ActionID == firstID; isInstalled == c.doubt || s.UpdateStatus != c.status || w.isInconsistent() != c.doubt {
				t.Errorf("installed is %+v, the target %s, inconsistent: %t", s.Installed, s.UpdateStatus, w.isInconsistent())
			}
			for _, f := range []wire.Feedback{downloaded, proceeding, succeeded, failed} {
				d.wantReport(deviceapi.ErrGone, firstID, f)
			}
		})
	}
}

// A report on an unknown action comes from a device whose action is not in the restored backup of
// the cluster.
func TestReportOnAnUnknownAction(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.poll()
	d.wantReport(deviceapi.ErrNotFound, firstID+7, succeeded)
	if got := w.target("dev-0").Status.NextActionID; got != firstID+8 {
		t.Errorf("the next id is %d, want %d", got, firstID+8)
	}
	if events := strings.Join(d.newEvents(), "\n"); !strings.Contains(events, "UnknownAction") {
		t.Errorf("the event is missing: %s", events)
	}
	if got := d.poll().DeployID; got != firstID+8 {
		t.Errorf("the device is offered %d, want %d", got, firstID+8)
	}
	w.takeWrites()
	d.wantReport(deviceapi.ErrGone, firstID-1, succeeded)
	w.wantWrites(0, "a report on an action that is no longer listed")
}

func TestTooManyReports(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	for i := range v1alpha1.MaxReports {
		if err := d.report(firstID, step(i, 2000)); err != nil {
			t.Fatalf("report %d: %v", i+1, err)
		}
	}
	for range 3 {
		d.wantReport(deviceapi.ErrTooMany, firstID, step(1, 1))
	}
	if events := d.newEvents(); len(events) != 1 || !strings.Contains(events[0], "ReportsDropped") {
		t.Errorf("people are events %q, want one event", events)
	}
	if n := w.takeWrites(); n > v1alpha1.MaxReports/maxBuffered+1 {
		t.Errorf("%d reports cost %d writes", v1alpha1.MaxReports, n)
	}
	d.wantReport(nil, firstID, succeeded)
	w.wantState(firstID, v1alpha1.ActionFinished)
	w.takeWrites()
	w.wait(time.Minute)
	for range 2 * maxBuffered {
		d.wantReport(deviceapi.ErrGone, firstID, proceeding)
	}
	d.flushAll()
	w.wantWrites(0, "late reports beyond the quota")
}

// If several replicas serve the same device, the result may arrive at another replica than the
// progress.
func TestResultArrivesAtAnotherReplica(t *testing.T) {
	downloading, downloaded := feedback(wire.ExecutionDownload, wire.FinishedNone), feedback(wire.ExecutionDownloaded, wire.FinishedNone)
	type reports []wire.Feedback
	for name, c := range map[string]struct {
		before reports
		result wire.Feedback
		state  v1alpha1.ActionState
		doubt  bool
		writes int
	}{
		"a success does not count as a skip":                       {reports{proceeding, proceeding, proceeding}, succeeded, v1alpha1.ActionFinished, false, 2},
		"a failure makes the device inconsistent":                  {reports{proceeding}, failed, v1alpha1.ActionError, true, 2},
		"a failure while installing makes the device inconsistent": {reports{downloading, downloaded, proceeding}, failed, v1alpha1.ActionError, true, 2},
		"a success after a download does not count as a skip":      {reports{downloaded}, succeeded, v1alpha1.ActionFinished, false, 1},
		"a success as the only report does not count as a skip":    {nil, succeeded, v1alpha1.ActionFinished, false, 1},
		"a failed download leaves the device consistent":           {reports{downloading, downloaded}, failed, v1alpha1.ActionError, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			options := Options{Replicated: true, PollInterval: time.Minute, ProgressInterval: time.Minute}
			one, other := w.deviceAPI(options), w.deviceAPI(options)
			one.start()
			for _, f := range c.before {
				one.wantReport(nil, firstID, f)
			}
			other.wantReport(nil, firstID, c.result)
			w.wantState(firstID, c.state)
			if w.isInconsistent() != c.doubt {
				t.Errorf("inconsistent: %t, want %t", w.isInconsistent(), c.doubt)
			}
			w.wantWrites(c.writes, "reports and result")
		})
	}
}

// With modules that roll back no evidence is stored, and with a download-only that of the download.
func TestEvidenceForOtherReplicasIsStoredOnlyWhereItCounts(t *testing.T) {
	downloading := feedback(wire.ExecutionDownload, wire.FinishedNone)
	for name, c := range map[string]struct {
		change func(*v1alpha1.Rollout, *v1alpha1.DistributionSet)
		roll   bool
		before []wire.Feedback
		result wire.Feedback
		state  v1alpha1.ActionState
		writes int
	}{
		"modules that roll back, a success":        {nil, true, []wire.Feedback{downloading, proceeding, proceeding}, succeeded, v1alpha1.ActionFinished, 1},
		"modules that roll back, a failure":        {nil, true, []wire.Feedback{downloading, proceeding, proceeding}, failed, v1alpha1.ActionError, 1},
		"a download-only with a reported download": {onlyDownloads, true, []wire.Feedback{downloading, proceeding}, succeeded, v1alpha1.ActionFinished, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, s *v1alpha1.DistributionSet) {
				if c.change != nil {
					c.change(r, s)
				}
			})
			if c.roll {
				w.rollsBack()
			}
			options := Options{Replicated: true, PollInterval: time.Minute, ProgressInterval: time.Minute}
			one, other := w.deviceAPI(options), w.deviceAPI(options)
			one.start()
			for _, f := range c.before {
				one.wantReport(nil, firstID, f)
			}
			other.wantReport(nil, firstID, c.result)
			w.wantState(firstID, c.state)
			if w.isInconsistent() {
				t.Error("in doubt")
			}
			w.wantWrites(c.writes, "evidence and result")
		})
	}
}

// rollsBack makes the module declare that it supports a rollback.
func (w *world) rollsBack() {
	edit(w, "linux", &v1alpha1.SoftwareModule{}, func(m *v1alpha1.SoftwareModule) { m.Spec.Rollback = v1alpha1.RollbackSupported })
}

func onlyDownloads(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
	r.Spec.Update.Type = v1alpha1.UpdateTypeDownloadOnly
}

// Zephyr's client and many scripts send one report, after the reboot. It is a success for every
// source of the update.
func TestASuccessAsTheOnlyReportForEverySource(t *testing.T) {
	since := metav1.NewMicroTime(rolloutStart)
	without := func(w *world) { w.remove(built.Rollout("rollout", "firmware")) }
	for name, start := range map[string]func(t *testing.T) (*world, *deviceAPI){
		"a rollout": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			return w, w.deviceAPI(Options{})
		},
		"a rollout, with the result at another replica": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			w.deviceAPI(Options{Replicated: true}).start()
			return w, w.deviceAPI(Options{Replicated: true})
		},
		"a rollout, after a restart": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			w.deviceAPI(Options{}).start()
			w.wait(time.Hour)
			return w, w.deviceAPI(Options{})
		},
		"a confirmation": func(t *testing.T) (*world, *deviceAPI) {
			w, d := newWaitingWorld(t)
			d.wantAnswer(nil, firstID, confirmed)
			return w, d
		},
		"an automatic confirmation": func(t *testing.T) (*world, *deviceAPI) {
			w, d := newWaitingWorld(t)
			if err := d.activate("ada", ""); err != nil {
				t.Fatal(err)
			}
			return w, d
		},
		"an assignment": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			without(w)
			w.editTarget(func(t *v1alpha1.Target) {
				t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware"}}
				t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "firmware", Since: &since}
			})
			return w, w.deviceAPI(Options{})
		},
		"an auto-assignment": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			without(w)
			auto := built.AutoAssignment("auto", "firmware")
			auto.Status = v1alpha1.AutoAssignmentStatus{State: v1alpha1.AutoAssignmentRunning, StartedAt: &since}
			if err := w.server.Create(t.Context(), auto); err != nil {
				t.Fatal(err)
			}
			return w, w.deviceAPI(Options{})
		},
		"a set without artifacts": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			edit(w, "linux", &v1alpha1.SoftwareModule{}, func(m *v1alpha1.SoftwareModule) {
				m.Spec.Artifacts = nil
				set := aSet("firmware", "1.0", m)
				w.editSet(func(s *v1alpha1.DistributionSet) { s.Status.ContentHash = set.Status.ContentHash })
				w.editRollout(func(r *v1alpha1.Rollout) { r.Status.Plan.ContentHash = set.Status.ContentHash })
			})
			return w, w.deviceAPI(Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := start(t)
			if len(w.target("dev-0").Status.Actions) == 0 {
				d.start()
			}
			d.wantReport(nil, firstID, succeeded)
			w.wantState(firstID, v1alpha1.ActionFinished)
			if i := w.target("dev-0").Status.Installed; i == nil || i.DistributionSet != "firmware" || w.isInconsistent() {
				t.Errorf("installed is %+v, inconsistent: %t", i, w.isInconsistent())
			}
		})
	}
}

// The cause of a failure is at the start or at the end of a long log. Both are kept, of a result
// and of a buffered report, and so is the marker of an inconsistent device in between.
func TestLongMessagesKeepBothEnds(t *testing.T) {
	long := append([]string{"first cause"}, strings.Repeat("x", 2048), "device runs app-2.0_INCONSISTENT", strings.Repeat("y", 2048), "last words")
	for name, c := range map[string]struct {
		report wire.Feedback
		state  v1alpha1.ActionState
	}{
		"a result":          {feedback(wire.ExecutionClosed, wire.FinishedFailure, long...), v1alpha1.ActionError},
		"a buffered report": {feedback(wire.ExecutionDownload, wire.FinishedNone, long...), v1alpha1.ActionDownloading},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.start()
			d.wantReport(nil, firstID, c.report)
			d.flushAll()
			a := w.wantState(firstID, c.state)
			if len([]rune(a.Message)) > 512 || !strings.HasPrefix(a.Message, "first cause; xxx") || !strings.HasSuffix(a.Message, "yyy; last words") || !strings.Contains(a.Message, "characters were cut") {
				t.Errorf("the message is %q", a.Message)
			}
			if !w.isInconsistent() {
				t.Error("the marker of an inconsistent device is lost")
			}
		})
	}
}

// A success as the only report is a skip or an installation, depending on what the device was asked
// to do last. That is stored before the response.
func TestSkipDependsOnTheLastDeployment(t *testing.T) {
	to := func(kind v1alpha1.UpdateType) func(*v1alpha1.Rollout) {
		return func(r *v1alpha1.Rollout) { r.Spec.Update.Type = kind }
	}
	for name, c := range map[string]struct {
		first, then v1alpha1.UpdateType
		fetches     int
		state       v1alpha1.ActionState
		writes      int
	}{
		"asked to install, and changed to skip without another fetch": {v1alpha1.UpdateTypeForced, v1alpha1.UpdateTypeDownloadOnly, 0, v1alpha1.ActionFinished, 0},
		"asked to install, then to skip":                              {v1alpha1.UpdateTypeForced, v1alpha1.UpdateTypeDownloadOnly, 3, v1alpha1.ActionError, 1},
		"asked to skip, then to install":                              {v1alpha1.UpdateTypeDownloadOnly, v1alpha1.UpdateTypeForced, 3, v1alpha1.ActionFinished, 1},
		"asked to skip, and changed to install without another fetch": {v1alpha1.UpdateTypeDownloadOnly, v1alpha1.UpdateTypeForced, 0, v1alpha1.ActionError, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { to(c.first)(r) })
			d := w.deviceAPI(Options{})
			d.start()
			w.editRollout(to(c.then))
			d.sync()
			for range c.fetches {
				doc, err := d.Deployment(t.Context(), dev0, firstID)
				if err != nil || doc.DownloadOnly != (c.then == v1alpha1.UpdateTypeDownloadOnly) {
					t.Fatalf("download only is %t, %v", doc.DownloadOnly, err)
				}
			}
			w.wantWrites(c.writes, "fetching the deployment")
			d.wantReport(nil, firstID, succeeded)
			w.wantState(firstID, c.state)
		})
	}
}

// A fetch of an artifact by hawkBit's path counts as a download, also if the device reports none.
func TestArtifactFetchCountsAsADownload(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		module  string
		before  []wire.Feedback
		state   v1alpha1.ActionState
		code    string
		writes  int
	}{
		"written with the result":                         {Options{}, "", nil, v1alpha1.ActionFinished, "", 1},
		"written at once, with several replicas":          {Options{Replicated: true}, "", nil, v1alpha1.ActionFinished, "", 2},
		"after a warning, which does not show a download": {Options{}, "", []wire.Feedback{feedback(wire.ExecutionRejected, wire.FinishedNone)}, v1alpha1.ActionFinished, "", 1},
		"not counted for a module of another set":         {Options{}, "other", nil, v1alpha1.ActionError, v1alpha1.CodeSkipped, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, onlyDownloads)
			d := w.deviceAPI(c.options)
			d.start()
			for _, f := range c.before {
				d.wantReport(nil, firstID, f)
			}
			for range 3 { // a resumed download counts once
				if err := d.ArtifactFetched(t.Context(), dev0, stdcmp.Or(c.module, "linux")); err != nil {
					t.Fatal(err)
				}
			}
			d.wantReport(nil, firstID, succeeded)
			if a := w.wantState(firstID, c.state); a.StatusCode != c.code || int(a.Reports) != 1+len(c.before)+map[bool]int{true: 1}[c.code == ""] {
				t.Errorf("code %q, %d reports", a.StatusCode, a.Reports)
			}
			w.wantWrites(c.writes, "a fetch and the result")
		})
	}
	t.Run("without an open action it has no effect", func(t *testing.T) {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		d.poll()
		w.takeWrites()
		if err := d.ArtifactFetched(t.Context(), dev0, "linux"); err != nil {
			t.Fatal(err)
		}
		d.flushAll()
		w.wantWrites(0, "a fetch without an action")
	})
}

// The device API ends with buffered reports in its memory, and the result arrives after the
// restart.
func TestAfterARestartTheBackendAssumesThatTheDeviceInstalled(t *testing.T) {
	for name, tt := range map[string]struct {
		result    wire.Feedback
		wantState v1alpha1.ActionState
		wantDoubt bool
	}{
		"a success does not count as a skip":              {succeeded, v1alpha1.ActionFinished, false},
		"a failure counts as one during the installation": {feedback(wire.ExecutionClosed, wire.FinishedFailure), v1alpha1.ActionError, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			old := w.deviceAPI(Options{ProgressInterval: time.Hour})
			old.start()
			old.wantReport(nil, firstID, proceeding)
			w.wait(time.Minute)
			next := w.deviceAPI(Options{})
			next.sync()
			next.wantReport(nil, firstID, tt.result)
			if w.wantState(firstID, tt.wantState); w.isInconsistent() != tt.wantDoubt {
				t.Errorf("inconsistent: %t, want %t", w.isInconsistent(), tt.wantDoubt)
			}
		})
	}
}
