// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/history"
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
		locked := history.Decision{Kind: "Locked", Reason: "Locked", Message: message}
		if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionLocked); c != nil && c.Status == metav1.ConditionTrue {
			locked.At = c.LastTransitionTime.Time
		}
		w.add(locked)
	}
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionInvalidated)
	switch {
	case c == nil && w.mark.Invalidated != "":
		was := w.mark.Invalidated
		w.mark.Invalidated, w.mark.Processed, w.mark.NotRecorded = "", 0, false
		w.add(history.Decision{Kind: "InvalidationCleared", Reason: "InvalidationEntryCleared", Warning: true,
			Message: "an operator cleared the invalidation record of this set: the set may be deployed again"}, was)
	case c != nil && s.Invalidation != nil:
		w.invalidated(d, c)
	}
	w.stalled(s.Conditions, false)
}

func (w *observer) invalidated(set *v1alpha1.DistributionSet, c *metav1.Condition) {
	if d := history.OfSetInvalidation(set); d != nil {
		at := stamp(d.At)
		if id := at + ":" + string(d.Cancellation); w.mark.Invalidated != id {
			w.mark.Invalidated = id
			w.add(*d, id)
		}
		wasUnrecorded := w.mark.NotRecorded
		w.mark.NotRecorded = c.Reason == v1alpha1.ReasonInvalidationNotRecorded
		if w.mark.NotRecorded && !wasUnrecorded {
			w.add(history.Decision{Kind: "InvalidationNotRecorded", Reason: c.Reason, Message: c.Message, Warning: true, Cancellation: d.Cancellation}, at)
		}
	}
	if d := history.OfInvalidationEnd(set); d != nil && w.mark.Processed != d.At.UnixMicro() {
		w.mark.Processed = d.At.UnixMicro()
		w.add(*d, stamp(d.At)).Data.Actions = set.Status.Invalidation.Actions.DeepCopy()
	}
}
