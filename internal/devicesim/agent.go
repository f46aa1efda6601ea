// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	ditto "github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// MQTT describes how the devices with ModuleTypes connect.
type MQTT struct {
	// Address is the host and the port of the broker.
	Address string
	// TLS connects with TLS. Default: without.
	TLS *tls.Config
	// IsExternal means that the broker is not Goshawk's own: the user is the ID of the device, the
	// topics are Hono's long ones, and no device asks for its identity.
	IsExternal bool
	// KeepAlive is the keep-alive time. Default 60 s.
	KeepAlive time.Duration
}

const (
	minReconnect = time.Second
	maxReconnect = 30 * time.Second
)

// agent is a Device with MQTT in a running fleet. It has a connection and its goroutine, and a
// timer while it works on a command.
type agent struct {
	Device
	fleet *Fleet

	mu           sync.Mutex
	rng          rand.PCG
	events       []Event      // that are emitted when mu is unlocked
	client       *mqtt.Client // nil without a connection
	isAway       bool         // it does not connect until its behavior changes
	isConnecting bool
	connecting   *delay
	failures     int // to connect, since the last success
	pinged       time.Time
	// identity is what the device API says that the device is.
	namespace, name string
	software        []ditto.Dependency // sorted

	queue  []*job // jobs that wait, the next one first
	job    *job
	next   *delay // of the next step
	isBusy bool   // while it executes a step
	closed []*job
	tried  string // software of the last attempts
	tries  int
}

func newAgent(f *Fleet, spec Device) *agent {
	a := &agent{
		Device: spec, fleet: f, namespace: spec.Tenant, name: spec.ID,
		rng: *rand.NewPCG(uint64(f.config.Seed), draw(f.config.Seed, "dice", spec.ID)),
	}
	for _, entry := range strings.Split(spec.Installed, ",") {
		if parts := strings.SplitN(entry, ":", 3); len(parts) == 3 {
			a.setSoftware(ditto.Dependency{Group: group, Name: parts[1], Version: parts[2], Type: parts[0]})
		}
	}
	return a
}

// group is the group of the software of simulated devices.
const group = "devicesim"

// setSoftware replaces the software with this name and type.
func (a *agent) setSoftware(d ditto.Dependency) {
	a.software = slices.DeleteFunc(a.software, func(o ditto.Dependency) bool { return o.Name == d.Name && o.Type == d.Type })
	a.software = append(a.software, d)
	slices.SortFunc(a.software, func(x, y ditto.Dependency) int { return strings.Compare(x.Type+":"+x.Name, y.Type+":"+y.Name) })
}

// removeSoftware reports whether the device had it.
func (a *agent) removeSoftware(d ditto.Dependency) bool {
	before := len(a.software)
	a.software = slices.DeleteFunc(a.software, func(o ditto.Dependency) bool {
		return o.Name == d.Name && o.Version == d.Version && (d.Type == "" || o.Type == d.Type)
	})
	return len(a.software) < before
}

// installed returns the software as Fleet.Installed does.
func (a *agent) installed() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var software []Software
	for _, d := range a.software {
		software = append(software, Software{Part: d.Type, Name: d.Name, Version: d.Version})
	}
	return join(software)
}

// runAgents connects all agents until ctx ends.
func (f *Fleet) runAgents(ctx context.Context) {
	f.agentsBusy.Add(1)
	f.agentsRun.Store(&ctx)
	spread := f.config.PollInterval
	if spread <= 0 {
		spread = time.Second
	}
	for _, a := range f.allAgents() {
		a.connectAfter(time.Duration(a.random() * float64(spread)))
	}
	f.ping(ctx)
	f.agentsRun.Store(nil)
	for _, a := range f.allAgents() {
		a.disconnect()
	}
	f.agentsBusy.Done()
	f.agentsBusy.Wait()
}

func (f *Fleet) allAgents() []*agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.agents))
}

// ping keeps connections alive until ctx ends.
func (f *Fleet) ping(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, f.config.MQTT.KeepAlive/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, a := range f.allAgents() {
				a.ping(now.Add(-f.config.MQTT.KeepAlive / 2))
			}
		}
	}
}

