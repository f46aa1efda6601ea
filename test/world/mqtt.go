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
	"time"

	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
)

// MQTTDevice is a device with one SoftwareUpdatable feature. It carries out each command at once,
// and only accepts one that it has carried out before.
type MQTTDevice struct {
	Namespace, Name string

	t testing.TB
	// events is the topic of what it reports, and requests the start of those of commands.
	events, requests string
	// keeps is set if the device connects again, and repeats reports that were not acknowledged.
	keeps bool

	mu       sync.Mutex
	client   *mqtt.Client
	commands []MQTTCommand
	carried  map[MQTTCommand]int
	isSilent bool
}

// MQTTCommand is a command that a device has received.
type MQTTCommand struct{ Subject, CorrelationID string }

// Connect connects a device by MQTT until the test ends. It reports no feature.
func (w *World) Connect(name string) *MQTTDevice {
	w.T.Helper()
	var d *MQTTDevice
	w.Eventually("a connection of "+name, func() string { // its target may be new
		var err error
		if d, err = ConnectTo(w.T, w.MQTT, w.Namespace, name); err != nil {
			return err.Error()
		}
		return ""
	})
	return d
}

// KeepConnected connects a device that serves a type of modules, and connects it again whenever its
// connection ends, until the test ends.
func (w *World) KeepConnected(name, moduleType string) *MQTTDevice {
	d := &MQTTDevice{Namespace: w.Namespace, Name: name, t: w.T, keeps: true, events: "e", requests: "command//"}
	if w.HasExternalBroker {
		d.events, d.requests = "event/"+w.Namespace+"/"+name, "command/"+w.Namespace+"/"+name
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	w.T.Cleanup(func() { cancel(); running.Wait() })
	running.Go(func() {
		for ctx.Err() == nil {
			if d.connect(ctx, w.MQTT) == nil && d.Serve(moduleType) == nil {
				select {
				case <-d.Closed():
				case <-ctx.Done():
				}
			}
			time.Sleep(retryInterval)
		}
		if client := d.connection(); client != nil {
			client.Close()
		}
	})
	return d
}

// retryInterval is the time between two attempts of a device to connect or to report.
const retryInterval = 50 * time.Millisecond

// ConnectTo connects a device to a broker until the test ends.
func ConnectTo(t testing.TB, address, namespace, name string) (*MQTTDevice, error) {
	d := &MQTTDevice{Namespace: namespace, Name: name, t: t, events: "e", requests: "command//"}
	if err := d.connect(t.Context(), address); err != nil {
		return nil, err
	}
	t.Cleanup(d.connection().Close)
	return d, nil
}

func (d *MQTTDevice) connect(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := mqtt.Connect(ctx, mqtt.Options{Address: address, ClientID: d.Name, User: d.Name + "@" + d.Namespace, Password: Token, Received: d.received})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.client = client
	d.mu.Unlock()
	if _, err := client.Subscribe(ctx, d.requests+"/req/#"); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

func (d *MQTTDevice) connection() *mqtt.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client
}

// Silence makes the device ignore commands from now on.
func (d *MQTTDevice) Silence() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isSilent = true
}

// Closed is closed when the connection has ended.
func (d *MQTTDevice) Closed() <-chan struct{} { return d.connection().Done() }

// Abort ends the connection without a word.
func (d *MQTTDevice) Abort() { d.connection().Abort() }

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
	return d.publish(d.events, map[string]any{
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
	client := d.connection()
	if client == nil {
		return mqtt.ErrClosed
	}
	return client.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload})
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
	received := MQTTCommand{parts[5], command.Value.CorrelationID}
	d.commands = append(d.commands, received)
	isSilent := d.isSilent
	d.mu.Unlock()
	if isSilent {
		return true
	}
	var module any
	if list := command.Value.SoftwareModules; len(list) > 0 {
		module = list[0].SoftwareModule
	}
	go d.carryOut(parts[4], received, command.Headers["correlation-id"], module)
	return true
}

// carryOut accepts a command and, if it is new, reports its success.
func (d *MQTTDevice) carryOut(request string, command MQTTCommand, correlation, module any) {
	subject, id := command.Subject, command.CorrelationID
	d.mu.Lock()
	if d.carried == nil {
		d.carried = map[MQTTCommand]int{}
	}
	d.carried[command]++
	isNew := d.carried[command] == 1
	d.mu.Unlock()
	response := d.publish(d.requests+"/res/"+request+"/204", map[string]any{
		"topic": d.Namespace + "/" + d.Name + "/things/live/messages/" + subject, "headers": map[string]any{"correlation-id": correlation},
		"path": "/features/SoftwareUpdatable/outbox/messages/" + subject, "status": 204,
	})
	if !isNew || response != nil && !d.keeps {
		return
	}
	statuses := []string{"STARTED", "DOWNLOADING", "DOWNLOADED", "INSTALLING", "INSTALLED", "FINISHED_SUCCESS"}
	if subject == "cancel" {
		statuses = []string{"FINISHED_CANCELED"}
	}
	for _, status := range statuses {
		for d.Report(id, status, module) != nil {
			if !d.keeps || d.t.Context().Err() != nil {
				return
			}
			time.Sleep(retryInterval)
		}
	}
}
