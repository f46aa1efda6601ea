// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// idle is a backend that offers nothing and keeps nothing.
type idle struct{ deviceapi.Backend }

func (idle) Authorize(context.Context, deviceapi.Device, deviceapi.Credentials) error { return nil }
func (idle) State(context.Context, deviceapi.Device, string) (deviceapi.State, error) {
	return deviceapi.State{}, nil
}
func (idle) Features(context.Context, deviceapi.Device) ([]deviceapi.Feature, error) { return nil, nil }
func (idle) Inventory(context.Context, deviceapi.Device, deviceapi.Inventory) error  { return nil }
func (idle) Changed(deviceapi.Device, func()) (stop func())                          { return func() {} }
func (idle) Connected(deviceapi.Device, string) (disconnected func())                { return func() {} }

// TestMemoryOfAnIdleConnection measures the memory of the server without that of its transport and
// its backend. An idle connection has no goroutine.
func TestMemoryOfAnIdleConnection(t *testing.T) {
	const devices, limit = 5000, 3 << 10
	transport := &memory{knowsPresence: true, started: make(chan struct{}), clients: map[ditto.ConnectionID]*client{}}
	server, err := ditto.NewServer(func(string) (deviceapi.Backend, error) { return idle{}, nil }, transport, ditto.Options{Rates: deviceapi.Rates{Global: deviceapi.Rate{PerSecond: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	<-transport.started
	used := func() (bytes uint64, goroutines int) {
		time.Sleep(100 * time.Millisecond)
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
	}
	connected := make([]deviceapi.Device, devices)
	before, goroutines := used()
	for i := range devices {
		device := deviceapi.Device{Namespace: "fleet", ControllerID: fmt.Sprintf("device-%06d", i)}
		connected[i] = device
		id := ditto.ConnectionID(i + 1)
		server.Connected(device, ditto.Connection{ID: id, User: device.ControllerID + "@fleet", Password: "token"})
		server.Subscribed(device, id, "command///req/#")
		feature := encoded(wire.ModifyFeature("fleet", device.ControllerID, "SoftwareUpdatable", wire.Feature{ModuleType: "software"}))
		if err := server.Received(ctx, device, id, ditto.Message{Topic: "e", Payload: feature}); err != nil {
			t.Fatal(err)
		}
	}
	after, more := used()
	perDevice := int64(after-before) / devices
	t.Logf("%d bytes for each connection", perDevice)
	if perDevice > limit || more-goroutines > 100 {
		t.Errorf("%d connections use %d bytes each, want at most %d, and %d more goroutines", devices, perDevice, limit, more-goroutines)
	}
	for i, device := range connected {
		server.Disconnected(device, ditto.ConnectionID(i+1))
	}
	if left, _ := used(); int64(left-before)/devices > 500 {
		t.Errorf("%d bytes for each connection are left after its end", int64(left-before)/devices)
	}
	cancel()
	<-ended
}
