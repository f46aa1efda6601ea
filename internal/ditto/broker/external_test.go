// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// startExternal starts the transport and waits until it has subscribed.
func startExternal(t *testing.T, options broker.ExternalOptions, h ditto.Handler) (*broker.External, func()) {
	t.Helper()
	registry := prometheus.NewRegistry()
	options.Registerer = registry
	e, err := broker.NewExternal(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, h) }()
	until(t, "the transport subscribes", func() bool { return metric(t, registry, "goshawk_mqtt_broker_connected") == 1 })
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue() + family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestExternalKeepsTheContract(t *testing.T) {
	requireMosquitto(t)
	for name, isShared := range map[string]bool{"one process": false, "a shared subscription": true} {
		t.Run(name, func(t *testing.T) {
			contract(t, func(t *testing.T) *stand {
				m := newMosquitto(t, "goshawk", "dev-1", "dev-2")
				m.isShared = isShared
				return m.stand()
			})
		})
	}
}

// The access rules in docs/mqtt.md keep devices apart, and let a gateway act for its devices.
func TestAccessRulesOfTheExternalBroker(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1", "dev-2", "gateway-1")
	s, h := m.stand(), newHandler()
	transport, end := s.start(t, h)
	defer end()
	connect := func(user string) (*mqtt.Client, chan mqtt.Message) {
		options := m.options(user)
		received, got := collect()
		options.Received = received
		client, err := mqtt.Connect(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client, got
	}
	device, ofDevice := connect("dev-1")
	spy, ofSpy := connect("dev-2")
	gateway, ofGateway := connect("gateway-1")
	for client, filters := range map[*mqtt.Client][]string{
		device:  {"command/fleet/dev-1/req/#"},
		spy:     {"command/fleet/dev-1/req/#", "command/#", "event/#", "#", "command/fleet/dev-2/req/#"},
		gateway: {"command/fleet/+/req/#"},
	} {
		if _, err := client.Subscribe(t.Context(), filters...); err != nil {
			t.Fatal(err)
		}
	}
	for user, client := range map[string]*mqtt.Client{"dev-2": spy, "gateway-1": gateway, "dev-1": device} {
		for _, topic := range []string{"event/fleet/dev-1", "command/fleet/dev-1/res/1-install-1/204", "command/fleet/dev-1/req/9-install-1/install", "telemetry/fleet/dev-1"} {
			if err := client.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: []byte(user)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.awaitThat(t, "the messages for dev-1", func() bool { return len(h.messages) == 4 })
	for _, got := range h.got() {
		if got.device != one || got.payload == "dev-2" {
			t.Errorf("%q published as %v on %s", got.payload, got.device, got.topic)
		}
	}
	send(t, transport, one, "command///req/1-install-1/install", "for one")
	send(t, transport, two, "command///req/2-install-1/install", "for two")
	for name, got := range map[string]struct {
		inbox chan mqtt.Message
		want  []string
	}{"the device": {ofDevice, []string{"for one"}}, "another device": {ofSpy, []string{"for two"}}, "the gateway": {ofGateway, []string{"for one", "for two"}}} {
		for _, want := range got.want {
			if m := <-got.inbox; string(m.Payload) != want {
				t.Errorf("%s got %s on %s, want %s", name, m.Payload, m.Topic, want)
			}
		}
		if len(got.inbox) > 0 {
			t.Errorf("%s got %s as well", name, (<-got.inbox).Payload)
		}
	}
}

// Two processes share the messages: each one is handled once.
func TestProcessesShareTheMessages(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	s := m.stand()
	handlers := []*handler{newHandler(), newHandler()}
	for i, h := range handlers {
		options := m.external(fmt.Sprintf("goshawk-%d", i))
		options.IsShared = true
		_, end := startExternal(t, options, h)
		defer end()
	}
	d := s.connect(t, one)
	const n = 50
	for i := range n {
		d.publish(t, "e", fmt.Sprint(i))
	}
	until(t, "all messages are handled", func() bool { return len(handlers[0].got())+len(handlers[1].got()) >= n })
	seen := map[string]int{}
	for _, h := range handlers {
		if len(h.got()) == 0 {
			t.Error("one process has handled all messages")
		}
		for _, m := range h.got() {
			seen[m.payload]++
		}
	}
	for payload, times := range seen {
		if times != 1 {
			t.Errorf("message %s was handled %d times", payload, times)
		}
	}
}

// A process that ends leaves its messages to the other one.
func TestAProcessThatEndsLeavesItsMessages(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	s := m.stand()
	stays, leaves := newHandler(), newHandler()
	first, second := m.external("goshawk-1"), m.external("goshawk-2")
	first.IsShared, second.IsShared = true, true
	_, endStaying := startExternal(t, first, stays)
	defer endStaying()
	_, endLeaving := startExternal(t, second, leaves)
	endLeaving()
	d := s.connect(t, one)
	for i := range 20 {
		d.publish(t, "e", fmt.Sprint(i))
	}
	stays.awaitThat(t, "all messages", func() bool { return len(stays.messages) == 20 })
}

// Reports wait at the broker while no process runs.
func TestReportsWaitWhileNoProcessRuns(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	s := m.stand()
	_, end := s.start(t, newHandler())
	end()
	d := s.connect(t, one)
	d.publish(t, "e", "meanwhile")
	m.stop()
	m.start()
	h := newHandler()
	_, end = s.start(t, h)
	defer end()
	h.await(t, "dev-1 sent meanwhile on e")
}

// Two processes with the same client id, as in a rolling update, do not replace each other all the
// time, and handle all messages.
func TestTwoProcessesHaveTheSameClientID(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	s := m.stand()
	old, current := newHandler(), newHandler()
	_, endOld := s.start(t, old)
	_, end := s.start(t, current)
	defer end()
	d := s.connect(t, one)
	for i := range 40 {
		d.publish(t, "e", fmt.Sprint(i))
		time.Sleep(50 * time.Millisecond)
	}
	endOld()
	until(t, "all messages are handled", func() bool {
		handled := map[string]bool{}
		for _, m := range append(old.got(), current.got()...) {
			handled[m.payload] = true
		}
		return len(handled) == 40
	})
	m.stop()
	if n := strings.Count(m.output.String(), "as goshawk-1 "); n > 20 {
		t.Errorf("the processes connected %d times in two seconds", n)
	}
}

// Nothing is lost when the broker restarts: what was not acknowledged comes again, and the
// subscription is made again.
func TestTheBrokerRestarts(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	s, h := m.stand(), newHandler()
	var mu sync.Mutex
	isReady := false
	h.answer = func(received) error {
		mu.Lock()
		defer mu.Unlock()
		if !isReady {
			return deviceapi.Unavailable{}
		}
		return nil
	}
	transport, end := s.start(t, h)
	defer end()
	d := s.connect(t, one)
	d.publish(t, "e", "before")
	h.await(t, "dev-1 sent before on e")
	m.stop()
	m.start()
	mu.Lock()
	isReady = true
	mu.Unlock()
	d.publish(t, "e", "after")
	h.await(t, "dev-1 sent after on e")
	d.subscribe(t)
	send(t, transport, one, "command///req/1-install-1/install", "hello")
	d.command(t)
	h.awaitThat(t, "the first message comes again", func() bool {
		return len(slices.DeleteFunc(slices.Clone(h.messages), func(m received) bool { return m.payload != "before" })) >= 2
	})
}

// relay forwards TCP connections to a broker, until it is cut.
type relay struct {
	address, to string
	listener    net.Listener
	mu          sync.Mutex
	conns       []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{address: ports.Free(t), to: to}
	r.connect(t)
	t.Cleanup(r.cut)
	return r
}

func (r *relay) connect(t *testing.T) {
	t.Helper()
	var err error
	if r.listener, err = net.Listen("tcp", r.address); err != nil {
		t.Fatal(err)
	}
	listener := r.listener
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", r.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, near, far)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(near, far); _ = near.Close() }()
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		}
	}()
}

func (r *relay) cut() {
	_ = r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		_ = conn.Close()
	}
	r.conns = nil
}

