// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// setCondition sets a condition in the list, which is sorted by type. lastTransitionTime changes
// only with the condition's status.
func setCondition(list *[]metav1.Condition, c metav1.Condition) {
	c.LastTransitionTime = metav1.Time{Time: c.LastTransitionTime.Truncate(time.Second)} // the API server stores whole seconds
	meta.SetStatusCondition(list, c)
	slices.SortFunc(*list, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

// setOrRemove sets the condition of the type, or removes it if c is nil.
func setOrRemove(list *[]metav1.Condition, conditionType string, c *metav1.Condition) {
	if c == nil {
		meta.RemoveStatusCondition(list, conditionType)
		return
	}
	setCondition(list, *c)
}

// conditions sets the conditions of one object during one reconcile.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
	now        time.Time
}

func (c conditions) set(conditionType string, status metav1.ConditionStatus, reason, message string) {
	setCondition(c.list, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message,
		ObservedGeneration: c.generation, LastTransitionTime: metav1.NewTime(c.now),
	})
}

// ready sets Ready=True: the object is reconciled and needs no further action.
func (c conditions) ready(reason, message string) {
	c.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionReconciling)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionStalled)
}

// stalled sets Stalled=True: nothing happens until a user changes something. kstatus reports
// Failed.
func (c conditions) stalled(reason, message string) {
	c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionReconciling)
}

// reconciling sets Reconciling=True: Goshawk is working and no user action is needed. kstatus
// reports InProgress.
func (c conditions) reconciling(ready metav1.ConditionStatus, reason, message string) {
	c.set(v1alpha1.ConditionReady, ready, reason, message)
	c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionStalled)
}

// complete sets Complete: whether the set has all its modules.
func (c conditions) complete(gap *offer.Gap) {
	if gap == nil {
		c.set(v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonReady, "every module exists and is ready, and no mandatory type is missing")
		return
	}
	c.set(v1alpha1.ConditionComplete, metav1.ConditionFalse, gap.Reason, gap.Message)
}

// locked sets Locked: whether the content of the set is frozen.
func (c conditions) locked(status metav1.ConditionStatus, reason, message string) {
	c.set(v1alpha1.ConditionLocked, status, reason, message)
}

// invalidated sets Invalidated=True. A valid set does not have this condition.
func (c conditions) invalidated(reason, message string) {
	c.set(v1alpha1.ConditionInvalidated, metav1.ConditionTrue, reason, message)
}

// valid removes Invalidated, after an operator has cleared the invalidation record of the set.
func (c conditions) valid() {
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionInvalidated)
}
