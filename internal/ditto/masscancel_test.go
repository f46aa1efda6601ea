// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// slowWrites is a backend whose State takes 50 ms if a cancel is pending, for one device after the
// other, as if it was stored then.
type slowWrites struct {
	*deviceapitest.Backend
	turn chan struct{}
}

func (b slowWrites) State(ctx context.Context, device deviceapi.Device, remoteAddr string) (deviceapi.State, error) {
	if _, pending := b.PendingCancel(device); pending {
		b.turn <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		<-b.turn
	}
	return b.Backend.State(ctx, device, remoteAddr)
}

// slowStory runs a test in a world with slow writes.
func slowStory(t *testing.T, run func(w *world)) {
	t.Helper()
	story(t, func(w *world) {
		slow := slowWrites{w.backend, make(chan struct{}, 1)}
		w.wrap = func(deviceapi.Backend) deviceapi.Backend { return slow }
		run(w)
	})
}

// fleetOf connects devices that have accepted the command of an update.
func (w *world) fleetOf(size int) (fleet []*device) {
	w.Helper()
	w.offer("app")
	for i := range size {
		thing := deviceapi.Device{Namespace: "fleet", ControllerID: fmt.Sprintf("device-%d", i)}
		w.backend.SetToken(thing, "token")
		d := w.connect(thing)
		d.subscribe("command///req/#")
		d.activate("app")
		fleet = append(fleet, d)
	}
	for _, d := range fleet {
		d.respond(d.command(wire.Install), 204)
	}
	return fleet
}

func TestCancelOfManyDevicesDoesNotWaitForWrites(t *testing.T) {
	slowStory(t, func(w *world) {
		fleet := w.fleetOf(500)
		var things []deviceapi.Device
		for _, d := range fleet {
			things = append(things, d.thing)
		}
		w.backend.CancelFor(v1alpha1.CauseInvalidated, things...)
		time.Sleep(100 * time.Millisecond) // two of the 500 writes
		missing := 0
		for _, d := range fleet {
			if received := w.decode(d.take()); len(received) != 1 || received[0].topic.Subject != wire.Cancel || len(received[0].update.Modules) != 1 {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of %d devices have not received one cancel after 100 ms", missing, len(fleet))
		}
		before := len(w.calls("State"))
		time.Sleep(2 * time.Minute)
		for _, d := range fleet {
			if again := w.decode(d.take()); len(again) > 0 {
				t.Fatalf("after the cancel was stored %s has received %s", d.thing.ControllerID, subjects(again))
			}
		}
		if n := len(w.calls("State")) - before; n < len(fleet)-2 {
			t.Errorf("only %d of %d cancels were stored later", n, len(fleet))
		}
	})
}

func TestCancelIsAnsweredBeforeItIsStored(t *testing.T) {
	for status, want := range map[string]v1alpha1.ActionState{
		wire.FinishedCanceled: v1alpha1.ActionCanceled,
		wire.CancelRejected:   v1alpha1.ActionRetrieved,
		wire.FinishedSuccess:  v1alpha1.ActionFinished,
	} {
		t.Run(status, func(t *testing.T) {
			slowStory(t, func(w *world) {
				d := w.online("app")
				w.offer("app")
				c := d.command(wire.Install)
				d.respond(c, 204)
				w.backend.CancelUpdate(dev1)
				time.Sleep(time.Millisecond)
				if received := w.decode(d.take()); len(received) != 1 || received[0].topic.Subject != wire.Cancel {
					t.Fatalf("before the cancel is stored the device has received %s", subjects(received))
				}
				d.property("APP", "lastOperation", status1(c.id(), status, "app"))
				w.wantState(c.id(), want)
				d.nothing("after its answer")
				w.wantState(c.id(), want)
			})
		})
	}
}

// The worker that stores the first cancel comes back when the second cause is already there.
func TestCancelForTheNextCauseIsSentAfterAFastRejection(t *testing.T) {
	slowStory(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.respond(c, 204)
		for _, cause := range []v1alpha1.CancelCause{v1alpha1.CauseStopped, v1alpha1.CauseInvalidated} {
			w.backend.CancelFor(cause, dev1)
			var received []command
			for tries := 0; len(received) == 0 && tries < 1000; tries++ {
				time.Sleep(time.Millisecond)
				received = w.decode(d.take())
			}
			if len(received) != 1 || received[0].topic.Subject != wire.Cancel {
				t.Fatalf("for the cause %s the device has received %s", cause, subjects(received))
			}
			d.property("APP", "lastOperation", status1(c.id(), wire.CancelRejected, "app"))
		}
		d.nothing("after it has rejected both cancels")
		w.wantState(c.id(), v1alpha1.ActionRetrieved)
	})
}

func TestCancelIsNotSentToADeviceThatIsNotReady(t *testing.T) {
	slowStory(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		d.respond(d.command(wire.Install), 204)
		d.disconnect()
		d = w.connect(dev1)
		w.backend.CancelUpdate(dev1)
		time.Sleep(time.Millisecond)
		d.nothing("before it has subscribed to its commands")
		d.subscribe("command///req/#")
		d.activate("app")
		d.command(wire.Cancel)
	})
}

func TestUpdateWithoutCommandIsNotCanceledAtTheDevice(t *testing.T) {
	slowStory(t, func(w *world) {
		d := w.connect(dev1)
		d.subscribe("command///req/#")
		wait() // without features nothing is created
		w.offer("app")
		d.nothing("without features")
		w.backend.CancelUpdate(dev1)
		d.activate("app")
		d.nothing("after the update was taken back")
	})
}