// ping pings if the last time was before since.
func (a *agent) ping(since time.Time) {
	a.mu.Lock()
	client := a.client
	isDue := client != nil && a.pinged.Before(since)
	if isDue {
		a.pinged = time.Now()
	}
	a.mu.Unlock()
	if isDue {
		_ = client.Ping() // if the connection has ended, the agent connects again
	}
}

func (a *agent) random() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return rand.New(&a.rng).Float64()
}

// note emits an event when the agent is unlocked.
func (a *agent) note(e Event) {
	e.Device = a.ID
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if e.Asked.IsZero() {
		e.Asked = e.At
	}
	a.events = append(a.events, e)
}

func (a *agent) unlock() {
	events := a.events
	a.events = nil
	a.mu.Unlock()
	for _, e := range events {
		a.fleet.emit(e)
	}
}

// delay is a call that comes later.
type delay struct {
	fleet *Fleet
	timer *time.Timer
}

// after calls a function later, unless the fleet has stopped.
func (f *Fleet) after(wait time.Duration, do func(context.Context)) *delay {
	ctx := f.agentsRun.Load()
	if ctx == nil {
		return nil
	}
	f.agentsBusy.Add(1)
	return &delay{fleet: f, timer: time.AfterFunc(wait, func() {
		defer f.agentsBusy.Done()
		if (*ctx).Err() == nil {
			do(*ctx)
		}
	})}
}

// stop reports whether the call does not come any more.
func (d *delay) stop() bool {
	if d == nil || !d.timer.Stop() {
		return false
	}
	d.fleet.agentsBusy.Done()
	return true
}

// connectAfter connects later.
func (a *agent) connectAfter(wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fleet.agentsRun.Load() == nil || a.Behavior == Offline || a.isAway || a.client != nil || a.isConnecting {
		return
	}
	a.isConnecting = true
	a.connecting = a.fleet.after(wait, a.connect)
}

// connect connects and reports the features, or tries again later.
func (a *agent) connect(ctx context.Context) {
	f := a.fleet
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	err := a.open(ctx)
	<-f.slots
	a.mu.Lock()
	a.isConnecting = false
	wait := time.Duration(0)
	if err != nil && ctx.Err() == nil {
		a.note(Event{Kind: ConnectionError, Message: err.Error()})
		wait = min(minReconnect<<min(a.failures, 10), maxReconnect)
		wait = wait/2 + time.Duration(rand.New(&a.rng).Float64()*float64(wait/2))
		a.failures++
	}
	client := a.client
	a.unlock()
	switch {
	case err != nil:
		a.connectAfter(wait)
	case client != nil:
		select {
		case <-client.Done(): // before the agent was not connecting any more
			a.ended(client)
		default:
		}
	}
}

// open opens a connection, subscribes to commands and reports the features, as an agent does after
// each start. Then it continues its work.
func (a *agent) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.fleet.config.RequestTimeout)
	defer cancel()
	identity := make(chan ditto.Identity, 1)
	asked := time.Now()
	client, err := mqtt.Connect(ctx, a.options(identity))
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.client, a.pinged = client, time.Now()
	a.mu.Unlock()
	err = a.introduce(ctx, client, identity)
	a.mu.Lock()
	defer a.unlock()
	if err != nil {
		a.client = nil
		client.Abort()
		return err
	}
	a.failures = 0
	a.note(Event{Kind: Connected, Asked: asked})
	a.proceed()
	return nil
}

// ended is called when a connection has ended.
func (a *agent) ended(client *mqtt.Client) {
	a.mu.Lock()
	if a.isConnecting || a.client != client {
		a.mu.Unlock()
		return
	}
	a.client = nil
	a.note(Event{Kind: Disconnected})
	wait := time.Duration(rand.New(&a.rng).Float64() * float64(minReconnect))
	a.unlock()
	a.connectAfter(wait)
}

