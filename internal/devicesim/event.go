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
	ditto "github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// Kind is the kind of an event.
type Kind string

const (
	// Polled means that a poll was successful.
	Polled Kind = "Polled"
	// Started means that the device fetched a deployment, or got a command, with the modules in
	// Software, and has started the update.
	Started Kind = "Started"
	// Reported means that the device API accepted a report, which is in Status.
	Reported Kind = "Reported"
	// Closed means that the device API accepted the report that closes the action, which is in
	// Status. It follows the Reported of the same report.
	Closed Kind = "Closed"
	// Canceled means that the device canceled its action and the device API accepted the answer.
	Canceled Kind = "Canceled"
	// CancelRejected means that the device rejected the cancel and the device API accepted the
	// answer.
	CancelRejected Kind = "CancelRejected"
	// Confirmed means that the device confirmed or denied an update, as Message says.
	Confirmed Kind = "Confirmed"
	// AttributesSent means that the device API accepted the device's attributes.
	AttributesSent Kind = "AttributesSent"
	// Downloaded means that one artifact was downloaded and its checksum is right.
	Downloaded Kind = "Downloaded"
	// Dropped means that the device API no longer knows the action (404, 405 or 410), and the
	// device has dropped it, or had already closed it.
	Dropped Kind = "Dropped"
	// HTTPError means that the device API responded with another status than 200, or not at all.
	// The device retries at its next poll.
	HTTPError Kind = "HTTPError"
	// Connected means that a device with MQTT has connected and reported its features.
	Connected Kind = "Connected"
	// Disconnected means that the connection of a device with MQTT has ended. It connects again.
	Disconnected Kind = "Disconnected"
	// ConnectionError means that a device with MQTT could not connect, or not report its features.
	// It tries again later.
	ConnectionError Kind = "ConnectionError"
)

// Software is one module of a deployment.
type Software struct {
	Part, Name, Version string
}

func (s Software) String() string { return s.Part + ":" + s.Name + ":" + s.Version }

// Event is an event of one device.
type Event struct {
	Kind   Kind
	Device string
	// Asked is when the request was sent, At when its response was received.
	Asked, At time.Time
	Action    string
	Software  []Software  // Started
	Status    wire.Status // Reported (DDI only), Closed
	// Operation is what a device with MQTT has reported: Reported, CancelRejected, Canceled,
	// Closed.
	Operation ditto.OperationStatus
	Message   string // one sentence
}

// String returns the event in one line.
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
	if e.Operation.Status != "" {
		parts = append(parts, e.Operation.Status)
	}
	if e.Status.Code != "" {
		parts = append(parts, "code="+string(e.Status.Code))
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	return strings.Join(parts, " ")
}

// Recorder keeps all events. Its Observe method is an Observer. The zero value is ready for use. It
// grows without limit: use it in tests, not in long runs.
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

// Events returns all events so far, in the order in which they were observed.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Of returns the events of one kind so far.
func (r *Recorder) Of(kind Kind) []Event {
	return slices.DeleteFunc(r.Events(), func(e Event) bool { return e.Kind != kind })
}

// StartedAfter returns the Started events whose request was sent after t.
func (r *Recorder) StartedAfter(t time.Time) []Event {
	return slices.DeleteFunc(r.Of(Started), func(e Event) bool { return !e.Asked.After(t) })
}
