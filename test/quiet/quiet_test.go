// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package quiet checks the log: a line of level error needs an action, so conflicts between
// writers, deletions and the end of the process cause none.
package quiet

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// Another program writes to every object all the time, targets, groups and rollouts are deleted
// during updates, and then the process ends. The world fails the test for each error line.
func TestConflictsDeletionsAndTheEndLogNoError(t *testing.T) {
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 24, nil)
	w.Devices(devicesim.Obedient, names...)
	meddling, stop := context.WithCancel(t.Context())
	var meddlers sync.WaitGroup
	for _, list := range []client.ObjectList{&v1alpha1.RolloutList{}, &v1alpha1.DeploymentGroupList{}, &v1alpha1.DistributionSetList{}, &v1alpha1.SoftwareModuleList{}} {
		meddlers.Go(func() { meddle(meddling, w, list) })
	}
	for round := range 3 {
		name := fmt.Sprintf("rollout-%d", round)
		w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %s}
spec: {update: {distributionSet: firmware-1, reinstall: true}, groupCount: 8, stabilizationSeconds: 0, successThreshold: 0, deletionCancellation: Force}
`, name))
		w.EventuallyRollout(name, "runs", func(r *v1alpha1.Rollout) bool { return r.Status.Targets != nil && r.Status.Targets.Succeeded > 0 })
		w.Kubectl("delete", "--wait=false", "tgt", names[round], names[round+3])
		if round < 2 {
			w.Kubectl("delete", "grollout", name)
		}
	}
	w.EventuallyRollout("rollout-2", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.Kubectl("delete", "--wait=false", "distset", "--all")
	w.Kubectl("delete", "--wait=false", "swmod", "--all")
	w.Kubectl("delete", "--wait=false", "grollout", "--all")
	time.Sleep(time.Second) // time for the effects
	stop()
	meddlers.Wait()
}

// meddle writes to all objects of a kind until ctx ends.
func meddle(ctx context.Context, w *world.World, list client.ObjectList) {
	for i := 0; ctx.Err() == nil; i++ {
		if err := w.Client.List(ctx, list, client.InNamespace(w.Namespace)); err != nil {
			continue
		}
		patch := client.RawPatch("application/merge-patch+json", []byte(fmt.Sprintf(`{"metadata":{"annotations":{"meddled":"%d"}}}`, i)))
		switch list := list.(type) {
		case *v1alpha1.RolloutList:
			for i := range list.Items {
				_ = w.Client.Patch(ctx, &list.Items[i], patch) // it may be deleted
			}
		case *v1alpha1.DeploymentGroupList:
			for i := range list.Items {
				_ = w.Client.Patch(ctx, &list.Items[i], patch)
			}
		case *v1alpha1.DistributionSetList:
			for i := range list.Items {
				_ = w.Client.Patch(ctx, &list.Items[i], patch)
			}
		case *v1alpha1.SoftwareModuleList:
			for i := range list.Items {
				_ = w.Client.Patch(ctx, &list.Items[i], patch)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}
