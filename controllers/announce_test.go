// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/logging"
)

// logBook collects lines of the log for a test.
type logBook struct {
	mu    sync.Mutex
	lines []logLine
}

// logLine is one line: msg is its message, level its verbosity. The line of an error has no level.
type logLine map[string]any

// into returns a context with a logger that writes into the book up to V(1).
func (b *logBook) into(ctx context.Context) context.Context {
	return logf.IntoContext(ctx, logr.New(funcr.NewJSON(func(text string) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			panic(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, line)
	}, funcr.Options{Verbosity: 1}).GetSink()))
}

// take removes all lines and returns those with this message, as "level key=value ..." of the given
// keys.
func (b *logBook) take(message string, keys ...string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		if line["msg"] != message {
			continue
		}
		var values []string
		for _, key := range keys {
			value, _ := line[key].(string)
			values = append(values, value)
		}
		out = append(out, strings.Join(values, " "))
	}
	b.lines = slices.DeleteFunc(b.lines, func(line logLine) bool { return line["msg"] == message })
	return out
}

// lead lets one racer reconcile until it has nothing left to do, with a log.
func (w *race) lead(book *logBook) {
	w.t.Helper()
	w.old.Client = logging.Client(w.store)
	for range 30 {
		before := w.rollout()
		if _, err := w.old.Reconcile(book.into(w.t.Context()), before); err != nil {
			w.t.Fatal(err)
		}
		w.now = w.now.Add(2 * time.Second)
		w.sync()
		if w.rollout().ResourceVersion == before.ResourceVersion {
			return
		}
	}
	w.t.Fatal("the rollout does not stop changing")
}

func (w *race) commit(change func(*v1alpha1.RolloutSpec)) {
	w.t.Helper()
	r := w.rollout()
	change(&r.Spec)
	r.Generation++
	if err := w.store.Update(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	w.sync()
}

// TestEachDecisionOfARolloutIsInTheLogOnce: only start, pause, resume, stop and the like are lines
// at level info, with the state before and after.
func TestEachDecisionOfARolloutIsInTheLogOnce(t *testing.T) {
	w, book := newRace(t), &logBook{}
	expect := func(step string, want ...string) {
		t.Helper()
		w.lead(book)
		if got := book.take("Decided", "from", "to", "reason"); !slices.Equal(got, want) {
			t.Errorf("%s: the log has the decisions\n%q, want\n%q", step, got, want)
		}
		for _, line := range book.lines {
			if line["level"] != float64(1) {
				t.Errorf("%s: a line without a decision is not at V(1): %v", step, line)
			}
		}
	}
	expect("the start", " Creating Planned", "Creating Starting Started", "Starting Running GroupOpened")
	expect("no change")
	w.succeed(w.groups()[0])
	expect("a group succeeds", "Running Running GroupFinished", "Running Running GroupOpened")
	w.commit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	expect("a pause", "Running Paused Paused")
	w.commit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	expect("a resume", "Paused Running Resumed")
	w.start(w.groups()[1], action.Download)
	w.commit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	expect("a stop, which is recorded in every open action", "Running Stopping Stopping", "Stopping Stopped Stopped")
	if err := w.store.Delete(t.Context(), w.rollout()); err != nil {
		t.Fatal(err)
	}
	w.sync()
	if _, err := w.old.Reconcile(book.into(t.Context()), w.rollout()); err != nil {
		t.Fatal(err)
	}
	if got := book.take("Decided", "from", "to", "reason"); !slices.Equal(got, []string{"Stopped Deleted Deleted"}) {
		t.Errorf("the deletion is in the log as %q", got)
	}
}

// TestEveryWriteOfARolloutIsInTheLog: each write that the API server has accepted is one line at
// V(1) with its object; each plan is a line with its steps.
func TestEveryWriteOfARolloutIsInTheLog(t *testing.T) {
	w, book := newRace(t), &logBook{}
	w.lead(book)
	writes := book.take("Wrote", "verb", "kind", "subresource")
	count := map[string]int{}
	for _, line := range writes {
		count[line]++
	}
	if count["create DeploymentGroup "] != 2 || count["patch Rollout "] != 1 || count["patch Rollout status"] < 3 || count["patch DeploymentGroup status"] < 2 {
		t.Errorf("the log has the writes %v", count)
	}
	var steps []any
	for _, line := range book.lines {
		if line["msg"] == "Made a plan" {
			steps, _ = line["steps"].([]any)
		}
	}
	if !slices.Contains(steps, any("openFirstGroup")) {
		t.Errorf("the last plan has the steps %v", steps)
	}
}

// TestDecisionsAboutASetAreInTheLogOnce: a set becomes usable, is locked and is invalidated.
func TestDecisionsAboutASetAreInTheLogOnce(t *testing.T) {
	w, book := newSetWorld(t, aModule("os", "os"), aSet("firmware-1", "os")), &logBook{}
	reconcile := func() map[string]int {
		t.Helper()
		for range 10 {
			for _, name := range []string{"firmware-1"} {
				set := &v1alpha1.DistributionSet{}
				if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: name}, set); err != nil {
					t.Fatal(err)
				}
				if _, err := w.sets.Reconcile(book.into(t.Context()), set); err != nil {
					t.Fatal(err)
				}
				module := &v1alpha1.SoftwareModule{}
				if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "os"}, module); err != nil {
					t.Fatal(err)
				}
				if _, err := w.modules.Reconcile(book.into(t.Context()), module); err != nil {
					t.Fatal(err)
				}
			}
			w.now = w.now.Add(2 * time.Second)
			w.sync()
		}
		count := map[string]int{}
		for _, reason := range book.take("Decided", "reason") {
			count[reason]++
		}
		return count
	}
	once := func(story string, got map[string]int, want ...string) {
		t.Helper()
		if !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			t.Errorf("%s: the log has %v, want %q once each", story, got, want)
		}
		for reason, n := range got {
			if n != 1 && reason != "Ready" { // of the set, and of its module
				t.Errorf("%s: the log has %s %d times", story, reason, n)
			}
		}
	}
	once("a set that is applied before its module", reconcile(), "ModuleNotReady", "Ready")
	once("no change", reconcile())
	set := &v1alpha1.DistributionSet{}
	if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "firmware-1"}, set); err != nil {
		t.Fatal(err)
	}
	set.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft}
	if err := w.store.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	w.sync()
	got := reconcile()
	if got["Invalidated"] != 1 || got["InvalidationFinished"] != 1 {
		t.Errorf("an invalidation is in the log as %v", got)
	}
	once("no change after the invalidation", reconcile())
}

// TestAnErrorIsLoggedByItsCallerAlone: the error of a write that fails is returned, and the write
// is not logged.
func TestAnErrorIsLoggedByItsCallerAlone(t *testing.T) {
	w, book := newRace(t), &logBook{}
	w.old.Client = logging.Client(unpowered{w.store})
	if _, err := w.old.Reconcile(book.into(t.Context()), w.rollout()); !errors.Is(err, errCrash) {
		t.Fatalf("the error is %v", err)
	}
	if len(book.lines) != 0 {
		t.Errorf("the log has %v; controller-runtime logs the error", book.lines)
	}
}

type unpowered struct{ client.Client }

func (unpowered) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return errCrash
}
