// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// stand is the device API with MQTT, and a fleet.
type stand struct {
	*testing.T
	address string
	backend *deviceapitest.Backend
	events  Recorder
	fleet   *Fleet
	endAPI  func()
}

var agentD = deviceapi.Device{Namespace: "fleet", ControllerID: "d"}

// firstAction is the id of the first action in the backend.
const firstAction = 100

// newStand starts a device API and a fleet with one device, d.
func newStand(t *testing.T, spec Device, change func(*Config)) *stand {
	t.Helper()
	s := &stand{T: t, address: ports.Free(t), backend: &deviceapitest.Backend{Tokens: map[deviceapi.Device]string{agentD: "secret"}, Now: time.Now}}
	s.startAPI()
	spec.ID, spec.Token = "d", "secret"
	if spec.ModuleTypes == nil {
		spec.ModuleTypes = []string{"os"}
	}
	config := Config{
		MQTT: MQTT{Address: s.address}, Tenant: "fleet", Devices: []Device{spec}, StepTime: time.Millisecond, Steps: 2, FailCode: "7",
		PollInterval: time.Millisecond, Observer: s.events.Observe,
	}
	if change != nil {
		change(&config)
	}
	var err error
	if s.fleet, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.fleet.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.endAPI()
		if t.Failed() {
			for _, e := range s.events.Events() {
				t.Log(e)
			}
		}
	})
	return s
}

func (s *stand) startAPI() {
	s.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	unlimited := deviceapi.Rate{PerSecond: -1}
	b, err := broker.NewEmbedded(listener, broker.EmbeddedOptions{DeviceConnects: unlimited, AddressConnects: unlimited, MaxAddressConnections: 5000})
	if err != nil {
		s.Fatal(err)
	}
	server, err := ditto.NewServer(func(string) (deviceapi.Backend, error) { return s.backend, nil }, b, ditto.Options{Rates: deviceapi.Rates{Device: unlimited}})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	s.endAPI = func() {
		cancel()
		if err := <-done; err != nil {
			s.Errorf("the device API ended with %v", err)
		}
	}
}

func (s *stand) until(what string, holds func() bool) {
	s.Helper()
	for limit := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			s.Fatalf("%s: not after 30 s; action: %+v", what, s.backend.StoredAction(agentD, firstAction))
		}
	}
}

// untilState waits for the state of the first action.
func (s *stand) untilState(want v1alpha1.ActionState) {
	s.Helper()
	s.until("the action is "+string(want), func() bool {
		a := s.backend.StoredAction(agentD, firstAction)
		return a != nil && a.State == want
	})
}

// untilEvent waits for an event of one of these kinds.
func (s *stand) untilEvent(kinds ...Kind) {
	s.Helper()
	s.until(fmt.Sprint("an event ", kinds), func() bool {
		return slices.ContainsFunc(s.events.Events(), func(e Event) bool { return slices.Contains(kinds, e.Kind) })
	})
}

// reported returns the statuses that the device has reported, with the module or the software.
func (s *stand) reported() (statuses []string) {
	for _, e := range s.events.Of(Reported) {
		o := e.Operation
		switch {
		case o.Module != nil:
			statuses = append(statuses, o.Module.Name+" "+o.Status)
		case len(o.Software) > 0:
			statuses = append(statuses, o.Software[0].Name+" "+o.Status)
		}
	}
	return statuses
}

// module returns a module for an update.
func module(moduleType, name, version string) deviceapi.Module {
	return deviceapi.Module{ID: name, Type: moduleType, Name: name, Version: version}
}

func update(modules ...deviceapi.Module) *deviceapitest.Update {
	return &deviceapitest.Update{Set: deviceapitest.Set{Name: "set", Version: "2", Modules: modules}}
}

func removal(names ...string) *deviceapitest.Update {
	u := &deviceapitest.Update{Set: deviceapitest.Set{Name: "removal", Version: "1"}, Soft: true}
	for _, name := range names {
		u.Remove = append(u.Remove, deviceapi.Software{Group: group, Name: name, Version: "1", Type: "os"})
	}
	return u
}

func of(module string, statuses ...string) (all []string) {
	for _, status := range statuses {
		all = append(all, module+" "+status)
	}
	return all
}

