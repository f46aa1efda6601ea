// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// The controllers are down when a stop or an invalidation is committed and reverted. The revert is
// refused, so the stop is carried out when they run again, and from then on the revert is accepted.
func TestARevertWhileGoshawkIsDownLosesNoStop(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]struct {
		resource, object, commit, revert, refused, says string
	}{
		"an invalidation": {"distributionsets", "firmware-1", `{"spec":{"invalidation":{"cancellation":"Force"}}}`, `{"spec":{"invalidation":null}}`,
			"invalidation is immutable", v1alpha1.ReasonInvalidationIsFinal},
		"a lowered invalidation": {"distributionsets", "firmware-1", `{"spec":{"invalidation":{"cancellation":"Force"}}}`, `{"spec":{"invalidation":{"cancellation":"None"}}}`,
			"invalidation is immutable", v1alpha1.ReasonInvalidationIsFinal},
		"a stop": {"rollouts.goshawk.dev", "firmware-1", `{"spec":{"state":"Stopped","stopCancellation":"Force"}}`, `{"spec":{"state":"Running","stopCancellation":null}}`,
			"state Stopped is final", v1alpha1.ReasonStopIsFinal},
		"a lowered stop": {"rollouts.goshawk.dev", "firmware-1", `{"spec":{"state":"Stopped","stopCancellation":"Force"}}`, `{"spec":{"stopCancellation":"None"}}`,
			"stopCancellation is immutable", v1alpha1.ReasonStopIsFinal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, g := newWorld(t, manager.Options{})
			w.Set("firmware-1", "1.0")
			names := w.Targets("device", 4, nil)
			busy, late := names[:2], names[2:]
			_, working := w.Devices(devicesim.Silent, busy...)
			fleet, devices := w.Devices(devicesim.Offline, late...)
			w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
			atStarts(w, working, len(busy))
			g.end()
			patch := func(words string) error {
				_, err := cluster.TryKubectl(t, "", "-n", w.Namespace, "patch", stop.resource, stop.object, "--type=merge", "-p", words)
				return err
			}
			if err := patch(stop.commit); err != nil {
				t.Fatal(err)
			}
			if err := patch(stop.revert); err == nil || !strings.Contains(err.Error(), stop.refused) {
				t.Fatalf("the error for the revert is %v before the stop is recorded", err)
			}
			g.start()
			w.Eventually("the revert is accepted", func() string {
				if err := patch(stop.revert); err != nil {
					return err.Error()
				}
				return ""
			})
			for _, name := range late {
				if err := fleet.SetBehavior(name, devicesim.Obedient); err != nil {
					t.Fatal(err)
				}
			}
			want := v1alpha1.Counts{Targets: 4, Canceled: 4}
			w.EventuallyRollout("firmware-1", "stops and counts all targets as canceled", func(r *v1alpha1.Rollout) bool {
				return r.Status.State == v1alpha1.RolloutStopped && *r.Status.Targets == want
			})
			// Another process, which has only the recorded state, reaches the same end.
			g.end()
			g.start()
			w.EventuallyPolled(devices, 5, time.Now(), late...)
			if started := devices.Of(devicesim.Started); len(started) > 0 {
				t.Errorf("devices started: %v", started)
			}
			w.Eventually("it has the condition", func() string {
				conditions := w.Rollout("firmware-1").Status.Conditions
				if stop.resource == "distributionsets" {
					conditions = w.DistributionSet("firmware-1").Status.Conditions
				}
				if !world.Says(conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, stop.says) {
					return world.Condition(conditions, v1alpha1.ConditionReady).Message
				}
				return ""
			})
		})
	}
}
