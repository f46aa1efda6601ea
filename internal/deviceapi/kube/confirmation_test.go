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
	yes = wire.ConfirmationFeedback{Confirmation: wire.Confirmed, Code: "1", Details: []string{"go", "ahead"}}
	no  = wire.ConfirmationFeedback{Confirmation: wire.Denied, Details: []string{"not during the shift"}}
)

// careful is a world whose devices are asked first.
func careful(t *testing.T) (*world, *deviceAPI) {
	t.Helper()
	w := newWorld(t, 1)
	edit(w, "rollout-group-1", &v1alpha1.DeploymentGroup{}, func(g *v1alpha1.DeploymentGroup) { g.Spec.Conditions.ConfirmationRequired = true })
	d := w.deviceAPI(Options{})
	d.poll()
	w.wrote()
	return w, d
}

// asked is a careful world whose device has looked at what it is asked about.
func asked(t *testing.T) (*world, *deviceAPI) {
	t.Helper()
	w, d := careful(t)
	if _, err := d.Confirmation(context.Background(), dev0, firstID); err != nil {
		t.Fatal(err)
	}
	w.wrote()
	return w, d
}

func (d *deviceAPI) answer(id int32, f wire.ConfirmationFeedback) error {
	return d.ConfirmationFeedback(context.Background(), dev0, id, f)
}

// wantAnswer fails the test if the device API answers otherwise.
func (d *deviceAPI) wantAnswer(want error, id int32, f wire.ConfirmationFeedback) {
	d.w.t.Helper()
	if got := d.answer(id, f); !errors.Is(got, want) || want == nil && got != nil {
		d.w.t.Errorf("the answer to %s is %v, want %v", f.Confirmation, got, want)
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

// meanwhile does something once, right after the next write.
func (w *world) meanwhile(do func(w *world)) {
	var once sync.Once
	w.set(func(w *world) { w.afterWrite = func(client.Object) { once.Do(func() { do(w) }) } })
}

func TestQuestionIsCreatedByTheFirstLook(t *testing.T) {
	w, d := careful(t)
	p := d.poll()
	if p.ConfirmID != firstID || p.DeployID != 0 || p.CancelID != 0 {
		t.Fatalf("the poll announces %+v, want confirmation %d alone", p, firstID)
	}
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("its deployment is answered %v, want not found", err)
	}
	got, err := d.Confirmation(context.Background(), dev0, firstID)
	if err != nil {
		t.Fatal(err)
	}
	w.wantWrites(1, "the question")
	if got.ID != firstID || !got.Forced || len(got.Modules) != 1 || len(got.Modules[0].Artifacts) != 1 {
		t.Errorf("the device is asked about %+v", got)
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
	w.wantWrites(0, "looking again")
	if n := w.reads["*v1alpha1.Rollout"]; n != 0 {
		t.Errorf("asking cost %d reads past the cache; nothing starts by it", n)
	}
	d.wantReport(deviceapi.ErrNotFound, firstID, succeeded)
	if _, err := d.Artifacts(context.Background(), dev0, "linux"); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the artifacts of what waits are answered %v, want not found", err)
	}
	w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
}

func TestYesStartsTheUpdate(t *testing.T) {
	w, d := asked(t)
	w.wait(time.Hour)
	d.wantAnswer(nil, firstID, yes)
	w.wantWrites(1, "a yes")
	a := w.wantState(firstID, v1alpha1.ActionRunning)
	if a.StatusCode != "1" || a.Message != "go; ahead" || a.Stage != "confirmed" || !a.StartedAt.Time.Equal(w.clock()) {
		t.Errorf("the action is %+v", a)
	}
	if p := d.poll(); p.DeployID != firstID || p.ConfirmID != 0 {
		t.Errorf("the poll announces %+v, want deployment %d", p, firstID)
	}
	d.wantAnswer(deviceapi.ErrNotFound, firstID, yes)
	d.wantAnswer(deviceapi.ErrNotFound, firstID, no)
	if _, err := d.Confirmation(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("what was confirmed is asked about: %v", err)
	}
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	w.wantState(firstID, v1alpha1.ActionFinished)
	d.wantAnswer(deviceapi.ErrGone, firstID, yes)
	d.wantAnswer(deviceapi.ErrGone, firstID, no)
}

func TestNoGoesOnWaiting(t *testing.T) {
	w, d := asked(t)
	d.wantAnswer(nil, firstID, no)
	a := w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	if last := a.History[len(a.History)-1]; a.Stage != "denied" || last.Message != "denied: not during the shift" {
		t.Errorf("the action is %+v", a)
	}
	if p := d.poll(); p.ConfirmID != firstID {
		t.Errorf("the poll announces %+v, want confirmation %d", p, firstID)
	}
	d.wantAnswer(nil, firstID, yes)
	w.wantState(firstID, v1alpha1.ActionRunning)
}

// An answer may come without a look at the question, which was announced.
func TestAnswerWithoutALook(t *testing.T) {
	for f, want := range map[wire.Confirmation]v1alpha1.ActionState{wire.Confirmed: v1alpha1.ActionRunning, wire.Denied: v1alpha1.ActionWaitingForConfirmation} {
		w, d := careful(t)
		d.wantAnswer(nil, firstID, wire.ConfirmationFeedback{Confirmation: f})
		w.wantState(firstID, want)
	}
	w, d := careful(t)
	d.wantAnswer(deviceapi.ErrNotFound, firstID+1, yes)
	if n := len(w.target("dev-0").Status.Actions); n != 0 {
		t.Errorf("an answer to nothing made %d actions", n)
	}
}

// A device that may not start now is not asked for confirmation. Its yes starts nothing; its no is
// stored.
func TestWhatIsHeldBackIsNotConfirmed(t *testing.T) {
	w, d := asked(t)
	w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
	d.sync()
	if p := d.poll(); p.ConfirmID != 0 || p.DeployID != 0 || p.CancelID != 0 {
		t.Errorf("the poll announces %+v, want nothing", p)
	}
	if _, err := d.Confirmation(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the question is answered %v, want not found", err)
	}
	d.wantAnswer(deviceapi.ErrNotFound, firstID, yes)
	d.wantAnswer(nil, firstID, no)
	w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentRunning })
	d.sync()
	d.wantAnswer(nil, firstID, yes)
	w.wantState(firstID, v1alpha1.ActionRunning)
}

