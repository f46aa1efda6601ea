// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

const raucCause = "LastError: Installation error: Compatible mismatch: Expected 'demo-board' but bundle manifest has 'other-board'"

// raucFails are the reports of RAUC's updater about a bundle for another board, without a code.
func raucFails() []wire.Feedback {
	return []wire.Feedback{
		step(1, 6, "Starting download"), step(2, 6, "File checksum OK."), step(3, 6, "0% Installing"), step(4, 6, "20% Checking bundle"),
		step(5, 6, "40% Checking bundle failed."), step(6, 6, "100% Installing failed."), step(6, 6, raucCause),
		feedback(wire.ExecutionClosed, wire.FinishedFailure, "Failed to install software bundle."),
	}
}

// The cause is in a report before the result. It is written with the result, and shown in the
// Target and in one event.
func TestTheCauseOfAFailureIsKept(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.newEvents()
	for _, f := range raucFails() {
		d.wantReport(nil, firstID, f)
	}
	w.wantWrites(1, "all reports together")
	a := w.wantState(firstID, v1alpha1.ActionError)
	if a.Message != "Failed to install software bundle." || a.FailureMessage != raucCause || a.FailureGroup != raucCause || len(a.Messages) != 5 || a.Messages[4] != raucCause {
		t.Errorf("message %q, failure message %q, group %q, messages %q", a.Message, a.FailureMessage, a.FailureGroup, a.Messages)
	}
	events := d.newEvents()
	if len(events) != 1 || !strings.Contains(events[0], "Warning UpdateFailed action 100 (firmware of Rollout ") || !strings.HasSuffix(events[0], "failed: "+raucCause) {
		t.Errorf("events are %q", events)
	}
	d.wantReport(deviceapi.ErrGone, firstID, feedback(wire.ExecutionProceeding, wire.FinishedNone, "error: something else"))
	d.wantReport(deviceapi.ErrGone, firstID, feedback(wire.ExecutionClosed, wire.FinishedFailure, "error: something else"))
	d.flushAll()
	if a := w.wantState(firstID, v1alpha1.ActionError); a.FailureMessage != raucCause || len(d.newEvents()) != 0 {
		t.Errorf("reports after the result made the failure message %q", a.FailureMessage)
	}
}

// The cause is the same after a write at any point, by the same process or by another one. Only the
// reports in the memory of another process are missing.
func TestTheCauseSurvivesWritesInBetween(t *testing.T) {
	reports := raucFails()
	for _, others := range []bool{false, true} {
		for flushed := range reports[:len(reports)-1] {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{Replicated: others})
			d.start()
			for i, f := range reports {
				d.wantReport(nil, firstID, f)
				if i == flushed {
					d.flushAll()
					d = w.deviceAPI(Options{Replicated: others})
				}
			}
			if a := w.wantState(firstID, v1alpha1.ActionError); a.FailureMessage != raucCause {
				t.Errorf("with a restart after report %d, others %t: failure message %q", flushed, others, a.FailureMessage)
			}
		}
	}
	w := newWorld(t, 1)
	first, second := w.deviceAPI(Options{Replicated: true}), w.deviceAPI(Options{Replicated: true})
	first.start()
	for _, f := range reports[:len(reports)-1] {
		first.wantReport(nil, firstID, f)
	}
	second.sync()
	second.wantReport(nil, firstID, reports[len(reports)-1])
	if a := w.wantState(firstID, v1alpha1.ActionError); a.FailureMessage != "Failed to install software bundle." {
		t.Errorf("failure message %q; want the one of the result, the only report of the second process", a.FailureMessage)
	}
}

// A device that sends many long reports is bounded in memory, status and writes.
func TestBufferedTextsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	w.takeWrites()
	taken, most := 0, 0
	for i := range 120 {
		switch err := d.Feedback(context.Background(), dev0, firstID, longReport(i)); {
		case err == nil:
			taken++
		case !errors.Is(err, deviceapi.ErrTooMany):
			t.Fatal(err)
		}
		for _, g := range d.progress.devices {
			most = max(most, g.bytes)
		}
	}
	const oneReport = 24 << 10
	if most > maxBufferedBytes+oneReport {
		t.Errorf("%d bytes were buffered, want at most %d and one report", most, maxBufferedBytes)
	}
	if n := w.takeWrites(); n < 2 || n > writeBurst {
		t.Errorf("%d writes for 120 reports at once", n)
	}
	d.flushAll()
	if a := w.wantState(firstID, v1alpha1.ActionRunning); len(a.Messages) > 5 || int(a.Reports) != taken {
		t.Errorf("%d reports of %d that were accepted, %d messages", a.Reports, taken, len(a.Messages))
	}
	if used := d.progress.buffer.used.Load(); used != 0 {
		t.Errorf("%d bytes are counted, but nothing is buffered", used)
	}
}

// longReport returns an intermediate report of the maximum size in the buffer: 12 KiB.
func longReport(i int) wire.Feedback {
	long := slices.Repeat([]string{strings.Repeat("\U0001F980", 510)}, 6)
	return feedback(wire.ExecutionProceeding, wire.FinishedNone, append([]string{"error: " + strings.Repeat("x", i)}, long...)...)
}

// TestHostileDevicesShareABoundedBuffer: together, devices that send the longest reports take no
// more memory than the buffer of the process. Reports of other devices are not refused: they are
// written at once.
func TestHostileDevicesShareABoundedBuffer(t *testing.T) {
	const hostile, limit = 1000, 4 << 20
	w := newWorld(t, hostile+1)
	buffer := &ReportBuffer{limit: limit}
	d := w.deviceAPI(Options{Reports: buffer})
	device := func(i int) deviceapi.Device {
		return deviceapi.Device{Namespace: fleetNamespace, ControllerID: deviceName(i)}
	}
	for i := range hostile + 1 {
		if _, err := d.Deployment(t.Context(), device(i), firstID); err != nil {
			t.Fatal(err)
		}
	}
	w.set(func(w *world) {
		w.beforeWrite = func(o client.Object) error { // no report of a hostile device can be written
			if o.GetName() == deviceName(hostile) {
				return nil
			}
			return errInjected
		}
	})
	before := heap()
	refused := 0
	for i := range hostile {
		if d.Feedback(t.Context(), device(i), firstID, longReport(i%100)) != nil {
			refused++
		}
	}
	if used := buffer.used.Load(); used > limit || used < limit/2 {
		t.Errorf("%d bytes are used of %d", used, limit)
	}
	if grown := heap() - before; grown > 2*limit {
		t.Errorf("the heap has grown by %d KiB for a buffer of %d KiB", grown>>10, limit>>10)
	}
	if refused == 0 {
		t.Error("no report was refused, so the buffer was never full")
	}
	w.takeWrites()
	buffer.take(limit - int(buffer.used.Load())) // leaves no room for another long report
	for range 3 {
		if err := d.Feedback(t.Context(), device(hostile), firstID, feedback(wire.ExecutionProceeding, wire.FinishedNone, "50 percent")); err != nil {
			t.Errorf("another device is refused: %v", err)
		}
	}
	w.wantWrites(3, "three reports without room in the buffer")
	if err := d.Feedback(t.Context(), device(hostile), firstID, succeeded); err != nil {
		t.Errorf("the result of another device is refused: %v", err)
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
