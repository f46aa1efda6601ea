// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

const (
	// retryInterval is the poll interval of a device that has not received an interval from the
	// device API yet.
	retryInterval = 10 * time.Second
	// busyInterval is the maximum poll interval of a device with an action, because the action may
	// be canceled.
	busyInterval = 5 * time.Second
	// memory is the number of closed actions that a device remembers.
	memory = 8
)

// device is the state of a Device in a running fleet.
type device struct {
	Device

	// Scheduling, guarded by the fleet.
	due          time.Time
	index        int      // in the queue
	visited      bool     // while a worker visits the device
	pollNow      bool     // poll at the next visit
	nextBehavior Behavior // from the next visit on

	// The other fields belong to the worker that visits the device.
	rng      rand.PCG
	nextPoll time.Time
	sleep    time.Duration // the last interval of the device API
	work     *work
	closed   []outcome // newest last
	denied   string    // action the user has denied
	attempts int       // at the software below
	tried    string
}

// work is the action that a device is working on.
type work struct {
	id        string
	report    string // URL
	software  []Software
	artifacts []wire.Artifact
	download  wire.Handling
	update    wire.Handling
	steps     []step
	done      int       // steps
	due       time.Time // of the next step
	released  bool      // a late report may be sent
}

// outcome is the response of a device that is offered a closed action again.
type outcome struct {
	id     string
	status wire.Status
}

func newDevice(spec Device, seed int64) *device {
	return &device{
		Device: spec, index: notQueued,
		rng: *rand.NewPCG(uint64(seed), draw(seed, "dice", spec.ID)),
	}
}

// random returns the device's next random number in [0, 1).
func (d *device) random() float64 { return rand.New(&d.rng).Float64() }

// isInactive reports whether the device does nothing until its behavior changes.
func (d *device) isInactive() bool {
	return d.Behavior == Offline || d.Behavior == Vanishes && d.work != nil
}

// next returns the time of the next visit of the device.
func (d *device) next() time.Time {
	if d.work != nil && !d.work.waits() && d.work.due.Before(d.nextPoll) {
		return d.work.due
	}
	return d.nextPoll
}

// interval returns the time to the next poll, before jitter.
func (d *device) interval(override time.Duration) time.Duration {
	interval := d.sleep
	if override > 0 {
		interval = override
	}
	if interval <= 0 {
		interval = retryInterval
	}
	if d.work != nil {
		interval = min(interval, busyInterval)
	}
	return interval
}

// waits reports whether the next step must wait for another event than time.
func (w *work) waits() bool {
	if w.done >= len(w.steps) {
		return true
	}
	next := w.steps[w.done]
	return next.late && !w.released ||
		next.phase == downloading && w.download == wire.HandlingSkip ||
		next.phase == installing && w.update == wire.HandlingSkip
}

// held reports whether a maintenance window or the handling holds the next step, so that the
// deployment should be fetched again.
func (w *work) held() bool {
	return w.waits() && w.done < len(w.steps) && !w.steps[w.done].late
}

// installs reports whether the device has started to change its software.
func (w *work) installs() bool {
	return w.done > 0 && w.steps[w.done-1].phase == installing
}

func (d *device) outcome(actionID string) (wire.Status, bool) {
	i := slices.IndexFunc(d.closed, func(o outcome) bool { return o.id == actionID })
	if i < 0 {
		return wire.Status{}, false
	}
	return d.closed[i].status, true
}

func (d *device) remember(actionID string, status wire.Status) {
	d.closed = append(d.closed, outcome{actionID, status})
	if len(d.closed) > memory {
		d.closed = slices.Delete(d.closed, 0, len(d.closed)-memory)
	}
}

// attempt counts the attempts at the same software and returns the number of earlier ones.
func (d *device) attempt(software []Software) int {
	if key := join(software); key != d.tried {
		d.tried, d.attempts = key, 0
	}
	d.attempts++
	return d.attempts - 1
}

func softwareOf(chunks []wire.Chunk) (software []Software, artifacts []wire.Artifact) {
	for _, chunk := range chunks {
		software = append(software, Software{Part: chunk.Part, Name: chunk.Name, Version: chunk.Version})
		artifacts = append(artifacts, chunk.Artifacts...)
	}
	return software, artifacts
}

func join(software []Software) string {
	words := make([]string, len(software))
	for i, s := range software {
		words[i] = s.String()
	}
	return strings.Join(words, ",")
}
