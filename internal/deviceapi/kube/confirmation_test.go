// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

var (
	confirmed = wire.ConfirmationFeedback{Confirmation: wire.Confirmed, Code: "1", Details: []string{"go", "ahead"}}
	denied    = wire.ConfirmationFeedback{Confirmation: wire.Denied, Details: []string{"not during the shift"}}
)

// newConfirmationWorld returns a world whose rollout needs a confirmation of each device.
func newConfirmationWorld(t *testing.T) (*world, *deviceAPI) {
	t.Helper()
	w := newWorld(t, 1)
	edit(w, "rollout-group-1", &v1alpha1.DeploymentGroup{}, func(g *v1alpha1.DeploymentGroup) { g.Spec.Conditions.ConfirmationRequired = true })
	d := w.deviceAPI(Options{})
	d.poll()
	w.takeWrites()
	return w, d
}

// newWaitingWorld returns a world as newConfirmationWorld, whose first device has an action that
// waits for confirmation.
func newWaitingWorld(t *testing.T) (*world, *deviceAPI) {
	t.Helper()
	w, d := newConfirmationWorld(t)
	if _, err := d.Confirmation(context.Background(), dev0, firstID); err != nil {
		t.Fatal(err)
	}
	w.takeWrites()
	return w, d
}

func (d *deviceAPI) answer(id int32, f wire.ConfirmationFeedback) error {
	return d.ConfirmationFeedback(context.Background(), dev0, id, f)
}

// wantAnswer sends the answer of the first device to a confirmation. The test fails if the error is
// not want.
func (d *deviceAPI) wantAnswer(want error, id int32, f wire.ConfirmationFeedback) {
	d.w.t.Helper()
	if got := d.answer(id, f); !errors.Is(got, want) || want == nil && got != nil {
		d.w.t.Errorf("the error for the answer %s is %v, want %v", f.Confirmation, got, want)
	}
}

func (d *deviceAPI) consent() deviceapi.Consent {
	d.w.t.Helper()
	c, err := d.Consent(context.Background(), dev0, "192.0.2.7")
	if err != nil {
		d.w.t.Fatal(err)
	}
	return c
}

func (d *deviceAPI) activate(initiator, remark string) error {
	return d.ActivateAutoConfirm(context.Background(), dev0, deviceapi.AutoConfirm{Initiator: initiator, Remark: remark})
}

// afterNextWrite calls do once, directly after the next write.
func (w *world) afterNextWrite(do func(w *world)) {
	var once sync.Once
	w.set(func(w *world) { w.afterWrite = func(client.Object) { once.Do(func() { do(w) }) } })
}

func TestFirstFetchCreatesTheConfirmation(t *testing.T) {
	w, d := newConfirmationWorld(t)
	p := d.poll()
	if p.ConfirmID != firstID || p.DeployID != 0 || p.CancelID != 0 {
		t.Fatalf("the poll announces %+v, want confirmation %d alone", p, firstID)
	}
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the error for its deployment is %v, want not found", err)
	}
	got, err := d.Confirmation(context.Background(), dev0, firstID)
	if err != nil {
		t.Fatal(err)
	}
	w.wantWrites(1, "the first fetch of the confirmation")
	if got.ID != firstID || !got.Forced || len(got.Modules) != 1 || len(got.Modules[0].Artifacts) != 1 {
		t.Errorf("the confirmation has the deployment %+v", got)
	}
	a := w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	if a.Source.Group != "group-1" || a.StartedAt == nil {
		t.Errorf("the action is %+v", a)
	}
	if again := d.poll(); again.ConfirmID != p.ConfirmID || again.CacheBuster != p.CacheBuster {
		t.Errorf("after the creation the poll announces %d?c=%s, before it %d?c=%s", again.ConfirmID, again.CacheBuster, p.ConfirmID, p.CacheBuster)
	}
	for range 3 {
		if _, err := d.Confirmation(context.Background(), dev0, firstID); err != nil {
			t.Error(err)
		}
	}
	w.wantWrites(0, "fetching the confirmation again")
	if n := w.reads["*v1alpha1.Rollout"]; n != 0 {
		t.Errorf("the confirmation caused %d reads from the API server, want none, because it starts nothing", n)
	}
	d.wantReport(deviceapi.ErrNotFound, firstID, succeeded)
	if _, err := d.Artifacts(context.Background(), dev0, "linux"); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the error for the artifacts of an action that waits is %v, want not found", err)
	}
	w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
}

