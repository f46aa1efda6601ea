// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Two campaigns with the weights 90 and 20 wait for devices that are not connected. Each device
// gets both commands, the one with more weight first, and the second one after the first result.
func TestTwoCampaignsOverMQTTInTheOrderOfTheirWeights(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("hotfix-1", "1.1")
	names := w.Targets("device", 2, nil)
	w.ApplySpec("Rollout", "light", `{update: {distributionSet: firmware-1, superseding: Queue, weight: 20}, stabilizationSeconds: 1, startAt: "2026-01-01T00:00:00Z"}`)
	w.ApplySpec("Rollout", "heavy", `{update: {distributionSet: hotfix-1, superseding: Queue, weight: 90}, stabilizationSeconds: 1, startAt: "2026-01-02T00:00:00Z"}`)
	for _, name := range []string{"light", "heavy"} {
		w.EventuallyRollout(name, "waits for its devices", groupIs(0, v1alpha1.GroupRunning))
	}
	devices := connected(w, names...)
	for _, name := range []string{"heavy", "light"} {
		w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
	}
	for i, name := range names {
		received(w, devices[i], "install", "install")
		var ids, commands []string
		var sets []string
		for _, a := range w.Target(name).Status.Actions {
			sets, ids = append(sets, a.DistributionSet), append(ids, decimal(a.ID))
		}
		for _, c := range devices[i].Commands() {
			commands = append(commands, c.CorrelationID)
		}
		if diff := cmp.Diff([]string{"hotfix-1", "firmware-1"}, sets) + cmp.Diff(ids, commands); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
