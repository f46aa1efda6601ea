// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// window returns a maintenance window that opens once a day, at a whole minute.
func window(opens time.Time, open time.Duration) string {
	return fmt.Sprintf(`{schedule: %q, durationSeconds: %d}`, scheduleOf(opens), int(open/time.Second))
}

func scheduleOf(opens time.Time) string {
	return fmt.Sprintf("%d %d * * *", opens.UTC().Minute(), opens.UTC().Hour())
}

// Before its window opens no device gets an update by a rollout, an auto-assignment or an
// assignment, and each of them has the opening time in its status. After the opening, devices that
// poll start. The opening itself causes no write, neither to targets whose devices do not poll nor
// to their rollout.
func TestWindowOpensWithoutAWrite(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	away, rolled := w.Targets("away", 3, map[string]string{"by": "away"}), w.Targets("rolled", 2, map[string]string{"by": "rollout"})
	matched, assigned := w.Targets("matched", 2, map[string]string{"by": "auto"}), w.Targets("assigned", 1, nil)
	_, devices := w.Devices(devicesim.Obedient, together(rolled, matched, assigned)...)
	opens := time.Now().Truncate(time.Minute).Add(time.Minute)
	if time.Until(opens) < 30*time.Second {
		opens = opens.Add(time.Minute) // the checks before the opening take time
	}
	night := window(opens, time.Hour)
	for name, by := range map[string]string{"silent": "away", "loud": "rollout"} {
		w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: ` + name + `}
spec:
  update: {distributionSet: firmware-1, maintenanceWindow: ` + night + `, startDeadlineSeconds: 86400}
  targetSelector: {matchLabels: {by: ` + by + `}}
  stabilizationSeconds: 0
  startAt: "2026-01-01T00:00:00Z"
`)
	}
	w.ApplySpec("AutoAssignment", "auto", `{update: {distributionSet: firmware-1, maintenanceWindow: `+night+`}, targetSelector: {matchLabels: {by: auto}}}
`)
	commitTo(w, assigned[0], "spec: {assignment: {distributionSet: firmware-1, maintenanceWindow: "+night+"}}")
	for _, name := range []string{"silent", "loud"} {
		r := w.EventuallyRollout(name, "waits for its window", groupIs(0, v1alpha1.GroupRunning))
		if waits := r.Status.WaitingFor; waits == nil || !strings.Contains(waits.Message, "devices start only in the maintenance window") || waits.Until == nil || !waits.Until.Time.Equal(opens) {
			t.Errorf("%s waits for %+v, want until %s", name, waits, opens)
		}
	}
	w.EventuallyTarget(assigned[0], "names its window", func(t *v1alpha1.Target) bool {
		c := world.Condition(t.Status.Conditions, v1alpha1.ConditionAssigned)
		return c != nil && c.Status == metav1.ConditionTrue && strings.Contains(c.Message, fmt.Sprintf("in the maintenance window %q", scheduleOf(opens)))
	})
	w.EventuallyPolled(devices, 5, time.Now(), together(rolled, matched, assigned)...)
	w.Eventually("the auto-assignment runs", func() string { return wantAutoState(w, "auto", v1alpha1.AutoAssignmentRunning) })
	wrote := writesUntilQuiet(w)
	before := versions(w, "silent", away)
	time.Sleep(time.Until(opens.Add(-2 * time.Second)))
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started before the window opened: %v", started)
	}
	if n := len(written.In(w.Namespace)); n != wrote {
		t.Errorf("there were writes while all devices waited: %v", written.In(w.Namespace)[wrote:])
	}

	w.EventuallyStarted(devices, together(rolled, matched, assigned)...)
	for _, e := range devices.Of(devicesim.Started) {
		if e.At.Before(opens) {
			t.Errorf("device %s started at %s, before %s", e.Device, e.At, opens)
		}
	}
	w.EventuallyRollout("loud", "finishes", world.InState(v1alpha1.RolloutFinished))
	for _, name := range together(rolled, matched, assigned) {
		w.EventuallyTarget(name, "is in sync", inSync("firmware-1"))
	}
	time.Sleep(time.Until(opens.Add(5 * time.Second)))
	if now := versions(w, "silent", away); now != before {
		t.Errorf("the opening of the window caused a write:\nbefore: %s\nafter:  %s", before, now)
	}
	startedOnce(t, devices, together(rolled, matched, assigned)...)
}

// versions returns the resource versions of a rollout, its groups and its targets.
func versions(w *world.World, rollout string, targets []string) string {
	w.T.Helper()
	objects := []client.Object{w.Rollout(rollout)}
	for _, g := range w.Groups() {
		if g.Spec.Rollout == rollout {
			objects = append(objects, &g)
		}
	}
	for _, name := range targets {
		objects = append(objects, w.Target(name))
	}
	var out []string
	for _, o := range objects {
		out = append(out, o.GetName()+" "+o.GetResourceVersion())
	}
	return strings.Join(out, ", ")
}

// A window closes while a device installs. That device finishes; a device that polls after the
// window closed gets nothing, and the rollout has the next opening time in its status.
func TestStartedDeviceFinishesOutsideTheWindow(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	busy, late := w.Targets("busy", 1, nil), w.Targets("late", 1, nil)
	_, working := w.Play(stepsOf(10*time.Second), devicesim.Obedient, busy...)
	fleet, devices := w.Devices(devicesim.Offline, late...)
	closes := time.Now().Add(25 * time.Second).Truncate(time.Second)
	opened := closes.Add(-2 * time.Minute).Truncate(time.Minute)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1, maintenanceWindow: `+window(opened, closes.Sub(opened))+`}
  stabilizationSeconds: 0
  groupCount: 1
`)
	w.EventuallyStarted(working, busy...)
	time.Sleep(time.Until(closes.Add(time.Second)))
	closed := time.Now()
	bringOnline(t, fleet, late...)
	w.EventuallyPolled(devices, 5, closed, late...)
	w.EventuallyTarget(busy[0], "finishes", inSync("firmware-1"))
	// The device records its result when it has the response, which may arrive after the status is
	// written.
	w.Eventually("the device records its result", func() string {
		if len(working.Of(devicesim.Closed)) == 0 {
			return "no closed action"
		}
		return ""
	})
	if last := working.Of(devicesim.Closed); len(last) != 1 || last[0].At.Before(closes) {
		t.Errorf("want the action closed once, after %s: %v", closes, last)
	}
	r := w.EventuallyRollout("firmware-1", "counts", counts(v1alpha1.Counts{Targets: 2, Pending: 1, Succeeded: 1}))
	if waits := r.Status.WaitingFor; waits.Until == nil || !waits.Until.Time.Equal(opened.Add(24*time.Hour)) {
		t.Errorf("it waits for %+v, want until the same minute tomorrow, %s", waits, opened.Add(24*time.Hour))
	}
	w.EventuallyPolled(devices, 3, time.Now(), late...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started after the window closed: %v", started)
	}
	startedOnce(t, working, busy...)
}