func TestConfirmationStartsTheUpdate(t *testing.T) {
	w, d := newWaitingWorld(t)
	w.wait(time.Hour)
	d.wantAnswer(nil, firstID, confirmed)
	w.wantWrites(1, "a confirmation")
	a := w.wantState(firstID, v1alpha1.ActionRunning)
	if a.StatusCode != "1" || a.Message != "go; ahead" || a.Stage != "confirmed" || !a.StartedAt.Time.Equal(w.clock()) {
		t.Errorf("the action is %+v", a)
	}
	if p := d.poll(); p.DeployID != firstID || p.ConfirmID != 0 {
		t.Errorf("the poll announces %+v, want deployment %d", p, firstID)
	}
	d.wantAnswer(deviceapi.ErrNotFound, firstID, confirmed)
	d.wantAnswer(deviceapi.ErrNotFound, firstID, denied)
	if _, err := d.Confirmation(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the confirmation of a confirmed action: %v", err)
	}
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	w.wantState(firstID, v1alpha1.ActionFinished)
	d.wantAnswer(deviceapi.ErrGone, firstID, confirmed)
	d.wantAnswer(deviceapi.ErrGone, firstID, denied)
}

func TestActionWaitsAfterADenial(t *testing.T) {
	w, d := newWaitingWorld(t)
	d.wantAnswer(nil, firstID, denied)
	a := w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	if last := a.History[len(a.History)-1]; a.Stage != "denied" || last.Message != "denied: not during the shift" {
		t.Errorf("the action is %+v", a)
	}
	if p := d.poll(); p.ConfirmID != firstID {
		t.Errorf("the poll announces %+v, want confirmation %d", p, firstID)
	}
	d.wantAnswer(nil, firstID, confirmed)
	w.wantState(firstID, v1alpha1.ActionRunning)
}

// A device may answer a confirmation that the poll announced without fetching it.
func TestAnswerWithoutAFetch(t *testing.T) {
	for f, want := range map[wire.Confirmation]v1alpha1.ActionState{wire.Confirmed: v1alpha1.ActionRunning, wire.Denied: v1alpha1.ActionWaitingForConfirmation} {
		w, d := newConfirmationWorld(t)
		d.wantAnswer(nil, firstID, wire.ConfirmationFeedback{Confirmation: f})
		w.wantState(firstID, want)
	}
	w, d := newConfirmationWorld(t)
	d.wantAnswer(deviceapi.ErrNotFound, firstID+1, confirmed)
	if n := len(w.target("dev-0").Status.Actions); n != 0 {
		t.Errorf("the answer for an unknown action created %d actions", n)
	}
}

// A device that may not start now is not asked for confirmation. Its confirmation starts nothing;
// its denial is stored.
func TestHeldActionCannotBeConfirmed(t *testing.T) {
	w, d := newWaitingWorld(t)
	w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
	d.sync()
	if p := d.poll(); p.ConfirmID != 0 || p.DeployID != 0 || p.CancelID != 0 {
		t.Errorf("the poll announces %+v, want nothing", p)
	}
	if _, err := d.Confirmation(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the error for the confirmation is %v, want not found", err)
	}
	d.wantAnswer(deviceapi.ErrNotFound, firstID, confirmed)
	d.wantAnswer(nil, firstID, denied)
	w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentRunning })
	d.sync()
	d.wantAnswer(nil, firstID, confirmed)
	w.wantState(firstID, v1alpha1.ActionRunning)
}

