// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// evidence are the reports of a device about an update before its cancel.
var evidence = []struct {
	name, ddi string
	events    []Event
}{
	{"nothing", "nothing", nil},
	{"Start", "`scheduled`", []Event{Start}},
	{"Download", "`download`", []Event{Start, Download}},
	{"Downloaded", "`downloaded`", []Event{Start, Download, Downloaded}},
	{"Proceed", "`proceeding`", []Event{Start, Download, Proceed}},
	{"Install", "", []Event{Start, Download, Downloaded, Install}},
	{"Install, then Download again", "", []Event{Install, Download}},
	{"Installed", "", []Event{EventInstalled}},
	{"Remove", "", []Event{Start, Remove}},
}

// endings are the results of a cancel.
var endings = []struct {
	name  string
	steps []testStep
}{
	{"accepted", []testStep{stopped, reports(CancelAccepted)}},
	{"canceled by itself", []testStep{reports(Abandon)}},
	{"refused", []testStep{stopped, reports(CancelRejected)}},
	{"by force", []testStep{forced}},
	{"unanswered", []testStep{stopped, waits(time.Hour), expires}},
}

// before are the states of the target before the update, by updateStatus.
var before = []struct {
	status v1alpha1.UpdateStatus
	steps  []testStep
}{
	{v1alpha1.UpdateStatusRegistered, nil},
	{v1alpha1.UpdateStatusInSync, then([]testStep{starts("old")}, installed...)},
	{v1alpha1.UpdateStatusError, []testStep{starts("old"), reports(Download), reports(Fail)}},
}

func hourly(b *Creation) { within(3600)(b) }

func endOf(was []testStep, creations []creationOption, events []Event, ending []testStep) facts {
	steps := then(was, starts("new", append(creations, hourly)...))
	return newTarget(then(then(steps, allOf(events...)...), ending...)...).facts()
}

// TestStatusAfterACancel checks every result of a cancel, after all reports of a device, and for
// all states of the target. An expected value is a status, or "as before", and the reason of
// Consistent=False.
func TestStatusAfterACancel(t *testing.T) {
	const (
		open    = "Pending"
		asWas   = "as before"
		unknown = "as before, UpdateCanceled"
		halfWay = "Error, CanceledWhileInstalling"
		closed  = "Error, ClosedWhileRunning"
	)
	type outcomes [5]string // in the order of endings
	untouched, perhaps, changed := outcomes{asWas, asWas, open, closed, closed}, outcomes{unknown, unknown, open, closed, closed}, outcomes{halfWay, halfWay, open, closed, closed}
	want := map[string]struct{ none, supported, downloadOnly outcomes }{
		"nothing":                      {untouched, untouched, untouched},
		"Start":                        {untouched, untouched, untouched},
		"Download":                     {untouched, untouched, untouched},
		"Downloaded":                   {none: untouched, supported: untouched}, // with DownloadOnly the action is closed then
		"Proceed":                      {perhaps, untouched, untouched},
		"Install":                      {none: changed, supported: untouched},
		"Install, then Download again": {changed, untouched, changed},
		"Installed":                    {changed, untouched, changed},
		"Remove":                       {changed, untouched, changed},
	}
	if len(want) != len(evidence) {
		t.Errorf("the table has %d rows, want %d", len(want), len(evidence))
	}
	for _, had := range evidence {
		for kind, c := range map[string]struct {
			creations []creationOption
			want      outcomes
		}{
			"no rollback":  {nil, want[had.name].none},
			"rollback":     {[]creationOption{canRollBack}, want[had.name].supported},
			"DownloadOnly": {[]creationOption{downloadsOnly}, want[had.name].downloadOnly},
		} {
			for i, ending := range endings {
				if c.want[i] == "" {
					continue
				}
				for _, was := range before {
					t.Run(strings.Join([]string{had.name, ending.name, kind, string(was.status)}, "/"), func(t *testing.T) {
						f := endOf(was.steps, c.creations, had.events, ending.steps)
						got := string(f.Status)
						if f.Status == was.status && !strings.HasPrefix(c.want[i], "Error") {
							got = asWas
						}
						if f.Inconsistent != "" {
							got += ", " + f.Inconsistent
						}
						installed := ""
						if was.status == v1alpha1.UpdateStatusInSync {
							installed = "old"
						}
						if got != c.want[i] || f.Installed != installed {
							t.Errorf("updateStatus and Consistent are %s, installed %q; want %s, %q", got, f.Installed, c.want[i], installed)
						}
					})
				}
			}
		}
	}
}

