// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// hostileWays are the ways in which a device can cause writes without end. step takes the n-th step
// and returns the error of the device API.
var hostileWays = map[string]struct {
	before func(*deviceAPI)
	step   func(*deviceAPI, int) error
}{
	"attributes that change": {step: func(d *deviceAPI, n int) error {
		return d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"n": fmt.Sprint(n)}))
	}},
	"an attribute that is added and removed": {step: func(d *deviceAPI, n int) error {
		mode := []deviceapi.AttributesMode{deviceapi.MergeAttributes, deviceapi.RemoveAttributes}[n%2]
		return d.Attributes(context.Background(), dev0, data(mode, map[string]string{"n": "1"}))
	}},
	"auto-confirm that is activated and deactivated": {step: func(d *deviceAPI, n int) error {
		if n%2 == 0 {
			return d.ActivateAutoConfirm(context.Background(), dev0, deviceapi.AutoConfirm{Initiator: fmt.Sprint(n)})
		}
		return d.DeactivateAutoConfirm(context.Background(), dev0)
	}},
	"two installed sets in turn": {
		before: func(d *deviceAPI) {
			for _, version := range []string{"2.0", "3.0"} {
				if err := d.w.server.Create(context.Background(), aSet("firmware-"+version[:1], version, built.SoftwareModule("linux"))); err != nil {
					d.w.t.Fatal(err)
				}
			}
			d.sync()
		},
		step: func(d *deviceAPI, n int) error {
			_, err := d.ReportInstalled(context.Background(), dev0, "firmware", []string{"2.0", "3.0"}[n%2])
			return err
		}},
	"reports on actions that were never assigned": {step: func(d *deviceAPI, n int) error {
		return d.report(int32(firstID+1000+n), succeeded)
	}},
	"many long reports on an action that was closed by force": {
		before: func(d *deviceAPI) {
			d.start()
			d.wantReport(nil, firstID, proceeding)
			d.w.editRollout(stop(v1alpha1.CancellationForce))
			d.sync()
			d.poll()
		},
		step: func(d *deviceAPI, n int) error {
			text := strings.Repeat(fmt.Sprintf("step %d; ", n), 50)
			return d.report(firstID, feedback(wire.ExecutionProceeding, wire.FinishedNone, text, text, text))
		}},
	"repeated denials": {
		before: func(d *deviceAPI) {
			d.w.requireConfirmation()
			d.sync()
			if _, err := d.Confirmation(context.Background(), dev0, firstID); err != nil {
				d.w.t.Fatal(err)
			}
		},
		step: func(d *deviceAPI, n int) error {
			return d.ConfirmationFeedback(context.Background(), dev0, firstID, wire.ConfirmationFeedback{Confirmation: wire.Denied, Details: []string{fmt.Sprint(n)}})
		}},
	"many long reports": {
		before: func(d *deviceAPI) { d.start() },
		step: func(d *deviceAPI, n int) error {
			return d.report(firstID, feedback(wire.ExecutionProceeding, wire.FinishedNone, strings.Repeat("x", 500), strings.Repeat("y", 500), strings.Repeat("z", 500)))
		}},
	"intermediate reports on a cancel": {
		before: func(d *deviceAPI) {
			d.start()
			d.w.editRollout(stop(v1alpha1.CancellationSoft))
			d.sync()
			d.poll()
		},
		step: func(d *deviceAPI, n int) error {
			return d.CancelFeedback(context.Background(), dev0, firstID, feedback(wire.ExecutionProceeding, wire.FinishedNone, fmt.Sprint(n)))
		}},
}

// requireConfirmation makes the update of the rollout one that needs a confirmation.
func (w *world) requireConfirmation() {
	edit(w, "rollout-group-1", &v1alpha1.DeploymentGroup{}, func(g *v1alpha1.DeploymentGroup) { g.Spec.Conditions.ConfirmationRequired = true })
}