// A device of each behavior gets an update.
func TestBehaviorsWithMQTT(t *testing.T) {
	starts := []string{wire.Started, wire.Downloading, wire.Downloaded, wire.Installing, wire.Installing}
	with := func(lines []string, more ...string) []string { return append(lines[:len(lines):len(lines)], more...) }
	installs := with(starts, wire.Installed, wire.FinishedSuccess)
	twice := []string{}
	for _, status := range installs {
		twice = append(twice, status, status)
	}
	reversed := slices.Clone(installs)
	slices.Reverse(reversed)
	const installed = "os:linux:6.6"
	tests := map[Behavior]struct {
		statuses  []string
		state     v1alpha1.ActionState
		installed string
	}{
		Obedient:        {installs, v1alpha1.ActionFinished, installed},
		Slow:            {installs, v1alpha1.ActionFinished, installed},
		Failing:         {with(starts, wire.FinishedError), v1alpha1.ActionError, ""},
		Flaky:           {with(starts, wire.FinishedError), v1alpha1.ActionError, ""},
		DownloadFails:   {[]string{wire.Started, wire.Downloading, wire.FinishedError}, v1alpha1.ActionError, ""},
		Inconsistent:    {with(starts, wire.FinishedError), v1alpha1.ActionError, ""},
		RejectsCancel:   {installs, v1alpha1.ActionFinished, installed},
		FinishesInstall: {installs, v1alpha1.ActionFinished, installed},
		Silent:          {nil, v1alpha1.ActionRetrieved, ""},
		Vanishes:        {nil, v1alpha1.ActionRetrieved, ""},
		ReportsTwice:    {twice, v1alpha1.ActionFinished, installed},
		ReportsLate:     {with(starts, wire.Installed), v1alpha1.ActionInstalling, installed},
		SkipsUpdate:     {[]string{wire.FinishedSuccess}, v1alpha1.ActionFinished, ""},
		Denies:          {[]string{wire.FinishedRejected}, v1alpha1.ActionError, ""},
		Unconfirmed:     {installs, v1alpha1.ActionFinished, installed},
		Detailed: {[]string{
			wire.Started, wire.DownloadingWaiting, wire.Downloading, wire.Downloaded, wire.InstallingWaiting, wire.Installing, wire.Installing, wire.Installed, wire.FinishedSuccess,
		}, v1alpha1.ActionFinished, installed},
		Warns:           {with(starts, wire.Installed, wire.FinishedWarning), v1alpha1.ActionFinished, installed},
		OutOfOrder:      {reversed, v1alpha1.ActionFinished, installed},
		NoResponse:      {nil, v1alpha1.ActionRetrieved, ""},
		RefusesCommands: {nil, v1alpha1.ActionError, ""},
		IgnoresCancel:   {installs, v1alpha1.ActionFinished, installed},
	}
	for _, behavior := range Behaviors() {
		tc, known := tests[behavior]
		if behavior == Offline {
			continue // below
		}
		if !known {
			t.Errorf("%s has no case in this test", behavior)
			continue
		}
		t.Run(string(behavior), func(t *testing.T) {
			s := newStand(t, Device{Behavior: behavior}, nil)
			s.untilEvent(Connected)
			s.backend.SetUpdate(update(module("os", "linux", "6.6")))
			want := of("linux", tc.statuses...)
			s.until("all statuses", func() bool {
				return len(s.reported()) >= len(want) && s.backend.StoredAction(agentD, firstAction) != nil
			})
			s.untilState(tc.state)
			if diff := cmp.Diff(want, s.reported()); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			if got := s.fleet.Installed("d"); got != tc.installed {
				t.Errorf("the device runs %q, want %q", got, tc.installed)
			}
			switch inventory, _ := s.backend.Reported(agentD, "SoftwareUpdatable"); behavior {
			case Failing, DownloadFails, Inconsistent:
				a := s.backend.StoredAction(agentD, firstAction)
				if want := map[bool]string{true: "INCONSISTENT", false: "7"}[behavior == Inconsistent]; a.StatusCode != want {
					t.Errorf("the code is %s, want %s", a.StatusCode, want)
				}
			case Obedient:
				if len(inventory.Installed) != 1 || inventory.Installed[0].Name != "linux" {
					t.Errorf("the inventory is %+v", inventory)
				}
			}
		})
	}
}

