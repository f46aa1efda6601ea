// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// TestBackendKeepsTheContract runs the contract of deviceapi.Backend, with one device whose update
// comes from a rollout.
func TestBackendKeepsTheContract(t *testing.T) {
	deviceapitest.Run(t, func(t *testing.T, setup deviceapitest.Setup) deviceapitest.World {
		w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
			if setup.DownloadOnly {
				r.Spec.Update.Type = v1alpha1.UpdateTypeDownloadOnly
			}
		})
		older := built.SoftwareModule("linux-6-5", func(m *v1alpha1.SoftwareModule) { m.Spec.Name, m.Spec.Version = "linux", "6.5" })
		broken := aSet("broken", "1.0")
		broken.Spec.Name, broken.Status.ContentHash = "broken", ""
		broken.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "NotReady", LastTransitionTime: metav1.NewTime(rolloutStart)}}
		for _, o := range []client.Object{older, aSet("firmware-0-9", "0.9", older), broken} {
			if err := w.server.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		edit(w, "rollout-group-1", &v1alpha1.DeploymentGroup{}, func(g *v1alpha1.DeploymentGroup) { g.Spec.Conditions.ConfirmationRequired = setup.Confirm })
		d := w.deviceAPI(Options{})
		for _, informer := range d.caches.Informers() {
			informer.Synced.Store(!setup.Starting)
		}
		return deviceapitest.World{
			Backend: d.Backend, Device: dev0, Token: "let-me-in",
			CancelUpdate: func() { w.editRollout(stop(v1alpha1.CancellationSoft)); d.sync() },
			Delete: func() {
				if err := w.server.Delete(context.Background(), w.target("dev-0")); err != nil {
					t.Fatal(err)
				}
				d.sync()
			},
			Wait: w.wait,
		}
	})
}