// What waits has not started: whatever ends its source closes it at once, also what lets started
// devices go on, and there is no cancel to answer.
func TestWhateverStopsClosesWhatWaits(t *testing.T) {
	for name, c := range map[string]struct {
		stop  func(w *world)
		cause v1alpha1.CancelCause
	}{
		"the rollout is stopped with None":  {func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) }, v1alpha1.CauseStopped},
		"the rollout is stopped with Soft":  {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, v1alpha1.CauseStopped},
		"the rollout is stopped with Force": {func(w *world) { w.editRollout(stop(v1alpha1.CancellationForce)) }, v1alpha1.CauseStopped},
		"the rollout is deleted":            {func(w *world) { w.remove(&v1alpha1.Rollout{ObjectMeta: about("rollout")}) }, v1alpha1.CauseDeleted},
		"the set is invalidated with Soft":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationSoft)) }, v1alpha1.CauseInvalidated},
		"the target's cancel names it": {func(w *world) {
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: firstID} })
		}, v1alpha1.CauseRequested},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := asked(t)
			c.stop(w)
			d.sync()
			d.wantAnswer(deviceapi.ErrGone, firstID, yes)
			a := w.wantState(firstID, v1alpha1.ActionCanceled)
			if a.Cancel == nil || a.Cancel.Cause != c.cause || w.isInDoubt() {
				t.Errorf("the cancel is %+v, in doubt: %t; want the cause %s and no doubt", a.Cancel, w.isInDoubt(), c.cause)
			}
			d.wantAnswer(deviceapi.ErrGone, firstID, no)
			if p := d.poll(); p.ConfirmID != 0 || p.DeployID != 0 || p.CancelID != 0 {
				t.Errorf("the poll announces %+v, want nothing", p)
			}
		})
	}
}

// What is stopped between the yes and its answer does not start, and the device is not told that it
// may.
func TestConfirmationIsWithdrawn(t *testing.T) {
	paused := func(w *world) { w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }) }
	for name, c := range map[string]struct {
		meanwhile func(w *world)
		answer    error
		state     v1alpha1.ActionState
		cause     v1alpha1.CancelCause
	}{
		"nothing happens":              {func(*world) {}, nil, v1alpha1.ActionRunning, ""},
		"the rollout is paused":        {paused, deviceapi.ErrNotFound, v1alpha1.ActionWaitingForConfirmation, ""},
		"the rollout is stopped":       {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseStopped},
		"it is stopped, started go on": {func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseStopped},
		"the rollout is deleted":       {func(w *world) { w.remove(&v1alpha1.Rollout{ObjectMeta: about("rollout")}) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseDeleted},
		"the set is invalidated":       {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationForce)) }, deviceapi.ErrGone, v1alpha1.ActionCanceled, v1alpha1.CauseInvalidated},
		"the set is invalidated None":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationNone)) }, nil, v1alpha1.ActionRunning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := asked(t)
			w.meanwhile(c.meanwhile)
			d.wantAnswer(c.answer, firstID, yes)
			a := w.wantState(firstID, c.state)
			switch {
			case c.cause != "" && (a.Cancel == nil || a.Cancel.Cause != c.cause):
				t.Errorf("the cancel is %+v, want the cause %s", a.Cancel, c.cause)
			case w.isInDoubt():
				t.Error("the device is in doubt about what it never started")
			}
			d.sync()
			if p := d.poll(); c.answer != nil && (p.DeployID != 0 || p.CancelID != 0 || p.ConfirmID != 0) {
				t.Errorf("the device is offered %+v", p)
			}
		})
	}
}

