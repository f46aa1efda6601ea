// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"slices"
	"time"

	ditto "github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// job is a command that a device with MQTT works on.
type job struct {
	id        string // correlationId
	subject   string
	featureID string
	forced    bool
	weight    int32
	modules   []ditto.ModuleAction // of an update
	software  []ditto.Dependency   // of a removal

	steps    []operationStep
	done     int                              // steps
	released bool                             // a late report may be sent
	finals   map[string]ditto.OperationStatus // of the entries that have ended
}

// operationStep is one step of a device in a job: wait, act, report.
type operationStep struct {
	after    time.Duration
	phase    phase
	fetch    bool
	installs bool
	removes  bool
	late     bool
	entry    int // index in modules or software
	status   ditto.OperationStatus
}

func (s operationStep) isFinal() bool { return isFinal(s.status.Status) }

func isFinal(status string) bool {
	switch status {
	case ditto.FinishedSuccess, ditto.FinishedError, ditto.FinishedWarning, ditto.FinishedRejected, ditto.FinishedCanceled:
		return true
	default:
		return false
	}
}

func (j *job) isRemoval() bool { return j.subject == ditto.Remove }

// entries returns the number of modules, or of software.
func (j *job) entries() int {
	if j.isRemoval() {
		return len(j.software)
	}
	return len(j.modules)
}

// status returns a status of one entry.
func (j *job) status(entry int, status, message string) ditto.OperationStatus {
	o := ditto.OperationStatus{CorrelationID: j.id, Status: status, Message: message}
	if j.isRemoval() {
		o.Software = []ditto.Dependency{j.software[entry]}
	} else {
		o.Module = &j.modules[entry].Module
	}
	return o
}

// name returns the name of an entry.
func (j *job) name(entry int) string {
	if j.isRemoval() {
		return j.software[entry].String()
	}
	return j.modules[entry].Module.String()
}

// names returns the software of the job.
func (j *job) names(moduleType string) (software []Software) {
	for _, m := range j.modules {
		software = append(software, Software{Part: moduleType, Name: m.Module.Name, Version: m.Module.Version})
	}
	for _, s := range j.software {
		software = append(software, Software{Part: s.Type, Name: s.Name, Version: s.Version})
	}
	return software
}

// isInstalling reports whether the device has started to change its software.
func (j *job) isInstalling() bool {
	return slices.ContainsFunc(j.steps[:j.done], func(s operationStep) bool { return s.phase == installing })
}

// plan returns all steps of a device of this behavior without interference, entry by entry.
func (j *job) plan(t Behavior, o scriptOptions) []operationStep {
	if t == Slow {
		o.stepTime *= slowness
	}
	switch t {
	case Silent, Vanishes, NoResponse, RefusesCommands:
		return nil
	default:
	}
	var steps []operationStep
	for entry := range j.entries() {
		var ofEntry []operationStep
		if j.isRemoval() {
			ofEntry = j.removal(t, o, entry)
		} else {
			ofEntry = j.installation(t, o, entry)
		}
		if t == OutOfOrder {
			slices.Reverse(ofEntry)
		}
		steps = append(steps, ofEntry...)
	}
	if t == ReportsLate && len(steps) > 0 {
		steps[len(steps)-1].late = true
	}
	return steps
}

