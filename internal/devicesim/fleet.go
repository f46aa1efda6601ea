// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package devicesim simulates a fleet of devices that use a DDI device API over real HTTP, or
// SoftwareUpdatable over MQTT. A device
// does only what its behavior and the responses of the device API require: it polls, follows links
// and reports. It does not depend on the implementation of the server.
//
// An idle device is an entry in a queue without its own goroutine, and all devices share a few
// workers and connections, so that one process can simulate many devices. All random choices depend
// only on the seed and the device's ID.
//
// The clock cannot be replaced: tests that need exact times run in a testing/synctest bubble with a
// Config.Transport that calls the device API's handler.
package devicesim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Device is one simulated device. Only ID is required.
type Device struct {
	// ID is the controllerID, unique in its tenant.
	ID string
	// Tenant overrides Config.Tenant.
	Tenant string
	// Token is sent as TargetToken.
	Token string
	// Behavior is chosen by Config.Mix if it is empty.
	Behavior Behavior
	// Attributes are sent when the device API requests them. Devices may share a map, which must
	// not be changed afterwards.
	Attributes map[string]string
	// FailCode is the code of this device's failures. If it is empty, Config.FailCode is used.
	FailCode string
	// Installed is the software that the device runs at the start, in the format of
	// Fleet.Installed.
	Installed string
	// ModuleTypes makes the device use MQTT in place of DDI. It has a SoftwareUpdatable feature for
	// each of these types.
	ModuleTypes []string
}

// Config describes a fleet. BaseURL is required for devices with DDI, and MQTT.Address for those
// with MQTT; zero values are useful defaults.
type Config struct {
	// BaseURL is the address of the device API, to which /{tenant}/controller/v1/{id} is added.
	BaseURL string
	// MQTT is how devices with ModuleTypes connect. Their Token, or else GatewayToken, is the
	// password.
	MQTT MQTT
	// Tenant of devices without a tenant. Default "default".
	Tenant  string
	Devices []Device
	// GatewayToken is sent as GatewayToken by devices without a Token.
	GatewayToken string
	// Mix chooses the behavior of devices without one. Default: all obedient.
	Mix Mix
	// Seed determines all random choices.
	Seed int64
	// PollInterval overrides the interval of the device API. The first polls are spread over it, or
	// over one second if it is 0.
	PollInterval time.Duration
	// Jitter changes each interval by up to this share of it, 0 to 1.
	Jitter float64
	// StepTime is the duration of each step of an update: the download, each installation step, the
	// end.
	StepTime time.Duration
	// Steps is the number of progress reports between downloaded and the result.
	Steps int
	// FailCode is the status code of failures. Default "1".
	FailCode string
	// FlakyFailures is the number of failed attempts at a software of a Flaky device. Default 1.
	FlakyFailures int
	// FetchArtifacts downloads artifacts and checks size and checksum.
	FetchArtifacts bool
	// Concurrency limits the parallel requests and the connections. Default 64.
	Concurrency int
	// RequestTimeout limits one request, except downloads. Default 30 s.
	RequestTimeout time.Duration
	// Transport replaces the fleet's transport, for tests and for client certificates.
	Transport http.RoundTripper
	// Observer is called for each event. It is called by several goroutines concurrently, though
	// never for the same device, and should be fast.
	Observer func(Event)
}

// Fleet is a set of devices. Its methods are safe for concurrent use.
type Fleet struct {
	config Config
	base   *url.URL
	client *http.Client
	tally  tally

	running atomic.Bool
	wake    chan struct{} // a device became due earlier

	// agentsRun is the context of Run, or nil. agentsBusy counts what agents do, and slots limits
	// how many connect at the same time.
	agentsRun  atomic.Pointer[context.Context]
	agentsBusy sync.WaitGroup
	slots      chan struct{}

	mu       sync.Mutex // guards the fields below, and the scheduling fields of each device
	agents   map[string]*agent
	devices  map[string]*device
	schedule schedule
}

