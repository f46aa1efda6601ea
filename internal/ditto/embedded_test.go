// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// TestManyDevicesOverTheEmbeddedBroker updates devices over TCP. Each answers and reports inside of
// the handler of its messages.
func TestManyDevicesOverTheEmbeddedBroker(t *testing.T) {
	const devices = 100
	backend := &deviceapitest.Backend{Now: time.Now, Tokens: map[deviceapi.Device]string{}}
	for i := range devices {
		backend.Tokens[deviceapi.Device{Namespace: "fleet", ControllerID: fmt.Sprintf("dev-%d", i)}] = fmt.Sprintf("token %d", i)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := broker.NewEmbedded(listener, broker.EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ditto.NewServer(func(string) (deviceapi.Backend, error) { return backend, nil }, embedded, ditto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()

	var commands atomic.Int32
	for i := range devices {
		name := fmt.Sprintf("dev-%d", i)
		requests := make(chan mqtt.Message, 10)
		c, err := mqtt.Connect(t.Context(), mqtt.Options{Address: listener.Addr().String(), User: name + "@fleet", Password: fmt.Sprintf("token %d", i), ClientID: name,
			Received: func(m mqtt.Message) bool { requests <- m; return true }})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer c.Close()
		if _, err := c.Subscribe(t.Context(), "command///req/#"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		publish := func(topic string, payload []byte) {
			if err := c.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: payload}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		publish("e", encoded(wire.ModifyFeature("fleet", name, "SoftwareUpdatable", wire.Feature{ModuleType: "app"})))
		go func() {
			for {
				select {
				case <-c.Done():
					return
				case m := <-requests:
					request, ok := wire.ParseRequest(m.Topic)
					e, err := wire.DecodeEnvelope(m.Payload)
					if !ok || err != nil || e.Topic.Name != name {
						t.Errorf("%s received %s %s", name, m.Topic, m.Payload)
						return
					}
					commands.Add(1)
					action, _ := wire.DecodeUpdateAction(e.Value)
					publish(request.ResponseTopic(204), encoded(e.Reply(204, nil)))
					for _, status := range []string{wire.Started, wire.Downloading, wire.Installing, wire.FinishedSuccess} {
						o := wire.OperationStatus{CorrelationID: action.CorrelationID, Status: status, Module: &action.Modules[0].Module}
						publish("e", encoded(wire.ModifyProperty("fleet", name, "SoftwareUpdatable", "lastOperation", o)))
					}
				}
			}
		}()
	}
	backend.SetUpdate(&deviceapitest.Update{Set: set("app")})
	finished := func() (n int) {
		for device := range backend.Tokens {
			if a := backend.StoredAction(device, 100); a != nil && a.State == v1alpha1.ActionFinished {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); finished() < devices && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := finished(); n != devices || commands.Load() != devices {
		t.Errorf("%d of %d devices have finished, and got %d commands", n, devices, commands.Load())
	}
	cancel()
	if err := <-ended; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}
