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