func (a *agent) options(identity chan ditto.Identity) mqtt.Options {
	m := a.fleet.config.MQTT
	options := mqtt.Options{
		Address: m.Address, TLS: m.TLS, KeepAlive: uint16(m.KeepAlive / time.Second), User: a.ID, Password: a.Token,
		Received: func(message mqtt.Message) bool { a.received(message, identity); return true },
		Ended:    a.ended,
	}
	if !m.IsExternal {
		options.User += "@" + a.Tenant
	}
	if options.Password == "" {
		options.Password = a.fleet.config.GatewayToken
	}
	return options
}

// introduce asks for the identity, subscribes to commands and reports the features.
func (a *agent) introduce(ctx context.Context, client *mqtt.Client, identity chan ditto.Identity) error {
	filters := []string{a.topic("command///req/#")}
	if !a.fleet.config.MQTT.IsExternal {
		filters = append(filters, ditto.IdentityResponse)
	}
	codes, err := client.Subscribe(ctx, filters...)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(codes, func(code byte) bool { return code > 2 }):
		return fmt.Errorf("the broker refuses the subscription to %s", strings.Join(filters, " or "))
	}
	if !a.fleet.config.MQTT.IsExternal {
		if err := client.Publish(ctx, mqtt.Message{Topic: ditto.IdentityRequest}); err != nil {
			return err
		}
		select {
		case is := <-identity:
			a.mu.Lock()
			a.namespace, a.name, _ = strings.Cut(is.DeviceID, ":")
			a.mu.Unlock()
		case <-ctx.Done():
			return errors.New("the device API does not answer edge/thing/request")
		}
	}
	for _, moduleType := range a.ModuleTypes {
		envelope, err := a.featureOf(moduleType)
		if err := a.publish(ctx, client, envelope, err); err != nil {
			return err
		}
	}
	return nil
}

// topic returns the topic that the device uses with this broker.
func (a *agent) topic(topic string) string {
	name := a.Tenant + "/" + a.ID
	switch {
	case !a.fleet.config.MQTT.IsExternal:
		return topic
	case topic == "e":
		return "event/" + name
	default:
		return strings.Replace(topic, "command//", "command/"+name, 1)
	}
}

// featureID returns the ID of the feature that serves a type.
func (a *agent) featureID(moduleType string) string {
	if len(a.ModuleTypes) == 1 {
		return "SoftwareUpdatable"
	}
	return "SoftwareUpdatable:" + moduleType
}

// moduleType returns the type that a feature serves.
func (a *agent) moduleType(featureID string) (string, bool) {
	for _, moduleType := range a.ModuleTypes {
		if a.featureID(moduleType) == featureID {
			return moduleType, true
		}
	}
	return "", false
}

// featureOf returns the report of a whole feature. It does not have the last operation.
func (a *agent) featureOf(moduleType string) (ditto.Envelope, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ditto.ModifyFeature(a.namespace, a.name, a.featureID(moduleType), ditto.Feature{ModuleType: moduleType, Installed: a.softwareOf(moduleType)})
}

func (a *agent) softwareOf(moduleType string) []ditto.Dependency {
	list := []ditto.Dependency{}
	for _, d := range a.software {
		if d.Type == moduleType {
			list = append(list, d)
		}
	}
	return list
}

// publish sends an envelope, and returns when it is acknowledged.
func (a *agent) publish(ctx context.Context, client *mqtt.Client, envelope ditto.Envelope, err error) error {
	if err != nil {
		return err
	}
	payload, err := envelope.Encode()
	if err != nil {
		return err
	}
	return client.Publish(ctx, mqtt.Message{Topic: a.topic("e"), Payload: payload})
}

// disconnect ends the connection in order, at the end of Run.
func (a *agent) disconnect() {
	a.mu.Lock()
	client := a.client
	a.client = nil
	a.isBusy = false
	a.next.stop()
	if a.connecting.stop() {
		a.isConnecting = false
	}
	a.mu.Unlock()
	if client != nil {
		client.Close()
		<-client.Done()
	}
}

// restart changes the behavior as a restart does: the device drops its commands and connects again.
func (a *agent) restart(t Behavior) {
	a.mu.Lock()
	a.Behavior, a.isAway, a.queue = t, false, nil
	a.next.stop()
	a.endJob()
	client := a.client
	a.mu.Unlock()
	if client != nil {
		client.Abort()
		return
	}
	a.connectAfter(0)
}
