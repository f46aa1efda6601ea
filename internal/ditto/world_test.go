// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// memory is a Transport that carries messages in memory.
type memory struct {
	knowsPresence bool
	started       chan struct{}

	mu      sync.Mutex
	handler ditto.Handler
	last    ditto.ConnectionID
	clients map[ditto.ConnectionID]*client
	// remote are the messages that were sent to devices behind an external broker.
	remote map[deviceapi.Device][]ditto.Message
	// refuses makes Send fail.
	refuses error
}

// client is a connection of a device.
type client struct {
	*memory
	id     ditto.ConnectionID
	device deviceapi.Device

	filters  []string
	received []ditto.Message
	closed   string // why Close was called
}

func (m *memory) Run(ctx context.Context, handler ditto.Handler) error {
	m.mu.Lock()
	m.handler = handler
	m.mu.Unlock()
	close(m.started)
	<-ctx.Done()
	return ctx.Err()
}

func (m *memory) KnowsPresence() bool { return m.knowsPresence }

func (m *memory) Send(_ context.Context, device deviceapi.Device, message ditto.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuses != nil {
		return m.refuses
	}
	if !m.knowsPresence {
		m.remote[device] = append(m.remote[device], message)
		return nil
	}
	err := ditto.ErrNotConnected
	for _, c := range m.clients {
		if c.device != device {
			continue
		}
		if slices.ContainsFunc(c.filters, func(filter string) bool { return matches(filter, message.Topic) }) {
			c.received, err = append(c.received, message), nil
		}
	}
	return err
}

func (m *memory) Close(device deviceapi.Device, id ditto.ConnectionID, reason string) {
	m.mu.Lock()
	c := m.clients[id]
	if delete(m.clients, id); c != nil {
		c.closed = reason
	}
	m.mu.Unlock()
	if c != nil {
		m.handler.Disconnected(device, id)
	}
}

// matches reports whether a filter matches a topic, as MQTT defines it.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i := range f {
		switch {
		case f[i] == "#":
			return true
		case i >= len(t), f[i] != "+" && f[i] != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// connect makes a connection. The error is that of Authorize.
func (m *memory) connect(ctx context.Context, user, password string) (*client, error) {
	m.mu.Lock()
	m.last++
	connection := ditto.Connection{ID: m.last, User: user, Password: password, Peer: netip.MustParseAddr("192.0.2.7")}
	m.mu.Unlock()
	device, err := m.handler.Authorize(ctx, connection)
	if err != nil {
		return nil, err
	}
	c := &client{memory: m, id: connection.ID, device: device}
	m.mu.Lock()
	m.clients[c.id] = c
	m.mu.Unlock()
	m.handler.Connected(device, connection)
	return c, nil
}

// subscribe subscribes to a filter, and reports whether that was allowed.
func (c *client) subscribe(filter string) bool {
	if !c.handler.MaySubscribe(context.Background(), c.device, c.id, filter) {
		return false
	}
	c.mu.Lock()
	c.filters = append(c.filters, filter)
	c.mu.Unlock()
	c.handler.Subscribed(c.device, c.id, filter)
	return true
}

func (c *client) unsubscribe(filter string) {
	c.mu.Lock()
	c.filters = slices.DeleteFunc(c.filters, func(f string) bool { return f == filter })
	c.mu.Unlock()
	c.handler.Unsubscribed(c.device, c.id, filter)
}

func (c *client) disconnect() {
	c.mu.Lock()
	_, ok := c.clients[c.id]
	delete(c.clients, c.id)
	c.mu.Unlock()
	if ok {
		c.handler.Disconnected(c.device, c.id)
	}
}

// refuse makes Send fail with an error; nil: not any more.
func (m *memory) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuses = err
}

// whyClosed returns why the server has closed the connection, or "".
func (c *client) whyClosed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// take returns the messages that were received since the last call.
func (c *client) take() []ditto.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.received
	c.received = nil
	return taken
}

var (
	dev1    = deviceapi.Device{Namespace: "fleet", ControllerID: "dev-1"}
	dev2    = deviceapi.Device{Namespace: "fleet", ControllerID: "dev-2"}
	gateway = deviceapi.Device{Namespace: "fleet", ControllerID: "gw"}
)

const gatewayToken = "token of a gateway"

// gatewayBackend accepts the token of a gateway for dev-2 and the gateway, and each certificate
// whose common name is the controllerID.
type gatewayBackend struct{ *deviceapitest.Backend }

