// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// patience is how long a test waits for a condition before it fails.
const patience = 30 * time.Second

// received is a message that the handler got.
type received struct {
	device  deviceapi.Device
	topic   string
	payload string
}

// handler records what a transport calls. It accepts each user with the password "secret", and each
// client with a certificate for its common name.
type handler struct {
	mu       sync.Mutex
	events   []string // in order
	messages []received
	changed  chan struct{}
	// authorize and answer replace the responses.
	authorize func(ditto.Connection) error
	answer    func(received) error
}

func newHandler() *handler { return &handler{changed: make(chan struct{})} }

var _ ditto.Handler = (*handler)(nil)

func deviceOf(user string) deviceapi.Device {
	id, namespace, _ := strings.Cut(user, "@")
	return deviceapi.Device{Namespace: namespace, ControllerID: id}
}

func (h *handler) Authorize(_ context.Context, c ditto.Connection) (deviceapi.Device, error) {
	if h.authorize != nil {
		if err := h.authorize(c); err != nil {
			return deviceapi.Device{}, err
		}
	}
	if c.Password != "secret" && !slices.ContainsFunc(c.Certificates, func(certificate *x509.Certificate) bool { return certificate.Subject.CommonName == c.User }) {
		return deviceapi.Device{}, deviceapi.ErrUnauthorized
	}
	return deviceOf(c.User), nil
}

func (h *handler) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf(format, args...))
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *handler) Connected(device deviceapi.Device, c ditto.Connection) {
	h.note("%s connected", device.ControllerID)
}

func (h *handler) Disconnected(device deviceapi.Device, _ ditto.ConnectionID) {
	h.note("%s disconnected", device.ControllerID)
}

func (h *handler) Subscribed(device deviceapi.Device, _ ditto.ConnectionID, filter string) {
	h.note("%s subscribed to %s", device.ControllerID, filter)
}

// MaySubscribe allows filters that do not contain the name of the device "secret".
func (h *handler) MaySubscribe(_ context.Context, _ deviceapi.Device, _ ditto.ConnectionID, filter string) bool {
	return !strings.Contains(filter, "/secret/")
}

func (h *handler) Unsubscribed(device deviceapi.Device, _ ditto.ConnectionID, filter string) {
	h.note("%s unsubscribed from %s", device.ControllerID, filter)
}

func (h *handler) Received(_ context.Context, device deviceapi.Device, _ ditto.ConnectionID, message ditto.Message) error {
	got := received{device, message.Topic, string(message.Payload)}
	h.mu.Lock()
	h.messages = append(h.messages, got)
	answer := h.answer
	h.mu.Unlock()
	h.note("%s sent %s on %s", device.ControllerID, message.Payload, message.Topic)
	if answer != nil {
		return answer(got)
	}
	return nil
}

// got returns the messages so far.
func (h *handler) got() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

func (h *handler) noted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// await waits for an event.
func (h *handler) await(t *testing.T, event string) {
	t.Helper()
	h.awaitThat(t, event, func() bool { return slices.Contains(h.events, event) })
}

// awaitThat waits for a condition on what the handler has recorded.
func (h *handler) awaitThat(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		h.mu.Lock()
		ok, changed := holds(), h.changed
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			noted := h.noted()
			t.Fatalf("%s: not after %s; the last of %d calls are %q", what, patience, len(noted), noted[max(0, len(noted)-20):])
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not after %s", what, patience)
		}
	}
}