// A device API that dies between the yes and its answer leaves the second look to the next fetch.
func TestConfirmationWithoutTheSecondLook(t *testing.T) {
	w, d := asked(t)
	w.set(func(w *world) { w.beforeRead = func(client.Object) error { return errPowerCut } })
	if err := d.answer(firstID, yes); !isUnavailable(err) {
		t.Fatalf("the answer is %v, want unavailable", err)
	}
	w.set(func(w *world) { w.beforeRead = nil })
	w.editRollout(stop(v1alpha1.CancellationNone))
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the deployment is answered %v, want not found", err)
	}
	w.wantState(firstID, v1alpha1.ActionCanceled)
}

func TestYesIsStoredBeforeItIsAnswered(t *testing.T) {
	w, d := asked(t)
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errPowerCut } })
	if err := d.answer(firstID, yes); !isUnavailable(err) {
		t.Fatalf("the answer is %v, want unavailable", err)
	}
	w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
}

// Two device API replicas take one yes: nothing starts twice, and the slower one hears that nothing
// waits.
func TestTwoDeviceAPIsTakeOneYes(t *testing.T) {
	w, one := asked(t)
	other := w.deviceAPI(Options{})
	one.wantAnswer(nil, firstID, yes)
	other.wantAnswer(deviceapi.ErrNotFound, firstID, yes)
	other.wantAnswer(deviceapi.ErrNotFound, firstID, no)
	if a := w.wantState(firstID, v1alpha1.ActionRunning); a.Reports != 1 {
		t.Errorf("%d words were counted, want one", a.Reports)
	}
}

// A device that is only ever heard of here is registered, as by a poll.
func TestConsentRegisters(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	if diff := cmp.Diff(deviceapi.Consent{}, d.consent()); diff != "" {
		t.Errorf("consent (-want +got):\n%s", diff)
	}
	w.wantWrites(1, "the first word of a device")
	if s := w.target("dev-0").Status; s.UpdateStatus != v1alpha1.UpdateStatusRegistered || s.Address != "192.0.2.7" {
		t.Errorf("the target is %s at %q", s.UpdateStatus, s.Address)
	}
	d.consent()
	w.wantWrites(0, "the second")
}

// What a device says beside an activation is cleaned like all of its texts.
func TestAutoConfirmIsCleaned(t *testing.T) {
	w, d := asked(t)
	if err := d.activate(" ada\x1b[2J\u202e\n"+strings.Repeat("ü", 80), "night\r\n\tshift \xff"); err != nil {
		t.Fatal(err)
	}
	got := w.target("dev-0").Status.AutoConfirm
	if want := "ada[2J " + strings.Repeat("ü", 56) + "…"; got.Initiator != want || got.Remark != "night shift \uFFFD" {
		t.Errorf("stored are %q and %q, want %q and %q", got.Initiator, got.Remark, want, "night shift \uFFFD")
	}
	if message := w.wantState(firstID, v1alpha1.ActionRunning).Message; strings.ContainsAny(message, "\x1b\u202e\n") {
		t.Errorf("the action says %q", message)
	}
}