// While Goshawk cannot reach the broker, commands and reports wait.
func TestTheConnectionToTheBrokerBreaks(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	between := newRelay(t, m.address)
	options := m.external("goshawk-1")
	options.URL = "mqtts://" + between.address
	s, h := m.stand(), newHandler()
	transport, end := startExternal(t, options, h)
	defer end()
	d := s.connect(t, one)
	d.subscribe(t)
	between.cut()
	for i := range 3 {
		if err := transport.Send(t.Context(), one, ditto.Message{Topic: "command///req/1-install-1/install", Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	d.publish(t, "e", "meanwhile")
	between.connect(t)
	h.await(t, "dev-1 sent meanwhile on e")
	for i := range 3 {
		if got, want := d.command(t), fmt.Sprintf("command/fleet/dev-1/req/1-install-1/install %d", i); got != want {
			t.Errorf("command %d is %q, want %q", i, got, want)
		}
	}
}

// A wrong password is tried again, and is read again from its file.
func TestThePasswordForTheBrokerIsReadAgain(t *testing.T) {
	requireMosquitto(t)
	m := newMosquitto(t, "goshawk", "dev-1")
	options := m.external("goshawk-1")
	if err := os.WriteFile(options.PasswordFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	options.Registerer = registry
	e, err := broker.NewExternal(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, newHandler()) }()
	until(t, "a connection is refused", func() bool { return metric(t, registry, "goshawk_mqtt_broker_connect_failures_total") > 0 })
	if err := os.WriteFile(options.PasswordFile, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the transport subscribes", func() bool { return metric(t, registry, "goshawk_mqtt_broker_connected") == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOptionsOfAnExternalBroker(t *testing.T) {
	for url, isRight := range map[string]bool{
		"mqtt://broker.example:1883": true, "mqtts://10.0.0.1:8883": true, "mqtts://[2001:db8::1]:8883": true,
		"": false, "broker.example:1883": false, "http://broker.example:80": false, "mqtt://broker.example": false, "mqtt://user:secret@broker.example:1883": false, "mqtt://:1883": false, "ws://broker.example:80": false,
		"mqtts://broker.example:8883/path": false, "mqtts://broker.example:8883?q": false,
	} {
		if _, err := broker.NewExternal(broker.ExternalOptions{URL: url}); (err == nil) != isRight {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestSendWithAnExternalBroker(t *testing.T) {
	e, err := broker.NewExternal(broker.ExternalOptions{URL: "mqtt://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a+b", "#", "a/b"} {
		if err := e.Send(t.Context(), deviceapi.Device{Namespace: "fleet", ControllerID: id}, ditto.Message{Topic: "command///req/1/install"}); err == nil {
			t.Errorf("a message for %q is accepted", id)
		}
	}
	if err := e.Send(t.Context(), one, ditto.Message{Topic: "edge/thing/response"}); err == nil {
		t.Error("a message on a topic without a device is accepted")
	}
	for i := range 10_001 {
		if err := e.Send(t.Context(), one, ditto.Message{Topic: "command///req/1/install"}); (err != nil) != (i == 10_000) {
			t.Fatalf("message %d without a connection: %v", i, err)
		}
	}
	if e.KnowsPresence() {
		t.Error("the transport knows presence")
	}
	e.Close(one, 1, "no effect")
	if err := e.Send(t.Context(), one, ditto.Message{}); errors.Is(err, ditto.ErrNotConnected) {
		t.Error("a device of an external broker counts as not connected")
	}
}
