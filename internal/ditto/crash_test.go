// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"context"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

func TestProcessEndsBetweenCreationAndCommand(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.transport.refuse(context.Canceled)
		w.offer("app")
		d.nothing("from the process that ends")
		id := w.calls("Deployment")[0].Args[0].(int32)
		w.wantState(id, v1alpha1.ActionRetrieved)
		w.crash(true)
		if c := w.online("app").command(wire.Install); c.id() != id {
			t.Errorf("the action is %d, and was %d", c.id(), id)
		}
	})
}

// forgetful is a backend that loses its reply after it has created an action.
type forgetful struct {
	*deviceapitest.Backend
	isLost *bool
}

func (b forgetful) Deployment(ctx context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	d, err := b.Backend.Deployment(ctx, device, id)
	if err == nil && !*b.isLost {
		*b.isLost = true
		return deviceapi.Deployment{}, deviceapi.Unavailable{}
	}
	return d, err
}

func TestCreationWhoseReplyIsLost(t *testing.T) {
	story(t, func(w *world) {
		isLost := false
		w.wrap = func(deviceapi.Backend) deviceapi.Backend { return forgetful{w.backend, &isLost} }
		w.crash(true)
		d := w.online("app")
		w.offer("app")
		time.Sleep(10 * time.Second)
		d.command(wire.Install)
		if !isLost {
			t.Error("no reply was lost")
		}
	})
}

func TestProcessEndsBetweenCommandAndAcknowledgement(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		w.crash(true)
		d = w.online("app")
		again := d.command(wire.Install)
		if again.id() != c.id() {
			t.Errorf("the action is %d, and was %d", again.id(), c.id())
		}
		d.respond(c, 204) // to the first command
		d.disconnect()
		w.online("app").nothing("after the response to the first command")
	})
}

func TestProcessEndsBetweenAcknowledgementAndResult(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app", "os")
		w.offer("app", "os")
		c := d.commands()[0]
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.crash(true)
		d = w.online("app", "os")
		d.nothing("after a restart")
		d.report(c.id(), wire.Installing, "os")
		d.report(c.id(), wire.FinishedSuccess, "os")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		w.wantReports(action.Succeed, action.Install, action.Succeed)
	})
}

// The result is stored, and then sent again because its PUBACK was lost.
func TestProcessEndsBetweenResultAndItsAcknowledgement(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.crash(true)
		d = w.online("app")
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		d.nothing("after the same result again")
		if n := len(w.calls("Report")); n != 1 {
			t.Errorf("the result was reported %d times, want once: the operation is stored as the last one of its feature", n)
		}
	})
}

func TestStoredFeaturesAreUsedAfterARestart(t *testing.T) {
	story(t, func(w *world) {
		w.online("app")
		w.crash(true)
		d := w.connect(dev1) // and it does not report its features
		d.subscribe("command///req/#")
		w.offer("app")
		d.nothing("at once, because the device may be about to report its features")
		time.Sleep(3 * time.Second)
		d.command(wire.Install)
	})
}

func TestOldOperationsAfterANewConnection(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		last := status1(c.id(), wire.FinishedSuccess, "app")
		last.Message = "a long message\nof the device"
		d.property("APP", "lastOperation", last)
		for range 3 {
			d.disconnect()
			d = w.online()
			d.publish("e", encoded(wire.ModifyFeature("fleet", "dev-1", "APP", wire.Feature{ModuleType: "app", Last: &last})))
		}
		w.wantReports(action.Succeed)
		w.wrap = func(deviceapi.Backend) deviceapi.Backend { return shortening{w.backend} }
		w.crash(true)
		d = w.online()
		d.publish("e", encoded(wire.ModifyFeature("fleet", "dev-1", "APP", wire.Feature{ModuleType: "app", Last: &last})))
		w.wantReports(action.Succeed)
	})
}

// shortening is a backend that stores the messages of operations in a shorter form.
type shortening struct{ *deviceapitest.Backend }

