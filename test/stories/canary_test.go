// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A rollout updates a fleet of twelve targets, two of them at a canary site: the canaries first,
// then the others in two groups.
func TestRolloutUpdatesCanariesFirstAndThenTheFleet(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := append(w.Targets("canary", 2, map[string]string{"site": "canary"}), w.Targets("field", 10, nil)...)
	_, devices := w.Devices(devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  successThreshold: 100
  groups:
  - {name: canary, targetSelector: {matchLabels: {site: canary}}}
  - {name: half, percentage: 50}
  - {name: rest, percentage: 50}
`)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 12, Succeeded: 12}) {
		t.Errorf("counts are %+v, want 12 of 12 succeeded", got)
	}
	for i, want := range []int32{2, 5, 5} {
		if got := r.Status.Groups[i].Targets; got != want {
			t.Errorf("group %s has %d targets, want %d", r.Status.Groups[i].Name, got, want)
		}
	}
	for _, name := range names {
		target := w.Target(name)
		if target.Status.UpdateStatus != v1alpha1.UpdateStatusInSync || target.Status.Installed == nil || target.Status.Installed.DistributionSet != "firmware-1" {
			t.Errorf("target %s is %s with %+v installed", name, target.Status.UpdateStatus, target.Status.Installed)
		}
	}
	started := map[string]int{}
	for _, e := range devices.Of(devicesim.Started) {
		started[fmt.Sprint(e.Device)]++
	}
	for _, name := range names {
		if started[name] != 1 {
			t.Errorf("device %s started %d times, want once", name, started[name])
		}
	}
}
