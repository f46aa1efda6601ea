// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A cluster is rebuilt from Git: all manifests are applied at once and have no history. The devices
// run the newest release and report it by their attributes. No device is updated twice, and none is
// downgraded by an older rollout.
func TestARebuildFromGitUpdatesNoDeviceTwice(t *testing.T) {
	t.Parallel()
	w, _ := newWorld(t, manager.Options{Backend: kube.Options{
		PollInterval: time.Second, ProgressInterval: 5 * time.Second, InstalledName: "software", InstalledVersion: "release",
	}})
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 6, map[string]string{"kind": "gateway"})
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, startAt: "2025-03-01T00:00:00Z", stabilizationSeconds: 1}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-2}
spec: {update: {distributionSet: firmware-2}, startAt: "2025-04-01T00:00:00Z", stabilizationSeconds: 1, groupCount: 2}
`)
	devices := runReporting(w, names)
	w.EventuallyRollout("firmware-2", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.Eventually("the devices have polled for a while", func() string {
		if n := len(devices.Of(devicesim.Polled)); n < 20*len(names) {
			return fmt.Sprintf("%d polls", n)
		}
		return ""
	})
	if started := world.Starts(devices); len(started) > 0 {
		t.Errorf("devices started again: %v", started)
	}
	for _, name := range names {
		if i := w.Target(name).Status.Installed; i == nil || i.DistributionSet != "firmware-2" {
			t.Errorf("%s runs %+v", name, i)
		}
	}
	if got := *w.Rollout("firmware-2").Status.Targets; got.Succeeded != int32(len(names)) {
		t.Errorf("counts are %+v, want all targets succeeded, because they have the set", got)
	}
}

// The same rebuild, with an auto-assignment and a single assignment of the older release, which are
// applied before the rollouts. They are older than the rollouts by startAt and assignedAt, and
// downgrade no device.
func TestARebuildFromGitDowngradesNoDevice(t *testing.T) {
	t.Parallel()
	w, _ := newWorld(t, manager.Options{Backend: kube.Options{
		PollInterval: time.Second, ProgressInterval: 5 * time.Second, InstalledName: "software", InstalledVersion: "release",
	}})
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 4, nil)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, startAt: "2025-03-01T00:00:00Z"}
---
apiVersion: goshawk.dev/v1alpha1
kind: Target
metadata: {name: assigned}
spec: {tokenSecretRef: {name: tokens, key: all}, assignment: {distributionSet: firmware-1, assignedAt: "2025-03-01T00:00:00Z"}}
`)
	names = append(names, "assigned")
	devices := runReporting(w, names)
	w.EventuallyPolled(devices, 3, time.Now(), names...)
	w.ApplySpec("Rollout", "firmware-2", `{update: {distributionSet: firmware-2}, startAt: "2025-04-01T00:00:00Z", stabilizationSeconds: 8, groupCount: 2}`)
	w.EventuallyRollout("firmware-2", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.EventuallyPolled(devices, 20, time.Now(), names...)
	if started := world.Starts(devices); len(started) > 0 {
		t.Errorf("devices started again: %v", started)
	}
	w.Targets("fresh", 1, nil) // a new device gets the set of the auto-assignment
	runReportingRelease(w, []string{"fresh-000"}, "0.9")
	w.EventuallyTarget("fresh-000", "is updated", func(t *v1alpha1.Target) bool {
		return t.Status.Installed != nil && t.Status.Installed.DistributionSet == "firmware-1"
	})
}

// The same rebuild, where the newest release was installed by an auto-assignment. All targets of
// the older rollout count as superseded, and it finishes.
func TestARebuildFromGitFinishesASupersededRollout(t *testing.T) {
	t.Parallel()
	w, _ := newWorld(t, manager.Options{Backend: kube.Options{
		PollInterval: time.Second, ProgressInterval: 5 * time.Second, InstalledName: "software", InstalledVersion: "release",
	}})
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 4, nil)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, startAt: "2025-03-01T00:00:00Z", stabilizationSeconds: 1, groupCount: 2}
---
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: firmware-2}
spec: {update: {distributionSet: firmware-2}, startAt: "2025-04-01T00:00:00Z"}
`)
	devices := runReporting(w, names)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got, want := *r.Status.Targets, (v1alpha1.Counts{Targets: 4, Canceled: 4}); got != want {
		t.Errorf("counts are %+v, want %+v, because the newer set supersedes it on all targets", got, want)
	}
	w.EventuallyPolled(devices, 20, time.Now(), names...)
	if started := world.Starts(devices); len(started) > 0 {
		t.Errorf("devices started again: %v", started)
	}
}

// runReporting runs devices that have the second release and report it.
func runReporting(w *world.World, names []string) *devicesim.Recorder {
	w.T.Helper()
	return runReportingRelease(w, names, "2.0")
}

// runReportingRelease runs devices that report a release.
func runReportingRelease(w *world.World, names []string, release string) *devicesim.Recorder {
	w.T.Helper()
	list := make([]devicesim.Device, len(names))
	for i, name := range names {
		list[i] = devicesim.Device{ID: name, Token: world.Token, Behavior: devicesim.Obedient, Attributes: map[string]string{"software": "firmware", "release": release}}
	}
	recorder := &devicesim.Recorder{}
	fleet, err := devicesim.New(devicesim.Config{BaseURL: w.DeviceAPI, Tenant: w.Namespace, Devices: list, Seed: 1, PollInterval: 200 * time.Millisecond,
		StepTime: 50 * time.Millisecond, Steps: 2, Observer: recorder.Observe})
	if err != nil {
		w.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	w.T.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.T.Errorf("devices: %v", err)
		}
	})
	return recorder
}
