// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// mqtt returns a device API to which devices have connections. They have reported a feature.
func (w *world) mqtt(options Options) *deviceAPI {
	options.Presence = true
	d := w.deviceAPI(options)
	d.setFeatures(deviceapi.Feature{ID: "SoftwareUpdatable", SoftwareModuleType: "os"})
	return d
}

func (d *deviceAPI) setFeatures(features ...deviceapi.Feature) {
	d.presence.features = func(context.Context, deviceapi.Device) ([]deviceapi.Feature, error) { return features, nil }
}

func deviceNamed(i int) deviceapi.Device {
	return deviceapi.Device{Namespace: fleetNamespace, ControllerID: deviceName(i)}
}

// pass lets time pass, does what is due for the given number of devices, and synchronizes the
// caches.
func (d *deviceAPI) pass(after time.Duration, devices int) {
	d.w.t.Helper()
	d.w.wait(after)
	for i := range devices {
		d.checkPresence(context.Background(), deviceNamed(i))
	}
	d.sync()
}

// wantOnline fails the test unless the condition of a device has this status and reason.
func (w *world) wantOnline(i int, status metav1.ConditionStatus, reason string) {
	w.t.Helper()
	c := meta.FindStatusCondition(w.target(deviceName(i)).Status.Conditions, v1alpha1.ConditionOnline)
	if c == nil || c.Status != status || c.Reason != reason {
		w.t.Errorf("Online of device %d is %+v, want %s %s", i, c, status, reason)
	}
}

// TestPresence: a connection and its loss are written once each; a device that returns in time
// causes no write.
func TestPresence(t *testing.T) {
	w := newWorld(t, 1)
	d := w.mqtt(Options{})
	lose := d.Connected(dev0, "192.0.2.7")
	if wait := d.checkPresence(t.Context(), dev0); wait <= 0 {
		t.Errorf("the next check is in %s", wait)
	}
	w.wantWrites(1, "the connection")
	w.wantOnline(0, "True", "Connected")
	if got := w.target("dev-0").Status.Address; got != "192.0.2.7" {
		t.Errorf("the address is %q", got)
	}
	d.sync()
	d.pass(time.Hour, 1)
	w.wantWrites(0, "an hour of connection")

	for range 3 {
		lose()
		lose() // it is called twice and counts once
		d.pass(59*time.Second, 1)
		lose = d.Connected(dev0, "192.0.2.8")
		d.pass(2*time.Second, 1)
	}
	w.wantWrites(0, "three reconnects")
	w.wantOnline(0, "True", "Connected")

	second := d.Connected(dev0, "") // before the loss of the first one is noticed
	lose()
	d.pass(2*time.Minute, 1)
	w.wantWrites(0, "a connection that replaces another one")
	second()
	lost := w.clock()
	d.pass(time.Minute, 1)
	w.wantWrites(1, "the loss")
	w.wantOnline(0, "False", "Disconnected")
	if seen := w.target("dev-0").Status.LastSeen; !seen.Time.Equal(lost) {
		t.Errorf("lastSeen is %s, want the end of the connection %s", seen, lost)
	}
	if len(d.presence.devices) > 0 {
		t.Error("the lost device is remembered")
	}
	d.pass(time.Hour, 1)
	w.wantWrites(0, "an hour without connection")
	d.Connected(dev0, "")
	d.pass(time.Second, 1)
	w.wantWrites(1, "the next connection")
	w.wantOnline(0, "True", "Connected")
	d.pass(27*time.Hour, 1)
	w.wantWrites(1, "a day of connection")
	if seen := w.target("dev-0").Status.LastSeen; !seen.Time.Equal(w.clock()) {
		t.Errorf("after a day lastSeen is %s", seen)
	}
	w.wantOnline(0, "True", "Connected")
}

// TestShortConnection: of connections that end before they are written, the first one and one a day
// are written.
func TestShortConnection(t *testing.T) {
	w := newWorld(t, 1)
	d := w.mqtt(Options{})
	connect := func(after time.Duration) (ended time.Time) {
		d.Connected(dev0, "192.0.2.7")()
		ended = w.clock()
		d.pass(after, 1)
		if len(d.presence.devices) > 0 {
			t.Error("the device is remembered")
		}
		return ended
	}
	ended := connect(2 * time.Minute)
	w.wantWrites(1, "the first one")
	w.wantOnline(0, "False", "Disconnected")
	if s := w.target("dev-0").Status; s.LastSeen == nil || !s.LastSeen.Time.Equal(ended) || s.UpdateStatus != v1alpha1.UpdateStatusRegistered || s.Address != "192.0.2.7" {
		t.Errorf("the status is %+v, want one of a registered device that was seen at %s", s, ended)
	}
	connect(time.Hour)
	connect(27 * time.Hour)
	w.wantWrites(0, "two others on the same day")
	ended = connect(2 * time.Minute)
	w.wantWrites(1, "one on the next day")
	if s := w.target("dev-0").Status; !s.LastSeen.Time.Equal(ended) {
		t.Errorf("lastSeen is %s, want %s", s.LastSeen, ended)
	}
}

