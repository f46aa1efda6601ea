// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// TestDeviceCannotSpeakForAnother sends messages about dev-2 on the connection of dev-1.
func TestDeviceCannotSpeakForAnother(t *testing.T) {
	result := func(thing string, id int32) []byte {
		return fmt.Appendf(nil, `{"topic":"%s/things/twin/commands/modify","path":"/features/APP/properties/status/lastOperation","value":{"correlationId":"%d","status":"FINISHED_ERROR"}}`, thing, id)
	}
	story(t, func(w *world) {
		other := w.connect(dev2)
		other.subscribe("command///req/#")
		other.activate("app")
		w.offer("app")
		c := other.command(wire.Install)
		d := w.online("os")
		before := len(w.calls("Report"))
		for topic, payload := range map[string][]byte{
			"e":                 result("fleet/dev-2", c.id()),
			"e//dev-2":          result("fleet/dev-2", c.id()),
			"event/fleet/dev-2": result("fleet/dev-2", c.id()),
			"e//fleet:dev-2":    result("fleet/dev-1", c.id()),
			"event/other/dev-1": result("fleet/dev-1", c.id()),
			"t":                 result("other/dev-1", c.id()),
			"command//dev-2/res/" + c.topic.ID + "/400": nil,
		} {
			d.publish(topic, payload)
		}
		wait()
		if n := len(w.calls("Report")); n != before {
			t.Errorf("%d reports reached the backend", n-before)
		}
		if a := w.backend.StoredAction(dev2, c.id()); a.State != v1alpha1.ActionRetrieved {
			t.Errorf("the action of the other device is %s", a.State)
		}
	})
}

// TestMessageAboutAnotherDeviceIsAnswered asks for responses. They do not show which devices exist.
func TestMessageAboutAnotherDeviceIsAnswered(t *testing.T) {
	const path = "/features/APP/properties/status/softwareModuleType"
	long := "/" + strings.Repeat("x", 2000)
	for name, test := range map[string]struct {
		topic, thing, path, subject string
		status                      int
	}{
		"another device":                    {"e", "fleet/dev-2/things/twin/commands/modify", path, "modify-response", 404},
		"a device that does not exist":      {"e", "fleet/dev-9/things/twin/commands/modify", path, "modify-response", 404},
		"a device of another namespace":     {"e", "other/dev-1/things/twin/commands/delete", path, "delete-response", 404},
		"a topic of another device":         {"e//dev-2", "fleet/dev-1/things/twin/commands/modify", path, "modify-response", 404},
		"topic and envelope of another one": {"event/fleet/dev-2", "fleet/dev-2/things/twin/commands/modify", path, "modify-response", 404},
		"a topic of another tenant":         {"event/other/dev-1", "fleet/dev-1/things/twin/commands/modify", path, "modify-response", 404},
		"a message of another device":       {"e", "fleet/dev-2/things/live/messages/ROLLOUTS_REDELIVER_COMMANDS", "/outbox/messages/ROLLOUTS_REDELIVER_COMMANDS", "ROLLOUTS_REDELIVER_COMMANDS-response", 404},
		"a path that is too long":           {"e", "fleet/dev-1/things/twin/commands/modify", long, "modify-response", 400},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				other := w.connect(dev2)
				other.subscribe("command///req/#")
				d := w.online("app")
				message := `{"topic":"` + test.thing + `","headers":{"correlation-id":"c1","response-required":%t},"path":"` + test.path + `","value":"os"}`
				d.publish(test.topic, fmt.Appendf(nil, message, false))
				if wait(); len(d.take()) > 0 {
					t.Error("the device received a response that it has not asked for")
				}
				d.publish(test.topic, fmt.Appendf(nil, message, true))
				wait()
				got := d.take()
				if len(got) != 1 || got[0].Topic != "command///req//"+test.subject || len(other.take()) > 0 {
					t.Fatalf("the device received %q", got)
				}
				e, err := wire.DecodeEnvelope(got[0].Payload)
				if err != nil || e.Status != test.status || e.Headers.CorrelationID != "c1" {
					t.Fatalf("the response is %s, %v", got[0].Payload, err)
				}
				if test.status == 404 && (wire.DecodeError(e.Value) != wire.Error{Status: 404, Code: wire.CodeThingNotFound, Message: "this connection may not act for the thing that the topic names"}) {
					t.Errorf("the error is %s", e.Value)
				}
			})
		})
	}
}

