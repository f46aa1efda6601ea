// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
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
		w.add(decision{name: "started", reason: "Started", message: fmt.Sprintf("offering %s to all present and future matching targets", s.Update), at: s.StartedAt.Time, id: fmt.Sprint(at)})
	}
	if o := s.Offering; o != nil && o.Since != nil && w.mark.Offering != micros(o.Since) {
		w.mark.Offering = micros(o.Since)
		w.add(decision{name: "updatechanged", reason: "UpdateChanged", message: fmt.Sprintf("offering %s from now on", s.Update), at: o.Since.Time, id: stamp(o.Since.Time), field: "spec.update"})
	}
	before := v1alpha1.AutoAssignmentState(w.mark.State)
	w.mark.State = string(s.State)
	paused := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPaused)
	switch {
	case before == s.State:
	case s.State == v1alpha1.AutoAssignmentPaused && paused != nil:
		w.add(decision{name: "paused", reason: reason, message: message, at: paused.LastTransitionTime.Time, id: stamp(paused.LastTransitionTime.Time), field: "spec.state"})
	case s.State == v1alpha1.AutoAssignmentRunning && before == v1alpha1.AutoAssignmentPaused && paused != nil:
		w.add(decision{name: "resumed", reason: reason, message: message, at: paused.LastTransitionTime.Time, id: stamp(paused.LastTransitionTime.Time), field: "spec.state"})
	case s.State == v1alpha1.AutoAssignmentRunning && before == v1alpha1.AutoAssignmentStopped:
		w.add(decision{name: "resumed", reason: reason, message: message, id: since})
	case s.State == v1alpha1.AutoAssignmentStopped:
		w.add(decision{name: "stopped", reason: reason, message: message, warning: true, id: reason + ":" + since})
	}
	w.stalled(s.Conditions, s.State == v1alpha1.AutoAssignmentStopped)
}