// TestRestartWithAFleet: after a restart, devices that connect again cause no write, and those that
// do not are offline.
func TestRestartWithAFleet(t *testing.T) {
	const devices, lost = 20, 3
	w := newWorld(t, devices)
	before := w.mqtt(Options{})
	for i := range devices {
		before.Connected(deviceNamed(i), "")
	}
	before.pass(time.Second, devices)
	w.wantWrites(devices, "the first connections")

	after := w.mqtt(Options{})
	for i := range devices - lost {
		after.Connected(deviceNamed(i), "")
		if _, err := after.State(t.Context(), deviceNamed(i), "192.0.2.9"); err != nil {
			t.Fatal(err)
		}
	}
	after.pass(11*time.Second, devices)
	after.pass(50*time.Second, devices)
	w.wantWrites(0, "the restart")
	after.findLost()
	after.pass(0, devices)
	w.wantWrites(lost, "the devices that did not return")
	w.wantOnline(0, "True", "Connected")
	w.wantOnline(devices-1, "False", "Disconnected")
}

// TestAwaitingFeatures: a device that is connected and reports no features gets no update, which
// its condition says; it gets the update when it reports them.
func TestAwaitingFeatures(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{Presence: true})
	changed, stop := d.changes(dev0)
	defer stop()
	d.Connected(dev0, "")
	d.pass(time.Second, 1)
	w.wantOnline(0, "True", "Connected")
	d.pass(9*time.Second, 1)
	w.wantOnline(0, "True", "AwaitingFeatures")
	w.wantWrites(2, "the connection and the missing features")
	if s := d.poll(); s.DeployID != 0 {
		t.Errorf("the device is offered action %d", s.DeployID)
	}
	d.pass(time.Hour, 1)
	w.wantWrites(0, "an hour of waiting")

	<-changed
	if err := d.Inventory(t.Context(), dev0, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "SoftwareUpdatable", SoftwareModuleType: "os"}}); err != nil {
		t.Fatal(err)
	}
	if d.presence.queue.Len() != 1 {
		t.Error("the device is not checked")
	}
	d.pass(0, 1)
	w.wantOnline(0, "True", "Connected")
	<-changed
	if s := d.poll(); s.DeployID != firstID {
		t.Errorf("the state is %+v, want deployment %d", s, firstID)
	}
}

// TestDevicePollsAfterItsConnection: a device that lost its connection and polls is online by its
// poll, at once.
func TestDevicePollsAfterItsConnection(t *testing.T) {
	for name, options := range map[string]Options{"MQTT is served": {Presence: true}, "MQTT is not served any more": {}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.mqtt(Options{})
			lose := d.Connected(dev0, "")
			d.pass(time.Second, 1)
			lose()
			d.pass(time.Minute, 1)
			w.wantOnline(0, "False", "Disconnected")
			next := w.deviceAPI(options)
			w.wait(time.Hour)
			w.takeWrites()
			next.poll()
			w.wantOnline(0, "True", "Seen")
			next.sync()
			next.poll()
			w.wantWrites(1, "the first poll")
		})
	}
}

// TestConditionWithoutMQTT: without MQTT, no device waits for its features.
func TestConditionWithoutMQTT(t *testing.T) {
	w := newWorld(t, 1)
	d := w.mqtt(Options{})
	d.setFeatures()
	d.Connected(dev0, "")
	d.pass(time.Minute, 1)
	w.wantOnline(0, "True", "AwaitingFeatures")
	next := w.deviceAPI(Options{})
	next.poll()
	w.wantOnline(0, "True", "Seen")
	next.sync()
	if s := next.poll(); s.DeployID == 0 {
		t.Error("nothing is offered")
	}
}