// New returns a fleet that does nothing until Run.
func New(config Config) (*Fleet, error) {
	setDefaults(&config)
	base := &url.URL{}
	if config.BaseURL != "" || config.MQTT.Address == "" {
		var err error
		if base, err = parseBase(config.BaseURL); err != nil {
			return nil, err
		}
	}
	if config.Jitter < 0 || config.Jitter > 1 {
		return nil, fmt.Errorf("jitter is %v; give a share from 0 to 1", config.Jitter)
	}
	f := &Fleet{
		config: config, base: base, client: &http.Client{Transport: config.Transport},
		wake: make(chan struct{}, 1), devices: make(map[string]*device, len(config.Devices)),
		schedule: schedule{polling: make(queue, 0, len(config.Devices))},
		agents:   map[string]*agent{}, slots: make(chan struct{}, config.Concurrency),
	}
	f.config.Devices = nil // the fleet has them in f.devices
	for _, d := range config.Devices {
		if err := f.Add(d); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func setDefaults(c *Config) {
	if c.Tenant == "" {
		c.Tenant = "default"
	}
	if c.FailCode == "" {
		c.FailCode = "1"
	}
	if c.FlakyFailures == 0 {
		c.FlakyFailures = 1
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 64
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 30 * time.Second
	}
	if c.MQTT.KeepAlive <= 0 {
		c.MQTT.KeepAlive = time.Minute
	}
	if c.Transport == nil {
		c.Transport = newTransport(c.Concurrency)
	}
}

func parseBase(text string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("base URL %q is not usable; give one like http://127.0.0.1:8080", text)
	}
	return base, nil
}

// Add adds a device to the fleet. It starts to poll like the others.
func (f *Fleet) Add(spec Device) error {
	if spec.ID == "" {
		return errors.New("a device has no ID; every device needs one")
	}
	if spec.Behavior == "" {
		spec.Behavior = f.config.Mix.Choose(f.config.Seed, spec.ID)
	}
	if _, err := ParseBehavior(string(spec.Behavior)); err != nil {
		return fmt.Errorf("device %s: %w", spec.ID, err)
	}
	if spec.Tenant == "" {
		spec.Tenant = f.config.Tenant
	}
	if len(spec.ModuleTypes) > 0 {
		return f.addAgent(spec)
	}
	switch {
	case spec.Behavior.needsMQTT():
		return fmt.Errorf("device %s: the behavior %s is for devices with MQTT", spec.ID, spec.Behavior)
	case f.base.Host == "":
		return fmt.Errorf("device %s uses DDI, and there is no base URL", spec.ID)
	}
	d := newDevice(spec, f.config.Seed)
	spread := f.config.PollInterval
	if spread <= 0 {
		spread = time.Second
	}
	d.nextPoll = time.Now().Add(time.Duration(d.random() * float64(spread)))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.has(spec.ID) {
		return fmt.Errorf("device %s is given twice; ids must be unique in a fleet", spec.ID)
	}
	f.devices[spec.ID] = d
	f.enqueue(d)
	return nil
}

// has reports whether the fleet has a device with this ID.
func (f *Fleet) has(id string) bool { return f.devices[id] != nil || f.agents[id] != nil }

func (f *Fleet) addAgent(spec Device) error {
	if f.config.MQTT.Address == "" {
		return fmt.Errorf("device %s uses MQTT, and there is no address of a broker", spec.ID)
	}
	a := newAgent(f, spec)
	f.mu.Lock()
	isGivenTwice := f.has(spec.ID)
	if !isGivenTwice {
		f.agents[spec.ID] = a
	}
	f.mu.Unlock()
	if isGivenTwice {
		return fmt.Errorf("device %s is given twice; ids must be unique in a fleet", spec.ID)
	}
	a.connectAfter(0)
	return nil
}

// agentOf returns the device with MQTT that has this ID, or nil.
func (f *Fleet) agentOf(id string) *agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agents[id]
}

// Run runs the fleet until ctx ends, which is not an error. Requests in flight are aborted. A fleet
// may run again afterwards and continues with the same state.
func (f *Fleet) Run(ctx context.Context) error {
	if !f.running.CompareAndSwap(false, true) {
		return errors.New("the fleet is running already; run it once at a time")
	}
	defer f.running.Store(false)
	due := make(chan *device)
	var workers sync.WaitGroup
	for range f.config.Concurrency {
		workers.Go(func() {
			for d := range due {
				f.serve(ctx, d)
			}
		})
	}
	if f.config.MQTT.Address != "" {
		workers.Go(func() { f.runAgents(ctx) })
	}
	f.dispatch(ctx, due)
	close(due)
	workers.Wait()
	f.client.CloseIdleConnections()
	return nil
}