// TestCancelKeepsAStrongerReason checks that a cancel does not replace or clear a stronger reason
// of Consistent=False.
func TestCancelKeepsAStrongerReason(t *testing.T) {
	for name, earlier := range map[string][]testStep{
		v1alpha1.ReasonUpdateFailed:            {starts("old"), reports(Install), reports(Fail)},
		v1alpha1.ReasonClosedWhileRunning:      {starts("old"), reports(Download), forced},
		v1alpha1.ReasonCanceledWhileInstalling: {starts("old"), reports(Install), stopped, reports(CancelAccepted)},
		v1alpha1.ReasonReportedByDevice:        {func(l *testTarget) { ReportInstalled(&l.s, "old_INCONSISTENT", hash("old"), l.now) }},
	} {
		for _, e := range []Event{Start, Download, Proceed} {
			t.Run(name+" and "+string(e), func(t *testing.T) {
				f := newTarget(then(earlier, starts("new"), reports(e), stopped, reports(CancelAccepted))...).facts()
				if f.Inconsistent != name || f.Status != v1alpha1.UpdateStatusError {
					t.Errorf("Consistent=False has reason %s, updateStatus is %s; want %s and Error", f.Inconsistent, f.Status, name)
				}
			})
		}
	}
}

// printCancels prints the results for the table of evidence and endings.
func printCancels(out *bytes.Buffer) {
	out.WriteString("## Status after a cancel\n\nA cell has `updateStatus` (*before*: as before the update) and, where `Consistent` is False, its reason. " +
		"`installed` does not change. A cancel by force and\none that is not answered in time close the action without the device, and a refused one leaves it open.\n\n")
	for _, kind := range []struct {
		title     string
		creations []creationOption
	}{
		{"Modules without `rollback: Supported`", nil},
		{"Every module with `rollback: Supported`", []creationOption{canRollBack}},
		{"`type: DownloadOnly`, modules without `rollback: Supported`", []creationOption{downloadsOnly}},
	} {
		fmt.Fprintf(out, "%s:\n\n| reported before | DDI |", kind.title)
		for _, ending := range endings {
			fmt.Fprintf(out, " %s |", ending.name)
		}
		out.WriteString("\n|---|---|" + strings.Repeat("---|", len(endings)) + "\n")
		for _, had := range evidence {
			fmt.Fprintf(out, "| %s | %s |", had.name, had.ddi)
			for _, ending := range endings {
				fmt.Fprintf(out, " %s |", cancelCell(kind.creations, had.events, ending.steps))
			}
			out.WriteString("\n")
		}
		out.WriteString("\n")
	}
}

// cancelCell returns the result for a target that was in sync.
func cancelCell(creations []creationOption, events []Event, ending []testStep) string {
	old := then([]testStep{starts("old")}, installed...)
	if newTarget(then(then(old, starts("new", creations...)), allOf(events...)...)...).facts().State.IsClosed() {
		return "*closed before*"
	}
	f := endOf(old, creations, events, ending)
	cell := string(f.Status)
	if f.Status == v1alpha1.UpdateStatusInSync {
		cell = "*before*"
	}
	if f.Inconsistent != "" {
		cell += ", " + f.Inconsistent
	}
	return cell
}
