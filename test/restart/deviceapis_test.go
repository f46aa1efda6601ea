// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Two device API replicas serve one fleet behind a balancer that uses them in turn and sends each
// fetch of a deployment to both, as a network that repeats requests. Every action is created once.
func TestTwoDeviceAPIsCreateEachActionOnce(t *testing.T) {
	t.Parallel()
	backend := kube.Options{PollInterval: time.Second, ProgressInterval: 5 * time.Second, Replicated: true}
	w, g := newWorld(t, manager.Options{Backend: backend})
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 12, nil)
	second, stop, err := world.Start(context.Background(), manager.Options{DeviceAPI: true, Backend: backend}, g.run)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the second device API: %v", err)
		}
	})
	both := &balancer{deviceAPIs: [2]string{host(t, w.DeviceAPI), host(t, second)}}
	w.Eventually("the second device API", func() string {
		response, err := http.Get(second)
		if err != nil {
			return err.Error()
		}
		return errText(response.Body.Close())
	})
	_, devices := w.Play(func(c *devicesim.Config) { c.Transport = both }, devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 2}`)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 12, Succeeded: 12}) {
		t.Errorf("counts are %+v, failures %+v", got, r.Status.Failures)
	}
	if n := both.doubled.Load(); n < 12 {
		t.Errorf("%d deployments were fetched from both device API replicas, want at least 12", n)
	}
	for name, n := range world.Starts(devices) {
		if n != 1 {
			t.Errorf("device %s started %d times", name, n)
		}
	}
	for _, e := range devices.Of(devicesim.Started) {
		actions := w.Target(e.Device).Status.Actions
		if len(actions) != 1 || strconv.Itoa(int(actions[0].ID)) != e.Action {
			t.Errorf("device %s started action %s, but its target has %+v", e.Device, e.Action, actions)
		}
	}
}

// Two device API replicas are replaced one after the other, twice each, while devices send
// intermediate reports, which their replica buffers until it ends. The devices send their results
// after that. Every report that was accepted is counted once.
func TestARollingRestartLosesAndDoublesNoReport(t *testing.T) {
	t.Parallel()
	const steps = 80
	backend := kube.Options{PollInterval: time.Second, ProgressInterval: time.Minute, Replicated: true}
	w, g := newWorld(t, manager.Options{Backend: backend})
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 24, nil)
	both := &sticky{mayEnd: make(chan struct{})}
	stops := [2]func() error{}
	replace := func(i int) {
		t.Helper()
		next, stop, err := world.Start(t.Context(), manager.Options{DeviceAPI: true, Backend: backend}, g.run)
		if err != nil {
			t.Fatal(err)
		}
		w.Eventually("the new replica serves devices", func() string {
			if code := pollAt(t, next, w.Namespace, names[0]); code != http.StatusOK {
				return strconv.Itoa(code)
			}
			return ""
		})
		both.use(i, host(t, next))
		if stops[i] != nil {
			if err := stops[i](); err != nil {
				t.Errorf("a replica ended with %v", err)
			}
		}
		stops[i] = stop
	}
	replace(0)
	replace(1)
	t.Cleanup(func() {
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Errorf("a replica ended with %v", err)
			}
		}
	})
	_, devices := w.Play(func(c *devicesim.Config) {
		c.Transport, c.Steps, c.StepTime = both, steps, 100*time.Millisecond
	}, devicesim.Obedient, names...)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 1}
`)
	atStarts(w, devices, 1)
	for _, i := range []int{0, 1, 0, 1} {
		before := len(devices.Of(devicesim.Reported))
		w.Eventually("devices report", func() string {
			if n := len(devices.Of(devicesim.Reported)); n < min(before+len(names), steps*len(names)) {
				return fmt.Sprintf("%d reports", n)
			}
			return ""
		})
		replace(i)
	}
	close(both.mayEnd)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 24, Succeeded: 24}) {
		t.Errorf("counts are %+v, failures %+v", got, r.Status.Failures)
	}
	reported := map[string]int{}
	for _, e := range devices.Of(devicesim.Reported) {
		reported[e.Device]++
	}
	for _, name := range names {
		actions := w.Target(name).Status.Actions
		if len(actions) != 1 || int(actions[0].Reports) != reported[name] || reported[name] < steps {
			t.Errorf("device %s has sent %d reports, and its target has %+v", name, reported[name], actions)
		}
	}
}

// balancer spreads requests over two device API replicas.
type balancer struct {
	deviceAPIs [2]string
	turn       atomic.Int64
	doubled    atomic.Int64
}

func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/deploymentBase/") {
		return b.ask(r, int(b.turn.Add(1)%2))
	}
	b.doubled.Add(1)
	other := make(chan error, 1)
	go func() {
		response, err := b.ask(r, 1)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			err = errors.Join(err, response.Body.Close())
		}
		other <- err
	}()
	response, err := b.ask(r, 0)
	return response, errors.Join(err, <-other)
}

// ask sends a request to one of the replicas, with the host that devices use.
func (b *balancer) ask(r *http.Request, deviceAPI int) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Host = r.URL.Host, b.deviceAPIs[deviceAPI]
	return http.DefaultTransport.RoundTrip(r)
}

// sticky sends all requests of a device to one of two replicas, which can be replaced, and holds
// back results until mayEnd is closed.
type sticky struct {
	mu         sync.Mutex
	deviceAPIs [2]string
	mayEnd     chan struct{}
}

// use replaces a replica for all further requests.
func (s *sticky) use(i int, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deviceAPIs[i] = host
}

func (s *sticky) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		if r.Body = io.NopCloser(bytes.NewReader(body)); bytes.Contains(body, []byte(`"closed"`)) {
			select {
			case <-s.mayEnd:
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
	}
	device := strings.Split(r.URL.Path, "/")[4] // /tenant/controller/v1/device
	s.mu.Lock()
	r.Host, r.URL.Host = r.URL.Host, s.deviceAPIs[device[len(device)-1]%2]
	s.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func host(t *testing.T, deviceAPI string) string {
	t.Helper()
	u, err := url.Parse(deviceAPI)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
