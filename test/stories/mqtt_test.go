// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// online reports whether the condition Online of a target has a status and a reason.
func online(status metav1.ConditionStatus, reason string) func(*v1alpha1.Target) bool {
	return func(t *v1alpha1.Target) bool {
		return world.Says(t.Status.Conditions, v1alpha1.ConditionOnline, status, reason)
	}
}

// connected connects devices by MQTT that serve modules of type os.
func connected(w *world.World, names ...string) []*world.MQTTDevice {
	w.T.Helper()
	devices := make([]*world.MQTTDevice, len(names))
	for i, name := range names {
		devices[i] = w.Connect(name)
		if err := devices[i].Serve("os"); err != nil {
			w.T.Fatal(err)
		}
	}
	for _, name := range names {
		w.EventuallyTarget(name, "is online", online(metav1.ConditionTrue, v1alpha1.ReasonConnected))
	}
	return devices
}

// received waits until a device has received commands with these subjects, and no others.
func received(w *world.World, d *world.MQTTDevice, subjects ...string) {
	w.T.Helper()
	w.Eventually("the commands of "+d.Name, func() string {
		var got []string
		for _, c := range d.Commands() {
			got = append(got, c.Subject)
		}
		if slices.Equal(got, subjects) {
			return ""
		}
		return fmt.Sprintf("it has %q, want %q", got, subjects)
	})
}

// One rollout updates devices that are connected by MQTT and devices that poll. Each device gets
// the update once; a connected one gets it by a command as soon as its group opens.
func TestRolloutOfMQTTAndDDIDevices(t *testing.T) {
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	pushed, polling := w.Targets("pushed", 3, nil), w.Targets("polling", 3, nil)
	devices := connected(w, pushed...)
	_, recorder := w.Devices(devicesim.Obedient, polling...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupCount: 2}`)
	w.EventuallyRollout("firmware-1", "has finished", func(r *v1alpha1.Rollout) bool { return r.Status.State == v1alpha1.RolloutFinished })
	for _, d := range devices {
		received(w, d, "install")
		target := w.Target(d.Name)
		if !inSync("firmware-1")(target) {
			t.Errorf("%s is %+v", d.Name, target.Status)
		}
		a := action.Newest(&target.Status)
		if got := d.Commands()[0].CorrelationID; got != decimal(a.ID) {
			t.Errorf("the correlationId of %s is %s, want that of action %d", d.Name, got, a.ID)
		}
	}
	startedOnce(t, recorder, polling...)

	devices[0].Abort()
	w.EventuallyTarget(pushed[0], "is offline", online(metav1.ConditionFalse, v1alpha1.ReasonDisconnected))
	if !online(metav1.ConditionTrue, v1alpha1.ReasonConnected)(w.Target(pushed[1])) || !online(metav1.ConditionTrue, v1alpha1.ReasonSeen)(w.Target(polling[0])) {
		t.Error("another device is offline")
	}
}

// An invalidation with Force reaches devices that have started the update, as a cancel.
func TestForceReachesConnectedDevices(t *testing.T) {
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 5, nil)
	devices := connected(w, names...)
	for _, d := range devices {
		d.Silence()
	}
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0}`)
	for _, d := range devices {
		received(w, d, "install")
	}
	started := time.Now()
	w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, "spec: {invalidation: {cancellation: Force}}")
	for _, d := range devices {
		received(w, d, "install", "cancel")
	}
	t.Logf("%d connected devices got the cancel after %s", len(devices), time.Since(started))
	for _, name := range names {
		w.EventuallyTarget(name, "is canceled", newest(v1alpha1.ActionCanceled))
	}
}

// A device that cannot install the type of a module fails with NoFeature, and gets no command. The
// others are updated.
func TestDeviceWithoutTheFeature(t *testing.T) {
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 2, nil)
	able, unable := connected(w, names[0])[0], w.Connect(names[1])
	if err := unable.Serve("application"); err != nil {
		t.Fatal(err)
	}
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, successThreshold: 1, errorThreshold: 100}`)
	w.EventuallyTarget(names[1], "has failed", newest(v1alpha1.ActionError))
	w.EventuallyTarget(names[0], "has the update", inSync("firmware-1"))
	received(w, able, "install")
	received(w, unable)
	a := action.Newest(&w.Target(names[1]).Status)
	if a.StatusCode != v1alpha1.CodeNoFeature || !strings.Contains(a.FailureMessage, "os") || !strings.Contains(a.FailureMessage, "application") {
		t.Errorf("the code is %s, and the message %q; want the missing type and what the device serves", a.StatusCode, a.FailureMessage)
	}
	if !action.IsConsistent(&w.Target(names[1]).Status) {
		t.Error("a device that got nothing is inconsistent")
	}
}

// A connected device that has not reported its features is waited for, and the rollout says so. It
// gets its update when it reports them.
func TestDeviceThatReportsItsFeaturesLate(t *testing.T) {
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 1, nil)
	device := w.Connect(names[0])
	w.EventuallyTarget(names[0], "waits for its features", online(metav1.ConditionTrue, v1alpha1.ReasonAwaitingFeatures))
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0}`)
	w.EventuallyRollout("firmware-1", "waits for the features", func(r *v1alpha1.Rollout) bool {
		return r.Status.WaitingFor != nil && strings.Contains(r.Status.WaitingFor.Message, "connected without features")
	})
	if a := action.Newest(&w.Target(names[0]).Status); a != nil {
		t.Errorf("action %d was created", a.ID)
	}
	if err := device.Serve("os"); err != nil {
		t.Fatal(err)
	}
	w.EventuallyTarget(names[0], "has the update", inSync("firmware-1"))
	received(w, device, "install")
	w.EventuallyTarget(names[0], "is connected", online(metav1.ConditionTrue, v1alpha1.ReasonConnected))
}

// A connection ends when its token is not accepted any more, and when its Target is deleted.
func TestRevokedCredentialsEndTheConnection(t *testing.T) {
	w := world.New(t)
	names := w.Targets("device", 2, nil)
	devices := connected(w, names...)
	ends := func(d *world.MQTTDevice, after string) {
		t.Helper()
		select {
		case <-d.Closed():
		case <-time.After(time.Minute):
			t.Errorf("a minute after %s, %s has its connection", after, d.Name)
		}
	}
	target := w.Target(names[0])
	if err := w.Client.Delete(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	ends(devices[0], "the deletion of its target")
	select {
	case <-devices[1].Closed():
		t.Fatal("the connection of another device ended")
	default:
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tokens", Namespace: w.Namespace}}
	w.Commit(secret, `stringData: {all: another-token}`)
	ends(devices[1], "the change of its token")
	if _, err := world.ConnectTo(t, w.MQTT, w.Namespace, names[1]); err == nil {
		t.Error("the old token is accepted")
	}
	if c := meta.FindStatusCondition(w.Target(names[1]).Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionFalse {
		t.Errorf("Ready is %+v", c)
	}
}
