// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// OfflineAfter is how long after lastSeen a device counts as offline. lastSeen is written at most
// once a day, so a day more is left to it.
const OfflineAfter = 48 * time.Hour

// noteOnline reports whether the device was heard of lately. It rides on every write, as lastSeen
// does: were it left to the controller's next look, each restart would write to the whole fleet. A
// device that was never heard of has no such condition.
func noteOnline(t *v1alpha1.Target, now time.Time) {
	if t.Status.LastSeen == nil {
		meta.RemoveStatusCondition(&t.Status.Conditions, v1alpha1.ConditionOnline)
		return
	}
	c := metav1.Condition{Type: v1alpha1.ConditionOnline, Status: metav1.ConditionTrue, Reason: "Seen", ObservedGeneration: observedGeneration(t),
		Message: "the device was heard of within the last two days", LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	if now.Sub(t.Status.LastSeen.Time) >= OfflineAfter {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "Silent", "the device has not been heard of for two days"
	}
	meta.SetStatusCondition(&t.Status.Conditions, c)
}

// observedGeneration is that of the whole status: a device may come by before the controller has
// looked at an edit. A target that has had no look is taken as it is.
func observedGeneration(t *v1alpha1.Target) int64 {
	if t.Status.ObservedGeneration > 0 {
		return t.Status.ObservedGeneration
	}
	return t.Generation
}
