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
// once a day, so a day more is left to it.
const OfflineAfter = 48 * time.Hour

// noteOnline sets the condition Online: whether the device was heard of lately. Its message has the
// time that this is known of, which changes only with lastSeen. It rides on every write, as
// lastSeen does: were it left to the controller's next look, each restart would write to the whole
// fleet. A device that was never heard of has no such condition.
func noteOnline(t *v1alpha1.Target, now time.Time) {
	if t.Status.LastSeen == nil {
		meta.RemoveStatusCondition(&t.Status.Conditions, v1alpha1.ConditionOnline)
		return
	}
	c := metav1.Condition{Type: v1alpha1.ConditionOnline, Status: metav1.ConditionTrue, Reason: "Seen", ObservedGeneration: observedGeneration(t),
		Message: fmt.Sprintf("the device was heard of at %s, and perhaps since: this time is written with other reports, else at most once a day", stamp(t.Status.LastSeen)), LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	if now.Sub(t.Status.LastSeen.Time) >= OfflineAfter {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "Silent",
			fmt.Sprintf("the device was last heard of between %s and a day later: it has been silent for at least a day", stamp(t.Status.LastSeen))
	}
	meta.SetStatusCondition(&t.Status.Conditions, c)
}

// stamp writes a time into a sentence.
func stamp(t *metav1.Time) string { return t.UTC().Format(time.RFC3339) }

// observedGeneration is that of the whole status: a device may come by before the controller has
// looked at an edit. A target that has had no look is taken as it is.
func observedGeneration(t *v1alpha1.Target) int64 {
	if t.Status.ObservedGeneration > 0 {
		return t.Status.ObservedGeneration
	}
	return t.Generation
}
