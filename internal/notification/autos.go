// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/history"
)

// auto derives the events of an auto-assignment.
func (w *observer) auto(a *v1alpha1.AutoAssignment) {
	s := &a.Status
	w.data.State, w.data.DistributionSet, w.data.Update = string(s.State), a.Spec.Update.DistributionSet, s.Update
	reason, message := string(s.State), ""
	since := "0"
	if ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); ready != nil {
		reason, message, since = ready.Reason, ready.Message, stamp(ready.LastTransitionTime.Time)
	}
	if at := micros(s.StartedAt); at != 0 && w.mark.Started != at {
		w.mark.Started = at
		w.add(history.Decision{Kind: history.Started, Reason: history.Started, Message: fmt.Sprintf("offering %s to all present and future matching targets", s.Update), At: s.StartedAt.Time}, fmt.Sprint(at))
	}
	if o := s.Offering; o != nil && o.Since != nil && w.mark.Offering != micros(o.Since) {
		w.mark.Offering = micros(o.Since)
		w.add(history.Decision{Kind: "UpdateChanged", Reason: "UpdateChanged", Message: fmt.Sprintf("offering %s from now on", s.Update), At: o.Since.Time, Field: "spec.update"}, stamp(o.Since.Time))
	}
	before := v1alpha1.AutoAssignmentState(w.mark.State)
	w.mark.State = string(s.State)
	paused := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPaused)
	switch {
	case before == s.State:
	case s.State == v1alpha1.AutoAssignmentPaused && paused != nil:
		w.add(history.Decision{Kind: history.Paused, Reason: reason, Message: message, At: paused.LastTransitionTime.Time, Field: "spec.state"}, stamp(paused.LastTransitionTime.Time))
	case s.State == v1alpha1.AutoAssignmentRunning && before == v1alpha1.AutoAssignmentPaused && paused != nil:
		w.add(history.Decision{Kind: history.Resumed, Reason: reason, Message: message, At: paused.LastTransitionTime.Time, Field: "spec.state"}, stamp(paused.LastTransitionTime.Time))
	case s.State == v1alpha1.AutoAssignmentRunning && before == v1alpha1.AutoAssignmentStopped:
		w.add(history.Decision{Kind: history.Resumed, Reason: reason, Message: message}, since)
	case s.State == v1alpha1.AutoAssignmentStopped:
		w.add(history.Decision{Kind: history.Stopped, Reason: reason, Message: message, Warning: true}, reason, since)
	}
	w.stalled(s.Conditions, s.State == v1alpha1.AutoAssignmentStopped)
}
