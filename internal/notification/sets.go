// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// set derives the events of a distribution set.
func (w *observer) set(d *v1alpha1.DistributionSet) {
	s := &d.Status
	w.data.DistributionSet = d.Name
	if ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); ready != nil {
		w.data.State = ready.Reason
	}
	if s.Locked && !w.mark.Locked {
		w.mark.Locked = true
		message := "the set and its modules are frozen"
		if s.ContentHash != "" {
			message += " with content " + s.ContentHash
		}
		locked := decision{name: "locked", reason: "Locked", message: message}
		if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionLocked); c != nil && c.Status == metav1.ConditionTrue {
			locked.at = c.LastTransitionTime.Time
		}
		w.add(locked)
	}
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionInvalidated)
	switch {
	case c == nil && w.mark.Invalidated != "":
		was := w.mark.Invalidated
		w.mark.Invalidated, w.mark.Processed, w.mark.NotRecorded = "", 0, false
		w.add(decision{name: "invalidationcleared", reason: "InvalidationEntryCleared", warning: true, id: was,
			message: "an operator cleared the invalidation record of this set: the set may be deployed again"})
	case c != nil && s.Invalidation != nil:
		w.invalidated(c, s.Invalidation)
	}
	w.stalled(s.Conditions, false)
}

func (w *observer) invalidated(c *metav1.Condition, i *v1alpha1.InvalidationStatus) {
	at := timeOf(i.ObservedAt)
	if id := stamp(at) + ":" + string(i.Cancellation); w.mark.Invalidated != id {
		w.mark.Invalidated = id
		d := decision{name: "invalidated", reason: c.Reason, warning: true, at: at, id: id, cancellation: i.Cancellation, message: fmt.Sprintf("cancellation %s, affects %s and %s: %s",
			i.Cancellation, text.Count(i.Rollouts, "rollout"), text.Count(i.AutoAssignments, "auto-assignment"), c.Message)}
		if c.Reason != v1alpha1.ReasonPreviouslyInvalidated {
			d.field = "spec.invalidation"
		}
		w.add(d)
	}
	wasUnrecorded := w.mark.NotRecorded
	w.mark.NotRecorded = c.Reason == v1alpha1.ReasonInvalidationNotRecorded
	if w.mark.NotRecorded && !wasUnrecorded {
		w.add(decision{name: "invalidationnotrecorded", reason: c.Reason, message: c.Message, warning: true, id: stamp(at), cancellation: i.Cancellation})
	}
	if done := timeOf(i.FinishedAt); i.FinishedAt != nil && w.mark.Processed != done.UnixMicro() {
		w.mark.Processed = done.UnixMicro()
		message := "there was no open action"
		if n := i.Actions; n != nil {
			message = fmt.Sprintf("%s processed: %d canceled, %d waiting for their devices to confirm the cancellation, %d continuing or ended with a result",
				text.Count(n.Total, "open action"), n.Canceled, n.Canceling, n.Refused)
		}
		w.add(decision{name: "invalidationfinished", reason: "InvalidationFinished", message: message, warning: true, at: done, id: stamp(done), cancellation: i.Cancellation, actions: i.Actions.DeepCopy()})
	}
}
