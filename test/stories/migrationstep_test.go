// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A newer rollout opens before any device has installed the migration step of an older one. It
// supersedes no target, and every device installs the step first.
func TestNewerRolloutWaitsForTheMigrationStep(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, "spec: {requiredMigrationStep: true}")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 3, nil)
	opens := func(name, startAt string) {
		w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: ` + name + `}
spec: {update: {distributionSet: ` + name + `}, stabilizationSeconds: 1, groupCount: 1, startAt: "` + startAt + `"}
`)
		w.EventuallyRollout(name, "opens", groupIs(0, v1alpha1.GroupRunning))
	}
	opens("firmware-1", "2026-01-01T00:00:00Z")
	opens("firmware-2", "2026-01-02T00:00:00Z")
	w.Devices(devicesim.Obedient, names...)
	for _, name := range []string{"firmware-1", "firmware-2"} {
		r := w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
		if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Succeeded: 3}) {
			t.Errorf("counts of %s are %+v", name, got)
		}
	}
	for _, name := range names {
		got := w.EventuallyTarget(name, "runs the newer set", inSync("firmware-2"))
		if a := got.Status.Actions; len(a) != 2 || a[0].DistributionSet != "firmware-1" || a[1].DistributionSet != "firmware-2" {
			t.Errorf("the actions of %s are %+v", name, a)
		}
	}
}