// TestFloodAboutAnotherDevice counts for the device that sends it, and not for the other one.
func TestFloodAboutAnotherDevice(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		for range 500 {
			d.publish("e", []byte(`{"topic":"fleet/dev-2/things/twin/commands/modify","headers":{"response-required":true},"path":"/features/APP","value":{}}`))
		}
		if got := len(d.take()); got == 0 || got > 200 {
			t.Errorf("%d of 500 messages were answered", got)
		}
		other := w.connect(dev2)
		other.subscribe("command///req/#")
		w.offer("app")
		started := time.Now()
		other.activate("app")
		c := other.command(wire.Install)
		for i := range 10 {
			o := status1(c.id(), wire.Downloading, "app")
			o.Progress = new(int32(i))
			other.property("APP", "lastOperation", o)
		}
		if took := time.Since(started); took > 200*time.Millisecond {
			t.Errorf("the messages of the other device took %v", took)
		}
		if n := len(w.calls("Report")); n != 10 {
			t.Errorf("%d of 10 reports of the other device reached the backend", n)
		}
	})
}

// TestSubscriptionsOfADevice refuses those to topics of another tenant and of a device for which
// the connection may not act.
func TestSubscriptionsOfADevice(t *testing.T) {
	own := []string{"#", "command///req/#", "command/+/+/req/#", "command/fleet//req/#", "command/FLEET/dev-1/req/#", "command//fleet:dev-1/req/#", "c///q/#", "edge/thing/response", "e", "x/y/z", "command/#"}
	others := []string{"command//dev-2/req/#", "command/fleet/dev-2/#", "command/fleet/fleet:dev-2/req/+/+", "c//dev-2/q/#", "event/fleet/dev-2", "e//dev-2", "command//dev-2/res/#",
		"command//dev-9/req/#", "command/other//req/#", "command/other/+/req/#", "command/other/dev-1/req/#", "telemetry/other/#", "+/fleet/dev-2/req/#", "command//a b/req/#"}
	story(t, func(w *world) {
		d := w.connect(dev1)
		for _, filter := range own {
			if !d.subscribe(filter) {
				t.Errorf("%s is refused", filter)
			}
		}
		for _, filter := range others {
			if d.subscribe(filter) {
				t.Errorf("%s is allowed", filter)
			}
		}
		g, err := w.transport.connect(w.Context(), "gw@fleet", gatewayToken)
		if err != nil {
			t.Fatal(err)
		}
		for filter, want := range map[string]bool{"command//dev-2/req/#": true, "command//fleet:dev-2/req/#": true, "command//+/req/#": true, "command//dev-1/req/#": false, "command/other/dev-2/req/#": false} {
			if g.subscribe(filter) != want {
				t.Errorf("%s of a gateway is allowed: %t", filter, !want)
			}
		}
		likeThing := deviceapi.Device{Namespace: "fleet", ControllerID: "fleet:dev-1"} // as the id of the thing of another device
		w.backend.SetToken(likeThing, "token 4")
		like := w.connect(likeThing)
		if !like.subscribe("command//fleet:dev-1/req/#") || !like.subscribe("command//fleet:fleet:dev-1/req/#") || like.subscribe("command//dev-1/req/#") {
			t.Error("the own topics of fleet:dev-1 are refused, or those of dev-1 allowed")
		}
		like.publish("e//fleet:dev-1", encoded(wire.ModifyFeature("fleet", "fleet:dev-1", "LIKE", wire.Feature{ModuleType: "like"})))
		if _, ok := w.backend.Reported(likeThing, "LIKE"); !ok {
			t.Error("the feature of fleet:dev-1 is not stored")
		}
		if n := w.backend.Connections(dev2); n != 0 {
			t.Errorf("a subscription made %d connections of the device", n)
		}
	})
}