// TestADeviceCausesFewWrites: a device that sends 5 requests a second for 2 minutes causes at most
// 20 writes at once and 6 a minute. The refusal has a time for the next attempt, and the first
// report after that time is stored. Polls succeed all the time.
func TestADeviceCausesFewWrites(t *testing.T) {
	for name, way := range hostileWays {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.poll()
			if way.before != nil {
				way.before(d)
			}
			w.takeWrites()
			var refusal deviceapi.TooMany
			const steps = 600
			for n := range steps {
				w.wait(200 * time.Millisecond)
				if refused, ok := errors.AsType[deviceapi.TooMany](way.step(d, n)); ok {
					refusal = refused
				}
				if n%30 == 0 {
					d.poll()
				}
			}
			if wrote, most := w.takeWrites(), writeBurst+2*6+1; wrote > most || wrote < 2 {
				t.Errorf("%d writes in two minutes, want at most %d", wrote, most)
			}
			if refusal.RetryAfter <= 0 || refusal.RetryAfter > writeEvery || refusal.Reason == "" {
				t.Fatalf("the device is refused with %+v", refusal)
			}
			w.wait(writeEvery)
			if err := way.step(d, steps); errors.Is(err, deviceapi.ErrTooMany) {
				t.Errorf("after Retry-After the device is refused again: %v", err)
			}
		})
	}
}

// TestABudgetRefusesNoResult: a device that has used up its budget can still fetch nothing new, but
// every result, every answer to a cancel and every confirmation is stored at once.
func TestABudgetRefusesNoResult(t *testing.T) {
	exhaust := func(d *deviceAPI) {
		for n := range 2 * writeBurst {
			_ = hostileWays["attributes that change"].step(d, n)
		}
		if err := hostileWays["attributes that change"].step(d, -1); !errors.Is(err, deviceapi.ErrTooMany) {
			d.w.t.Fatalf("the budget is not used up: %v", err)
		}
	}
	for name, c := range map[string]struct {
		asks   bool
		notify func(*deviceAPI) error
		want   v1alpha1.ActionState
	}{
		"a success": {notify: func(d *deviceAPI) error { return d.report(firstID, succeeded) }, want: v1alpha1.ActionFinished},
		"a failure": {notify: func(d *deviceAPI) error { return d.report(firstID, failed) }, want: v1alpha1.ActionError},
		"a cancel that is accepted": {notify: func(d *deviceAPI) error {
			d.w.editRollout(stop(v1alpha1.CancellationSoft))
			d.sync()
			return d.CancelFeedback(context.Background(), dev0, firstID, feedback(wire.ExecutionClosed, wire.FinishedSuccess))
		}, want: v1alpha1.ActionCanceled},
		"a cancel that is refused": {notify: func(d *deviceAPI) error {
			d.w.editRollout(stop(v1alpha1.CancellationSoft))
			d.sync()
			return d.CancelFeedback(context.Background(), dev0, firstID, feedback(wire.ExecutionRejected, wire.FinishedNone))
		}, want: v1alpha1.ActionRunning},
		"a confirmation": {
			asks: true,
			notify: func(d *deviceAPI) error {
				return d.ConfirmationFeedback(context.Background(), dev0, firstID, wire.ConfirmationFeedback{Confirmation: wire.Confirmed})
			}, want: v1alpha1.ActionRunning},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			if c.asks {
				w.requireConfirmation()
			}
			d := w.deviceAPI(Options{})
			if !c.asks {
				d.start()
				d.wantReport(nil, firstID, proceeding)
			} else if _, err := d.Confirmation(context.Background(), dev0, d.poll().ConfirmID); err != nil {
				t.Fatal(err)
			}
			exhaust(d)
			if err := c.notify(d); err != nil {
				t.Errorf("the error is %v", err)
			}
			w.wantState(firstID, c.want)
		})
	}
}

