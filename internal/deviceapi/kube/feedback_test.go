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

// Every word of DDI with every result, from a device that is at work.
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
				d.wantReport(nil, firstID, says(execution, finished))
				if states[i].IsClosed() {
					w.wantState(firstID, states[i])
					w.wantWrites(1, "a result")
					return
				}
				w.wantWrites(0, "what comes before the result")
				d.flushAll()
				if a := w.wantState(firstID, states[i]); a.Reports != 2 || a.Stage != string(execution) {
					t.Errorf("stored are %d reports, the last one of stage %q; want 2 and %s", a.Reports, a.Stage, execution)
				}
			})
		}
	}
}

// flushAll writes everything that was gathered.
func (d *deviceAPI) flushAll() {
	d.w.t.Helper()
	ended, end := context.WithCancel(context.Background())
	end()
	if err := d.Flush(ended); err != nil {
		d.w.t.Fatal(err)
	}
}

func TestResultsOfADevice(t *testing.T) {
	downloading, downloaded := says(wire.ExecutionDownload, wire.FinishedNone), says(wire.ExecutionDownloaded, wire.FinishedSuccess)
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
		"a failure leaves doubt": {
			"", reports{proceeding, hasFailed}, v1alpha1.ActionError, "", v1alpha1.UpdateStatusError, false, true},
		"a failed download leaves none": {
			"", reports{downloading, hasFailed}, v1alpha1.ActionError, "", v1alpha1.UpdateStatusError, false, false},
		"a success that is the only report installs": {
			"", reports{succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a closed report without a result, as hawkBit takes it, installs": {
			"", reports{says(wire.ExecutionClosed, wire.FinishedNone)}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a lone success of a soft update installs": {
			v1alpha1.UpdateTypeSoft, reports{succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a lone success after a rejected report installs": {
			"", reports{says(wire.ExecutionRejected, wire.FinishedNone), succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusInSync, true, false},
		"a download-only whose download is reported, and then its end": {
			v1alpha1.UpdateTypeDownloadOnly, reports{downloading, succeeded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusRegistered, false, false},
		"a download ends a download-only": {
			v1alpha1.UpdateTypeDownloadOnly, reports{downloaded}, v1alpha1.ActionFinished, "", v1alpha1.UpdateStatusRegistered, false, false},
		"swupdate skips a download-only": {
			v1alpha1.UpdateTypeDownloadOnly, reports{succeeded}, v1alpha1.ActionError, v1alpha1.CodeSkipped, v1alpha1.UpdateStatusError, false, false},
		"a device says that it is inconsistent": {
			"", reports{proceeding, coded(hasFailed, "INCONSISTENT")}, v1alpha1.ActionError, "INCONSISTENT", v1alpha1.UpdateStatusError, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Spec.Update.Type = c.kind })
			d := w.deviceAPI(Options{})
			d.start()
			for _, f := range c.reports {
				d.wantReport(nil, firstID, f)
			}
			a, s := w.wantState(firstID, c.state), w.target("dev-0").Status
			if a.StatusCode != c.code || s.UpdateStatus != c.status || (s.Installed != nil) != c.installed || w.isInDoubt() != c.doubt {
				t.Errorf("code %q, target %s, installed %+v, in doubt %t", a.StatusCode, s.UpdateStatus, s.Installed, w.isInDoubt())
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
	f := says(wire.ExecutionProceeding, wire.FinishedNone, details...)
	f.Status.Result.Progress = &wire.Progress{Count: cnt, Of: of}
	return f
}

// What comes before the result is written with it, in the order and with the times at which it
// came.
func TestReportsRideOnTheResult(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	started := w.clock()
	downloading, downloaded := says(wire.ExecutionDownload, wire.FinishedNone), says(wire.ExecutionDownloaded, wire.FinishedNone)
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
	if a.Reports != 5 || a.Message != "b; c" || a.Progress == nil || *a.Progress != 75 {
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

// A device that works for long is written down now and then, and once more when the device API
// closes.
func TestFlush(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{PollInterval: time.Minute, ProgressInterval: time.Second})
	d.start()
	ctx, closeDeviceAPI := context.WithCancel(context.Background())
	closed := make(chan error)
	go func() { closed <- d.Flush(ctx) }()

	d.wantReport(nil, firstID, step(1, 10))
	time.Sleep(250 * time.Millisecond) // two looks of the flusher, at which nothing is due: the clock of the world stands still
	w.wantWrites(0, "a report that has not waited for long")
	w.wait(time.Second)
	written := 0
	for deadline := time.Now().Add(30 * time.Second); written == 0; time.Sleep(5 * time.Millisecond) {
		if written = w.wrote(); time.Now().After(deadline) {
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
	w.wantWrites(1, "closing the device API")
	d.wantReport(nil, firstID, step(3, 10))
	w.wantWrites(1, "a report while the device API closes, which nobody would write later")
	if a := w.wantState(firstID, v1alpha1.ActionRunning); a.Reports != 3 || *a.Progress != 30 {
		t.Errorf("%d reports with progress %d are stored, want 3 with 30", a.Reports, *a.Progress)
	}
}

func TestReportsOfATargetThatIsGoneAreForgotten(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	w.remove(&v1alpha1.Target{ObjectMeta: about("dev-0")})
	d.flushAll()
	if n := len(d.progress.due(0)); n != 0 {
		t.Errorf("%d devices are waited for, want none", n)
	}
}

func TestReportsSurviveAConflict(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, step(1, 2))
	w.editTarget(func(t *v1alpha1.Target) { t.Status.Address = "192.0.2.99" })
	d.wantReport(nil, firstID, succeeded)
	if a := w.wantState(firstID, v1alpha1.ActionFinished); a.Reports != 2 || *a.Progress != 50 {
		t.Errorf("%d reports are stored, want 2", a.Reports)
	}
	if got := w.target("dev-0").Status.Address; got != "192.0.2.99" {
		t.Errorf("the other writer's address is gone: %q", got)
	}
}

// A flush and a result of the same device at the same time: nothing counts twice, and the result is
// no skip because its evidence is on its way elsewhere.
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
	time.Sleep(20 * time.Millisecond) // the result is at the device API; without this it is only less of a race
	close(goOn)
	both.Wait()
	if a := w.wantState(firstID, v1alpha1.ActionFinished); a.Reports != 2 {
		t.Errorf("%d reports are stored, want 2", a.Reports)
	}
}

func TestResultIsStoredBeforeItIsAnswered(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errPowerCut } })
	for range 2 {
		if err := d.report(firstID, succeeded); !isUnavailable(err) {
			t.Fatalf("the answer is %v, want unavailable", err)
		}
	}
	w.wantState(firstID, v1alpha1.ActionRetrieved)
	w.set(func(w *world) { w.beforeWrite = nil })
	d.wantReport(nil, firstID, succeeded)
	if a := w.wantState(firstID, v1alpha1.ActionFinished); a.Reports != 2 {
		t.Errorf("%d reports are stored, want 2", a.Reports)
	}
	w.wantWrites(1, "the result that got through")
	d.wantReport(deviceapi.ErrGone, firstID, succeeded)
}

func TestLateReports(t *testing.T) {
	t.Run("after a result", func(t *testing.T) {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		d.start()
		d.wantReport(nil, firstID, proceeding)
		d.wantReport(nil, firstID, hasFailed)
		for _, f := range []wire.Feedback{proceeding, succeeded, hasFailed, says(wire.ExecutionRejected, wire.FinishedNone)} {
			d.wantReport(deviceapi.ErrGone, firstID, f)
		}
		d.flushAll()
		w.wantState(firstID, v1alpha1.ActionError)
		if i := w.target("dev-0").Status.Installed; i != nil {
			t.Errorf("a success after the failure was trusted: %+v", i)
		}
	})
	t.Run("a success after a cancel by force is the truth", func(t *testing.T) {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		d.start()
		d.wantReport(nil, firstID, proceeding)
		w.editRollout(stop(v1alpha1.CancellationForce))
		d.sync()
		d.wantReport(deviceapi.ErrGone, firstID, succeeded)
		w.wantState(firstID, v1alpha1.ActionCanceled)
		if i := w.target("dev-0").Status.Installed; i == nil || i.ActionID != firstID || w.isInDoubt() {
			t.Errorf("installed is %+v, in doubt %t; want what the device says", i, w.isInDoubt())
		}
		if p := d.poll(); p.CancelID != 0 {
			t.Errorf("the cancel of %d is still on offer", p.CancelID)
		}
		if told := strings.Join(d.told(), "\n"); !strings.Contains(told, "LateResult") {
			t.Errorf("nobody is told: %s", told)
		}
	})
}

// hawkBit: a device that was told to download only could never report that it installed later.
func TestW21_InstallationAfterADownloadOnly(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		result  wire.Feedback
		status  v1alpha1.UpdateStatus
		doubt   bool
	}{
		"it succeeds": {Options{}, succeeded, v1alpha1.UpdateStatusInSync, false},
		"it fails":    {Options{}, hasFailed, v1alpha1.UpdateStatusError, true},
		"it succeeds, and another device API hears it": {Options{Replicated: true}, succeeded, v1alpha1.UpdateStatusInSync, false},
		"it fails, and another device API hears it":    {Options{Replicated: true}, hasFailed, v1alpha1.UpdateStatusError, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update.Type = v1alpha1.UpdateTypeDownloadOnly
			})
			d := w.deviceAPI(c.options)
			d.start()
			downloaded := says(wire.ExecutionDownloaded, wire.FinishedNone)
			for range 2 { // the first answer may be lost
				d.wantReport(nil, firstID, downloaded)
			}
			if s := w.target("dev-0").Status; s.Installed != nil {
				t.Fatalf("a download told twice installed %+v", s.Installed)
			}
			d.wantReport(nil, firstID, proceeding)
			if c.options.Replicated {
				d = w.deviceAPI(c.options)
			}
			d.wantReport(nil, firstID, c.result)
			w.wantState(firstID, v1alpha1.ActionFinished)
			s := w.target("dev-0").Status
			if isInstalled := s.Installed != nil && s.Installed.ActionID == firstID; isInstalled == c.doubt || s.UpdateStatus != c.status || w.isInDoubt() != c.doubt {
				t.Errorf("installed is %+v, the target %s, in doubt %t", s.Installed, s.UpdateStatus, w.isInDoubt())
			}
			for _, f := range []wire.Feedback{downloaded, proceeding, succeeded, hasFailed} {
				d.wantReport(deviceapi.ErrGone, firstID, f)
			}
		})
	}
}