func (b gatewayBackend) Authorize(ctx context.Context, device deviceapi.Device, credentials deviceapi.Credentials) error {
	if _, known := b.Tokens[device]; known && credentials.GatewayToken == gatewayToken && device != dev1 {
		return nil
	}
	if len(credentials.Certificates) > 0 && credentials.Certificates[0].Subject.CommonName == device.ControllerID {
		return nil
	}
	return b.Backend.Authorize(ctx, device, credentials)
}

// world is a server with its backend and transport, in the time of synctest.
type world struct {
	*testing.T
	backend   *deviceapitest.Backend
	transport *memory
	options   ditto.Options
	wrap      func(deviceapi.Backend) deviceapi.Backend
	server    *ditto.Server
	stop      func()
}

// story runs a test in a world.
func story(t *testing.T, run func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, backend: &deviceapitest.Backend{Now: time.Now, Tokens: map[deviceapi.Device]string{dev1: "token 1", dev2: "token 2", gateway: "token 3"}}}
		w.start(true)
		defer func() { w.stop() }() // that of the last process
		run(w)
	})
}

// start starts a process with the same backend.
func (w *world) start(knowsPresence bool) {
	w.Helper()
	w.transport = &memory{knowsPresence: knowsPresence, started: make(chan struct{}), clients: map[ditto.ConnectionID]*client{}, remote: map[deviceapi.Device][]ditto.Message{}}
	namespaces := func(namespace string) (deviceapi.Backend, error) {
		if namespace != "fleet" {
			return nil, deviceapi.ErrNotServed
		}
		if w.wrap != nil {
			return w.wrap(w.backend), nil
		}
		return gatewayBackend{w.backend}, nil
	}
	server, err := ditto.NewServer(namespaces, w.transport, w.options)
	if err != nil {
		w.Fatal(err)
	}
	w.server = server
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Run(ctx); err != context.Canceled {
			w.Errorf("Run: %v", err)
		}
	}()
	<-w.transport.started
	w.stop = func() {
		cancel()
		<-ended
	}
}

// crash ends the process, with all of its connections, and starts the next one.
func (w *world) crash(knowsPresence bool) {
	w.Helper()
	w.stop()
	w.start(knowsPresence)
}

// set is a set with modules of these types, such as app-1 for the type app.
func set(types ...string) deviceapitest.Set {
	s := deviceapitest.Set{Name: "set " + strings.Join(types, " "), Version: "1"}
	for _, moduleType := range types {
		s.Modules = append(s.Modules, deviceapi.Module{ID: "id-" + moduleType, Type: moduleType, Name: moduleType + "-1", Version: "1.2", Artifacts: []deviceapi.Artifact{{
			FileName: moduleType + ".bin", Size: 7, SHA1: "a1", MD5: "b2", SHA256: "c3", Downloads: []deviceapi.Download{
				{Protocol: deviceapi.HTTPS, URL: "https://files/" + moduleType, MD5URL: "https://files/" + moduleType + ".MD5SUM"},
				{Protocol: deviceapi.HTTP, URL: "http://files/" + moduleType}}}}})
	}
	return s
}

func (w *world) offer(types ...string) {
	w.backend.SetUpdate(&deviceapitest.Update{Set: set(types...)})
}

// device is a device that is connected.
type device struct {
	*world
	*client
	thing deviceapi.Device
}

func (w *world) connect(d deviceapi.Device) *device {
	w.Helper()
	c, err := w.transport.connect(w.Context(), d.ControllerID+"@"+d.Namespace, w.backend.Tokens[d])
	if err != nil {
		w.Fatalf("connect %v: %v", d, err)
	}
	return &device{w, c, d}
}

// online is a device that is connected, has subscribed to its commands and reported its features.
func (w *world) online(types ...string) *device {
	w.Helper()
	d := w.connect(dev1)
	d.subscribe("command///req/#")
	for _, moduleType := range types {
		d.activate(moduleType)
	}
	wait()
	return d
}

// publish sends a message of the device, and fails if it is not acknowledged.
func (d *device) publish(topic string, payload []byte) {
	d.Helper()
	if err := d.handler.Received(d.Context(), d.client.device, d.id, ditto.Message{Topic: topic, Payload: payload}); err != nil {
		d.Errorf("the message on %s is not acknowledged: %v", topic, err)
	}
}

// encoded returns the payload of an envelope.
func encoded(e wire.Envelope, err error) []byte {
	if err != nil {
		panic(err)
	}
	payload, err := e.Encode()
	if err != nil {
		panic(err)
	}
	return payload
}

