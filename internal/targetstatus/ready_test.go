// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestNoteReady(t *testing.T) {
	noon := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	noSecret := metav1.Condition{Type: v1alpha1.ConditionTokenUsable, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonTokenSecretNotFound, Message: "no Secret"}
	ref := &v1alpha1.SecretKeyReference{Name: "tokens", Key: "all"}
	for name, tc := range map[string]struct {
		ref     *v1alpha1.SecretKeyReference
		token   []metav1.Condition
		sameID  []string
		reason  string
		message string
		stalled bool
	}{
		"the oldest of its controllerID": {ref: ref, sameID: []string{"gw", "later"}, reason: v1alpha1.ReasonReady, message: "the device API serves this target"},
		"no token at all":                {reason: v1alpha1.ReasonReady, message: "spec.tokenSecretRef is not set: only credentials of a DeviceAccess that selects this target are accepted"},
		"a token that is not usable":     {ref: ref, token: []metav1.Condition{noSecret}, reason: v1alpha1.ReasonTokenSecretNotFound, message: "no Secret", stalled: true},
		"a newer duplicate, whatever its token": {ref: ref, token: []metav1.Condition{noSecret}, sameID: []string{"earlier", "gw"}, reason: v1alpha1.ReasonDuplicate,
			message: `target earlier is older and has the same controllerID "gw": delete one of the two (controllerID is immutable)`, stalled: true},
		"a reference that was removed": {token: []metav1.Condition{noSecret}, reason: v1alpha1.ReasonReady,
			message: "spec.tokenSecretRef is not set: only credentials of a DeviceAccess that selects this target are accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			target := built.Target("gw", func(t *v1alpha1.Target) { t.Generation = 3 })
			target.Spec.TokenSecretRef, target.Status.Conditions = tc.ref, tc.token
			NoteReady(target, &target.Status, tc.sameID, noon)
			ready := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionReady)
			if (ready.Status == metav1.ConditionFalse) != tc.stalled || ready.Reason != tc.reason || ready.Message != tc.message || ready.ObservedGeneration != 3 {
				t.Errorf("Ready is %+v", ready)
			}
			if stalled := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionStalled); (stalled != nil) != tc.stalled || stalled != nil && stalled.Reason != tc.reason {
				t.Errorf("Stalled is %+v", stalled)
			}
			if tc.ref == nil && meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionTokenUsable) != nil {
				t.Error("TokenUsable is about a Secret that is not referenced any more")
			}
		})
	}
}
