// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// logged has the log lines of the device API in this test binary, up to V(1), since the last call
// of logOf.
var logged struct {
	mu    sync.Mutex
	lines []map[string]any
}

// TestMain sets the logger before the first test: controller-runtime discards the lines of all
// loggers from then on if no logger is set within 30 seconds.
func TestMain(m *testing.M) {
	logf.SetLogger(funcr.NewJSON(func(text string) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			panic(err)
		}
		logged.mu.Lock()
		defer logged.mu.Unlock()
		logged.lines = append(logged.lines, line)
	}, funcr.Options{Verbosity: 1}))
	m.Run()
}

// logOf empties the log, calls work, and returns the new lines: errors as "error", others as "info"
// or "V(1)", each with its message and the value of a key.
func logOf(key string, work func()) (out []string) {
	logged.mu.Lock()
	logged.lines = nil
	logged.mu.Unlock()
	work()
	logged.mu.Lock()
	defer logged.mu.Unlock()
	for _, line := range logged.lines {
		level := "error"
		switch line["level"] {
		case float64(0):
			level = "info"
		case float64(1):
			level = "V(1)"
		}
		out = append(out, fmt.Sprintf("%s: %v: %v", level, line["msg"], line[key]))
	}
	return out
}

func pausedRollout(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
	r.Spec.State = v1alpha1.IntentPaused
}

// TestPollsAreNotLogged: a poll of a device that is offered an update, or that no update reaches,
// causes no log line. If an update reaches the device and is held back, the poll causes one at
// V(1), with the reason.
func TestPollsAreNotLogged(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	if got := logOf("reason", func() { poll(t, d); poll(t, d) }); slices.ContainsFunc(got, func(s string) bool { return !strings.HasPrefix(s, "V(1)") }) {
		t.Errorf("polls with an offer are logged as %q", got)
	}
	held := newWorld(t, 1, pausedRollout)
	d = held.deviceAPI(Options{})
	poll(t, d)
	if got := logOf("reason", func() { poll(t, d) }); !slices.Equal(got, []string{"V(1): Offered nothing: Paused"}) {
		t.Errorf("a poll with a paused rollout is logged as %q", got)
	}
}

func poll(t *testing.T, d *deviceAPI) {
	t.Helper()
	if _, err := d.State(context.Background(), dev0, ""); err != nil {
		t.Fatal(err)
	}
}

// TestErrorOfARefusedRequestHasTheReason: the device gets "not found"; the error, which the device
// API logs at V(1), has the reason.
func TestErrorOfARefusedRequestHasTheReason(t *testing.T) {
	for name, ask := range map[string]func(*deviceAPI) error{
		"a deployment":   func(d *deviceAPI) error { _, err := d.Deployment(context.Background(), dev0, firstID); return err },
		"a confirmation": func(d *deviceAPI) error { _, err := d.Confirmation(context.Background(), dev0, firstID); return err },
		"a cancel":       func(d *deviceAPI) error { return d.Cancel(context.Background(), dev0, firstID) },
		"the answer to a cancel": func(d *deviceAPI) error {
			return d.CancelFeedback(context.Background(), dev0, firstID, wire.Feedback{})
		},
	} {
		err := ask(newWorld(t, 1, pausedRollout).deviceAPI(Options{}))
		if !errors.Is(err, deviceapi.ErrNotFound) || !strings.Contains(fmt.Sprint(err), "Paused: ") {
			t.Errorf("%s of a paused rollout: %v", name, err)
		}
	}
}

// TestDecisionsAndFailuresAreLoggedOnce: a failed update, a withdrawn start, and a failed write.
func TestDecisionsAndFailuresAreLoggedOnce(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	w.editRollout(stop(v1alpha1.CancellationNone)) // the caches do not show it yet
	got := logOf("reason", func() { _, _ = d.Deployment(context.Background(), dev0, firstID) })
	if !slices.Equal(got, []string{"info: Decided: Stopped"}) {
		t.Errorf("a withdrawn start is logged as %q", got)
	}

	w = newWorld(t, 1)
	d = w.deviceAPI(Options{})
	if _, err := d.Deployment(context.Background(), dev0, firstID); err != nil {
		t.Fatal(err)
	}
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errInjected } })
	fail := func() { _ = d.report(firstID, feedback(wire.ExecutionClosed, wire.FinishedFailure)) }
	if got := logOf("target", fail); len(got) != 1 || !strings.HasPrefix(got[0], "error: A write for a device failed") {
		t.Errorf("a failed write is logged as %q", got)
	}
	w.set(func(w *world) { w.beforeWrite = nil })
	if got := logOf("action", fail); !slices.Equal(got, []string{"info: An update failed: 100"}) {
		t.Errorf("a failed update is logged as %q", got)
	}
}
