// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// TestTheSecondCampaignGoesWhereTheFirstIsInstalled: a device needs a driver before it gets an
// application. The second campaign selects by the version of the driver that devices have reported
// (Bosch IoT Rollouts: "query for the desired version in the installedDependency property"). A
// dynamic rollout and an auto-assignment take a device as soon as it reports the driver.
func TestTheSecondCampaignGoesWhereTheFirstIsInstalled(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("app-1", "1.0")
	w.Set("tool-1", "2.0")
	names := w.Targets("device", 4, nil)
	reports := func(name, version string) {
		t.Helper()
		w.Eventually(name+" reports its driver", func() string {
			if status, answer := sendRequest(w, http.MethodPut, name, "/configData", fmt.Sprintf(`{"data":{"sw.org.example.driver":%q}}`, version)); status != http.StatusOK {
				return answer
			}
			return ""
		})
	}
	stored := func(name, version string) {
		t.Helper()
		w.Eventually("the inventory of "+name, func() string {
			o := &v1alpha1.TargetInventory{}
			if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, o); err != nil {
				return err.Error()
			}
			if len(o.Status.Installed) != 1 || o.Status.Installed[0].Version != version || o.Status.Installed[0].Group != "org.example" {
				return fmt.Sprintf("it has %+v", o.Status.Installed)
			}
			return ""
		})
	}
	for i, version := range []string{"2.0.0", "10.1.0", "1.9.0"} {
		reports(names[i], version)
		stored(names[i], version)
	}
	const installed = `target.software.exists(s, s.group == "org.example" && s.name == "driver" && !semver(s.version).isLessThan(semver("2.0.0")))`
	w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: app}
spec: {update: {distributionSet: app-1}, stabilizationSeconds: 0, targetExpression: %q, dynamic: {}}
`, installed))
	_, devices := w.Devices(devicesim.Obedient, names...)
	count := func(n int32) func(*v1alpha1.Rollout) bool {
		return func(r *v1alpha1.Rollout) bool {
			return r.Status.Targets != nil && r.Status.Targets.Targets == n && r.Status.Targets.Succeeded == n
		}
	}
	w.EventuallyRollout("app", "has updated the two devices with the driver", count(2))
	reports(names[2], "2.0.1")
	stored(names[2], "2.0.1")
	w.EventuallyRollout("app", "has updated the device whose driver was updated", count(3))
	w.EventuallyStarted(devices, names[:3]...)

	w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: tool}
spec: {update: {distributionSet: tool-1}, targetExpression: %q}
`, `target.software.exists(s, s.name == "driver" && s.version in ["10.1.0", "0.5.0"])`))
	matched := func(n int32) func() string {
		return func() string {
			if got := autoAssigned(w, "tool").Status.Targets; got == nil || got.Matched != n || got.Succeeded != n {
				return fmt.Sprintf("counts are %+v, want %d", got, n)
			}
			return ""
		}
	}
	w.Eventually("the auto-assignment has updated one device", matched(1))
	reports(names[3], "0.5.0")
	w.Eventually("the auto-assignment takes a device with its first report", matched(2))

	w.Eventually("the same contents have the same hash", func() string {
		var list v1alpha1.TargetInventoryList
		o := &v1alpha1.TargetInventory{}
		if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: names[3]}, o); err != nil {
			return err.Error()
		}
		if err := w.Client.List(t.Context(), &list, client.InNamespace(w.Namespace), client.MatchingFields{"status.contentsHash": o.Status.ContentsHash}); err != nil || len(list.Items) != 1 {
			return fmt.Sprintf("%d inventories with hash %s, %v", len(list.Items), o.Status.ContentsHash, err)
		}
		return ""
	})
}
