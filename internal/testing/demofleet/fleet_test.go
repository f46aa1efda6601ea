// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package demofleet

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestWorldHasEveryState(t *testing.T) {
	w := New(t)
	for name, want := range map[string]v1alpha1.RolloutState{
		"camera-2-9": v1alpha1.RolloutFinished, "camera-3-0": v1alpha1.RolloutCreating, "gateway-2-1": v1alpha1.RolloutRunning, "gateway-2-2": v1alpha1.RolloutWaitingForApproval,
		"gateway-2-2-holidays": v1alpha1.RolloutReady, LongName: v1alpha1.RolloutReady, "sensor-1-4": v1alpha1.RolloutStopped, "sensor-1-5": v1alpha1.RolloutPaused,
	} {
		if got := w.Index.Rollout(client.ObjectKey{Namespace: Namespace, Name: name}).Status.State; got != want {
			t.Errorf("rollout %s is %s, want %s", name, got, want)
		}
	}
	count := map[string]int{}
	for _, o := range w.Index.Targets(Namespace) {
		count["all"]++
		if meta.IsStatusConditionFalse(o.Status.Conditions, v1alpha1.ConditionConsistent) {
			count["inconsistent"]++
		}
		if o.Spec.Hold {
			count["held"]++
		}
		if o.Status.LastSeen == nil {
			count["never seen"]++
		}
		count[string(o.Status.UpdateStatus)]++
	}
	for kind, least := range map[string]int{"inconsistent": 5, "held": 2, "never seen": 3, "Pending": 9, "InSync": 200, "Error": 10} {
		if count[kind] < least {
			t.Errorf("%d targets are %s, want at least %d: %v", count[kind], kind, least, count)
		}
	}
	if count["all"] != 300 {
		t.Errorf("the fleet has %d targets", count["all"])
	}
	var set v1alpha1.DistributionSet
	if err := w.Server.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: "sensor-1-4"}, &set); err != nil {
		t.Fatal(err)
	}
	if set.Status.Invalidation == nil || set.Status.Targets.Installed == 0 {
		t.Errorf("the invalidated set has status %+v", set.Status)
	}
}
