// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A rollout needs a confirmation of all devices except those of its first group. Some devices
// confirm, some deny, one target has autoConfirm: Always, and one device never fetches the
// confirmation. Of those that denied, one activates auto-confirm, one gets autoConfirm by a commit,
// and one still denies when the rollout is stopped.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	ring := map[string]string{"ring": "first"}
	unasked, agreeing, denying, always, unanswered :=
		w.Targets("unasked", 2, ring), w.Targets("agreeing", 2, nil), w.Targets("denying", 3, nil), w.Targets("always", 1, nil), w.Targets("unanswered", 1, nil)
	commitAutoConfirm(w, always[0])
	_, willing := w.Devices(devicesim.Obedient, agreeing...)
	_, unwilling := w.Devices(devicesim.Denies, together(unasked, denying, always)...)
	silent, silence := w.Devices(devicesim.Unconfirmed, unanswered...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1, confirmationRequired: true}
  stabilizationSeconds: 1
  successThreshold: 100
  groups:
  - {name: first, targetSelector: {matchLabels: {ring: first}}, confirmationRequired: false}
  - {name: rest}
`)
	for _, name := range together(unasked, agreeing, always) {
		w.EventuallyTarget(name, "is done", inSync("firmware-1"))
	}
	for _, name := range denying {
		w.EventuallyTarget(name, "has denied", hasDenied)
	}
	w.EventuallyRollout("firmware-1", "counts waiting targets as pending", counts(v1alpha1.Counts{Targets: 9, Succeeded: 5, Pending: 4}))
	for _, name := range together(unasked, always) {
		if answers := answersOf(unwilling, name); len(answers) > 0 {
			t.Errorf("%s was asked: %v", name, answers)
		}
	}
	for _, name := range agreeing {
		if answers := answersOf(willing, name); len(answers) != 1 || answers[0] != "confirmed" {
			t.Errorf("%s was asked and answered %v, want one confirmed", name, answers)
		}
	}

	activateAutoConfirm(w, denying[0])
	commitAutoConfirm(w, denying[1])
	for _, name := range denying[:2] {
		target := w.EventuallyTarget(name, "is done after the change", inSync("firmware-1"))
		if n := len(target.Status.Actions); n != 1 {
			t.Errorf("%s has %d actions, want only the one that waited for confirmation", name, n)
		}
	}
	if auto := w.Target(denying[0]).Status.AutoConfirm; auto == nil || !auto.Active || auto.Initiator != "ada" {
		t.Errorf("auto-confirm of %s is %+v", denying[0], auto)
	}
	w.EventuallyRollout("firmware-1", "counts them", counts(v1alpha1.Counts{Targets: 9, Succeeded: 7, Pending: 2}))

	w.CommitRollout("firmware-1", "spec: {state: Stopped, stopCancellation: None}")
	w.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	target := w.EventuallyTarget(denying[2], "is canceled", newest(v1alpha1.ActionCanceled))
	if a := action.Newest(&target.Status); a.Cancel == nil || a.Cancel.Cause != v1alpha1.CauseStopped ||
		world.Says(target.Status.Conditions, v1alpha1.ConditionConsistent, metav1.ConditionFalse, v1alpha1.ReasonClosedWhileRunning) {
		t.Errorf("%s: %+v", denying[2], target.Status)
	}
	w.EventuallyRollout("firmware-1", "counts waiting targets as canceled", counts(v1alpha1.Counts{Targets: 9, Succeeded: 7, Canceled: 2}))
	stopped := time.Now()
	if err := silent.SetBehavior(unanswered[0], devicesim.Obedient); err != nil {
		t.Fatal(err)
	}
	w.EventuallyPolled(silence, 3, stopped, unanswered...)
	w.EventuallyPolled(unwilling, 3, stopped, denying[2])
	started := world.Starts(unwilling)
	if started[denying[2]] != 0 || len(silence.Of(devicesim.Started)) != 0 || len(silence.Of(devicesim.Confirmed)) != 0 {
		t.Errorf("devices started, or were asked to confirm, a stopped update: %v, %v", started, silence.Of(devicesim.Confirmed))
	}
	startedOnce(t, unwilling, together(unasked, always, denying[:2])...)
	startedOnce(t, willing, agreeing...)
}

// hasDenied reports whether the update was denied at the device and still waits for confirmation.
func hasDenied(t *v1alpha1.Target) bool {
	a := action.Newest(&t.Status)
	return a != nil && a.State == v1alpha1.ActionWaitingForConfirmation && a.Stage == "denied" && t.Status.UpdateStatus == v1alpha1.UpdateStatusPending
}

func counts(want v1alpha1.Counts) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool { return r.Status.Targets != nil && *r.Status.Targets == want }
}

// answersOf returns the answers of one device.
func answersOf(devices *devicesim.Recorder, name string) []string {
	var words []string
	for _, e := range devices.Of(devicesim.Confirmed) {
		if e.Device == name {
			words = append(words, e.Message)
		}
	}
	return words
}

// commitAutoConfirm sets autoConfirm: Always on a target.
func commitAutoConfirm(w *world.World, name string) {
	w.T.Helper()
	w.Commit(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {autoConfirm: Always}")
}

// activateAutoConfirm activates auto-confirm with a request of the device.
func activateAutoConfirm(w *world.World, name string) {
	w.T.Helper()
	path := w.DeviceAPI + wire.RootPath(w.Namespace, name) + "/confirmationBase/activateAutoConfirm"
	request, err := http.NewRequestWithContext(w.T.Context(), http.MethodPost, path, strings.NewReader(`{"initiator":"ada","remark":"night shift"}`))
	if err != nil {
		w.T.Fatal(err)
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	request.Header.Set("Content-Type", wire.MediaType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.T.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		w.T.Fatalf("%s: answered %s", path, response.Status)
	}
}