func TestAutoConfirm(t *testing.T) {
	w, d := asked(t)
	if c := d.consent(); c.Active || c.ConfirmID != firstID {
		t.Errorf("consent is %+v, want %d to wait", c, firstID)
	}
	if err := d.activate("ada", "night shift"); err != nil {
		t.Fatal(err)
	}
	w.wantWrites(1, "the activation, together with what it confirms")
	if a := w.wantState(firstID, v1alpha1.ActionRunning); !strings.HasSuffix(a.Message, "activated by ada") {
		t.Errorf("the action says %q", a.Message)
	}
	want := deviceapi.Consent{Active: true, Initiator: "ada", Remark: "night shift", ActivatedAt: w.clock()}
	if diff := cmp.Diff(want, d.consent()); diff != "" {
		t.Errorf("consent (-want +got):\n%s", diff)
	}
	if err := d.activate("bob", ""); !errors.Is(err, deviceapi.ErrConflict) {
		t.Errorf("the second activation is answered %v, want a conflict", err)
	}
	if got := w.target("dev-0").Status.AutoConfirm; got == nil || got.Initiator != "ada" {
		t.Errorf("a refused activation left %+v", got)
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

// Who agrees to everything is not asked.
func TestWhoConfirmsByItselfIsNotAsked(t *testing.T) {
	for name, agrees := range map[string]func(w *world, d *deviceAPI){
		"the device has said so": func(_ *world, d *deviceAPI) {
			if err := d.activate("", ""); err != nil {
				t.Error(err)
			}
		},
		"the manifest says so": func(w *world, d *deviceAPI) {
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
			d.sync()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := careful(t)
			agrees(w, d)
			d.start()
			w.wantState(firstID, v1alpha1.ActionRetrieved)
		})
		t.Run(name+", late", func(t *testing.T) {
			w, d := asked(t)
			agrees(w, d)
			if p := d.poll(); p.DeployID != firstID {
				t.Errorf("the poll announces %+v, want deployment %d", p, firstID)
			}
			w.wantState(firstID, v1alpha1.ActionRunning)
		})
	}
}

// What auto-confirm has agreed to is looked at a second time, too: at the activation, and when the
// device comes for it.
func TestAutoConfirmIsWithdrawn(t *testing.T) {
	t.Run("at the activation", func(t *testing.T) {
		w, d := asked(t)
		w.meanwhile(func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) })
		if err := d.activate("ada", ""); err != nil {
			t.Errorf("the activation is answered %v", err)
		}
		w.wantState(firstID, v1alpha1.ActionCanceled)
		if !d.consent().Active {
			t.Error("auto-confirm is not active")
		}
	})
	t.Run("at the fetch", func(t *testing.T) {
		w, d := asked(t)
		w.editTarget(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
		d.sync()
		w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
		if p := d.poll(); p.DeployID != firstID {
			t.Fatalf("the poll announces %+v", p)
		}
		if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
			t.Errorf("the deployment is answered %v, want not found", err)
		}
		w.wantState(firstID, v1alpha1.ActionWaitingForConfirmation)
	})
}

// A single assignment is asked about like a rollout.
func TestAssignmentIsConfirmed(t *testing.T) {
	w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Status.Groups[0].OpenedAt = nil })
	since := metav1.NewMicroTime(dawn)
	w.editTarget(func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware", ConfirmationRequired: true}}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "firmware", Since: &since}
	})
	d := w.deviceAPI(Options{})
	if p := d.poll(); p.ConfirmID != firstID {
		t.Fatalf("the poll announces %+v, want confirmation %d", p, firstID)
	}
	d.wantAnswer(nil, firstID, yes)
	w.wantState(firstID, v1alpha1.ActionRunning)
	d.start()
}

// inProcess lets simulated devices speak with a device API without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

// Simulated devices know nothing but the wire; the device API and its backend are the real ones.
func TestTemperamentsThatAreAsked(t *testing.T) {
	for temperament, c := range map[devicesim.Temperament]struct {
		state v1alpha1.ActionState // empty: never created
		stage string
	}{
		devicesim.Obedient:    {v1alpha1.ActionFinished, "closed"},
		devicesim.Failing:     {v1alpha1.ActionError, "closed"},
		devicesim.Denies:      {v1alpha1.ActionWaitingForConfirmation, "denied"},
		devicesim.Unconfirmed: {"", ""},
	} {
		t.Run(string(temperament), func(t *testing.T) {
			w, d := careful(t)
			server, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return d.Backend, nil }, ddi.Options{Rates: deviceapi.Rates{Device: deviceapi.Rate{PerSecond: -1}}})
			if err != nil {
				t.Fatal(err)
			}
			var recorder devicesim.Recorder
			fleetNamespace, err := devicesim.New(devicesim.Config{
				BaseURL: "http://devices.example", Tenant: fleetNamespace, Transport: inProcess{server}, Seed: 1, PollInterval: 5 * time.Millisecond, Steps: 1, Concurrency: 1,
				Devices: []devicesim.Device{{ID: "dev-0", Token: "let-me-in", Temperament: temperament}}, Observer: recorder.Observe,
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
				t.Errorf("nobody looked, and still there is %+v", a)
			case c.state != "" && (a == nil || a.State != c.state || a.Stage != c.stage):
				t.Errorf("the action is %+v, want %s and %s", a, c.state, c.stage)
			}
			if started := len(recorder.Of(devicesim.Started)); started > 0 != (c.stage == "closed") {
				t.Errorf("the device started %d times", started)
			}
		})
	}
}
