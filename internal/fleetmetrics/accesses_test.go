// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// objects is a store.
type objects []any

func (o *objects) List() []any { return *o }

func access(namespace, name string, conditions ...metav1.Condition) *v1alpha1.DeviceAccess {
	return &v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: v1alpha1.DeviceAccessStatus{Conditions: conditions}}
}

// TestProblemsOfDeviceAccessesAreCounted: in all caches of the process, as long as they are
// followed.
func TestProblemsOfDeviceAccessesAreCounted(t *testing.T) {
	bad := condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretNotFound)
	full := condition(v1alpha1.ConditionRegistrationStopped, metav1.ConditionTrue, v1alpha1.ReasonMaxTargetsReached)
	good := condition(v1alpha1.ConditionStalled, metav1.ConditionFalse, v1alpha1.ReasonReady)
	a := &Accesses{}
	a.Follow(&objects{access("fleet", "a", bad, full), access("fleet", "b", full), access("fleet", "c", good)})
	end := a.Follow(&objects{access("other", "a", bad)})
	mustBe(t, "two caches", map[string]float64{"fleet stalled": 1, "fleet registrationStopped": 2, "other stalled": 1}, gather(t, a, "goshawk_device_access_problems"))
	end()
	mustBe(t, "one cache", map[string]float64{"fleet stalled": 1, "fleet registrationStopped": 2}, gather(t, a, "goshawk_device_access_problems"))
}

// TestDeviceAccessesOfManyNamespacesAreSummed: beyond the bound.
func TestDeviceAccessesOfManyNamespacesAreSummed(t *testing.T) {
	list := &objects{}
	for i := range maxNamespaces + 3 {
		*list = append(*list, access(fmt.Sprintf("tenant-%03d", i), "a", condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretNotFound)))
	}
	a := &Accesses{}
	a.Follow(list)
	if got := gather(t, a, "goshawk_device_access_problems"); len(got) != maxNamespaces+1 || got[Others+" stalled"] != 3 {
		t.Errorf("%d series, %v in all others", len(got), got[Others+" stalled"])
	}
}