// An update is canceled before or while the device installs.
func TestCancelWithMQTT(t *testing.T) {
	const slow, fast = time.Hour, time.Millisecond
	for name, tc := range map[string]struct {
		behavior Behavior
		step     time.Duration // of the installation
		after    string        // the status after which the update is canceled
		statuses []string      // after that
		state    v1alpha1.ActionState
	}{
		"an obedient device":                  {Obedient, slow, wire.Downloading, []string{wire.Canceling}, v1alpha1.ActionCanceling},
		"a device that finishes its download": {FinishesInstall, slow, wire.Downloading, []string{wire.Canceling}, v1alpha1.ActionCanceling},
		"a device that rejects":               {RejectsCancel, slow, wire.Downloading, []string{wire.CancelRejected}, v1alpha1.ActionDownloading},
		"a device that does not answer":       {IgnoresCancel, slow, wire.Downloading, nil, v1alpha1.ActionCanceling},
		"a device that reports late":          {ReportsLate, fast, wire.Installed, []string{wire.FinishedSuccess}, v1alpha1.ActionFinished},
		"a device that is silent":             {Silent, fast, "", nil, v1alpha1.ActionCanceling},
		"a device that vanishes":              {Vanishes, fast, "", nil, v1alpha1.ActionCanceling},
		"a device that does not respond":      {NoResponse, fast, "", nil, v1alpha1.ActionCanceling},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, Device{Behavior: tc.behavior}, func(c *Config) { c.StepTime = tc.step })
			s.untilEvent(Connected)
			s.backend.SetUpdate(update(module("os", "linux", "6.6")))
			if tc.after != "" {
				s.until("the device reports "+tc.after, func() bool { return slices.Contains(s.reported(), "linux "+tc.after) })
			} else {
				s.until("the action exists", func() bool { return s.backend.StoredAction(agentD, firstAction) != nil })
			}
			before := len(s.reported())
			s.backend.CancelUpdate(agentD)
			s.untilState(tc.state)
			s.until("the statuses after the cancel", func() bool { return len(s.reported()) >= before+len(tc.statuses) })
			if diff := cmp.Diff(of("linux", tc.statuses...), s.reported()[before:], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("statuses after the cancel (-want +got):\n%s", diff)
			}
		})
	}
}

// An obedient device ends a canceled update of several modules, except what has ended before.
func TestCancelOfSeveralModules(t *testing.T) {
	// The device starts with the second module, and waits there.
	s := newStand(t, Device{Behavior: Detailed}, func(c *Config) { c.StepTime = 300 * time.Millisecond; c.Steps = 0 })
	s.untilEvent(Connected)
	s.backend.SetUpdate(update(module("os", "linux", "6.6"), module("os", "init", "2")))
	s.until("the second module starts", func() bool { return slices.Contains(s.reported(), "init "+wire.Downloading) })
	s.backend.CancelUpdate(agentD)
	s.untilState(v1alpha1.ActionCanceled)
	s.untilEvent(Canceled)
	got := s.reported()
	want := of("init", wire.CancelingWaiting, wire.Canceling, wire.FinishedCanceled)
	if diff := cmp.Diff(want, got[len(got)-3:]); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if !slices.Contains(got, "linux "+wire.FinishedSuccess) {
		t.Errorf("the first module has no result in %q", got)
	}
}

// Each module of an update has its statuses, one module after the other.
func TestUpdateOfSeveralModules(t *testing.T) {
	s := newStand(t, Device{Behavior: Failing}, nil)
	s.untilEvent(Connected)
	s.backend.SetUpdate(update(module("os", "linux", "6.6"), module("os", "init", "2")))
	s.untilState(v1alpha1.ActionError)
	want := slices.Concat(
		of("linux", wire.Started, wire.Downloading, wire.Downloaded, wire.Installing, wire.Installing, wire.Installed, wire.FinishedSuccess),
		of("init", wire.Started, wire.Downloading, wire.Downloaded, wire.Installing, wire.Installing, wire.FinishedError))
	s.until("all statuses", func() bool { return len(s.reported()) == len(want) })
	if diff := cmp.Diff(want, s.reported()); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if got := s.fleet.Installed("d"); got != "os:linux:6.6" {
		t.Errorf("the device runs %q", got)
	}
}

