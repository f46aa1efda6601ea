// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// goshawk is a process that can be ended and started again at the same address. It works only in
// the namespace of its test, which also has its lease and its record, so that tests can run in
// parallel.
type goshawk struct {
	t         *testing.T
	config    *rest.Config
	options   manager.Options
	namespace string
	address   string
	stop      func() error
}

func newWorld(t *testing.T, o manager.Options) (*world.World, *goshawk) {
	t.Helper()
	config, c := cluster.Start(t)
	g := &goshawk{t: t, config: config, options: o, namespace: cluster.Namespace(t), address: ports.Free(t)}
	g.start()
	t.Cleanup(g.end)
	return &world.World{T: t, Client: c, Namespace: g.namespace, DeviceAPI: "http://" + g.address}, g
}

func (g *goshawk) start() {
	g.t.Helper()
	listener, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.options.DeviceAPIListener = listener
	if _, g.stop, err = world.Start(context.Background(), g.options, g.run); err != nil {
		g.t.Fatal(err)
	}
}

// run runs a process that works only in the namespace of the test.
func (g *goshawk) run(ctx context.Context, o manager.Options) error {
	o.Namespace, o.WatchNamespaces = g.namespace, []string{g.namespace}
	if o.NotificationsSecret.Name != "" {
		o.NotificationsSecret.Namespace = g.namespace
	}
	return manager.Run(ctx, g.config, o)
}

func (g *goshawk) end() {
	g.t.Helper()
	if err := g.stop(); err != nil {
		g.t.Errorf("Goshawk ended with %v", err)
	}
	g.stop = func() error { return nil }
}

// atStarts waits until n devices have started.
func atStarts(w *world.World, devices *devicesim.Recorder, n int) {
	w.T.Helper()
	w.Eventually(fmt.Sprintf("%d beginnings", n), func() string {
		if started := len(devices.Of(devicesim.Started)); started < n {
			return fmt.Sprintf("%d devices have started", started)
		}
		return ""
	})
}

// away waits until ten requests of devices have failed since the given time.
func away(w *world.World, devices *devicesim.Recorder, since time.Time) {
	w.T.Helper()
	w.Eventually("devices that find the device API closed", func() string {
		n := 0
		for _, e := range devices.Of(devicesim.HTTPError) {
			if e.At.After(since) {
				n++
			}
		}
		if n < 10 {
			return fmt.Sprintf("%d requests failed", n)
		}
		return ""
	})
}

// Goshawk is restarted in every group while devices have open actions. The rollout ends as without
// restarts, and no device installs twice.
func TestRolloutSurvivesRestarts(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, manager.Options{})
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 12, nil)
	fleet, devices := w.Play(func(c *devicesim.Config) { c.StepTime = 300 * time.Millisecond }, devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 3, successThreshold: 100}`)
	for _, n := range []int{1, 6, 12} {
		atStarts(w, devices, n)
		ended := time.Now()
		g.end()
		away(w, devices, ended)
		g.start()
	}
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 12, Succeeded: 12}) {
		t.Errorf("counts are %+v", got)
	}
	for i, g := range r.Status.Groups {
		if g.State != v1alpha1.GroupFinished || g.Targets != 4 {
			t.Errorf("group %d is %+v", i, g)
		}
	}
	for name, n := range world.Starts(devices) {
		if n != 1 {
			t.Errorf("device %s started %d times", name, n)
		}
	}
	for _, name := range names {
		target := w.Target(name)
		if len(target.Status.Actions) != 1 || target.Status.UpdateStatus != v1alpha1.UpdateStatusInSync || target.Status.Actions[0].State != v1alpha1.ActionFinished {
			t.Errorf("target %s ended with %+v", name, target.Status)
		}
		if fleet.Installed(name) != "os:linux:1.0" {
			t.Errorf("device %s runs %q", name, fleet.Installed(name))
		}
	}
	if groups := w.Groups(); len(groups) != 3 {
		t.Errorf("%d groups are left, want the 3 of the plan", len(groups))
	}
}

// A set is invalidated while Goshawk is down. After the start of Goshawk no device starts, before
// and after the caches have synced.
func TestInvalidationWhileGoshawkIsDownHasItsEffect(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, manager.Options{})
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 8, nil)
	busy, late := names[:4], names[4:]
	_, working := w.Play(func(c *devicesim.Config) { c.StepTime = 2 * time.Second }, devicesim.Obedient, busy...)
	fleet, devices := w.Devices(devicesim.Offline, late...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
	atStarts(w, working, len(busy))
	g.end()
	w.Kubectl("patch", "distset", "firmware-1", "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Force"}}}`)
	for _, name := range late {
		if err := fleet.SetBehavior(name, devicesim.Obedient); err != nil {
			t.Fatal(err)
		}
	}
	away(w, devices, time.Now())
	g.start()
	r := w.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	w.EventuallyPolled(devices, 5, time.Now(), late...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started: %v", started)
	}
	want := v1alpha1.Counts{Targets: 8, Canceled: 8}
	w.EventuallyRollout(r.Name, "counts all targets as canceled", func(r *v1alpha1.Rollout) bool { return *r.Status.Targets == want })
}
