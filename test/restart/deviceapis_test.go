// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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