// TestWrongMessagesAreDropped sends messages that have no effect, and do not end the connection.
func TestWrongMessagesAreDropped(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		huge := `{"topic":"fleet/dev-1/things/twin/commands/modify","path":"/features/APP/properties/status/lastOperation","value":{"message":"` + strings.Repeat("x", ditto.MaxPayload) + `"}}`
		for topic, payload := range map[string]string{
			"x/y":                                     "{}",
			"command///req/1/install":                 "{}",
			"command///res/unknown/204":               "",
			"command///res/1-x-0/204":                 "",
			"command///res/7-install/204":             "",
			"command///res/0-install-0/204":           "",
			"command///res/99999999999-install-0/204": "",
			"command///res/" + c.topic.ID + "/abc":    "",
			"command///res/" + c.topic.ID + "/204":    "no JSON",
			"e":                                       huge,
			"event":                                   "no JSON",
			"t":                                       `{"topic":"fleet/dev-1/things/twin/commands/modify","path":"/features/APP/properties/status/lastOperation","value":{"status":"STARTED"}}`,
			"telemetry":                               `{"topic":"fleet/dev-1/things/live/messages/UNKNOWN","path":"/outbox/messages/UNKNOWN"}`,
			"e/?a=b":                                  strings.Repeat("[", 100_000),
		} {
			d.publish(topic, []byte(payload))
		}
		for _, correlationID := range []string{"", "abc", "-1", "0", "99999999999", "4711", "1.5"} {
			d.property("APP", "lastOperation", map[string]string{"correlationId": correlationID, "status": "FINISHED_SUCCESS"})
		}
		w.wantState(c.id(), v1alpha1.ActionRetrieved)
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
	})
}

func TestTooManyFeatures(t *testing.T) {
	story(t, func(w *world) {
		d := w.online()
		for i := range 40 {
			d.activate(fmt.Sprintf("type%02d", i))
			time.Sleep(time.Second)
		}
		features, err := w.backend.Features(w.Context(), dev1)
		if err != nil || len(features) != wire.MaxFeatures {
			t.Errorf("%d features are stored, %v", len(features), err)
		}
	})
}

// TestFloodOfProgress sends much more than the rate of a device. Its result still arrives, and the
// other device is not affected.
func TestFloodOfProgress(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		started := time.Now()
		for i := range 500 {
			o := status1(c.id(), wire.Downloading, "app")
			o.Message = fmt.Sprint("line ", i)
			d.property("APP", "lastOperation", o)
		}
		if took := time.Since(started); took < 10*time.Second {
			t.Errorf("500 messages were read within %v", took)
		}
		n := len(w.calls("Report"))
		if n == 0 || n > 200 {
			t.Errorf("%d of 500 reports reached the backend", n)
		}
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		other := w.connect(dev2)
		other.subscribe("command///req/#")
		started = time.Now()
		other.activate("app")
		if took := time.Since(started); took > 0 {
			t.Errorf("a message of another device took %v", took)
		}
		other.command(wire.Install)
	})
}

// TestFloodOfResults is beyond the rate of results, too: messages wait, and are not acknowledged in
// the end, but are never dropped.
func TestFloodOfResults(t *testing.T) {
	story(t, func(w *world) {
		w.options.Rates = deviceapi.Rates{Device: deviceapi.Rate{PerSecond: 0.001, Burst: 5}}
		w.crash(true)
		d := w.online("app")
		failed := 0
		for i := range 20 {
			o := status1(100, wire.FinishedError, "app")
			o.Message = fmt.Sprint("line ", i)
			e, err := wire.ModifyProperty("fleet", "dev-1", "APP", "lastOperation", o)
			if d.handler.Received(w.Context(), dev1, d.id, ditto.Message{Topic: "e", Payload: encoded(e, err)}) != nil {
				failed++
			}
		}
		if failed < 5 || failed > 15 {
			t.Errorf("%d of 20 messages were not acknowledged", failed)
		}
	})
}

