// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Two rollouts with superseding: Queue select the same offline devices. Each device gets both
// updates, the one with more weight first, although it is newer.
func TestQueuedRolloutsAreOfferedByWeight(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("hotfix-1", "1.1")
	names := w.Targets("device", 3, nil)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: light}
spec:
  update: {distributionSet: firmware-1, superseding: Queue, weight: 20}
  stabilizationSeconds: 1
  startAt: "2026-01-01T00:00:00Z"
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: heavy}
spec:
  update: {distributionSet: hotfix-1, superseding: Queue, weight: 90}
  stabilizationSeconds: 1
  startAt: "2026-01-02T00:00:00Z"
`)
	for _, name := range []string{"light", "heavy"} {
		w.EventuallyRollout(name, "waits for its devices", groupIs(0, v1alpha1.GroupRunning))
	}
	w.Devices(devicesim.Obedient, names...)
	for _, name := range []string{"heavy", "light"} {
		r := w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
		if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Succeeded: 3}) {
			t.Errorf("counts of %s are %+v", name, got)
		}
	}
	for _, name := range names {
		var got [][2]string
		for _, a := range w.EventuallyTarget(name, "runs the second set", inSync("firmware-1")).Status.Actions {
			got = append(got, [2]string{a.DistributionSet, string(a.State)})
		}
		if diff := cmp.Diff([][2]string{{"hotfix-1", "Finished"}, {"firmware-1", "Finished"}}, got); diff != "" {
			t.Errorf("actions of %s (-want +got):\n%s", name, diff)
		}
	}
}
