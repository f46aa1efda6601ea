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
)

// setCondition puts a condition into its place in the list, which is sorted by type. Its time
// counts only when its status changed.
func setCondition(list *[]metav1.Condition, c metav1.Condition) {
	c.LastTransitionTime = metav1.Time{Time: c.LastTransitionTime.Truncate(time.Second)} // as it will be stored
	meta.SetStatusCondition(list, c)
	slices.SortFunc(*list, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

// setOrDrop puts a condition into the list, or takes its type out when there is nothing to say.
func setOrDrop(list *[]metav1.Condition, conditionType string, c *metav1.Condition) {
	if c == nil {
		meta.RemoveStatusCondition(list, conditionType)
		return
	}
	setCondition(list, *c)
}

// conditions writes the conditions of one object at one look.
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

// ready: the commit is under control. Nothing is taken over any more and nobody has to act.
func (c conditions) ready(reason, message string) {
	c.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionReconciling)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionStalled)
}

// stalled: nothing will move until somebody acts. kstatus calls it Failed.
func (c conditions) stalled(reason, message string) {
	c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionReconciling)
}

// reconciling: Goshawk is at it, and nobody has to act. kstatus calls it InProgress.
func (c conditions) reconciling(ready metav1.ConditionStatus, reason, message string) {
	c.set(v1alpha1.ConditionReady, ready, reason, message)
	c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionStalled)
}

// complete reports whether a set has all its modules.
func (c conditions) complete(gap *gap) {
	if gap == nil {
		c.set(v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonReady, "every module exists and is ready, and no mandatory type is missing")
		return
	}
	c.set(v1alpha1.ConditionComplete, metav1.ConditionFalse, gap.reason, gap.message)
}

// locked reports whether the content of a set is frozen.
func (c conditions) locked(status metav1.ConditionStatus, reason, message string) {
	c.set(v1alpha1.ConditionLocked, status, reason, message)
}

// invalidated tells that a set is out of circulation. Absent while it is not.
func (c conditions) invalidated(reason, message string) {
	c.set(v1alpha1.ConditionInvalidated, metav1.ConditionTrue, reason, message)
}

// valid takes back what an operator has taken back on purpose.
func (c conditions) valid() {
	meta.RemoveStatusCondition(c.list, v1alpha1.ConditionInvalidated)
}