// A device with several features gets a command for each of them.
func TestSeveralFeatures(t *testing.T) {
	s := newStand(t, Device{ModuleTypes: []string{"os", "app"}}, nil)
	s.untilEvent(Connected)
	s.backend.SetUpdate(update(module("os", "linux", "6.6"), module("app", "shop", "1")))
	s.untilState(v1alpha1.ActionFinished)
	if got, want := s.fleet.Installed("d"), "app:shop:1,os:linux:6.6"; got != want {
		t.Errorf("the device runs %q, want %q", got, want)
	}
	s.untilEvent(Closed)
	if started, closed := len(s.events.Of(Started)), len(s.events.Of(Closed)); started != 1 || closed != 1 {
		t.Errorf("the device started %d times and ended %d times, want once each", started, closed)
	}
}

// A removal has a result for each piece of software.
func TestRemovalWithMQTT(t *testing.T) {
	const installed = "os:a:1,os:b:1,os:c:1"
	for name, tc := range map[string]struct {
		behavior Behavior
		statuses []string
		state    v1alpha1.ActionState
		rest     string
	}{
		"an obedient device": {Obedient, slices.Concat(
			of("a", wire.Removing, wire.Removed, wire.FinishedSuccess), of("b", wire.Removing, wire.Removed, wire.FinishedSuccess), of("c", wire.Removing, wire.Removed, wire.FinishedSuccess),
		), v1alpha1.ActionFinished, ""},
		"a device that fails": {Failing, slices.Concat(
			of("a", wire.Removing, wire.Removed, wire.FinishedSuccess), of("b", wire.Removing, wire.FinishedError), of("c", wire.FinishedRejected),
		), v1alpha1.ActionError, "os:b:1,os:c:1"},
		"a device that rejects": {Denies, slices.Concat(of("a", wire.FinishedRejected), of("b", wire.FinishedRejected), of("c", wire.FinishedRejected)), v1alpha1.ActionError, installed},
		"a detailed device": {Detailed, slices.Concat(
			of("a", wire.Started, wire.RemovingWaiting, wire.Removing, wire.Removed, wire.FinishedSuccess),
			of("b", wire.Started, wire.RemovingWaiting, wire.Removing, wire.Removed, wire.FinishedSuccess),
			of("c", wire.Started, wire.RemovingWaiting, wire.Removing, wire.Removed, wire.FinishedSuccess),
		), v1alpha1.ActionFinished, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, Device{Behavior: tc.behavior, Installed: installed}, nil)
			s.untilEvent(Connected)
			s.backend.SetUpdate(removal("a", "b", "c"))
			s.untilState(tc.state)
			s.until("all statuses", func() bool { return len(s.reported()) >= len(tc.statuses) })
			if diff := cmp.Diff(tc.statuses, s.reported()); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			s.untilEvent(Closed)
			if got := s.fleet.Installed("d"); got != tc.rest {
				t.Errorf("the device runs %q, want %q", got, tc.rest)
			}
		})
	}
}

// Together the behaviors report all statuses of the specification.
func TestAllStatusesAreReported(t *testing.T) {
	reported := map[string]bool{}
	note := func(steps []operationStep) {
		for _, s := range steps {
			reported[s.status.Status] = true
		}
	}
	for _, behavior := range Behaviors() {
		update := &job{subject: wire.Install, modules: []wire.ModuleAction{{}}}
		note(update.plan(behavior, scriptOptions{steps: 1}))
		note(update.cancellation(behavior, 0, nil))
		note((&job{subject: wire.Remove, software: []wire.Dependency{{}, {}, {}}}).plan(behavior, scriptOptions{}))
	}
	for _, status := range wire.Statuses {
		if !reported[status] && status != wire.CancelRejected { // TestCancelWithMQTT
			t.Errorf("no device reports %s", status)
		}
	}
}