// TestDeviceWithoutItsTargetIsDisconnected deletes the Target, and revokes the token.
func TestDeviceWithoutItsTargetIsDisconnected(t *testing.T) {
	for name, revoke := range map[string]string{"a deleted Target": "", "another token": "token 9"} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app")
				time.Sleep(time.Minute)
				w.backend.SetToken(dev1, revoke)
				time.Sleep(10 * time.Second)
				if d.whyClosed() == "" {
					t.Error("the connection is still open")
				}
				if n := w.backend.Connections(dev1); n != 0 {
					t.Errorf("%d connections are recorded", n)
				}
			})
		})
	}
}

func TestWhoMayConnect(t *testing.T) {
	story(t, func(w *world) {
		for user, password := range map[string]string{
			"dev-1@fleet": "token 1", "dev-1@FLEET": "token 1", "dev-2@fleet": gatewayToken,
		} {
			if c, err := w.transport.connect(w.Context(), user, password); err != nil || c.device.Namespace != "fleet" {
				t.Errorf("%s: %v", user, err)
			}
		}
		for user, password := range map[string]string{
			"dev-1@fleet": "token 2", "dev-9@fleet": "token 1", "dev-1@other": "token 1", "dev-1": "token 1", "": "token 1", "@fleet": "token 1", "dev-1@": "token 1",
			"a b@fleet": "token 1", strings.Repeat("x", 300) + "@fleet": "token 1",
		} {
			_, err := w.transport.connect(w.Context(), user, password)
			if !errors.Is(err, deviceapi.ErrUnauthorized) {
				t.Errorf("%q with %q: %v, want ErrUnauthorized", user, password, err)
			}
		}
		last := error(nil)
		for range 1000 {
			_, last = w.transport.connect(w.Context(), "dev-1@fleet", "wrong")
		}
		if !errors.Is(last, deviceapi.ErrTooMany) {
			t.Errorf("after a thousand wrong passwords: %v", last)
		}
		if _, err := w.transport.connect(w.Context(), "dev-1@fleet", "token 1"); err != nil {
			t.Errorf("the right password after them: %v", err)
		}
		w.backend.Starting = true
		if _, err := w.transport.connect(w.Context(), "dev-1@fleet", "token 1"); err == nil || errors.Is(err, deviceapi.ErrUnauthorized) {
			t.Errorf("before the backend has read its objects: %v", err)
		}
		w.backend.Starting = false
	})
}

