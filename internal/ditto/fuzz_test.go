// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"context"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// FuzzReceived sends messages of dev-1 to a server whose other device has an open action. No
// message ends the server or changes the other device.
func FuzzReceived(f *testing.F) {
	for topic, payload := range map[string]string{
		"e":                               `{"topic":"fleet/dev-1/things/twin/commands/modify","path":"/features/APP","value":{"properties":{"status":{"softwareModuleType":"app","lastOperation":{"correlationId":"100","status":"FINISHED_SUCCESS","softwareModule":{"name":"app-1","version":"1.2"}}}}}}`,
		"e//dev-2":                        `{"topic":"fleet/dev-2/things/twin/commands/merge","headers":{"response-required":true},"path":"/","value":{"features":null}}`,
		"command///res/100-install-0/400": `{"topic":"fleet/dev-1/things/live/messages/install","path":"/features/APP/outbox/messages/install","status":400,"value":{"message":"no"}}`,
		"command///res/100-cancel-9/204":  ``,
		"edge/thing/request":              ``,
		"t":                               `{"topic":"fleet/dev-1/things/live/messages/ROLLOUTS_REDELIVER_COMMANDS","path":"/outbox/messages/ROLLOUTS_REDELIVER_COMMANDS","value":{}}`,
	} {
		f.Add(topic, []byte(payload))
	}
	backend := &deviceapitest.Backend{Tokens: map[deviceapi.Device]string{dev1: "token 1", dev2: "token 2"}, Update: &deviceapitest.Update{Set: set("app")}}
	transport := &memory{knowsPresence: true, started: make(chan struct{}), clients: map[ditto.ConnectionID]*client{}}
	unlimited := deviceapi.Rate{PerSecond: -1}
	server, err := ditto.NewServer(func(string) (deviceapi.Backend, error) { return backend, nil }, transport, ditto.Options{Rates: deviceapi.Rates{Device: unlimited, Gateway: unlimited, Global: unlimited}})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	<-transport.started
	f.Cleanup(func() { cancel(); <-ended })
	c, err := transport.connect(ctx, "dev-1@fleet", "token 1")
	if err != nil {
		f.Fatal(err)
	}
	c.subscribe("command///req/#")
	for _, device := range []deviceapi.Device{dev1, dev2} {
		if _, err := backend.Deployment(ctx, device, 100); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		_ = server.Received(ctx, dev1, c.id, ditto.Message{Topic: topic, Payload: payload})
		if a := backend.StoredAction(dev2, 100); a == nil || a.State != v1alpha1.ActionRetrieved || a.Reports != 0 {
			t.Fatalf("the action of the other device is %s", pretty(a))
		}
		c.take()
	})
}
