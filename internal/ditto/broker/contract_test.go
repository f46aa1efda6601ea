// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// stand is a transport with what the contract needs around it.
type stand struct {
	// start starts a transport, on the same broker or address as before, and returns a function
	// that ends it.
	start func(t *testing.T, h ditto.Handler) (ditto.Transport, func())
	// options are those of a connection of a device.
	options func(device deviceapi.Device) mqtt.Options
	// isExternal means that devices stay connected when the transport ends, and that the broker
	// has the messages that were not stored.
	isExternal bool
	// topic is what a device uses for a topic of the transport.
	topic func(device deviceapi.Device, topic string) string
}

// device is a device that connects again when its connection ends.
type device struct {
	deviceapi.Device
	stand  *stand
	client *mqtt.Client
	// commands are the messages that the device gets.
	commands chan mqtt.Message
}

var one, two = deviceapi.Device{Namespace: "fleet", ControllerID: "dev-1"}, deviceapi.Device{Namespace: "fleet", ControllerID: "dev-2"}

func (s *stand) connect(t *testing.T, id deviceapi.Device) *device {
	t.Helper()
	d := &device{Device: id, stand: s, commands: make(chan mqtt.Message, 1000)}
	d.reconnect(t)
	t.Cleanup(func() { d.client.Close() })
	return d
}

func (d *device) reconnect(t *testing.T) {
	t.Helper()
	options := d.stand.options(d.Device)
	options.Received = func(m mqtt.Message) bool { d.commands <- m; return true }
	until(t, "the device connects", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		client, err := mqtt.Connect(ctx, options)
		if err == nil {
			d.client = client
		}
		return err == nil
	})
}

func (d *device) subscribe(t *testing.T) {
	t.Helper()
	codes, err := d.client.Subscribe(t.Context(), d.stand.topic(d.Device, "command///req/#"))
	if err != nil || codes[0] > 2 {
		t.Fatalf("the subscription is answered with %v, %v", codes, err)
	}
}

// publish sends a message until it is acknowledged.
func (d *device) publish(t *testing.T, topic, payload string) {
	t.Helper()
	until(t, "the message is acknowledged", func() bool {
		err := d.client.Publish(t.Context(), mqtt.Message{Topic: d.stand.topic(d.Device, topic), Payload: []byte(payload)})
		if err != nil {
			d.reconnect(t)
		}
		return err == nil
	})
}

// command returns the next message that the device gets.
func (d *device) command(t *testing.T) string {
	t.Helper()
	select {
	case m := <-d.commands:
		return m.Topic + " " + string(m.Payload)
	case <-time.After(patience):
		t.Fatalf("%s got no message after %s", d.ControllerID, patience)
		return ""
	}
}

// send sends a message to a device, as soon as it can be reached.
func send(t *testing.T, transport ditto.Transport, d deviceapi.Device, topic, payload string) {
	t.Helper()
	var err error
	until(t, "the message is sent", func() bool {
		err = transport.Send(t.Context(), d, ditto.Message{Topic: topic, Payload: []byte(payload)})
		return err == nil
	})
}

// contract tests what every transport does.
func contract(t *testing.T, newStand func(t *testing.T) *stand) {
	t.Run("a message is acknowledged after the handler has stored it", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		_, end := s.start(t, h)
		defer end()
		d := s.connect(t, one)
		d.publish(t, "e", "hello")
		h.await(t, "dev-1 sent hello on e")
		if got := h.got()[0]; got.device != one {
			t.Errorf("the message is from %v, want %v", got.device, one)
		}
	})

	t.Run("a message that the handler fails to store comes again", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		failures := 2
		h.answer = func(m received) error {
			if m.payload == "result" && failures > 0 {
				failures--
				return errors.New("the API server is not available")
			}
			return nil
		}
		_, end := s.start(t, h)
		defer end()
		d := s.connect(t, one)
		d.publish(t, "e", "result")
		h.awaitThat(t, "the result comes three times", func() bool {
			return len(slices.DeleteFunc(slices.Clone(h.messages), func(m received) bool { return m.payload != "result" })) >= 3
		})
	})

	t.Run("a command reaches only the device that it is for", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		transport, end := s.start(t, h)
		defer end()
		first, second := s.connect(t, one), s.connect(t, two)
		first.subscribe(t)
		second.subscribe(t)
		send(t, transport, two, "command///req/7-install-1/install", "for two")
		send(t, transport, one, "command///req/8-install-1/install", "for one")
		if got, want := first.command(t), s.topic(one, "command///req/8-install-1/install")+" for one"; got != want {
			t.Errorf("the first device got %q, want %q", got, want)
		}
		if got, want := second.command(t), s.topic(two, "command///req/7-install-1/install")+" for two"; got != want {
			t.Errorf("the second device got %q, want %q", got, want)
		}
	})

	t.Run("the response to a command reaches the handler", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		_, end := s.start(t, h)
		defer end()
		d := s.connect(t, one)
		d.publish(t, "command///res/8-install-1/204", "{}")
		h.await(t, "dev-1 sent {} on command///res/8-install-1/204")
	})

	t.Run("messages of a device are handled in order", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		_, end := s.start(t, h)
		defer end()
		d := s.connect(t, one)
		const n = 100
		for i := range n {
			if err := d.client.Post(mqtt.Message{Topic: s.topic(one, "e"), Payload: fmt.Append(nil, i)}); err != nil {
				t.Fatal(err)
			}
		}
		h.awaitThat(t, "all messages", func() bool { return len(h.messages) >= n })
		for i, m := range h.got() {
			if m.payload != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, m.payload)
			}
		}
	})

	t.Run("commands reach a device in order", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		transport, end := s.start(t, h)
		defer end()
		d := s.connect(t, one)
		d.subscribe(t)
		const n = 50
		for i := range n {
			send(t, transport, one, "command///req/1-install-1/install", fmt.Sprint(i))
		}
		for i := range n {
			if got := d.command(t); !strings.HasSuffix(got, fmt.Sprintf(" %d", i)) {
				t.Fatalf("command %d is %s", i, got)
			}
		}
	})

	t.Run("a device that is handled slowly does not hold up another", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		release := make(chan struct{})
		h.answer = func(m received) error {
			if m.device == one {
				<-release
			}
			return nil
		}
		_, end := s.start(t, h)
		defer end()
		defer close(release)
		slow, other := s.connect(t, one), s.connect(t, two)
		if err := slow.client.Post(mqtt.Message{Topic: s.topic(one, "e"), Payload: []byte("slow")}); err != nil {
			t.Fatal(err)
		}
		h.await(t, "dev-1 sent slow on e")
		other.publish(t, "e", "fast")
		h.await(t, "dev-2 sent fast on e")
	})

	t.Run("after a restart a result that was not stored comes again", func(t *testing.T) {
		s, h := newStand(t), newHandler()
		h.answer = func(received) error { return errors.New("the process is about to end") }
		_, end := s.start(t, h)
		d := s.connect(t, one)
		if err := d.client.Post(mqtt.Message{Topic: s.topic(one, "e"), Payload: []byte("result")}); err != nil {
			t.Fatal(err)
		}
		h.await(t, "dev-1 sent result on e")
		end()

		again := newHandler()
		transport, end := s.start(t, again)
		defer end()
		if !s.isExternal {
			<-d.client.Done()
			d.reconnect(t)
			d.publish(t, "e", "result")
		}
		again.await(t, "dev-1 sent result on e")
		d.subscribe(t)
		send(t, transport, one, "command///req/9-install-1/install", "after the restart")
		d.command(t)
	})
}