func TestCertificateThatNamesTheDevice(t *testing.T) {
	uri := func(text string) *url.URL {
		parsed, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	certificate := func(name string, uris ...*url.URL) []*x509.Certificate {
		return []*x509.Certificate{{Subject: pkix.Name{CommonName: name}, URIs: uris}}
	}
	story(t, func(w *world) {
		for name, test := range map[string]struct {
			connection ditto.Connection
			want       deviceapi.Device
		}{
			"a user name and a certificate":         {ditto.Connection{User: "dev-1@fleet", Certificates: certificate("dev-1")}, dev1},
			"a URI in place of the user name":       {ditto.Connection{Certificates: certificate("dev-1", uri("https://x"), uri("goshawk://fleet/dev-1"))}, dev1},
			"a URI of another device":               {ditto.Connection{Certificates: certificate("dev-1", uri("goshawk://fleet/dev-2"))}, deviceapi.Device{}},
			"a certificate of another device":       {ditto.Connection{User: "dev-1@fleet", Certificates: certificate("dev-2", uri("goshawk://fleet/dev-1"))}, deviceapi.Device{}},
			"neither a user name nor a URI":         {ditto.Connection{Certificates: certificate("dev-1")}, deviceapi.Device{}},
			"a URI without a device":                {ditto.Connection{Certificates: certificate("dev-1", uri("goshawk://fleet"))}, deviceapi.Device{}},
			"a user name without a namespace":       {ditto.Connection{User: "dev-1", Certificates: certificate("dev-1", uri("goshawk://fleet/dev-1"))}, deviceapi.Device{}},
			"a URI of a namespace that is not here": {ditto.Connection{Certificates: certificate("dev-1", uri("goshawk://other/dev-1"))}, deviceapi.Device{}},
		} {
			if got, err := w.server.Authorize(w.Context(), test.connection); got != test.want || (err == nil) != (test.want != deviceapi.Device{}) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	})
}

// TestResponsesToTheDevice asks for responses, which a device gets as commands without an id.
func TestResponsesToTheDevice(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		for name, test := range map[string]struct {
			topic, path, value, subject string
			status                      int
			code                        string
		}{
			"a change":           {"twin/commands/modify", "/features/APP/properties/status/softwareModuleType", `"app"`, "modify-response", 204, ""},
			"another feature":    {"twin/commands/modify", "/features/Battery", `{"properties":{}}`, "modify-response", 204, ""},
			"a wrong value":      {"twin/commands/modify", "/features/APP/properties/status/lastOperation", `{"status":"STARTED"}`, "modify-response", 400, wire.CodeWrongValue},
			"an unknown action":  {"twin/commands/retrieve", "/features/APP", `null`, "retrieve-response", 400, wire.CodeWrongValue},
			"an unknown message": {"live/messages/HELLO", "/outbox/messages/HELLO", `null`, "HELLO-response", 404, wire.CodeSubjectNotFound},
			"a redelivery":       {"live/messages/ROLLOUTS_REDELIVER_COMMANDS", "/features/APP/outbox/messages/ROLLOUTS_REDELIVER_COMMANDS", `{}`, "ROLLOUTS_REDELIVER_COMMANDS-response", 204, ""},
		} {
			d.publish("e", []byte(`{"topic":"fleet/dev-1/things/`+test.topic+`","headers":{"correlation-id":"c1","response-required":true},"path":"`+test.path+`","value":`+test.value+`}`))
			wait()
			got := d.take()
			if len(got) != 1 || got[0].Topic != "command///req//"+test.subject {
				t.Errorf("%s: the device received %q", name, got)
				continue
			}
			e, err := wire.DecodeEnvelope(got[0].Payload)
			if err != nil || e.Status != test.status || e.Headers.CorrelationID != "c1" || wire.DecodeError(e.Value).Code != test.code || e.Headers.ResponseRequired {
				t.Errorf("%s: the response is %s, %v", name, got[0].Payload, err)
			}
		}
	})
}

// TestBackendThatIsUnavailable does not acknowledge messages that it cannot store.
func TestBackendThatIsUnavailable(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.respond(c, 204)
		payload := encoded(wire.ModifyProperty("fleet", "dev-1", "APP", "lastOperation", status1(c.id(), wire.FinishedSuccess, "app")))
		w.backend.SetErrors(map[string]error{"Report": deviceapi.Unavailable{}})
		if err := d.handler.Received(w.Context(), dev1, d.id, ditto.Message{Topic: "e", Payload: payload}); err == nil {
			t.Error("a result that was not stored is acknowledged")
		}
		w.backend.SetErrors(nil)
		d.publish("e", payload)
		w.wantState(c.id(), v1alpha1.ActionFinished)
	})
}

// TestBackendThatFailsForAMoment is asked again, by the server and not by the device.
func TestBackendThatFailsForAMoment(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetErrors(map[string]error{"Deployment": errors.New("the disk is full"), "State": deviceapi.Unavailable{RetryAfter: 3 * time.Second}})
		w.offer("app")
		time.Sleep(10 * time.Second)
		d.nothing("while the backend fails")
		w.backend.SetErrors(nil)
		time.Sleep(time.Minute)
		c := d.command(wire.Install)
		w.backend.SetErrors(map[string]error{"Report": deviceapi.ErrConflict})
		go func() {
			time.Sleep(time.Second)
			w.backend.SetErrors(nil)
		}()
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		if n := len(w.calls("Report")); n < 2 {
			t.Errorf("%d reports", n)
		}
	})
}