// A report on an action that was never given comes from a device that knows more than an older
// backup of the cluster.
func TestReportOnAnUnknownAction(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.poll()
	d.wantReport(deviceapi.ErrNotFound, firstID+7, succeeded)
	if got := w.target("dev-0").Status.NextActionID; got != firstID+8 {
		t.Errorf("the next id is %d, want %d", got, firstID+8)
	}
	if told := strings.Join(d.told(), "\n"); !strings.Contains(told, "UnknownAction") {
		t.Errorf("nobody is told: %s", told)
	}
	if got := d.poll().DeployID; got != firstID+8 {
		t.Errorf("the device is offered %d, want %d", got, firstID+8)
	}
	w.wrote()
	d.wantReport(deviceapi.ErrGone, firstID-1, succeeded)
	w.wantWrites(0, "a report on an action that is long forgotten")
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
	if told := d.told(); len(told) != 1 || !strings.Contains(told[0], "ReportsDropped") {
		t.Errorf("people are told %q, want one event", told)
	}
	if n := w.wrote(); n > v1alpha1.MaxReports/maxGathered+1 {
		t.Errorf("%d reports cost %d writes", v1alpha1.MaxReports, n)
	}
	d.wantReport(nil, firstID, succeeded)
	w.wantState(firstID, v1alpha1.ActionFinished)
	w.wrote()
	w.wait(time.Minute)
	for range 2 * maxGathered {
		d.wantReport(deviceapi.ErrGone, firstID, proceeding)
	}
	d.flushAll()
	w.wantWrites(0, "late reports beyond the quota")
}

