// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// announcement announces the decisions that one stored write carries: each as an event of the
// object, and as a line of the log, which is kept longer than the event.
type announcement struct {
	ctx    context.Context
	events events.EventRecorder
	object client.Object
	// from and to are the state of the object before and after the write.
	from, to  string
	announced bool
}

func (a *announcement) normal(reason, action, message string) {
	a.event(corev1.EventTypeNormal, reason, action, message)
}

func (a *announcement) warning(reason, action, message string) {
	a.event(corev1.EventTypeWarning, reason, action, message)
}

func (a *announcement) event(eventType, reason, action, message string) {
	message = text.LimitBytes(message, maxNoteBytes)
	a.events.Eventf(a.object, nil, eventType, reason, action, "%s", message)
	a.log(reason, message)
}

// log announces a decision that has no event.
func (a *announcement) log(reason, message string) {
	a.announced = true
	logging.Decided(logf.FromContext(a.ctx), logging.Decision{Reason: reason, From: a.from, To: a.to, Message: message})
}

// readiness announces, once per cause, that an object cannot be used, as an event. If the object
// can be used again, it adds a line to the log, unless the write has announced something else.
func (a *announcement) readiness(old, now []metav1.Condition) {
	before, after := meta.FindStatusCondition(old, v1alpha1.ConditionReady), meta.FindStatusCondition(now, v1alpha1.ConditionReady)
	switch {
	case after == nil || before != nil && before.Status == after.Status && before.Reason == after.Reason:
	case after.Status == metav1.ConditionFalse && !meta.IsStatusConditionTrue(now, v1alpha1.ConditionReconciling):
		a.warning(after.Reason, "Look", after.Message)
	case !a.announced:
		a.log(after.Reason, after.Message)
	}
}

// deleted is the state of an object after its deletion.
const deleted = "Deleted"

// readyReason returns the reason of the condition Ready, which is the state of an object whose kind
// has no state field.
func readyReason(conditions []metav1.Condition) string {
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}
