// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

// The update starts at 0, the commit is sent at 1000 ms and acknowledged at 1040 ms.
var committed = stopCommit{sent: at(1000), acknowledged: at(1040)}

func event(kind devicesim.Kind, device string, asked, answered int) devicesim.Event {
	return devicesim.Event{Kind: kind, Device: device, Asked: at(asked), At: at(answered)}
}

func TestEvaluate(t *testing.T) {
	events := []devicesim.Event{
		event(devicesim.Started, "a", -500, -400), // of an earlier rollout
		event(devicesim.Closed, "a", -100, -50),
		event(devicesim.Started, "a", 100, 150),
		event(devicesim.Started, "b", 200, 250),
		event(devicesim.Closed, "a", 900, 950),
		event(devicesim.Started, "c", 990, 1060), // sent before the commit, answered after it
		event(devicesim.Dropped, "c", 1500, 1510),
		event(devicesim.Polled, "b", 1030, 1035), // before the API server stored the commit
		event(devicesim.Polled, "b", 1100, 1110),
		event(devicesim.Canceled, "b", 1110, 1120),
		event(devicesim.Polled, "d", 1200, 1210),
		event(devicesim.Canceled, "d", 1210, 1220), // its action was withdrawn before it started
		event(devicesim.Polled, "d", 3200, 3210),
	}
	got := evaluate(events, 5, 4, noon, committed)
	want := verdict{devices: 5, polling: 4, started: 3, finished: 1, canceled: 1, lastStart: at(1060), lastAsked: at(990), polls: 3, askedTwice: 1}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(verdict{}, record{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFailedStopIsAnError(t *testing.T) {
	good := verdict{devices: 5, started: 3, lastStart: at(3000), lastAsked: at(990)}
	tests := map[string]struct {
		change func(*verdict)
		want   string
	}{
		"the stop works, with one slow response": {func(*verdict) {}, ""},
		"a device asks 1.5 s later and starts":   {func(v *verdict) { v.lastAsked = at(2540) }, "the stop failed: a device asked for the update 1.5 s after the commit, and got it"},
		"an action stays open":                   {func(v *verdict) { v.record.open = 2 }, "the stop failed: 2 actions of the invalidated set are still open"},
		"every device had started before":        {func(v *verdict) { v.started = 5 }, "the demo shows no stop: no device, or every device, had started before the commit"},
		"no device had started":                  {func(v *verdict) { v.started, v.lastAsked = 0, time.Time{} }, "the demo shows no stop: no device, or every device, had started before the commit"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v, got := good, ""
			tc.change(&v)
			if err := v.err(committed); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("error %q, want %q", got, tc.want)
			}
		})
	}
}

func TestALateStartIsCounted(t *testing.T) {
	v := evaluate([]devicesim.Event{event(devicesim.Started, "a", 1041, 1050)}, 5, 4, noon, committed)
	if v.late != 1 || !strings.Contains(v.text(committed, at(1020)), "   1 started after the commit") {
		t.Errorf("a device that asked after the commit was acknowledged and started is not reported:\n%s", v.text(committed, at(1020)))
	}
}
