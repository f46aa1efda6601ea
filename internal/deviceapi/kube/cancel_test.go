// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// wantCancel sends an answer to a cancel of the first device. The test fails if the error is not
// want.
func (d *deviceAPI) wantCancel(want error, id int32, f wire.Feedback) {
	d.w.t.Helper()
	if got := d.CancelFeedback(context.Background(), dev0, id, f); !errors.Is(got, want) || want == nil && got != nil {
		d.w.t.Errorf("the error for the answer %s/%s is %v, want %v", f.Status.Execution, f.Status.Result.Finished, got, want)
	}
}

func TestCancelIsOffered(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	if err := d.Cancel(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the cancel before the stop: %v, want not found", err)
	}
	d.wantCancel(deviceapi.ErrNotAllowed, firstID, succeeded)
	d.wantCancel(deviceapi.ErrNotFound, firstID+1, succeeded)

	w.editRollout(stop(v1alpha1.CancellationSoft))
	d.sync()
	if p := d.poll(); p.CancelID != firstID || p.DeployID != 0 {
		t.Fatalf("the poll announces cancel %d and deployment %d, want %d and none", p.CancelID, p.DeployID, firstID)
	}
	w.wantState(firstID, v1alpha1.ActionCanceling)
	w.wantWrites(1, "the poll that announces the cancel")
	if err := d.Cancel(context.Background(), dev0, firstID); err != nil {
		t.Errorf("the announced cancel: %v", err)
	}
	if err := d.Cancel(context.Background(), dev0, firstID+1); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the cancel of another action: %v, want not found", err)
	}
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the deployment of the action that must be canceled: %v, want not found", err)
	}
	w.wantWrites(0, "fetching the cancel")
}

// hawkBit asks a device to cancel an update that the device has never seen.
func TestW14_ADeviceThatHasNotStartedIsNotAskedToCancel(t *testing.T) {
	for _, c := range []v1alpha1.Cancellation{v1alpha1.CancellationSoft, v1alpha1.CancellationForce} {
		t.Run(string(c), func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			if p := d.poll(); p.DeployID != firstID {
				t.Fatalf("the poll announces %d, want %d", p.DeployID, firstID)
			}
			w.takeWrites()
			w.editRollout(stop(c))
			d.sync()
			if p := d.poll(); p.DeployID != 0 || p.CancelID != 0 {
				t.Errorf("the poll announces deployment %d and cancel %d, want neither", p.DeployID, p.CancelID)
			}
			if err := d.Cancel(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
				t.Errorf("the cancel: %v, want not found", err)
			}
			w.wantWrites(0, "stopping an update that has not started")
		})
	}
}

// In hawkBit a newer update with more weight hides the cancel of an older one until the newer one
// is closed.
func TestW20_ACancelGoesBeforeAnyDeployment(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	module := built.SoftwareModule("linux-next", func(m *v1alpha1.SoftwareModule) { m.Spec.Name, m.Spec.Version = "linux", "6.7" })
	for _, o := range []client.Object{module, aSet("next", "2.0", module)} {
		if err := w.server.Create(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.editRollout(stop(v1alpha1.CancellationSoft))
	since, weight := metav1.NewMicroTime(rolloutStart.Add(time.Minute)), int32(1000)
	w.editTarget(func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "next", Weight: &weight, Superseding: v1alpha1.SupersedingQueue}}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "next", Since: &since}
	})
	d.sync()
	if p := d.poll(); p.CancelID != firstID || p.DeployID != 0 {
		t.Fatalf("the poll announces cancel %d and deployment %d, want %d and none", p.CancelID, p.DeployID, firstID)
	}
	if _, err := d.Deployment(context.Background(), dev0, firstID+1); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the next deployment: %v, want not found", err)
	}
	d.wantCancel(nil, firstID, succeeded)
	if p := d.poll(); p.DeployID != firstID+1 || p.CancelID != 0 {
		t.Errorf("after the answer to the cancel the poll announces deployment %d and cancel %d, want %d and none", p.DeployID, p.CancelID, firstID+1)
	}
}

func TestCancelIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		answer wire.Feedback
		state  v1alpha1.ActionState
		said   v1alpha1.CancelAnswer
		status v1alpha1.UpdateStatus
	}{
		"accepted":                    {succeeded, v1alpha1.ActionCanceled, v1alpha1.AnswerAccepted, v1alpha1.UpdateStatusRegistered},
		"accepted without a result":   {feedback(wire.ExecutionClosed, wire.FinishedNone), v1alpha1.ActionCanceled, v1alpha1.AnswerAccepted, v1alpha1.UpdateStatusRegistered},
		"rejected":                    {feedback(wire.ExecutionRejected, wire.FinishedSuccess), v1alpha1.ActionRunning, v1alpha1.AnswerRejected, v1alpha1.UpdateStatusPending},
		"failed":                      {failed, v1alpha1.ActionRunning, v1alpha1.AnswerRejected, v1alpha1.UpdateStatusPending},
		"canceled is not an answer":   {feedback(wire.ExecutionCanceled, wire.FinishedSuccess), v1alpha1.ActionCanceling, "", v1alpha1.UpdateStatusPending},
		"proceeding is not an answer": {proceeding, v1alpha1.ActionCanceling, "", v1alpha1.UpdateStatusPending},
		"scheduled is not an answer":  {feedback(wire.ExecutionScheduled, wire.FinishedNone), v1alpha1.ActionCanceling, "", v1alpha1.UpdateStatusPending},
		"download is not an answer":   {feedback(wire.ExecutionDownload, wire.FinishedNone), v1alpha1.ActionCanceling, "", v1alpha1.UpdateStatusPending},
		"downloaded is not an answer": {feedback(wire.ExecutionDownloaded, wire.FinishedNone), v1alpha1.ActionCanceling, "", v1alpha1.UpdateStatusPending},
		"resumed is not an answer":    {feedback(wire.ExecutionResumed, wire.FinishedNone), v1alpha1.ActionCanceling, "", v1alpha1.UpdateStatusPending},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.start()
			d.wantReport(nil, firstID, proceeding)
			d.flushAll()
			w.editRollout(stop(v1alpha1.CancellationSoft))
			d.sync()
			d.poll()
			w.takeWrites()
			d.wantCancel(nil, firstID, c.answer)
			w.wantWrites(1, "the answer")
			a := w.wantState(firstID, c.state)
			if a.Cancel == nil || a.Cancel.Answer != c.said {
				t.Errorf("the cancel is %+v, want the answer %q", a.Cancel, c.said)
			}
			if got := w.target("dev-0").Status.UpdateStatus; got != c.status {
				t.Errorf("the target is %s, want %s", got, c.status)
			}
		})
	}
}

// Whether a device is consistent after it accepted a cancel depends on its reports before the
// cancel. The reports are buffered in memory, and are written together with the answer to the
// cancel, or with the poll that announces it.
func TestConsistencyAfterAnAcceptedCancel(t *testing.T) {
	report := func(e wire.Execution) wire.Feedback { return feedback(e, wire.FinishedNone) }
	scheduled, download, downloaded, resumed := report(wire.ExecutionScheduled), report(wire.ExecutionDownload), report(wire.ExecutionDownloaded), report(wire.ExecutionResumed)
	type reports = []wire.Feedback
	for name, c := range map[string]struct {
		reports reports
		back    v1alpha1.RollbackSupport
		reason  string // of Consistent=False; empty: the condition is not False
	}{
		"only the fetch of the deployment":           {nil, "", ""},
		"scheduled":                                  {reports{scheduled}, "", ""},
		"scheduled, three times":                     {reports{scheduled, scheduled, scheduled}, "", ""},
		"scheduled, then a download":                 {reports{scheduled, download, download}, "", ""},
		"downloaded":                                 {reports{download, downloaded}, "", ""},
		"rejected and canceled, which show no work":  {reports{report(wire.ExecutionRejected), report(wire.ExecutionCanceled)}, "", ""},
		"proceeding, as swupdate while it downloads": {reports{proceeding, proceeding}, "", v1alpha1.ReasonUpdateCanceled},
		"a download, then proceeding":                {reports{scheduled, download, proceeding}, "", v1alpha1.ReasonUpdateCanceled},
		"resumed":                                    {reports{resumed}, "", v1alpha1.ReasonUpdateCanceled},
		"proceeding, then scheduled":                 {reports{proceeding, scheduled}, "", v1alpha1.ReasonUpdateCanceled},
		"proceeding of a device with A/B slots":      {reports{proceeding}, v1alpha1.RollbackSupported, ""},
		"all steps, of a device that rolls back":     {reports{scheduled, download, downloaded, proceeding}, v1alpha1.RollbackSupported, ""},
		"proceeding between download and downloaded": {reports{download, proceeding, downloaded}, "", v1alpha1.ReasonUpdateCanceled},
	} {
		for _, flush := range []bool{false, true} {
			for _, before := range []v1alpha1.UpdateStatus{v1alpha1.UpdateStatusRegistered, v1alpha1.UpdateStatusInSync} {
				t.Run(fmt.Sprintf("%s, %s before, reports stored at once: %t", name, before, flush), func(t *testing.T) {
					w := newWorld(t, 1)
					w.editTarget(func(t *v1alpha1.Target) {
						if before == v1alpha1.UpdateStatusInSync {
							t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "old", ContentHash: "old"}
						}
						t.Status.UpdateStatus = before
					})
					d := w.deviceAPI(Options{})
					d.start()
					w.editTarget(func(t *v1alpha1.Target) { t.Status.Actions[0].Update.Rollback = c.back })
					d.sync()
					for _, f := range c.reports {
						d.wantReport(nil, firstID, f)
						if flush {
							d.flushAll()
						}
					}
					w.editRollout(stop(v1alpha1.CancellationSoft))
					d.sync()
					d.poll()
					d.wantCancel(nil, firstID, succeeded)
					w.wantState(firstID, v1alpha1.ActionCanceled)
					s := w.target("dev-0").Status
					reason := ""
					if found := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConsistent); found != nil && found.Status == metav1.ConditionFalse {
						reason = found.Reason
					}
					if s.UpdateStatus != before || reason != c.reason || action.Installed(&s, "old") != (before == v1alpha1.UpdateStatusInSync && reason == "") {
						t.Errorf("updateStatus is %s, Consistent=False has reason %q, installed is %+v; want %s and %q", s.UpdateStatus, reason, s.Installed, before, c.reason)
					}
				})
			}
		}
	}
}