// dispatch passes each device to a worker when it is due.
func (f *Fleet) dispatch(ctx context.Context, due chan<- *device) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d, wait := f.next(time.Now())
		if d == nil {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-f.wake:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case due <- d:
		case <-ctx.Done():
			f.requeue(d)
			return
		}
	}
}

// longWait is how long an empty schedule waits; wake ends it early.
const longWait = time.Hour

// next returns the next device that is due, or the time until one is.
func (f *Fleet) next(now time.Time) (*device, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, wait := f.schedule.take(now)
	if d != nil {
		d.visited = true
	}
	return d, wait
}

// serve visits a device once and queues it for the next time.
func (f *Fleet) serve(ctx context.Context, d *device) {
	f.mu.Lock()
	f.applyChanges(d)
	f.mu.Unlock()
	f.visit(ctx, d)
	f.requeue(d)
}

// applyChanges applies the calls of PollNow and SetBehavior between two visits of the device.
func (f *Fleet) applyChanges(d *device) {
	if d.pollNow {
		d.pollNow = false
		d.nextPoll = time.Now()
	}
	if d.nextBehavior != "" {
		d.Behavior, d.nextBehavior = d.nextBehavior, ""
		f.setWork(d, nil)
	}
}

func (f *Fleet) requeue(d *device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.visited = false
	f.enqueue(d)
}

// enqueue queues the device for its next visit, unless it is isInactive.
func (f *Fleet) enqueue(d *device) {
	switch {
	case d.nextBehavior == "" && d.isInactive():
		d.pollNow = false
		return
	case d.nextBehavior != "" || d.pollNow:
		d.due = time.Now()
	default:
		d.due = d.next()
	}
	f.schedule.put(d)
	if d.index == 0 {
		f.wakeDispatcher()
	}
}

// wakeDispatcher makes the dispatcher check the queue again.
func (f *Fleet) wakeDispatcher() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// PollNow makes the device poll now, or connect now if it uses MQTT. It has no effect on offline
// and vanished devices.
func (f *Fleet) PollNow(id string) error {
	if a := f.agentOf(id); a != nil {
		a.connectAfter(0)
		return nil
	}
	return f.change(id, func(d *device) { d.pollNow = true })
}

// SetBehavior changes the behavior of the device at once, and makes it poll, as after a
// restart: it drops an unfinished update, and remembers what it has closed and installed.
func (f *Fleet) SetBehavior(id string, t Behavior) error {
	if _, err := ParseBehavior(string(t)); err != nil {
		return err
	}
	if a := f.agentOf(id); a != nil {
		a.restart(t)
		return nil
	}
	if t.needsMQTT() {
		return fmt.Errorf("device %s: the behavior %s is for devices with MQTT", id, t)
	}
	return f.change(id, func(d *device) { d.nextBehavior, d.pollNow = t, true })
}

func (f *Fleet) change(id string, change func(*device)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.devices[id]
	if d == nil {
		return fmt.Errorf("no device %s in this fleet", id)
	}
	change(d)
	if !d.visited {
		f.enqueue(d)
	}
	return nil
}

// Installed returns the software that the device runs, as part:name:version joined by commas, or ""
// if it never installed any.
func (f *Fleet) Installed(id string) string {
	if a := f.agentOf(id); a != nil {
		return a.installed()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.devices[id]; d != nil {
		return d.Device.Installed
	}
	return ""
}

// Behavior returns the behavior of the device, or "" for an unknown ID.
func (f *Fleet) Behavior(id string) Behavior {
	if a := f.agentOf(id); a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.Behavior
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.devices[id]; d != nil {
		return d.Behavior
	}
	return ""
}

func (f *Fleet) emit(e Event) {
	f.tally.count(e)
	if f.config.Observer != nil {
		f.config.Observer(e)
	}
}