// Where other device API replicas serve the same device, the result may come to another one than
// the progress.
func TestResultComesToAnotherDeviceAPI(t *testing.T) {
	downloading, downloaded := says(wire.ExecutionDownload, wire.FinishedNone), says(wire.ExecutionDownloaded, wire.FinishedNone)
	type reports []wire.Feedback
	for name, c := range map[string]struct {
		before reports
		result wire.Feedback
		state  v1alpha1.ActionState
		doubt  bool
		writes int
	}{
		"a success is no skip":                    {reports{proceeding, proceeding, proceeding}, succeeded, v1alpha1.ActionFinished, false, 2},
		"a failure leaves doubt":                  {reports{proceeding}, hasFailed, v1alpha1.ActionError, true, 2},
		"a failure while installing leaves doubt": {reports{downloading, downloaded, proceeding}, hasFailed, v1alpha1.ActionError, true, 2},
		"a success after a download is no skip":   {reports{downloaded}, succeeded, v1alpha1.ActionFinished, false, 1},
		"a success without a report is no skip":   {nil, succeeded, v1alpha1.ActionFinished, false, 1},
		"a failed download leaves none":           {reports{downloading, downloaded}, hasFailed, v1alpha1.ActionError, false, 1},
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
			if w.isInDoubt() != c.doubt {
				t.Errorf("in doubt: %t, want %t", w.isInDoubt(), c.doubt)
			}
			w.wantWrites(c.writes, "work and result")
		})
	}
}