// A device that rejects a cancel continues with the update, and is not asked to cancel it again.
func TestRejectedCancel(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.flushAll()
	w.editRollout(stop(v1alpha1.CancellationSoft))
	d.sync()
	d.poll()
	d.wantCancel(nil, firstID, feedback(wire.ExecutionRejected, wire.FinishedSuccess))
	d.sync()
	if p := d.poll(); p.DeployID != firstID || p.CancelID != 0 {
		t.Errorf("the poll announces %+v, want deployment %d again", p, firstID)
	}
	if _, err := d.Deployment(context.Background(), dev0, firstID); err != nil {
		t.Errorf("fetching again: %v", err)
	}
	d.wantReport(nil, firstID, succeeded)
	w.wantState(firstID, v1alpha1.ActionFinished)
}

// Force closes the action at once, and the device is still asked to cancel.
func TestCancelByForce(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	w.editSet(invalidate(v1alpha1.CancellationForce))
	d.sync()
	if p := d.poll(); p.CancelID != firstID || p.DeployID != 0 {
		t.Fatalf("the poll announces %+v, want the cancel of %d", p, firstID)
	}
	w.wantState(firstID, v1alpha1.ActionCanceled)
	if !w.isInconsistent() {
		t.Error("the progress of the device is not known, but it counts as consistent")
	}
	if err := d.Cancel(context.Background(), dev0, firstID); err != nil {
		t.Errorf("the announced cancel: %v", err)
	}
	d.wantCancel(nil, firstID, proceeding)
	if p := d.poll(); p.CancelID != firstID {
		t.Error("a report that is not an answer ended the cancel")
	}
	d.wantCancel(nil, firstID, succeeded)
	if p := d.poll(); p.CancelID != 0 || p.DeployID != 0 {
		t.Errorf("after its answer the device is offered %+v", p)
	}
	d.wantCancel(deviceapi.ErrNotAllowed, firstID, succeeded)
	if a := w.wantState(firstID, v1alpha1.ActionCanceled); a.Cancel.Answer != v1alpha1.AnswerAccepted {
		t.Errorf("the answer is %q, want Accepted", a.Cancel.Answer)
	}
}

