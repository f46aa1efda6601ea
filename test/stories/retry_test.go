// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Each device fails once. Its update is retried after the backoff, and it does not count as failed
// before that.
func TestADeviceThatFailsOnceIsRetried(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 3, nil)
	_, devices := w.Devices(devicesim.Flaky, names...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1, retries: {limit: 2, backoffSeconds: 1}}
  stabilizationSeconds: 0
  errorThreshold: 0
`)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Succeeded: 3}) || len(r.Status.Failures) > 0 {
		t.Errorf("counts are %+v, failures %+v; want 3 of 3 succeeded: a device that is retried has not failed", got, r.Status.Failures)
	}
	started := world.Starts(devices)
	for _, name := range names {
		actions := w.Target(name).Status.Actions
		if started[name] != 2 || len(actions) != 2 || actions[1].Source.Attempt != 2 || actions[0].State != v1alpha1.ActionError {
			t.Errorf("%s started %d times, its actions are %+v", name, started[name], actions)
		}
	}
}
