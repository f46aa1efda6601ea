// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// OfflineAfter is how long after lastSeen a device counts as offline. lastSeen is written at most
// once a day, so this includes one more day.
const OfflineAfter = 48 * time.Hour

// noteOnline sets the condition Online: whether the device contacted the device API lately. The
// message contains the time of that contact, which changes only with lastSeen. The condition is
// updated by every write, like lastSeen: if the controller updated it, each restart would write to
// the whole fleet. A device that was never seen does not have this condition.
func noteOnline(t *v1alpha1.Target, now time.Time) {
	if t.Status.LastSeen == nil {
		meta.RemoveStatusCondition(&t.Status.Conditions, v1alpha1.ConditionOnline)
		return
	}
	c := metav1.Condition{Type: v1alpha1.ConditionOnline, Status: metav1.ConditionTrue, Reason: "Seen", ObservedGeneration: observedGeneration(t),
		Message: fmt.Sprintf("last contact recorded at %s; without other reports this time is updated at most once a day, so the device may have been in contact since", formatTime(t.Status.LastSeen)), LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	if now.Sub(t.Status.LastSeen.Time) >= OfflineAfter {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "Silent",
			fmt.Sprintf("last contact between %s and a day later: the device has been silent for at least a day", formatTime(t.Status.LastSeen))
	}
	meta.SetStatusCondition(&t.Status.Conditions, c)
}

// formatTime formats a time for a message.
func formatTime(t *metav1.Time) string { return t.UTC().Format(time.RFC3339) }

// observedGeneration returns the generation of the whole status: a device may report before the
// controller has reconciled a change of the spec. For a target that was never reconciled it returns
// the current generation.
func observedGeneration(t *v1alpha1.Target) int64 {
	if t.Status.ObservedGeneration > 0 {
		return t.Status.ObservedGeneration
	}
	return t.Generation
}
