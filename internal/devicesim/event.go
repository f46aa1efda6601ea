// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Kind is what happened to a device.
type Kind string

const (
	// Polled: the device API answered a poll.
	Polled Kind = "Polled"
	// Started: the device fetched a deployment; Software says of what. From here
	// on nobody may assume that the device has not started.
	Started Kind = "Started"
	// Reported: the device API took a report; Status has it.
	Reported Kind = "Reported"
	// Closed: the device API took the report that closes the action; Status has it.
	// It follows the Reported of the same report.
	Closed Kind = "Closed"
	// Canceled: the device gave up its action and the device API took the answer.
	Canceled Kind = "Canceled"
	// CancelRejected: the device refused to give up and the device API took the answer.
	CancelRejected Kind = "CancelRejected"
	// Confirmed: the device consented to an update, or denied it; Message says which.
	Confirmed Kind = "Confirmed"
	// AttributesSent: the device API took the device's attributes.
	AttributesSent Kind = "AttributesSent"
	// Downloaded: one artifact was fetched and its checksum is right.
	Downloaded Kind = "Downloaded"
	// Dropped: the device API no longer knows the action (404, 405 or 410), and the
	// device has given it up, or had already closed it.
	Dropped Kind = "Dropped"
	// HTTPError: the device API gave another answer than 200, or none. The device
	// tries again at its next poll.
	HTTPError Kind = "HTTPError"
)

// Software is one module of a deployment.
type Software struct {
	Part, Name, Version string
}

func (s Software) String() string { return s.Part + ":" + s.Name + ":" + s.Version }

// Event is one thing that happened to one device.
type Event struct {
	Kind   Kind
	Device string
	// Asked is when the request that led here was sent, At when it was answered.
	Asked, At time.Time
	Action    string
	Software  []Software  // Started
	Status    wire.Status // Reported, Closed
	HTTP      int         // status code of the device API's answer, 0 without one
	Message   string      // one sentence for people
}

// String is the event in one line.
func (e Event) String() string {
	parts := []string{e.At.Format("15:04:05.000"), e.Device, string(e.Kind)}
	if e.Action != "" {
		parts = append(parts, "action="+e.Action)
	}
	for _, s := range e.Software {
		parts = append(parts, s.String())
	}
	if e.Status.Execution != "" {
		parts = append(parts, fmt.Sprintf("%s/%s", e.Status.Execution, e.Status.Result.Finished))
	}
	if e.Status.Code != "" {
		parts = append(parts, "code="+string(e.Status.Code))
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	return strings.Join(parts, " ")
}

// Recorder keeps every event; its Observe method is an Observer. The zero
// value is ready. It grows without bound: use it in tests, not in long runs.
type Recorder struct {
	mu     sync.Mutex
	events []Event
}

// Observe keeps one event.
func (r *Recorder) Observe(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events are all events so far, in the order in which they were observed.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Of are the events of one kind so far.
func (r *Recorder) Of(kind Kind) []Event {
	return slices.DeleteFunc(r.Events(), func(e Event) bool { return e.Kind != kind })
}

// StartedAfter are the devices' beginnings that were asked for after t.
func (r *Recorder) StartedAfter(t time.Time) []Event {
	return slices.DeleteFunc(r.Of(Started), func(e Event) bool { return !e.Asked.After(t) })
}
