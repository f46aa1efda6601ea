// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"net/http"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Another holder takes the lease of the leader. The controllers end and take part in the election
// again; the device API serves devices all the time.
func TestALostLeaseNeverEndsADeviceAPI(t *testing.T) {
	t.Parallel()
	w, _ := newWorld(t, manager.Options{LeaderElect: true})
	names := w.Targets("device", 1, nil)
	w.Eventually("the leader reconciles the target", func() string {
		if w.Target(names[0]).Status.NextActionID == 0 {
			return "it is not reconciled"
		}
		return ""
	})

	key := types.NamespacedName{Namespace: w.Namespace, Name: "goshawk-controllers"}
	lease := &coordinationv1.Lease{}
	w.Eventually("the lease is taken away", func() string {
		if err := w.Client.Get(t.Context(), key, lease); err != nil {
			return err.Error()
		}
		thief, now := "thief", metav1.NewMicroTime(time.Now())
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime, lease.Spec.RenewTime = &thief, &now, &now
		if err := w.Client.Update(t.Context(), lease); err != nil {
			return err.Error()
		}
		return ""
	})
	refused := 0
	w.Eventually("the leader has its lease again", func() string {
		if code := pollOnce(t, w, names[0]); code != http.StatusOK {
			refused++
		}
		if err := w.Client.Get(t.Context(), key, lease); err != nil || *lease.Spec.HolderIdentity == "thief" {
			return "another holder has it"
		}
		return ""
	})
	if refused > 0 {
		t.Errorf("the device API refused %d polls while there was no leader", refused)
	}
	later := w.Targets("later", 1, nil)
	w.Eventually("the leader reconciles a new target", func() string {
		if w.Target(later[0]).Status.NextActionID == 0 {
			return "it is not reconciled"
		}
		return ""
	})
}

// pollOnce sends one poll of the device and returns the status.
func pollOnce(t *testing.T, w *world.World, device string) int {
	t.Helper()
	return pollAt(t, w.DeviceAPI, w.Namespace, device)
}

// pollAt is pollOnce at a certain replica.
func pollAt(t *testing.T, deviceAPI, namespace, device string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, deviceAPI+"/"+namespace+"/controller/v1/"+device, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}
