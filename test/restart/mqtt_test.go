// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// killed is a process that ends at one of its writes: nothing of it reaches the API server after
// that.
type killed struct {
	// is finds the write. If isStored is set, it is stored and its reply is lost.
	is       func(patch string) bool
	isStored bool
	kill     func()

	mu   sync.Mutex
	dead bool
}

var errKilled = errors.New("the process was killed")

// killedTransport is one of the transports of such a process.
type killedTransport struct {
	*killed
	next http.RoundTripper
}

func (k killedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	isTheWrite := false
	if request.Method == http.MethodPatch && strings.HasSuffix(request.URL.Path, "/status") && strings.Contains(request.URL.Path, "/targets/") {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		_ = request.Body.Close()
		request.Body = io.NopCloser(bytes.NewReader(body))
		isTheWrite = k.is(string(body))
	}
	k.mu.Lock()
	wasDead := k.dead
	k.dead = k.dead || isTheWrite
	k.mu.Unlock()
	switch {
	case wasDead:
		return nil, errKilled
	case !isTheWrite:
		return k.next.RoundTrip(request)
	}
	if k.isStored {
		if response, err := k.next.RoundTrip(request); err == nil {
			_ = response.Body.Close()
		}
	}
	k.kill()
	return nil, errKilled
}

// TestKilledDuringAnUpdateOverMQTT: a process ends at each write of an update of a connected
// device, before it is stored or before the process knows that it is. The next process finishes the
// same action: no command is lost, the device carries it out once, and no result is lost.
func TestKilledDuringAnUpdateOverMQTT(t *testing.T) {
	created := func(patch string) bool {
		return strings.Contains(patch, `"state":"Retrieved"`) && !strings.Contains(patch, `"reports"`)
	}
	acknowledged := func(patch string) bool {
		return strings.Contains(patch, `"reports":1`) && !strings.Contains(patch, `"closedAt"`)
	}
	finished := func(patch string) bool { return strings.Contains(patch, `"state":"Finished"`) }
	for name, tc := range map[string]struct {
		is       func(patch string) bool
		isStored bool
		// commands is how many commands the device gets at most.
		commands int
	}{
		"before the action is stored":               {created, false, 1},
		"between the stored action and the command": {created, true, 1},
		"before the acknowledgement is stored":      {acknowledged, false, 2},
		"after the acknowledgement is stored":       {acknowledged, true, 1},
		"before the result is stored":               {finished, false, 1},
		"between the stored result and PUBACK":      {finished, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, c := cluster.Start(t)
			w := &world.World{T: t, Client: c, Namespace: cluster.Namespace(t), MQTT: ports.Free(t)}
			ended, end := context.WithCancel(t.Context())
			k := &killed{is: tc.is, isStored: tc.isStored, kill: end}
			stop := startMQTT(ended, w, config, func(next http.RoundTripper) http.RoundTripper { return killedTransport{k, next} })
			w.Set("firmware-1", "1.0")
			names := w.Targets("device", 1, nil)
			device := w.KeepConnected(names[0], "os")
			w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0}`)
			<-ended.Done()
			_ = stop() // the error of a killed process does not matter
			stop = startMQTT(context.Background(), w, config, nil)
			defer func() {
				if err := stop(); err != nil {
					t.Errorf("Goshawk ended with %v", err)
				}
			}()
			target := w.EventuallyTarget(names[0], "has the update", func(target *v1alpha1.Target) bool {
				return target.Status.UpdateStatus == v1alpha1.UpdateStatusInSync
			})
			if actions := target.Status.Actions; len(actions) != 1 || actions[0].State != v1alpha1.ActionFinished {
				t.Errorf("the actions are %+v, want one that has finished", actions)
			}
			commands := device.Commands()
			if len(commands) == 0 || len(commands) > tc.commands {
				t.Errorf("the device got %v, want 1 to %d commands", commands, tc.commands)
			}
			for _, command := range commands {
				if command != commands[0] {
					t.Errorf("the device got another command: %v", commands)
				}
			}
		})
	}
}

// TestExternalBrokerIsRestarted: a rollout that starts while the external broker does not run
// reaches its devices when it runs again, once.
func TestExternalBrokerIsRestarted(t *testing.T) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if os.Getenv("GOSHAWK_REQUIRE_MOSQUITTO") == "1" {
			t.Fatal(err)
		}
		t.Skip("this test needs mosquitto, which is not installed: run `apt-get install mosquitto`")
	}
	t.Parallel()
	config, c := cluster.Start(t)
	w := &world.World{T: t, Client: c, Namespace: cluster.Namespace(t), MQTT: ports.Free(t), HasExternalBroker: true}
	folder := t.TempDir()
	_, port, err := net.SplitHostPort(w.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf("user root\nlistener %s 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\n", port, folder)
	if err := os.WriteFile(filepath.Join(folder, "mosquitto.conf"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	startBroker := func() (stop func()) {
		command := exec.Command(program, "-c", filepath.Join(folder, "mosquitto.conf"))
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		return sync.OnceFunc(func() {
			_ = command.Process.Signal(syscall.SIGTERM)
			_ = command.Wait()
		})
	}
	stopBroker := startBroker()
	defer func() { stopBroker() }()
	stop := startMQTT(context.Background(), w, config, nil)
	defer func() {
		if err := stop(); err != nil {
			t.Errorf("Goshawk ended with %v", err)
		}
	}()
	names := w.Targets("device", 2, nil)
	devices := make([]*world.MQTTDevice, len(names))
	for i, name := range names {
		devices[i] = w.KeepConnected(name, "os")
		w.EventuallyTarget(name, "has reported", func(target *v1alpha1.Target) bool {
			if target.Status.LastSeen == nil { // the broker keeps nothing before Goshawk has connected for the first time
				_ = devices[i].Serve("os")
			}
			return target.Status.LastSeen != nil
		})
	}
	stopBroker()
	w.Set("firmware-1", "1.0")
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0}`)
	w.EventuallyRollout("firmware-1", "has started", func(r *v1alpha1.Rollout) bool { return r.Status.StartedAt != nil })
	stopBroker = startBroker()
	for i, name := range names {
		target := w.EventuallyTarget(name, "has the update", func(target *v1alpha1.Target) bool {
			return target.Status.UpdateStatus == v1alpha1.UpdateStatusInSync
		})
		if actions := target.Status.Actions; len(actions) != 1 || actions[0].State != v1alpha1.ActionFinished {
			t.Errorf("the actions of %s are %+v, want one that has finished", name, actions)
		}
		commands := devices[i].Commands()
		for _, command := range commands { // one that is not acknowledged is sent again
			if command != commands[0] {
				t.Errorf("%s got another command: %v", name, commands)
			}
		}
	}
}

// startMQTT starts a process that serves MQTT at the address of a world.
func startMQTT(ctx context.Context, w *world.World, config *rest.Config, wrap func(http.RoundTripper) http.RoundTripper) (stop func() error) {
	w.T.Helper()
	var served manager.MQTTOptions
	var err error
	if w.HasExternalBroker {
		served.External = broker.ExternalOptions{URL: "mqtt://" + w.MQTT}
	} else if served.Listener, err = net.Listen("tcp", w.MQTT); err != nil {
		w.T.Fatal(err)
	}
	config = rest.CopyConfig(config)
	if wrap != nil {
		config.Wrap(wrap)
	}
	_, stop, err = world.Start(ctx, manager.Options{MQTT: served}, func(ctx context.Context, o manager.Options) error {
		o.Namespace, o.WatchNamespaces = w.Namespace, []string{w.Namespace}
		return manager.Run(ctx, config, o)
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return stop
}