// A device that gets commands is sent a cancel before it is stored, and may answer before that.
func TestPendingCancelIsKnownBeforeItIsStored(t *testing.T) {
	causes := map[string]struct {
		change  func(w *world)
		cause   v1alpha1.CancelCause
		isForce bool
	}{
		"a stop with Soft":           {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, v1alpha1.CauseStopped, false},
		"a stop with Force":          {func(w *world) { w.editRollout(stop(v1alpha1.CancellationForce)) }, v1alpha1.CauseStopped, true},
		"an invalidation with Soft":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationSoft)) }, v1alpha1.CauseInvalidated, false},
		"an invalidation with Force": {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationForce)) }, v1alpha1.CauseInvalidated, true},
		"a cancel of this target": {func(w *world) {
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: firstID} })
		}, v1alpha1.CauseRequested, false},
	}
	answers := map[string]struct {
		send func(d *deviceAPI) error
		soft v1alpha1.ActionState
		said v1alpha1.CancelAnswer
	}{
		"the cancel is accepted": {func(d *deviceAPI) error {
			return d.AnswerCancel(t.Context(), dev0, action.Report{ID: firstID, Event: action.CancelAccepted, ModuleCount: 1})
		}, v1alpha1.ActionCanceled, v1alpha1.AnswerAccepted},
		"the cancel is rejected": {func(d *deviceAPI) error {
			return d.AnswerCancel(t.Context(), dev0, action.Report{ID: firstID, Event: action.CancelRejected, ModuleCount: 1})
		}, v1alpha1.ActionRetrieved, v1alpha1.AnswerRejected},
		"the device reports FINISHED_CANCELED": {func(d *deviceAPI) error {
			err := d.Report(t.Context(), dev0, action.Report{ID: firstID, Event: action.Abandon, ModuleCount: 1})
			if errors.Is(err, deviceapi.ErrGone) {
				return nil // closed by force
			}
			return err
		}, v1alpha1.ActionCanceled, v1alpha1.AnswerAccepted},
	}
	for name, c := range causes {
		for how, answer := range answers {
			t.Run(name+", "+how, func(t *testing.T) {
				w := newWorld(t, 1)
				d := w.deviceAPI(Options{})
				d.start()
				if doc, ok := d.PendingCancel(dev0); ok {
					t.Errorf("before the change the cancel of %d is pending", doc.ID)
				}
				w.takeWrites()
				c.change(w)
				d.sync()
				w.takeWrites()
				reads := maps.Clone(w.reads)
				for range 2 {
					if doc, ok := d.PendingCancel(dev0); !ok || doc.ID != firstID || len(doc.Modules) != 1 {
						t.Fatalf("the pending cancel is %+v (%t), want that of %d", doc, ok, firstID)
					}
				}
				w.wantWrites(0, "asking for the pending cancel")
				if !maps.Equal(w.reads, reads) {
					t.Errorf("asking for the pending cancel read %v", w.reads)
				}
				if a := w.action(firstID); a.Cancel != nil {
					t.Fatalf("the cancel is stored: %+v", a.Cancel)
				}
				if err := answer.send(d); err != nil {
					t.Fatalf("the answer: %v", err)
				}
				want := answer.soft
				if c.isForce {
					want = v1alpha1.ActionCanceled
				}
				a := w.wantState(firstID, want)
				if a.Cancel == nil || a.Cancel.Cause != c.cause || a.Cancel.Answer != answer.said {
					t.Errorf("the cancel is %+v, want the cause %s and the answer %q", a.Cancel, c.cause, answer.said)
				}
				if _, ok := d.PendingCancel(dev0); ok {
					t.Error("after the answer the cancel is still pending")
				}
			})
		}
	}
}

// A pending change of an action is stored before the response to the device, also without a
// controller.
func TestPendingChangesAreStoredBeforeTheResponse(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		state  v1alpha1.ActionState
	}{
		"a stop": {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, v1alpha1.ActionCanceling},
		"a cancel of this target": {func(w *world) {
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: firstID} })
		}, v1alpha1.ActionCanceling},
		"a deadline": {func(w *world) { w.wait(2 * time.Hour) }, v1alpha1.ActionError},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				seconds := int32(3600)
				r.Spec.Update.ProgressDeadlineSeconds = &seconds
			})
			d := w.deviceAPI(Options{})
			d.start()
			c.change(w)
			d.sync()
			w.set(func(w *world) { w.writes = 0 })
			if _, err := d.Deployment(context.Background(), dev0, firstID); c.state == v1alpha1.ActionCanceling && !errors.Is(err, deviceapi.ErrNotFound) {
				t.Errorf("the deployment: %v, want not found", err)
			}
			w.wantState(firstID, c.state)
			w.wantWrites(1, "the apply")
		})
	}
}
