// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// slowness is the factor by which a Slow device is slower.
const slowness = 10

// phase is the phase of a step. Handling and maintenance windows hold a phase, never a step without
// one.
type phase int

const (
	anyPhase phase = iota
	downloading
	installing
)

// step is one step of a device in an action: wait, act, report.
type step struct {
	after    time.Duration
	phase    phase
	fetch    bool // download the artifacts first
	installs bool // after it the device runs the new software
	late     bool // delay the report until the device API has closed the action
	final    bool // the report closes the action
	status   wire.Status
}

// scriptOptions are the parameters of a script in addition to the behavior.
type scriptOptions struct {
	stepTime time.Duration
	steps    int    // proceeding reports between downloaded and the result
	failCode string // code of a failure
	fails    bool   // this attempt of a Flaky device fails
	// downloadOnly means that the deployment must be downloaded and not installed.
	downloadOnly bool
}

// script returns all steps of a device of this behavior for an action without interference. Devices
// that never report have no steps.
func script(t Behavior, o scriptOptions) []step {
	if t == Slow {
		o.stepTime *= slowness
	}
	switch {
	case t.neverReports():
		return nil
	case t == SkipsUpdate:
		return []step{{final: true, status: success("Skipped Update.")}}
	case t == DownloadFails:
		return []step{startDownload(), {
			after: o.stepTime, phase: downloading, final: true, status: failure(o.failCode, "Download failed."),
		}}
	case o.downloadOnly:
		return []step{startDownload(), {
			after: o.stepTime, phase: downloading, fetch: true, final: true,
			status: report(wire.ExecutionDownloaded, wire.FinishedSuccess, "Downloaded, not to be installed."),
		}}
	}
	return installation(t, o)
}

func installation(t Behavior, o scriptOptions) []step {
	steps := []step{startDownload(), {
		after: o.stepTime, phase: downloading, fetch: true,
		status: report(wire.ExecutionDownloaded, wire.FinishedNone, "Downloaded."),
	}}
	for i := 1; i <= o.steps; i++ {
		status := report(wire.ExecutionProceeding, wire.FinishedNone, fmt.Sprintf("Installing, step %d of %d.", i, o.steps))
		status.Result.Progress = &wire.Progress{Count: i, Of: o.steps}
		steps = append(steps, step{after: o.stepTime, phase: installing, status: status})
	}
	return append(steps, result(t, o))
}

func result(t Behavior, o scriptOptions) step {
	last := step{after: o.stepTime, phase: installing, final: true, late: t == ReportsLate}
	switch {
	case t == Failing, t == Flaky && o.fails:
		last.status = failure(o.failCode, "Installation failed.")
	case t == Inconsistent:
		last.status = failure("INCONSISTENT", "Installation failed, the old software could not be restored.")
	default:
		last.installs = true
		last.status = success("Installed.")
	}
	return last
}

func startDownload() step {
	return step{phase: downloading, status: report(wire.ExecutionDownload, wire.FinishedNone, "Downloading.")}
}

func success(detail string) wire.Status {
	return report(wire.ExecutionClosed, wire.FinishedSuccess, detail)
}

func failure(code, detail string) wire.Status {
	status := report(wire.ExecutionClosed, wire.FinishedFailure, detail)
	status.Code = wire.Text(code)
	return status
}

func report(execution wire.Execution, finished wire.Finished, detail string) wire.Status {
	return wire.Status{Execution: execution, Result: wire.Result{Finished: finished}, Details: wire.Details{detail}}
}