// installation returns the steps for one module. A device that fails does so at its last module.
func (j *job) installation(t Behavior, o scriptOptions, entry int) []operationStep {
	isLast := entry == j.entries()-1
	step := func(after time.Duration, p phase, status string, progress int32, message string) operationStep {
		s := operationStep{after: after, phase: p, entry: entry, status: j.status(entry, status, message)}
		s.status.Progress = &progress
		return s
	}
	var steps []operationStep
	switch t {
	case SkipsUpdate:
		return []operationStep{step(0, anyPhase, ditto.FinishedSuccess, 100, "Skipped.")}
	case Denies:
		return []operationStep{step(0, anyPhase, ditto.FinishedRejected, 0, "This device rejects updates.")}
	case Detailed:
		steps = append(steps, step(0, downloading, ditto.Started, 0, "Received."), step(0, downloading, ditto.DownloadingWaiting, 0, "Waiting for a slot."))
	default:
		steps = append(steps, step(0, downloading, ditto.Started, 0, ""))
	}
	steps = append(steps, step(0, downloading, ditto.Downloading, 0, ""))
	if t == DownloadFails && isLast {
		return append(steps, j.failure(o, entry, o.stepTime, downloading, "Download failed."))
	}
	fetched := step(o.stepTime, downloading, ditto.Downloaded, 100, "")
	fetched.fetch = true
	steps = append(steps, fetched)
	if o.downloadOnly {
		return append(steps, step(0, downloading, ditto.FinishedSuccess, 100, "Downloaded, not to be installed."))
	}
	if t == Detailed {
		steps = append(steps, step(0, installing, ditto.InstallingWaiting, 0, "Waiting for the user."))
	}
	for i := 1; i <= o.steps; i++ {
		steps = append(steps, step(o.stepTime, installing, ditto.Installing, int32(100*i/o.steps), fmt.Sprintf("Installing, step %d of %d.", i, o.steps)))
	}
	switch {
	case isLast && (t == Failing || t == Flaky && o.fails):
		return append(steps, j.failure(o, entry, o.stepTime, installing, "Installation failed."))
	case isLast && t == Inconsistent:
		o.failCode = "INCONSISTENT"
		return append(steps, j.failure(o, entry, o.stepTime, installing, "Installation failed, the old software could not be restored."))
	}
	last := step(0, installing, ditto.FinishedSuccess, 100, "Installed.")
	if t == Warns {
		last = step(0, installing, ditto.FinishedWarning, 100, "Installed, with warnings.")
		last.status.StatusCode = o.failCode
	}
	installed := step(o.stepTime, installing, ditto.Installed, 100, "")
	installed.installs = true
	return append(steps, installed, last)
}

func (j *job) failure(o scriptOptions, entry int, after time.Duration, p phase, message string) operationStep {
	s := operationStep{after: after, phase: p, entry: entry, status: j.status(entry, ditto.FinishedError, message)}
	s.status.StatusCode = o.failCode
	return s
}

// removal returns the steps for one entry. A device that fails does so at its second entry, or at
// its only one; unless forced, the rest is rejected.
func (j *job) removal(t Behavior, o scriptOptions, entry int) []operationStep {
	failsAt := min(1, j.entries()-1)
	fails := t == Failing || t == DownloadFails || t == Inconsistent || t == Flaky && o.fails
	step := func(after time.Duration, status, message string) operationStep {
		return operationStep{after: after, phase: installing, entry: entry, status: j.status(entry, status, message)}
	}
	switch {
	case t == Denies:
		return []operationStep{step(0, ditto.FinishedRejected, "This device rejects removals.")}
	case fails && entry == failsAt:
		return []operationStep{step(0, ditto.Removing, ""), j.failure(o, entry, o.stepTime, installing, "Removal failed.")}
	case fails && entry > failsAt && !j.forced:
		return []operationStep{step(0, ditto.FinishedRejected, "Not removed, because an earlier removal failed.")}
	}
	var steps []operationStep
	if t == Detailed {
		steps = append(steps, step(0, ditto.Started, ""), step(0, ditto.RemovingWaiting, ""))
	}
	removed := step(o.stepTime, ditto.Removed, "")
	removed.removes = true
	last := step(0, ditto.FinishedSuccess, "Removed.")
	if t == Warns {
		last = step(0, ditto.FinishedWarning, "Removed, with warnings.")
	}
	return append(steps, step(0, ditto.Removing, ""), removed, last)
}

// cancellation returns the steps with which a device ends the entries that have no result yet.
// present is the step that is being executed, or nil.
func (j *job) cancellation(t Behavior, stepTime time.Duration, present *operationStep) []operationStep {
	var steps []operationStep
	for entry := range j.entries() {
		if _, ended := j.finals[j.name(entry)]; ended || present != nil && present.entry == entry && present.isFinal() {
			continue
		}
		if t == Detailed {
			steps = append(steps, operationStep{entry: entry, status: j.status(entry, ditto.CancelingWaiting, "")})
		}
		steps = append(steps,
			operationStep{entry: entry, status: j.status(entry, ditto.Canceling, "")},
			operationStep{entry: entry, after: stepTime, status: j.status(entry, ditto.FinishedCanceled, "Canceled.")})
	}
	return steps
}