// What the modules roll back needs no evidence, and a download-only needs that of its download.
func TestEvidenceForAnotherDeviceAPIIsStoredOnlyWhereItCounts(t *testing.T) {
	downloading := says(wire.ExecutionDownload, wire.FinishedNone)
	for name, c := range map[string]struct {
		change func(*v1alpha1.Rollout, *v1alpha1.DistributionSet)
		roll   bool
		before []wire.Feedback
		result wire.Feedback
		state  v1alpha1.ActionState
		writes int
	}{
		"modules that roll back, a success": {nil, true, []wire.Feedback{downloading, proceeding, proceeding}, succeeded, v1alpha1.ActionFinished, 1},
		"modules that roll back, a failure": {nil, true, []wire.Feedback{downloading, proceeding, proceeding}, hasFailed, v1alpha1.ActionError, 1},
		"a download-only that says so":      {onlyDownloads, true, []wire.Feedback{downloading, proceeding}, succeeded, v1alpha1.ActionFinished, 2},
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
			if w.isInDoubt() {
				t.Error("in doubt")
			}
			w.wantWrites(c.writes, "evidence and result")
		})
	}
}

// rollsBack makes the module declare that it returns to its old state by itself.
func (w *world) rollsBack() {
	edit(w, "linux", &v1alpha1.SoftwareModule{}, func(m *v1alpha1.SoftwareModule) { m.Spec.Rollback = v1alpha1.RollbackSupported })
}

func onlyDownloads(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
	r.Spec.Update.Type = v1alpha1.UpdateTypeDownloadOnly
}

// Zephyr's client and many scripts report once, after the reboot. Whatever the update came from,
// that is a success.
func TestALoneSuccessWhateverItCameFrom(t *testing.T) {
	since := metav1.NewMicroTime(dawn)
	without := func(w *world) { w.remove(&v1alpha1.Rollout{ObjectMeta: about("rollout")}) }
	for name, start := range map[string]func(t *testing.T) (*world, *deviceAPI){
		"a rollout": func(t *testing.T) (*world, *deviceAPI) {
			w := newWorld(t, 1)
			return w, w.deviceAPI(Options{})
		},
		"a rollout, to another device API": func(t *testing.T) (*world, *deviceAPI) {
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
			w, d := asked(t)
			d.wantAnswer(nil, firstID, yes)
			return w, d
		},
		"an automatic confirmation": func(t *testing.T) (*world, *deviceAPI) {
			w, d := asked(t)
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
			auto := &v1alpha1.AutoAssignment{ObjectMeta: about("auto")}
			auto.Spec.Update.DistributionSet = "firmware"
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
			if i := w.target("dev-0").Status.Installed; i == nil || i.DistributionSet != "firmware" || w.isInDoubt() {
				t.Errorf("installed is %+v, in doubt %t", i, w.isInDoubt())
			}
		})
	}
}