// An action that waits for confirmation has not started: every stop closes it at once, also one
// with None, and the device is not asked to cancel.
func TestEveryStopClosesAWaitingAction(t *testing.T) {
	for name, c := range map[string]struct {
		stop  func(w *world)
		cause v1alpha1.CancelCause
	}{
		"the rollout is stopped with None":  {func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) }, v1alpha1.CauseStopped},
		"the rollout is stopped with Soft":  {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, v1alpha1.CauseStopped},
		"the rollout is stopped with Force": {func(w *world) { w.editRollout(stop(v1alpha1.CancellationForce)) }, v1alpha1.CauseStopped},
		"the rollout is deleted":            {func(w *world) { w.remove(built.Rollout("rollout", "firmware")) }, v1alpha1.CauseDeleted},
		"the set is invalidated with Soft":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationSoft)) }, v1alpha1.CauseInvalidated},
		"spec.cancel of the target names the action": {func(w *world) {
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: firstID} })
		}, v1alpha1.CauseRequested},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := newWaitingWorld(t)
			c.stop(w)
			d.sync()
			d.wantAnswer(deviceapi.ErrGone, firstID, confirmed)
			a := w.wantState(firstID, v1alpha1.ActionCanceled)
			if a.Cancel == nil || a.Cancel.Cause != c.cause || w.isInconsistent() {
				t.Errorf("the cancel is %+v, inconsistent: %t; want the cause %s and a consistent target", a.Cancel, w.isInconsistent(), c.cause)
			}
			d.wantAnswer(deviceapi.ErrGone, firstID, denied)
			if p := d.poll(); p.ConfirmID != 0 || p.DeployID != 0 || p.CancelID != 0 {
				t.Errorf("the poll announces %+v, want nothing", p)
			}
		})
	}
}

// If the source or the set is stopped between the confirmation and the response, the action does
// not start, and the device gets an error.
func TestConfirmationIsWithdrawn(t *testing.T) {
	paused := func(w *world) { w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }) }
	for name, c := range map[string]struct {
		meanwhile func(w *world)
		answer    error
		state     v1alpha1.ActionState
		cause     v1alpha1.CancelCause
	}{
		"nothing changes":                   {func(*world) {}, nil, v1alpha1.ActionRunning, ""},
		"the rollout is paused":             {paused, deviceapi.ErrNotFound, v1alpha1.ActionWaitingForConfirmation, ""},
		"the rollout is stopped":            {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseStopped},
		"the rollout is stopped with None":  {func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseStopped},
		"the rollout is deleted":            {func(w *world) { w.remove(built.Rollout("rollout", "firmware")) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseDeleted},
		"the set is invalidated with Force": {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationForce)) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseInvalidated},
		"the set is invalidated with None":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationNone)) }, nil, v1alpha1.ActionRunning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := newWaitingWorld(t)
			w.afterNextWrite(c.meanwhile)
			d.wantAnswer(c.answer, firstID, confirmed)
			a := w.wantState(firstID, c.state)
			switch {
			case c.cause != "" && (a.Cancel == nil || a.Cancel.Cause != c.cause):
				t.Errorf("the cancel is %+v, want the cause %s", a.Cancel, c.cause)
			case w.isInconsistent():
				t.Error("the device is inconsistent, but never started the update")
			}
			d.sync()
			if p := d.poll(); c.answer != nil && (p.DeployID != 0 || p.CancelID != 0 || p.ConfirmID != 0) {
				t.Errorf("the device is offered %+v", p)
			}
		})
	}
}

// If the device API ends between the write of the confirmation and the response, the next fetch of
// the deployment reads source and set from the API server.
func TestConfirmationWhenTheReadAfterItFails(t *testing.T) {
	w, d := newWaitingWorld(t)
	w.set(func(w *world) { w.beforeRead = func(client.Object) error { return errInjected } })
	if err := d.answer(firstID, confirmed); !isUnavailable(err) {
		t.Fatalf("the error is %v, want unavailable", err)
	}
	w.set(func(w *world) { w.beforeRead = nil })
	w.editRollout(stop(v1alpha1.CancellationNone))
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the error for the deployment is %v, want not found", err)
	}
	w.wantState(firstID, v1alpha1.ActionCanceled)
}

func TestConfirmationIsStoredBeforeTheResponse(t *testing.T) {
	w, d := newWaitingWorld(t)
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errInjected } })
	if err := d.answer(firstID, confirmed); !isUnavailable(err) {
		t.Fatalf("the error is %v, want unavailable", err)
	}
	w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
}

// Two device API replicas get the same confirmation: the action starts once, and the second replica
// returns "not found".
func TestTwoReplicasStoreOneConfirmation(t *testing.T) {
	w, one := newWaitingWorld(t)
	other := w.deviceAPI(Options{})
	one.wantAnswer(nil, firstID, confirmed)
	other.wantAnswer(deviceapi.ErrNotFound, firstID, confirmed)
	other.wantAnswer(deviceapi.ErrNotFound, firstID, denied)
	if a := w.wantState(firstID, v1alpha1.ActionRunning); a.Reports != 1 {
		t.Errorf("%d reports were counted, want one", a.Reports)
	}
}

