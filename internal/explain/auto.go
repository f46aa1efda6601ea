// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/query"
)

// AutoSummary is one auto-assignment in a list.
type AutoSummary struct {
	Namespace string                         `json:"namespace"`
	Name      string                         `json:"name"`
	State     v1alpha1.AutoAssignmentState   `json:"state"`
	Update    string                         `json:"update"`
	Set       string                         `json:"set,omitempty"`
	Targets   v1alpha1.AutoAssignmentTargets `json:"targets"`
	// Stalled is true if it does not go on before a person changes something.
	Stalled bool `json:"stalled,omitempty"`
	// Message says what it does, or what it waits for.
	Message string `json:"message"`
	// Overlapping says which other auto-assignments select the same targets. Empty: none does.
	Overlapping string `json:"overlapping,omitempty"`
}

// SummaryOfAuto returns an auto-assignment for a list.
func SummaryOfAuto(a *v1alpha1.AutoAssignment) AutoSummary {
	s := AutoSummary{
		Namespace: a.Namespace, Name: a.Name, State: cmp.Or(a.Status.State, v1alpha1.AutoAssignmentReady), Update: cmp.Or(a.Spec.Update.Subject(), a.Status.Update),
		Set: a.Spec.Update.DistributionSet, Targets: operation.AutoTargets(a), Stalled: meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled),
		Message: "Goshawk has not reconciled this auto-assignment yet",
	}
	if c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		s.Message = c.Message
	}
	if a.Unreadable != nil {
		s.Stalled, s.Message = true, "the auto-assignment cannot be decoded and is treated as paused: "+a.Unreadable.Message
	}
	if c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionOverlapping); c != nil && c.Status == metav1.ConditionTrue {
		s.Overlapping = c.Message
	}
	return s
}

// AutoDetail is everything about one auto-assignment.
type AutoDetail struct {
	AutoSummary
	// Waiting is the number of selected targets that have no action of it. Some of them may have
	// had the set before, and get no offer.
	Waiting int32 `json:"waiting"`
	// Selector and Expression are the selection. Both are empty if it selects all targets.
	Selector   string `json:"selector,omitempty"`
	Expression string `json:"expression,omitempty"`
	// Settings of the update, by field.
	Settings  []Setting         `json:"settings,omitempty"`
	Window    *WindowPlan       `json:"window,omitempty"`
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	Failures  Failures          `json:"failures"`
	Created   metav1.Time       `json:"created"`
	// Since is since when it offers the present update, if it offered another one before.
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// AutoOf returns everything about an auto-assignment.
func AutoOf(a *v1alpha1.AutoAssignment, uses *Uses, now time.Time) AutoDetail {
	d := AutoDetail{
		AutoSummary: SummaryOfAuto(a), Created: a.CreationTimestamp, StartedAt: a.Status.StartedAt, Failures: uses.FailuresOf(a),
		Window: windowPlan(a.Spec.Update.MaintenanceWindow, now), Expression: strings.Join(strings.Fields(a.Spec.TargetExpression), " "),
	}
	d.Waiting = operation.Unserved(a)
	if t := a.Spec.TargetSelector; t != nil {
		if q, err := query.Compile(v1alpha1.Selection{TargetSelector: t}, nil); err == nil {
			d.Selector = q.String()
		}
	}
	if a.Spec.StartAt != nil {
		d.Settings = append(d.Settings, Setting{"startAt", stamp(a.Spec.StartAt.Time)})
	}
	d.Settings = append(d.Settings, updateSettings(&a.Spec.Update)...)
	if o := a.Status.Offering; o != nil {
		d.Since = o.Since
	}
	return d
}