func (b shortening) Features(ctx context.Context, device deviceapi.Device) ([]deviceapi.Feature, error) {
	features, err := b.Backend.Features(ctx, device)
	for i := range features {
		if last := features[i].LastOperation; last != nil {
			shorter := *last
			shorter.Message = shorter.Message[:5]
			features[i].LastOperation = &shorter
		}
	}
	return features, err
}

func TestRedeliverCommands(t *testing.T) {
	const redeliver = `{"topic":"fleet/dev-1/things/live/messages/ROLLOUTS_REDELIVER_COMMANDS","path":"/features/APP/outbox/messages/ROLLOUTS_REDELIVER_COMMANDS","value":`
	story(t, func(w *world) {
		d := w.online("app")
		d.publish("e", []byte(redeliver+`{}}`))
		d.nothing("without an action")
		w.offer("app")
		c := d.command(wire.Install)
		d.report(c.id(), wire.Downloading, "app")
		d.publish("e", []byte(redeliver+`{"message":"the flash was replaced"}}`))
		if again := d.command(wire.Install); again.id() != c.id() {
			t.Errorf("the action is %d, and was %d", again.id(), c.id())
		}
		w.backend.CancelUpdate(dev1)
		d.command(wire.Cancel)
		d.publish("e", []byte(redeliver+`{"finishCancelActions":false}}`))
		d.command(wire.Cancel)
		w.wantState(c.id(), v1alpha1.ActionCanceling)
		d.publish("e", []byte(redeliver+`{"message":"the flash was replaced"}}`))
		d.nothing("after the cancel was finished")
		w.wantState(c.id(), v1alpha1.ActionCanceled)
	})
}

// TestExternalBroker uses a transport that does not know which devices are connected.
func TestExternalBroker(t *testing.T) {
	send := func(w *world, device deviceapi.Device, topic string, payload []byte) {
		t.Helper()
		if err := w.transport.handler.Received(w.Context(), device, 0, ditto.Message{Topic: topic, Payload: payload}); err != nil {
			t.Errorf("the message is not acknowledged: %v", err)
		}
		wait()
	}
	feature := encoded(wire.ModifyFeature("fleet", "dev-1", "APP", wire.Feature{ModuleType: "app"}))
	taken := func(w *world) []command {
		wait()
		w.transport.mu.Lock()
		defer w.transport.mu.Unlock()
		messages := w.transport.remote[dev1]
		w.transport.remote[dev1] = nil
		return w.decode(messages)
	}
	story(t, func(w *world) {
		w.crash(false)
		w.offer("app")
		send(w, dev1, "e", feature)
		got := taken(w)
		if len(got) != 1 || got[0].topic.Subject != wire.Install {
			t.Fatalf("the device received %s", subjects(got))
		}
		id := got[0].id()

		w.options.Reporters = func(context.Context) ([]deviceapi.Device, error) { return []deviceapi.Device{dev1}, nil }
		w.crash(false)
		if got = taken(w); len(got) != 0 {
			t.Errorf("a process that has just started sent %s: another one may have sent it a moment ago", subjects(got))
		}
		time.Sleep(11 * time.Second)
		if got = taken(w); len(got) != 1 || got[0].id() != id {
			t.Errorf("ten seconds after the start the device received %s", subjects(got))
		}
		time.Sleep(time.Hour)
		if got = taken(w); len(got) != 0 {
			t.Errorf("an hour later the device received %s", subjects(got))
		}

		w.crash(false) // the response reaches another process
		send(w, dev1, "command///res/"+requestOf(id)+"/204", nil)
		time.Sleep(time.Minute)
		if got = taken(w); len(got) != 0 {
			t.Errorf("after the response the device received %s", subjects(got))
		}
		send(w, dev1, "e", encoded(wire.ModifyProperty("fleet", "dev-1", "APP", "lastOperation", status1(id, wire.FinishedSuccess, "app"))))
		w.wantState(id, v1alpha1.ActionFinished)

		unknown := deviceapi.Device{Namespace: "fleet", ControllerID: "unknown"}
		send(w, unknown, "e", encoded(wire.ModifyFeature("fleet", "unknown", "APP", wire.Feature{ModuleType: "app"})))
		send(w, dev2, "e", feature) // about dev-1
		send(w, dev1, wire.IdentityRequest, nil)
		if got := len(w.transport.remote); got != 1 {
			t.Errorf("messages were sent to %d devices", got)
		}
		if n := w.backend.Watched(dev1); n != 1 {
			t.Errorf("%d processes watch the device, want only the last one", n)
		}
		w.offer("app", "app") // another set, after a commit, for a device that sends nothing
		if got = taken(w); len(got) != 1 || got[0].topic.Subject != wire.Install {
			t.Errorf("after the next update the device received %s", subjects(got))
		}
	})
}