// A device that only asks for its consent is registered, as by a poll.
func TestConsentRegisters(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	if diff := cmp.Diff(deviceapi.Consent{}, d.consent()); diff != "" {
		t.Errorf("consent (-want +got):\n%s", diff)
	}
	w.wantWrites(1, "the first request of a device")
	if s := w.target("dev-0").Status; s.UpdateStatus != v1alpha1.UpdateStatusRegistered || s.Address != "192.0.2.7" {
		t.Errorf("the target is %s at %q", s.UpdateStatus, s.Address)
	}
	d.consent()
	w.wantWrites(0, "the second")
}

// Initiator and remark of an activation are cleaned like all texts of a device.
func TestAutoConfirmIsCleaned(t *testing.T) {
	w, d := newWaitingWorld(t)
	if err := d.activate(" ada\x1b[2J\u202e\n"+strings.Repeat("ü", 80), "night\r\n\tshift \xff"); err != nil {
		t.Fatal(err)
	}
	got := w.target("dev-0").Status.AutoConfirm
	if want := "ada[2J " + strings.Repeat("ü", 56) + "…"; got.Initiator != want || got.Remark != "night shift \uFFFD" {
		t.Errorf("stored are %q and %q, want %q and %q", got.Initiator, got.Remark, want, "night shift \uFFFD")
	}
	if message := w.wantState(firstID, v1alpha1.ActionRunning).Message; strings.ContainsAny(message, "\x1b\u202e\n") {
		t.Errorf("the message of the action is %q", message)
	}
}

func TestAutoConfirm(t *testing.T) {
	w, d := newWaitingWorld(t)
	if c := d.consent(); c.Active || c.ConfirmID != firstID {
		t.Errorf("consent is %+v, want action %d to wait", c, firstID)
	}
	if err := d.activate("ada", "night shift"); err != nil {
		t.Fatal(err)
	}
	w.wantWrites(1, "the activation, together with the confirmation")
	if a := w.wantState(firstID, v1alpha1.ActionRunning); !strings.HasSuffix(a.Message, "activated by ada") {
		t.Errorf("the message of the action is %q", a.Message)
	}
	want := deviceapi.Consent{Active: true, Initiator: "ada", Remark: "night shift", ActivatedAt: w.clock()}
	if diff := cmp.Diff(want, d.consent()); diff != "" {
		t.Errorf("consent (-want +got):\n%s", diff)
	}
	if err := d.activate("bob", ""); !errors.Is(err, deviceapi.ErrConflict) {
		t.Errorf("the error for the second activation is %v, want a conflict", err)
	}
	if got := w.target("dev-0").Status.AutoConfirm; got == nil || got.Initiator != "ada" {
		t.Errorf("after a refused activation autoConfirm is %+v", got)
	}
	d.start()
	w.wantState(firstID, v1alpha1.ActionRunning)
	for _, writes := range []int{1, 0} {
		if err := d.DeactivateAutoConfirm(context.Background(), dev0); err != nil {
			t.Error(err)
		}
		w.wantWrites(writes, "a deactivation")
	}
	w.wantState(firstID, v1alpha1.ActionRunning)
	if c := d.consent(); c != (deviceapi.Consent{}) {
		t.Errorf("consent is %+v after the deactivation", c)
	}
}

// A device with auto-confirm is not asked for confirmation.
func TestDeviceWithAutoConfirmIsNotAsked(t *testing.T) {
	for name, agrees := range map[string]func(w *world, d *deviceAPI){
		"activated by the device": func(_ *world, d *deviceAPI) {
			if err := d.activate("", ""); err != nil {
				t.Error(err)
			}
		},
		"activated in the manifest": func(w *world, d *deviceAPI) {
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
			d.sync()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := newConfirmationWorld(t)
			agrees(w, d)
			d.start()
			w.wantState(firstID, v1alpha1.ActionRetrieved)
		})
		t.Run(name+", late", func(t *testing.T) {
			w, d := newWaitingWorld(t)
			agrees(w, d)
			if p := d.poll(); p.DeployID != firstID {
				t.Errorf("the poll announces %+v, want deployment %d", p, firstID)
			}
			w.wantState(firstID, v1alpha1.ActionRunning)
		})
	}
}