// TestDeviceMovesToAnotherReplica: the new replica says so before the old one writes the loss.
func TestDeviceMovesToAnotherReplica(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.mqtt(Options{Replicated: true}), w.mqtt(Options{Replicated: true})
	lose := a.Connected(dev0, "")
	a.pass(time.Second, 1)
	b.sync()
	w.wait(time.Hour)
	w.takeWrites()
	lose()
	w.wait(time.Second)
	b.Connected(dev0, "")
	b.pass(time.Second, 1)
	w.wantWrites(0, "the connection")
	b.pass(30*time.Second, 1)
	w.wantWrites(1, "the move")
	a.sync()
	a.pass(time.Minute, 1)
	w.wantWrites(0, "the loss at the old replica")
	w.wantOnline(0, "True", "Connected")
	b.pass(time.Hour, 1)
	w.wantWrites(0, "an hour of connection")
}

// TestManyDevicesMove: the moves of many devices at once are not written. If their old replica
// still lives and writes their loss, the new one corrects it.
func TestManyDevicesMove(t *testing.T) {
	defer func(old *rate.Limiter) { takeovers = old }(takeovers)
	takeovers = rate.NewLimiter(0, 0)
	w := newWorld(t, 2)
	a, b := w.mqtt(Options{Replicated: true}), w.mqtt(Options{Replicated: true})
	for i := range 2 {
		lose := a.Connected(deviceNamed(i), "")
		a.pass(time.Second, 2)
		lose()
		b.Connected(deviceNamed(i), "")
	}
	b.sync()
	w.takeWrites()
	b.pass(31*time.Second, 2)
	w.wantWrites(0, "the moves")
	a.pass(time.Minute, 2)
	w.wantWrites(2, "the losses")
	w.wantOnline(0, "False", "Disconnected")
	b.sync()
	if got := b.presence.queue.Len(); got != 2 {
		t.Errorf("%d devices are checked, want 2", got)
	}
	b.pass(0, 2)
	w.wantWrites(2, "the corrections")
	w.wantOnline(0, "True", "Connected")
	w.wantOnline(1, "True", "Connected")
}

// TestDeletedDeviceIsForgotten: the loss of a deleted device is not written.
func TestDeletedDeviceIsForgotten(t *testing.T) {
	w := newWorld(t, 1)
	d := w.mqtt(Options{})
	lose := d.Connected(dev0, "")
	if err := w.server.Delete(t.Context(), w.target("dev-0")); err != nil {
		t.Fatal(err)
	}
	d.sync()
	d.pass(time.Second, 1)
	lose()
	d.pass(2*time.Minute, 1)
	w.wantWrites(0, "it")
	if len(d.presence.devices) > 0 {
		t.Error("the device is remembered")
	}
}

// TestPresenceIsWrittenInTheBackground runs the real queue with real time.
func TestPresenceIsWrittenInTheBackground(t *testing.T) {
	w := newWorld(t, 1)
	d := w.mqtt(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.RunPresence(ctx) }()
	d.Connected(dev0, "")
	deadline := time.Now().Add(20 * time.Second)
	for !isConnected(w.target("dev-0")) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	w.wantOnline(0, "True", "Connected")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestFlappingDevice: the writes about the connections of one device are limited like its other
// writes.
func TestFlappingDevice(t *testing.T) {
	w := newWorld(t, 1)
	d := w.mqtt(Options{OfflineAfter: time.Millisecond})
	for range 200 {
		lose := d.Connected(dev0, "")
		d.pass(time.Millisecond, 1)
		lose()
		d.pass(time.Millisecond, 1)
	}
	if got := w.takeWrites(); got > writeBurst {
		t.Errorf("%d writes", got)
	}
}

// TestContactThroughAnExternalBroker: without knowledge of connections, a device is online by what
// it reports, and not because the protocol asks for its state.
func TestContactThroughAnExternalBroker(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	stop := d.Changed(dev0, func() {})
	defer stop()
	if _, err := d.State(t.Context(), dev0, ""); err != nil {
		t.Fatal(err)
	}
	w.wantWrites(0, "a look at the state")
	for range 2 {
		if err := d.Inventory(t.Context(), dev0, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "SoftwareUpdatable", SoftwareModuleType: "os"}}); err != nil {
			t.Fatal(err)
		}
		d.sync()
	}
	w.wantWrites(1, "the reports of a feature")
	w.wantOnline(0, "True", "Seen")
	w.wait(3 * 24 * time.Hour)
	if _, err := d.State(t.Context(), dev0, ""); err != nil {
		t.Fatal(err)
	}
	w.wantWrites(0, "a look at the state of a silent device")
}