// TestTwoProcessesBehindAnExternalBroker have a session of the same device each. Only one of them
// sends a command, also if it had to wait for a confirmation, and the other one sends it again only
// if nothing acknowledges it.
func TestTwoProcessesBehindAnExternalBroker(t *testing.T) {
	feature := encoded(wire.ModifyFeature("fleet", "dev-1", "APP", wire.Feature{ModuleType: "app"}))
	for name, test := range map[string]struct{ isConfirmed, isStarted, isAcknowledged bool }{
		"an update":                                   {isAcknowledged: true},
		"an update that is confirmed":                 {isConfirmed: true, isAcknowledged: true},
		"an update that is confirmed and lost":        {isConfirmed: true},
		"a process that starts after the command":     {isStarted: true, isAcknowledged: true},
		"a process that starts after a lost command":  {isStarted: true},
		"one that starts while a confirmation awaits": {isConfirmed: true, isStarted: true, isAcknowledged: true},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.options.Reporters = func(context.Context) ([]deviceapi.Device, error) { return []deviceapi.Device{dev1}, nil }
				w.crash(false)
				if err := w.transport.handler.Received(w.Context(), dev1, 0, ditto.Message{Topic: "e", Payload: feature}); err != nil {
					t.Fatal(err)
				}
				other := &world{T: t, backend: w.backend, options: w.options}
				start := func() {
					other.start(false)
					time.Sleep(time.Second)
				}
				if !test.isStarted {
					start()
				}
				defer func() {
					if other.stop != nil {
						other.stop()
					}
				}()
				time.Sleep(time.Minute)
				w.backend.SetUpdate(&deviceapitest.Update{Set: set("app"), Confirm: test.isConfirmed})
				time.Sleep(time.Second)
				if test.isStarted {
					start()
				}
				if test.isConfirmed {
					if err := w.backend.ActivateAutoConfirm(w.Context(), dev1, deviceapi.AutoConfirm{}); err != nil {
						t.Fatal(err)
					}
				}
				sent := func() (commands []command) {
					for _, one := range []*world{w, other} {
						one.transport.mu.Lock()
						commands = append(commands, w.decode(one.transport.remote[dev1])...)
						one.transport.mu.Unlock()
					}
					return commands
				}
				time.Sleep(5 * time.Second)
				first := sent()
				if len(first) != 1 || first[0].topic.Subject != wire.Install {
					t.Fatalf("the processes have sent %s", subjects(first))
				}
				want := 2
				if test.isAcknowledged {
					want = 1
					if err := w.transport.handler.Received(w.Context(), dev1, 0, ditto.Message{Topic: first[0].topic.ResponseTopic(204)}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Hour)
				if got := sent(); len(got) != want {
					t.Errorf("after an hour the processes have sent %s", subjects(got))
				}
			})
		})
	}
}

func requestOf(id int32) string { return correlation(id) + "-install-0" }

func correlation(id int32) string {
	o := status1(id, "", "")
	return o.CorrelationID
}

