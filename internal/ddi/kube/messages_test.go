// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

const raucCause = "LastError: Installation error: Compatible mismatch: Expected 'demo-board' but bundle manifest has 'other-board'"

// raucFails are the reports of RAUC's updater about a bundle for another board, without a code.
func raucFails() []wire.Feedback {
	return []wire.Feedback{
		step(1, 6, "Starting download"), step(2, 6, "File checksum OK."), step(3, 6, "0% Installing"), step(4, 6, "20% Checking bundle"),
		step(5, 6, "40% Checking bundle failed."), step(6, 6, "100% Installing failed."), step(6, 6, raucCause),
		says(wire.ExecutionClosed, wire.FinishedFailure, "Failed to install software bundle."),
	}
}

// The cause is in a report before the result. It is written with the result, and shown in the
// Target and in one event.
func TestTheCauseOfAFailureIsKept(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.told()
	for _, f := range raucFails() {
		d.wantReport(nil, firstID, f)
	}
	w.wantWrites(1, "all reports together")
	a := w.wantState(firstID, v1alpha1.ActionError)
	if a.Message != "Failed to install software bundle." || a.FailureMessage != raucCause || a.FailureGroup != raucCause || len(a.Messages) != 5 || a.Messages[4] != raucCause {
		t.Errorf("message %q, failure message %q, group %q, messages %q", a.Message, a.FailureMessage, a.FailureGroup, a.Messages)
	}
	told := d.told()
	if len(told) != 1 || !strings.Contains(told[0], "Warning UpdateFailed action 100 (firmware of Rollout ") || !strings.HasSuffix(told[0], "failed: "+raucCause) {
		t.Errorf("events are %q", told)
	}
	d.wantReport(ddi.ErrGone, firstID, says(wire.ExecutionProceeding, wire.FinishedNone, "error: something else"))
	d.wantReport(ddi.ErrGone, firstID, says(wire.ExecutionClosed, wire.FinishedFailure, "error: something else"))
	d.flushAll()
	if a := w.wantState(firstID, v1alpha1.ActionError); a.FailureMessage != raucCause || len(d.told()) != 0 {
		t.Errorf("reports after the result made the failure message %q", a.FailureMessage)
	}
}

// Wherever the process writes in between, and whether it is the same process, the cause is the
// same. Only what another process still has in its memory is not there.
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
		t.Errorf("failure message %q; want the closing one, which is all that the second process has seen", a.FailureMessage)
	}
}

// A device that talks much fills neither the memory nor the status.
func TestTextsThatAreGatheredAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	w.wrote()
	long := slices.Repeat([]string{strings.Repeat("\U0001F980 ", 1000)}, 50)
	most := 0
	for i := range 60 {
		if err := d.Feedback(context.Background(), dev0, firstID, says(wire.ExecutionProceeding, wire.FinishedNone, append([]string{"error: " + strings.Repeat("x", i)}, long...)...)); err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, g := range d.progress.devices {
			for _, r := range g.reports {
				size += r.Size()
			}
			if size != g.bytes {
				t.Fatalf("%d bytes are counted of %d", g.bytes, size)
			}
		}
		most = max(most, size)
	}
	if most > maxGatheredBytes {
		t.Errorf("%d bytes were gathered, want at most %d", most, maxGatheredBytes)
	}
	if n := w.wrote(); n < 2 || n > 30 {
		t.Errorf("%d writes for 60 reports", n)
	}
	d.flushAll()
	if a := w.wantState(firstID, v1alpha1.ActionRunning); len(a.Messages) > 5 || a.Reports != 60 {
		t.Errorf("%d reports, %d messages", a.Reports, len(a.Messages))
	}
}
