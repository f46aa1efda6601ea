// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// noteAssigned updates the condition Assigned in a write that happens anyway, such as a report of
// the device, so that the controller does not have to write once more after each of them. If the
// controller has not recorded the assignment yet, or if there is only a spec.cancel, it is left to
// the controller.
func (s *Store) noteAssigned(t *v1alpha1.Target, now time.Time) {
	if wanted := t.Spec.Assignment; wanted == nil || !offer.IsSeen(wanted, t.Status.Assignment) {
		return
	}
	if c := offer.Assigned(s.Index.World(t, now)); c != nil {
		c.ObservedGeneration = observedGeneration(t)
		meta.SetStatusCondition(&t.Status.Conditions, *c)
	}
}

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

// NoteReady sets Ready and Stalled: whether a device can be served as this target. sameID are the
// names of the targets with its controllerID, the oldest first. The condition TokenUsable is set by
// the device API and is only read here.
func NoteReady(t *v1alpha1.Target, status *v1alpha1.TargetStatus, sameID []string, now time.Time) {
	if t.Spec.TokenSecretRef == nil {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTokenUsable)
	}
	ready := readiness(t, meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionTokenUsable), sameID)
	ready.ObservedGeneration, ready.LastTransitionTime = t.Generation, metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(&status.Conditions, ready)
	if ready.Status == metav1.ConditionTrue {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
		return
	}
	ready.Type, ready.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
	meta.SetStatusCondition(&status.Conditions, ready)
}

// readiness returns the condition Ready of a target: the oldest target of a controllerID is served,
// if its token is usable.
func readiness(t *v1alpha1.Target, token *metav1.Condition, sameID []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, Message: "the device API serves this target"}
	switch {
	case len(sameID) > 0 && sameID[0] != t.Name:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonDuplicate
		c.Message = fmt.Sprintf("target %s is older and has the same controllerID %q: delete one of the two (controllerID is immutable)", sameID[0], t.ControllerID())
	case token != nil && token.Status == metav1.ConditionFalse:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, token.Reason, token.Message
	case t.Spec.TokenSecretRef == nil:
		c.Message = "spec.tokenSecretRef is not set: only credentials of a DeviceAccess that selects this target are accepted"
	}
	return c
}
