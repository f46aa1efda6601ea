// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
)

// MQTTDevice is a device with one SoftwareUpdatable feature. It carries out each command at once.
type MQTTDevice struct {
	Namespace, Name string

	t      testing.TB
	client *mqtt.Client

	mu       sync.Mutex
	commands []MQTTCommand
	isSilent bool
}

// MQTTCommand is a command that a device has received.
type MQTTCommand struct{ Subject, CorrelationID string }

// Connect connects a device by MQTT until the test ends. It reports no feature.
func (w *World) Connect(name string) *MQTTDevice {
	w.T.Helper()
	d, err := ConnectTo(w.T, w.MQTT, w.Namespace, name)
	if err != nil {
		w.T.Fatalf("connect %s: %v", name, err)
	}
	return d
}

// ConnectTo connects a device to a broker until the test ends.
func ConnectTo(t testing.TB, address, namespace, name string) (*MQTTDevice, error) {
	d := &MQTTDevice{Namespace: namespace, Name: name, t: t}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := mqtt.Connect(ctx, mqtt.Options{Address: address, ClientID: name, User: name + "@" + namespace, Password: Token, Received: d.received})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.client = client
	d.mu.Unlock()
	t.Cleanup(client.Close)
	if _, err := client.Subscribe(ctx, "command///req/#"); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return d, nil
}

// Silence makes the device ignore commands from now on.
func (d *MQTTDevice) Silence() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isSilent = true
}

// Closed is closed when the connection has ended.
func (d *MQTTDevice) Closed() <-chan struct{} { return d.client.Done() }

// Abort ends the connection without a word.
func (d *MQTTDevice) Abort() { d.client.Abort() }

// Commands returns the commands that the device has received, oldest first.
func (d *MQTTDevice) Commands() []MQTTCommand {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]MQTTCommand(nil), d.commands...)
}

// Serve reports the feature for a type of modules.
func (d *MQTTDevice) Serve(moduleType string) error {
	return d.modify("/features/SoftwareUpdatable", map[string]any{
		"definition": []string{"org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"},
		"properties": map[string]any{"status": map[string]any{"softwareModuleType": moduleType, "lastOperation": nil}},
	})
}

// Report reports a status of the first module of a command.
func (d *MQTTDevice) Report(correlationID, status string, module any) error {
	return d.modify("/features/SoftwareUpdatable/properties/status/lastOperation", map[string]any{
		"correlationId": correlationID, "status": status, "softwareModule": module,
	})
}

func (d *MQTTDevice) modify(path string, value any) error {
	return d.publish("e", map[string]any{
		"topic": d.Namespace + "/" + d.Name + "/things/twin/commands/modify", "headers": map[string]any{"response-required": false}, "path": path, "value": value,
	})
}

func (d *MQTTDevice) publish(topic string, envelope any) error {
	payload, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.client.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload})
}

// received takes a message. A command is carried out by another goroutine, so that this one can
// receive the acknowledgements of what it sends.
func (d *MQTTDevice) received(m mqtt.Message) bool {
	parts := strings.Split(m.Topic, "/") // command///req/<id>/<subject>
	if len(parts) != 6 || parts[3] != "req" {
		return true
	}
	var command struct {
		Headers map[string]any
		Value   struct {
			CorrelationID   string `json:"correlationId"`
			SoftwareModules []struct {
				SoftwareModule any `json:"softwareModule"`
			} `json:"softwareModules"`
		}
	}
	if err := json.Unmarshal(m.Payload, &command); err != nil {
		d.t.Errorf("%s received %s: %v", d.Name, m.Payload, err)
		return true
	}
	d.mu.Lock()
	d.commands = append(d.commands, MQTTCommand{parts[5], command.Value.CorrelationID})
	isSilent := d.isSilent
	d.mu.Unlock()
	if isSilent {
		return true
	}
	var module any
	if list := command.Value.SoftwareModules; len(list) > 0 {
		module = list[0].SoftwareModule
	}
	go d.carryOut(parts[4], parts[5], command.Value.CorrelationID, command.Headers["correlation-id"], module)
	return true
}

// carryOut accepts a command and reports its success.
func (d *MQTTDevice) carryOut(request, subject, id string, correlation, module any) {
	response := d.publish("command///res/"+request+"/204", map[string]any{
		"topic": d.Namespace + "/" + d.Name + "/things/live/messages/" + subject, "headers": map[string]any{"correlation-id": correlation},
		"path": "/features/SoftwareUpdatable/outbox/messages/" + subject, "status": 204,
	})
	if response != nil {
		return // the connection has ended
	}
	statuses := []string{"STARTED", "DOWNLOADING", "DOWNLOADED", "INSTALLING", "INSTALLED", "FINISHED_SUCCESS"}
	if subject == "cancel" {
		statuses = []string{"FINISHED_CANCELED"}
	}
	for _, status := range statuses {
		if d.Report(id, status, module) != nil {
			return
		}
	}
}