// A device that loses its connection while it installs connects again, replaces its feature, and
// continues. It does not install again.
func TestAgentContinuesAfterARestartOfTheBroker(t *testing.T) {
	s := newStand(t, Device{}, func(c *Config) { c.StepTime = 50 * time.Millisecond; c.Steps = 20 })
	s.untilEvent(Connected)
	s.backend.SetUpdate(update(module("os", "linux", "6.6")))
	s.until("the device installs", func() bool { return slices.Contains(s.reported(), "linux "+wire.Installing) })
	s.endAPI()
	s.startAPI()
	s.untilState(v1alpha1.ActionFinished)
	if got := len(s.events.Of(Started)); got != 1 {
		t.Errorf("the device started %d times", got)
	}
	s.untilEvent(Closed)
	if got := s.fleet.Stats(); got.Connected != 1 || got.Busy != 0 || got.Succeeded != 1 || got.Devices != 1 {
		t.Errorf("stats are %+v", got)
	}
}

// An offline device does not connect before its behavior changes. A vanished one comes back.
func TestBehaviorOfAnAgentChanges(t *testing.T) {
	s := newStand(t, Device{Behavior: Offline}, nil)
	s.backend.SetUpdate(update(module("os", "linux", "6.6")))
	if err := s.fleet.PollNow("d"); err != nil {
		t.Fatal(err)
	}
	if err := s.fleet.SetBehavior("d", Vanishes); err != nil {
		t.Fatal(err)
	}
	s.untilEvent(Disconnected)
	if s.fleet.Behavior("d") != Vanishes || s.fleet.Stats().Connected != 0 {
		t.Errorf("the device is %s, stats are %+v", s.fleet.Behavior("d"), s.fleet.Stats())
	}
	if err := s.fleet.SetBehavior("d", NoResponse); err != nil {
		t.Fatal(err)
	}
	s.until("the device connects again", func() bool { return len(s.events.Of(Connected)) == 2 })
	if s.backend.StoredAction(agentD, firstAction).State.IsClosed() {
		t.Error("the action is closed")
	}
}

func TestAgentsThatCannotBeAdded(t *testing.T) {
	mqttOnly := Config{MQTT: MQTT{Address: "127.0.0.1:1"}}
	ddiOnly := Config{BaseURL: "http://127.0.0.1:1"}
	types := []string{"os"}
	for name, tc := range map[string]struct {
		config Config
		device Device
	}{
		"a device with DDI without a base URL":    {mqttOnly, Device{ID: "a"}},
		"a device with MQTT without an address":   {ddiOnly, Device{ID: "a", ModuleTypes: types}},
		"a device with DDI that refuses commands": {ddiOnly, Device{ID: "a", Behavior: RefusesCommands}},
		"an unknown behavior":                     {mqttOnly, Device{ID: "a", Behavior: "x", ModuleTypes: types}},
		"no ID":                                   {mqttOnly, Device{ModuleTypes: types}},
	} {
		tc.config.Devices = []Device{tc.device}
		if _, err := New(tc.config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	both := Config{BaseURL: ddiOnly.BaseURL, MQTT: mqttOnly.MQTT, Devices: []Device{{ID: "a"}, {ID: "a", ModuleTypes: types}}}
	if _, err := New(both); err == nil {
		t.Error("two devices with one ID are accepted")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a fleet without any address is accepted")
	}
}

// One process simulates thousands of devices.
func TestManyAgents(t *testing.T) {
	const n = 1000
	s := newStand(t, Device{}, func(c *Config) {
		c.PollInterval = time.Second
		for i := range n {
			c.Devices = append(c.Devices, Device{ID: fmt.Sprintf("many-%d", i), Token: "secret", ModuleTypes: []string{"os"}})
		}
		c.Observer = nil
	})
	for i := range n {
		s.backend.SetToken(deviceapi.Device{Namespace: "fleet", ControllerID: fmt.Sprintf("many-%d", i)}, "secret")
	}
	s.until("all devices are connected", func() bool { return s.fleet.Stats().Connected == n+1 })
	s.backend.SetUpdate(update(module("os", "linux", "6.6")))
	s.until("all devices are updated", func() bool { return s.fleet.Stats().Succeeded == n+1 })
	if got := s.fleet.Installed("many-7"); got != "os:linux:6.6" {
		t.Errorf("a device runs %q", got)
	}
}
