// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// outcome returns the condition Succeeded of a finished rollout without a group in Error: True if
// at least one target succeeded, or if there was no target. It is decided when the rollout
// finishes, and does not change afterwards.
func (l *planner) outcome() *metav1.Condition {
	was := meta.FindStatusCondition(l.Rollout.Status.Conditions, v1alpha1.ConditionSucceeded)
	if end := l.Rollout.Status.FinishedAt; end != nil && end.Equal(l.status.FinishedAt) && was != nil && was.Status != metav1.ConditionUnknown {
		return condition(v1alpha1.ConditionSucceeded, was.Status, was.Reason, was.Message)
	}
	c := l.total()
	superseded := l.superseded()
	switch n := c.Existing(); {
	case c.Targets == 0:
		return condition(v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "there was no target to update")
	case n == 0:
		return condition(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonNoTargets,
			fmt.Sprintf("none of %s succeeded: all were deleted before the rollout finished", targets(c.Targets)))
	case c.Succeeded > 0:
		message := fmt.Sprintf("%d of %s succeeded, %d failed", c.Succeeded, targets(n), c.Failed)
		if parts := l.partsOfRest(c, superseded); len(parts) > 0 {
			message += ", " + strings.Join(parts, ", ")
		}
		return condition(v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, text.LimitBytes(message, maxOutcome))
	default:
		parts := l.partsOfRest(c, superseded)
		if c.Failed > 0 {
			parts = append([]string{fmt.Sprintf("%d failed", c.Failed)}, parts...)
		}
		message := fmt.Sprintf("none of %s succeeded: %s", targets(n), strings.Join(parts, ", "))
		return condition(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, reasonOfNone(c, superseded), text.LimitBytes(message, maxOutcome))
	}
}

// maxOutcome is the maximum length of the message about the end of a rollout.
const maxOutcome = 1024

// reasonOfNone returns the reason for a rollout without a success: the result of most of its
// targets.
func reasonOfNone(c v1alpha1.Counts, superseded int32) string {
	reason, most := v1alpha1.ReasonSuperseded, superseded
	for _, other := range []struct {
		reason string
		n      int32
	}{{v1alpha1.ReasonFailed, c.Failed}, {v1alpha1.ReasonCanceled, c.Canceled - superseded}, {v1alpha1.ReasonSkipped, c.Skipped}} {
		if other.n > most {
			reason, most = other.reason, other.n
		}
	}
	return reason
}

// partsOfRest returns the parts of a message about targets that neither succeeded nor failed.
func (l *planner) partsOfRest(c v1alpha1.Counts, superseded int32) []string {
	var parts []string
	add := func(n int32, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d "+format, append([]any{n}, args...)...))
		}
	}
	if superseded > 0 {
		add(superseded, "superseded by newer updates (%s)", list(l.successors()))
	}
	add(c.Canceled-superseded, "canceled")
	add(c.Skipped, "skipped, because they did not start in time")
	add(c.Removed, "deleted")
	return parts
}

// superseded returns how many of the canceled targets were taken over by newer updates.
func (l *planner) superseded() int32 {
	var n int32
	for _, g := range l.groups {
		n += min(l.tally(g).Superseded, l.counts(g).Canceled)
	}
	return n
}

// successors returns the names of the updates that took targets over, sorted.
func (l *planner) successors() []string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, g := range l.groups {
		if g.object == nil || l.tally(g).Superseded == 0 {
			continue
		}
		for _, by := range g.object.Status.SupersededBy {
			add("rollout " + by.Name)
		}
		if g.members == nil {
			continue
		}
		counter := l.counterOf(g)
		for i, t := range g.members() {
			if m := counting.MemberOf(g.object, i); t != nil && !m.Superseded && counter.EntryOf(t, m).Superseded {
				add(l.successorOn(t))
			}
		}
	}
	slices.Sort(names)
	return names
}

// successorOn returns the update that took this target over, according to its newest action or its
// own assignment.
func (l *planner) successorOn(t *v1alpha1.Target) string {
	newest := action.Newest(&t.Status)
	switch {
	case newest != nil && newest.Source.Kind == v1alpha1.SourceRollout && newest.Source.UID != l.next.Identity():
		return "rollout " + newest.Source.Name
	case newest != nil && newest.Source.Kind == v1alpha1.SourceAutoAssignment:
		return "auto-assignment " + newest.Source.Name
	case newest != nil && newest.Source.Kind == v1alpha1.SourceTarget, t.Spec.Assignment != nil:
		return "spec.assignment of the target"
	}
	return "an auto-assignment"
}
