// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/manager"
)

// TestRestartKeepsTheSoftwareOfDevices: the inventories that a process reads when it starts count
// as those that it has seen written.
func TestRestartKeepsTheSoftwareOfDevices(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, manager.Options{})
	w.Set("app-1", "1.0")
	names := w.Targets("device", 2, nil)
	target := w.Target(names[0])
	i := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: target.Name}}
	if err := w.Client.Create(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	i.Status = v1alpha1.TargetInventoryStatus{TargetUID: target.Identity(), Installed: []v1alpha1.InventorySoftware{{Name: "driver", Version: "2.0.0"}}}
	if err := w.Client.Status().Update(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	planned := func(r *v1alpha1.Rollout) bool { return r.Status.Plan != nil }
	for _, name := range []string{"before", "after"} {
		w.ApplySpec("Rollout", name, `{update: {distributionSet: app-1}, stabilizationSeconds: 1, state: Planned, targetExpression: "!target.software.exists(s, s.name == 'driver')"}`)
		if r := w.EventuallyRollout(name, "has a plan", planned); r.Status.Plan.Targets != 1 {
			t.Errorf("the plan of %s has %d targets, want the one without the driver", name, r.Status.Plan.Targets)
		}
		if name == "before" {
			g.end()
			g.start()
		}
	}
}
