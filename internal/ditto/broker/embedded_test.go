// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"net"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

func startEmbedded(t *testing.T, address string, options broker.EmbeddedOptions, h ditto.Handler, prepare ...func(*broker.Embedded)) (*broker.Embedded, func()) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	e, err := broker.NewEmbedded(listener, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, h) }()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

// fast are options for tests, whose devices connect as often as they like.
func fast() broker.EmbeddedOptions {
	unlimited := deviceapi.Rate{PerSecond: -1}
	return broker.EmbeddedOptions{DeviceConnects: unlimited, AddressConnects: unlimited}
}

func TestEmbeddedKeepsTheContract(t *testing.T) {
	for name, version := range map[string]byte{"MQTT 3.1.1": 4, "MQTT 5": 5} {
		t.Run(name, func(t *testing.T) {
			contract(t, func(t *testing.T) *stand {
				address := ports.Free(t)
				return &stand{
					start: func(t *testing.T, h ditto.Handler) (ditto.Transport, func()) {
						return startEmbedded(t, address, fast(), h)
					},
					options: func(d deviceapi.Device) mqtt.Options {
						return mqtt.Options{Address: address, Version: version, User: d.ControllerID + "@" + d.Namespace, Password: "secret"}
					},
					topic: func(_ deviceapi.Device, topic string) string { return topic },
				}
			})
		})
	}
}