// A long log says its cause at its start or at its end; both are kept, of reports that come at once
// and of gathered ones, and so is what the device says about its consistency in between.
func TestLongMessagesKeepBothEnds(t *testing.T) {
	long := append([]string{"first cause"}, strings.Repeat("x", 2048), "device runs app-2.0_INCONSISTENT", strings.Repeat("y", 2048), "last words")
	for name, c := range map[string]struct {
		report wire.Feedback
		state  v1alpha1.ActionState
	}{
		"a result":          {says(wire.ExecutionClosed, wire.FinishedFailure, long...), v1alpha1.ActionError},
		"a gathered report": {says(wire.ExecutionDownload, wire.FinishedNone, long...), v1alpha1.ActionDownloading},
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
			if !w.isInDoubt() {
				t.Error("what the device says of its consistency is lost")
			}
		})
	}
}

// What a device was told last decides what its lone success means, and it is stored before it is
// told.
func TestSkipIsWhatTheDeviceWasTold(t *testing.T) {
	to := func(kind v1alpha1.UpdateType) func(*v1alpha1.Rollout) {
		return func(r *v1alpha1.Rollout) { r.Spec.Update.Type = kind }
	}
	for name, c := range map[string]struct {
		first, then v1alpha1.UpdateType
		fetches     int
		state       v1alpha1.ActionState
		writes      int
	}{
		"told to install, and to skip before it asks again": {v1alpha1.UpdateTypeForced, v1alpha1.UpdateTypeDownloadOnly, 0, v1alpha1.ActionFinished, 0},
		"told to install, then to skip":                     {v1alpha1.UpdateTypeForced, v1alpha1.UpdateTypeDownloadOnly, 3, v1alpha1.ActionError, 1},
		"told to skip, then to install":                     {v1alpha1.UpdateTypeDownloadOnly, v1alpha1.UpdateTypeForced, 3, v1alpha1.ActionFinished, 1},
		"told to skip, and to install before it asks again": {v1alpha1.UpdateTypeDownloadOnly, v1alpha1.UpdateTypeForced, 0, v1alpha1.ActionError, 0},
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
			w.wantWrites(c.writes, "telling the device")
			d.wantReport(nil, firstID, succeeded)
			w.wantState(firstID, c.state)
		})
	}
}

// A fetch by hawkBit's own path is a sign of a download, whether the device reports anything or
// not.
func TestArtifactFetchIsADownload(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		module  string
		before  []wire.Feedback
		state   v1alpha1.ActionState
		code    string
		writes  int
	}{
		"and rides on the result":                  {Options{}, "", nil, v1alpha1.ActionFinished, "", 1},
		"also to another device API, at once":      {Options{Replicated: true}, "", nil, v1alpha1.ActionFinished, "", 2},
		"after a warning, which is no sign of one": {Options{}, "", []wire.Feedback{says(wire.ExecutionRejected, wire.FinishedNone)}, v1alpha1.ActionFinished, "", 1},
		"but not of a module of another set":       {Options{}, "other", nil, v1alpha1.ActionError, v1alpha1.CodeSkipped, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, onlyDownloads)
			d := w.deviceAPI(c.options)
			d.start()
			for _, f := range c.before {
				d.wantReport(nil, firstID, f)
			}
			for range 3 { // a resumed download is one
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
	t.Run("without an action it is nothing", func(t *testing.T) {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		d.poll()
		w.wrote()
		if err := d.ArtifactFetched(t.Context(), dev0, "linux"); err != nil {
			t.Fatal(err)
		}
		d.flushAll()
		w.wantWrites(0, "a fetch without an action")
	})
}

// A device API dies with a device's reports in its memory; the next one takes the result.
func TestANewDeviceAPIAssumesTheMostOfWhatItDidNotSee(t *testing.T) {
	for name, tt := range map[string]struct {
		result    wire.Feedback
		wantState v1alpha1.ActionState
		wantDoubt bool
	}{
		"a success is no skip":             {succeeded, v1alpha1.ActionFinished, false},
		"a failure may have come half-way": {says(wire.ExecutionClosed, wire.FinishedFailure), v1alpha1.ActionError, true},
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
			if w.wantState(firstID, tt.wantState); w.isInDoubt() != tt.wantDoubt {
				t.Errorf("in doubt: %t, want %t", w.isInDoubt(), tt.wantDoubt)
			}
		})
	}
}