// TestAStartWaitsForTheBudget: the first fetch of a deployment is a write that counts for the
// budget.
func TestAStartWaitsForTheBudget(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.poll()
	for n := range 2 * writeBurst {
		_ = hostileWays["attributes that change"].step(d, n)
	}
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrTooMany) {
		t.Errorf("the error is %v", err)
	}
	w.wait(writeEvery)
	if _, err := d.Deployment(context.Background(), dev0, firstID); err != nil {
		t.Errorf("after Retry-After the error is %v", err)
	}
}

// TestEachDeviceHasItsOwnBudget: one device does not use up the budget of another, and a device
// with a full budget is not remembered.
func TestEachDeviceHasItsOwnBudget(t *testing.T) {
	b, now := newWriteBudgets(), rolloutStart
	key := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: fleetNamespace, Name: deviceName(i)}
	}
	for range writeBurst {
		if wait := b.wait(key(0), now); wait != 0 {
			t.Fatalf("the device must wait for %s", wait)
		}
		b.count(key(0), now)
	}
	if wait := b.wait(key(0), now); wait != writeEvery {
		t.Errorf("the device must wait for %s", wait)
	}
	if wait := b.wait(key(1), now); wait != 0 {
		t.Errorf("another device must wait for %s", wait)
	}
	for i := range 100_000 {
		now = now.Add(writeEvery)
		b.count(key(i), now)
	}
	if len(b.full) > 2*sweepBudgetsAt {
		t.Errorf("%d devices are remembered", len(b.full))
	}
}

// TestAttributesHaveATotalBound: the number of attributes and the length of keys and values are
// bounded, and so is the total size of the attributes as JSON.
func TestAttributesHaveATotalBound(t *testing.T) {
	some := func(n int, value string) map[string]string {
		pairs := map[string]string{}
		for i := range n {
			pairs[fmt.Sprintf("%03d", i)] = value
		}
		return pairs
	}
	for name, c := range map[string]struct {
		first, then map[string]string
		refused     bool
	}{
		"100 attributes of 70 characters":   {then: some(100, strings.Repeat("v", 70))},
		"100 attributes of 128 characters":  {then: some(100, strings.Repeat("v", 128)), refused: true},
		"characters of several bytes":       {then: some(60, strings.Repeat("型", 100)), refused: true},
		"characters that JSON escapes":      {then: some(60, strings.Repeat("<", 100)), refused: true},
		"added to the stored attributes":    {first: some(50, strings.Repeat("v", 128)), then: map[string]string{"x": strings.Repeat("v", 128), "y": strings.Repeat("v", 128), "z": strings.Repeat("v", 128), "1": strings.Repeat("v", 128), "2": strings.Repeat("v", 128), "3": strings.Repeat("v", 128), "4": strings.Repeat("v", 128), "5": strings.Repeat("v", 128), "6": strings.Repeat("v", 128), "7": strings.Repeat("v", 128), "8": strings.Repeat("v", 128), "9": strings.Repeat("v", 128)}, refused: true},
		"in place of the stored attributes": {first: some(50, strings.Repeat("v", 128)), then: some(50, strings.Repeat("w", 128))},
		"the longest key and value":         {then: map[string]string{strings.Repeat("k", 128): strings.Repeat("v", 128)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			for _, pairs := range []map[string]string{c.first, c.then} {
				if pairs == nil {
					continue
				}
				err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, pairs))
				last := len(pairs) == len(c.then)
				if refused := errors.Is(err, deviceapi.ErrTooMany); last && refused != c.refused && pairs["000"] == c.then["000"] || err != nil && !refused {
					t.Errorf("the error is %v", err)
				}
				if c.refused && err != nil && !strings.Contains(err.Error(), "8192") {
					t.Errorf("the error does not name the bound: %v", err)
				}
			}
			stored := w.target("dev-0").Status.Attributes
			if !c.refused && len(stored) != len(c.then) || c.refused && len(stored) != len(c.first) {
				t.Errorf("%d attributes are stored", len(stored))
			}
		})
	}
}