// After a confirmation by auto-confirm, source and set are read from the API server, too: at the
// activation, and when the device fetches the deployment.
func TestAutoConfirmIsWithdrawn(t *testing.T) {
	t.Run("at the activation", func(t *testing.T) {
		w, d := newWaitingWorld(t)
		w.afterNextWrite(func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) })
		if err := d.activate("ada", ""); err != nil {
			t.Errorf("the error for the activation is %v", err)
		}
		w.wantState(firstID, v1alpha1.ActionCanceled)
		if !d.consent().Active {
			t.Error("auto-confirm is not active")
		}
	})
	t.Run("at the fetch", func(t *testing.T) {
		w, d := newWaitingWorld(t)
		w.editTarget(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
		d.sync()
		w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
		if p := d.poll(); p.DeployID != firstID {
			t.Fatalf("the poll announces %+v", p)
		}
		if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
			t.Errorf("the error for the deployment is %v, want not found", err)
		}
		w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	})
}

// An assignment in the Target needs a confirmation like a rollout.
func TestAssignmentIsConfirmed(t *testing.T) {
	w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Status.Groups[0].OpenedAt = nil })
	since := metav1.NewMicroTime(rolloutStart)
	w.editTarget(func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware", ConfirmationRequired: true}}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "firmware", Since: &since}
	})
	d := w.deviceAPI(Options{})
	if p := d.poll(); p.ConfirmID != firstID {
		t.Fatalf("the poll announces %+v, want confirmation %d", p, firstID)
	}
	d.wantAnswer(nil, firstID, confirmed)
	w.wantState(firstID, v1alpha1.ActionRunning)
	d.start()
}

// inProcess is a transport from simulated devices to a device API without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

// Simulated devices use only HTTP; the device API and its backend are the real ones.
func TestSimulatedDevicesAnswerConfirmations(t *testing.T) {
	for behavior, c := range map[devicesim.Behavior]struct {
		state v1alpha1.ActionState // empty: never created
		stage string
	}{
		devicesim.Obedient:    {v1alpha1.ActionFinished, "closed"},
		devicesim.Failing:     {v1alpha1.ActionError, "closed"},
		devicesim.Denies:      {v1alpha1.ActionWaitingForConfirmation, "denied"},
		devicesim.Unconfirmed: {"", ""},
	} {
		t.Run(string(behavior), func(t *testing.T) {
			w, d := newConfirmationWorld(t)
			server, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return d.Backend, nil }, ddi.Options{Rates: deviceapi.Rates{Device: deviceapi.Rate{PerSecond: -1}}})
			if err != nil {
				t.Fatal(err)
			}
			var recorder devicesim.Recorder
			fleetNamespace, err := devicesim.New(devicesim.Config{
				BaseURL: "http://devices.example", Tenant: fleetNamespace, Transport: inProcess{server}, Seed: 1, PollInterval: 5 * time.Millisecond, Steps: 1, Concurrency: 1,
				Devices: []devicesim.Device{{ID: "dev-0", Token: "let-me-in", Behavior: behavior}}, Observer: recorder.Observe,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			go func() {
				defer cancel()
				for ctx.Err() == nil && !(len(recorder.Of(devicesim.Polled)) >= 20 && (c.stage != "closed" || len(recorder.Of(devicesim.Closed)) > 0)) {
					time.Sleep(time.Millisecond)
				}
			}()
			if err := fleetNamespace.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if wrong := recorder.Of(devicesim.HTTPError); len(wrong) > 0 {
				t.Errorf("the device API refused: %v", wrong)
			}
			a := action.Newest(&w.target("dev-0").Status)
			switch {
			case c.state == "" && a != nil:
				t.Errorf("the device did not fetch the confirmation, but there is the action %+v", a)
			case c.state != "" && (a == nil || a.State != c.state || a.Stage != c.stage):
				t.Errorf("the action is %+v, want %s and %s", a, c.state, c.stage)
			}
			if started := len(recorder.Of(devicesim.Started)); started > 0 != (c.stage == "closed") {
				t.Errorf("the device started %d times", started)
			}
		})
	}
}