// TestGatewayActsForItsDevices has dev-2 behind a gateway, in both forms of topics.
func TestGatewayActsForItsDevices(t *testing.T) {
	for name, form := range map[string]struct{ filter, event, response string }{
		"long topics":  {"command//+/req/#", "event//fleet:dev-2", "command//fleet:dev-2/res/"},
		"short topics": {"c//+/q/#", "e//dev-2", "c//dev-2/s/"},
		"the tenant":   {"command/fleet/+/req/#", "event/fleet/dev-2", "command/fleet/dev-2/res/"},
		"one device":   {"command//dev-2/req/#", "e", "command//dev-2/res/"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				c, err := w.transport.connect(w.Context(), "gw@fleet", gatewayToken)
				if err != nil {
					t.Fatal(err)
				}
				g := &device{w, c, dev2}
				g.subscribe(form.filter)
				g.publish(form.event, encoded(wire.ModifyFeature("fleet", "dev-2", "APP", wire.Feature{ModuleType: "app"})))
				w.offer("app")
				received := g.command(wire.Install)
				if received.Topic.Name != "dev-2" {
					t.Fatalf("the command is about %s", received.Topic)
				}
				if n := w.backend.Connections(dev2); n != 1 {
					t.Errorf("%d connections of the device are recorded", n)
				}
				reply, err := received.Reply(204, nil)
				g.publish(form.response+received.topic.ID+"/204", encoded(reply, err))
				g.publish(form.event, encoded(wire.ModifyProperty("fleet", "dev-2", "APP", "lastOperation", status1(received.id(), wire.FinishedSuccess, "app"))))
				if a := w.backend.StoredAction(dev2, received.id()); a == nil || a.State != v1alpha1.ActionFinished {
					t.Errorf("the action is %s", pretty(a))
				}
				g.publish("e//dev-1", encoded(wire.ModifyFeature("fleet", "dev-1", "APP", wire.Feature{ModuleType: "app"}))) // which it may not act for
				if n := w.backend.Connections(dev1); n != 0 {
					t.Errorf("%d connections of another device are recorded", n)
				}
				w.backend.SetToken(dev2, "")
				time.Sleep(10 * time.Second)
				if n := w.backend.Connections(dev2); n != 0 || g.whyClosed() != "" {
					t.Errorf("%d connections of a deleted device are recorded; the gateway's was closed: %q", n, g.whyClosed())
				}
				g.disconnect()
			})
		})
	}
}

// TestTwoConnectionsOfOneDevice has one agent per connection, each with its own topics.
func TestTwoConnectionsOfOneDevice(t *testing.T) {
	story(t, func(w *world) {
		first, second := w.connect(dev1), w.connect(dev1)
		first.subscribe("command///req/#")
		second.subscribe("c///q/#")
		first.activate("app")
		second.activate("os")
		wait()
		w.offer("app")
		c := first.command(wire.Install)
		second.command(wire.Install)
		first.disconnect()
		second.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		if n := w.backend.Connections(dev1); n != 1 {
			t.Errorf("%d connections are recorded", n)
		}
	})
}

// timed is a backend whose offer starts at a time.
type timed struct {
	*deviceapitest.Backend
	opens time.Time
}

func (b timed) State(ctx context.Context, device deviceapi.Device, remoteAddr string) (deviceapi.State, error) {
	state, err := b.Backend.State(ctx, device, remoteAddr)
	if time.Now().Before(b.opens) {
		return deviceapi.State{NextChange: b.opens}, err
	}
	return state, err
}

func TestOfferThatStartsAtATime(t *testing.T) {
	story(t, func(w *world) {
		opens := time.Now().Add(time.Hour)
		w.wrap = func(b deviceapi.Backend) deviceapi.Backend { return timed{w.backend, opens} }
		w.crash(true)
		d := w.online("app")
		w.offer("app")
		time.Sleep(time.Hour - time.Second)
		d.nothing("before the window opens")
		time.Sleep(2 * time.Second)
		d.command(wire.Install)
	})
}

// TestTransportThatFails has the command sent again at the next chance.
func TestTransportThatFails(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.transport.refuse(context.DeadlineExceeded)
		w.offer("app")
		d.nothing("while the transport fails")
		w.transport.refuse(nil)
		time.Sleep(10 * time.Second)
		d.command(wire.Install)
		d.nothing("a second time")
	})
}