// activate reports the feature for a type, whose id is the type in capitals.
func (d *device) activate(moduleType string) {
	d.Helper()
	d.publish("e", encoded(wire.ModifyFeature(d.thing.Namespace, d.thing.ControllerID, strings.ToUpper(moduleType), wire.Feature{ModuleType: moduleType})))
}

// property reports a property of a feature.
func (d *device) property(feature, name string, value any) {
	d.Helper()
	d.publish("e", encoded(wire.ModifyProperty(d.thing.Namespace, d.thing.ControllerID, feature, name, value)))
}

// report reports a status of the module of a type.
func (d *device) report(id int32, status, moduleType string) {
	d.Helper()
	d.property(strings.ToUpper(moduleType), "lastOperation", status1(id, status, moduleType))
	wait()
}

func status1(id int32, status, moduleType string) wire.OperationStatus {
	return wire.OperationStatus{CorrelationID: fmt.Sprint(id), Status: status, Module: &wire.ModuleID{Name: moduleType + "-1", Version: "1.2"}}
}

// wait waits until nothing happens any more, for a moment.
func wait() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

// command is a command that a device has received.
type command struct {
	topic wire.Request
	wire.Envelope
	update wire.UpdateAction
	remove wire.RemoveAction
}

func (c command) id() int32 {
	var id int32
	fmt.Sscan(max(c.update.CorrelationID, c.remove.CorrelationID), &id)
	return id
}

// commands returns the commands that the device has received since the last call.
func (d *device) commands() []command {
	d.Helper()
	wait()
	return d.decode(d.take())
}

func (w *world) decode(messages []ditto.Message) (found []command) {
	w.Helper()
	for _, m := range messages {
		request, ok := wire.ParseRequest(m.Topic)
		e, err := wire.DecodeEnvelope(m.Payload)
		if !ok || err != nil {
			w.Fatalf("a device received %s %s: %v", m.Topic, m.Payload, err)
		}
		c := command{topic: request, Envelope: e}
		if request.Subject == wire.Remove || request.Subject == wire.CancelRemove {
			c.remove, err = wire.DecodeRemoveAction(e.Value)
		} else if len(e.Value) > 0 {
			c.update, err = wire.DecodeUpdateAction(e.Value)
		}
		if err != nil {
			w.Fatalf("a device received %s: %v", e.Value, err)
		}
		found = append(found, c)
	}
	return found
}

// command returns the only command that the device has received, whose subject it must be.
func (d *device) command(subject string) command {
	d.Helper()
	received := d.commands()
	if len(received) != 1 || received[0].topic.Subject != subject {
		d.Fatalf("the device has received %s, want one %s", subjects(received), subject)
	}
	return received[0]
}

func subjects(commands []command) string {
	var list []string
	for _, c := range commands {
		list = append(list, c.topic.Subject)
	}
	return fmt.Sprintf("%q", list)
}

// nothing fails if the device has received a command.
func (d *device) nothing(when string) {
	d.Helper()
	if got := d.commands(); len(got) > 0 {
		d.Errorf("%s the device has received %s, want nothing", when, subjects(got))
	}
}

// respond responds to a command, with an error if the status says so.
func (d *device) respond(c command, status int, refusal ...wire.Error) {
	d.Helper()
	reply, err := c.Reply(status, nil)
	for _, e := range refusal {
		reply, err = c.Refuse(e)
	}
	d.publish(c.topic.ResponseTopic(status), encoded(reply, err))
	wait()
}

// action returns the stored action.
func (w *world) action(id int32) *v1alpha1.Action {
	w.Helper()
	a := w.backend.StoredAction(dev1, id)
	if a == nil {
		w.Fatalf("there is no action %d", id)
	}
	return a
}

func (w *world) wantState(id int32, want v1alpha1.ActionState) {
	w.Helper()
	if a := w.action(id); a.State != want {
		w.Errorf("the action is %s (%s %q), want %s", a.State, a.StatusCode, a.Message, want)
	}
}

// calls returns the calls of a method.
func (w *world) calls(method string) (found []deviceapitest.Call) {
	for _, c := range w.backend.Calls() {
		if c.Method == method {
			found = append(found, c)
		}
	}
	return found
}

// wantReports compares the events of all reports.
func (w *world) wantReports(want ...action.Event) {
	w.Helper()
	var got []action.Event
	for _, c := range w.calls("Report") {
		got = append(got, c.Args[0].(action.Report).Event)
	}
	if !slices.Equal(got, want) {
		w.Errorf("the backend got the reports %v, want %v", got, want)
	}
}

func pretty(value any) string {
	written, _ := json.Marshal(value)
	return string(written)
}
