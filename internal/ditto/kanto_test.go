// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// kanto is a software update agent of Eclipse Kanto. It asks for its identity, subscribes to its
// commands, and reports its feature without operations.
func (w *world) kanto() *device {
	w.Helper()
	d := w.connect(dev1)
	d.subscribe(wire.IdentityResponse)
	d.publish(wire.IdentityRequest, nil)
	wait()
	var identity wire.Identity
	if got := d.take(); len(got) != 1 || got[0].Topic != wire.IdentityResponse || json.Unmarshal(got[0].Payload, &identity) != nil ||
		identity != (wire.Identity{DeviceID: "fleet:dev-1", TenantID: "fleet", PolicyID: "fleet:dev-1"}) {
		w.Fatalf("the identity is %q", got)
	}
	d.subscribe("command///req/#")
	d.send("/features/SoftwareUpdatable", `{"definition":["org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"],
		"properties":{"status":{"softwareModuleType":"app","lastOperation":null,"lastFailedOperation":null}}}`)
	return d
}

// send sends a change as the agent writes it.
func (d *device) send(path, value string) {
	d.Helper()
	d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/modify","headers":{"response-required":false},"path":"`+path+`","value":`+value+`}`))
	wait()
}

// statuses sends statuses of a module, each as STATUS, STATUS progress or STATUS progress code. A
// failure is sent twice.
func (d *device) statuses(c command, module int, lines ...string) {
	d.Helper()
	m := c.update.Modules[module].Module
	for _, line := range lines {
		fields := append(strings.Fields(line), "", "")
		value := fmt.Sprintf(`{"correlationID":%q,"softwareModule":{"name":%q,"version":%q},"status":%q`, c.update.CorrelationID, m.Name, m.Version, fields[0])
		if fields[1] != "" {
			value += `,"progress":` + fields[1]
		}
		if fields[2] != "" {
			value += `,"message":"line of the script","statusCode":"` + fields[2] + `"`
		}
		if value += "}"; fields[0] == wire.FinishedError {
			d.send("/features/SoftwareUpdatable/properties/status/lastFailedOperation", value)
		}
		d.send("/features/SoftwareUpdatable/properties/status/lastOperation", value)
	}
}

// TestSequencesOfKanto plays what the script agent was observed to send.
func TestSequencesOfKanto(t *testing.T) {
	tests := map[string]struct {
		update deviceapitest.Update
		play   func(d *device, c command)
		want   v1alpha1.ActionState
		code   string
	}{
		"an installation": {deviceapitest.Update{Set: set("app")}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0", "DOWNLOADING 100", "DOWNLOADED 100", "INSTALLING 0", "INSTALLING 10 1", "INSTALLING 50 42", "INSTALLING 90 43", "INSTALLED 100")
			d.send("/features/SoftwareUpdatable/properties/status/installedDependencies", `{"0":{"group":"acme.fw","name":"app","version":"1.2","type":"app"}}`)
			d.statuses(c, 0, "FINISHED_SUCCESS 90 43")
			if got, _ := d.backend.Reported(dev1, "SoftwareUpdatable"); len(got.Installed) != 1 || got.Installed[0] != (deviceapi.Software{Group: "acme.fw", Name: "app", Version: "1.2", Type: "app"}) {
				d.Errorf("the inventory is %s", pretty(got))
			}
		}, v1alpha1.ActionFinished, "43"},
		"a download": {deviceapitest.Update{Set: set("app"), DownloadOnly: true}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0", "DOWNLOADING 100", "DOWNLOADED 100", "FINISHED_SUCCESS")
			d.send("/features/SoftwareUpdatable/properties/status/lastOperation", `{"correlationID":"`+c.update.CorrelationID+`","softwareModule":{"name":"app-1","version":"1.2","path":"/var/x"},"status":"DOWNLOADED_FILE_STORED"}`)
		}, v1alpha1.ActionFinished, ""},
		"a wrong checksum": {deviceapitest.Update{Set: set("app")}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0", "FINISHED_ERROR")
		}, v1alpha1.ActionError, ""},
		"a script that fails": {deviceapitest.Update{Set: set("app")}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0", "DOWNLOADING 100", "DOWNLOADED 100", "INSTALLING 30", "FINISHED_ERROR 30 7")
		}, v1alpha1.ActionError, "7"},
		"two modules of which the second fails": {deviceapitest.Update{Set: twoModules()}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0", "DOWNLOADED 100", "INSTALLING 0", "INSTALLED 100", "FINISHED_SUCCESS 100")
			d.wantState(c.id(), v1alpha1.ActionInstalling)
			d.statuses(c, 1, "STARTED", "DOWNLOADING 0", "DOWNLOADED 100", "INSTALLING 0", "FINISHED_ERROR 30 7")
		}, v1alpha1.ActionError, "7"},
		"an agent that is killed during the installation": {deviceapitest.Update{Set: set("app")}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0", "DOWNLOADED 100", "INSTALLING 0", "INSTALLING 10", "INSTALLING 60")
			d.disconnect()
			again := d.kanto()
			again.nothing("after the agent was started again")
			again.statuses(c, 0, "INSTALLING 20", "INSTALLING 70", "INSTALLED 100", "FINISHED_SUCCESS 100")
		}, v1alpha1.ActionFinished, ""},
		"a cancel that the agent has no handler for": {deviceapitest.Update{Set: set("app")}, func(d *device, c command) {
			d.respond(c, 204)
			d.statuses(c, 0, "STARTED", "DOWNLOADING 0")
			d.backend.CancelUpdate(dev1)
			d.command(wire.Cancel)
			d.statuses(c, 0, "DOWNLOADED 100", "INSTALLING 0", "FINISHED_SUCCESS 100")
		}, v1alpha1.ActionFinished, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.kanto()
				w.backend.SetUpdate(&test.update)
				received := d.commands()
				if len(received) != 1 {
					t.Fatalf("the agent has received %s", subjects(received))
				}
				c := received[0]
				test.play(d, c)
				if a := w.action(c.id()); a.State != test.want || a.StatusCode != test.code {
					t.Errorf("the action is %s with the code %q, want %s with %q", a.State, a.StatusCode, test.want, test.code)
				}
			})
		})
	}
}

func twoModules() deviceapitest.Set {
	s := set("app")
	second := s.Modules[0]
	second.ID, second.Name = "second", "app-2"
	s.Modules = append(s.Modules, second)
	return s
}

// TestContainerAgentOfKantoRemoves plays the order in which the container agent ends a removal.
func TestContainerAgentOfKantoRemoves(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(removal("a", "b", "c"))
		c := d.command(wire.Remove)
		d.respond(c, 204)
		for _, name := range []string{"a", "b"} {
			d.removed(c.id(), wire.Removing, name)
		}
		d.removed(c.id(), wire.Removed, "a")
		d.removed(c.id(), wire.FinishedRejected, "c")
		d.removed(c.id(), wire.FinishedError, "b")
		d.removed(c.id(), wire.FinishedSuccess, "a")
		w.wantState(c.id(), v1alpha1.ActionError)
		states := map[string]v1alpha1.ActionState{}
		for _, r := range w.action(c.id()).Remove {
			states[r.Name] = r.State
		}
		want := map[string]v1alpha1.ActionState{"a": v1alpha1.ActionFinished, "b": v1alpha1.ActionError, "c": v1alpha1.ActionError}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
