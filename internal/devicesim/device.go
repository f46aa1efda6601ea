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
	// retryInterval is how soon a device polls again that has never learnt an
	// interval from the device API.
	retryInterval = 10 * time.Second
	// busyInterval is the longest a busy device waits before it asks whether
	// its action was canceled.
	busyInterval = 5 * time.Second
	// memory is how many closed actions a device remembers.
	memory = 8
)

// device is a Device on duty.
type device struct {
	Device

	// Scheduling, guarded by the fleet.
	due     time.Time
	place   int         // in the queue
	visited bool        // a worker has it
	poked   bool        // poll at the next visit
	wish    Temperament // to become at the next visit

	// The rest belongs to whoever visits the device.
	dice     rand.PCG
	nextPoll time.Time
	sleep    time.Duration // what the device API asked for last
	work     *work
	closed   []outcome // newest last
	denied   string    // action the user has denied
	attempts int       // at the software below
	tried    string
}

// work is the action a device is busy with.
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
	released  bool      // a late report may go
}

// outcome is what a device answers when it is offered a closed action again.
type outcome struct {
	id     string
	status wire.Status
}

func newDevice(spec Device, seed int64) *device {
	return &device{
		Device: spec, place: nowhere,
		dice: *rand.NewPCG(uint64(seed), draw(seed, "dice", spec.ID)),
	}
}

// random is the device's next number in [0, 1).
func (d *device) random() float64 { return rand.New(&d.dice).Float64() }

// asleep devices do nothing until their temperament changes.
func (d *device) asleep() bool {
	return d.Temperament == Offline || d.Temperament == Vanishes && d.work != nil
}

// next is when the device wants to be visited again.
func (d *device) next() time.Time {
	if d.work != nil && !d.work.waits() && d.work.due.Before(d.nextPoll) {
		return d.work.due
	}
	return d.nextPoll
}

// interval is the time to the next poll, before jitter.
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

// waits: the next step cannot be taken whatever the time.
func (w *work) waits() bool {
	if w.done >= len(w.steps) {
		return true
	}
	next := w.steps[w.done]
	return next.late && !w.released ||
		next.phase == downloading && w.download == wire.HandlingSkip ||
		next.phase == installing && w.update == wire.HandlingSkip
}

// held: a maintenance window or the like keeps the next step back, so that it
// is worth asking the device API again.
func (w *work) held() bool {
	return w.waits() && w.done < len(w.steps) && !w.steps[w.done].late
}

// installs: the device has started to change its software.
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

// attempt counts the tries at the same software and says how many there were
// before this one.
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
