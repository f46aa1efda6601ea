// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// write completes the plan: counts, waitingFor, conditions, and the statuses of groups.
func (l *planner) write() Plan {
	l.countGroups()
	l.status.Failures = l.failures()
	l.keepClock()
	l.recordType()
	l.recheck(l.nextDeadline())
	l.recheck(l.nextAbandonment())
	l.describeWaiting()
	l.stallForState()
	l.status.Conditions = l.allConditions()
	l.announceInvalidated()
	l.announceStalled()
	l.writeGroups()
	l.deleteOtherGroups()
	l.join()
	changed := l.suppressWindowUpdates()
	l.plan.Status = *l.status
	l.plan.Decided = changed && !equality.Semantic.DeepEqual(withoutCounters(&l.Rollout.Status), withoutCounters(l.status))
	return l.plan
}

// enter sets the state. If several steps set it, the last one decides. No other function writes
// status.state.
func (l *planner) enter(state v1alpha1.RolloutState) { l.status.State = state }

// recordType records that a rollout started as Soft and, after a change to Forced, that it is
// Forced.
func (l *planner) recordType() {
	switch s := l.status; {
	case s.StartedAt == nil:
		s.UpdateType = ""
	case l.Rollout.Status.StartedAt == nil && l.spec.Update.Type == v1alpha1.UpdateTypeSoft:
		s.UpdateType = v1alpha1.UpdateTypeSoft
	case s.UpdateType == v1alpha1.UpdateTypeSoft && l.spec.Update.Type == v1alpha1.UpdateTypeForced:
		s.UpdateType = v1alpha1.UpdateTypeForced
	}
}

// UpdateOf returns the update of a rollout. After update.type was raised from Soft to Forced, it
// stays Forced.
func UpdateOf(r *v1alpha1.Rollout) v1alpha1.Update {
	update := r.Spec.Update
	if r.Status.UpdateType == v1alpha1.UpdateTypeForced {
		update.Type = v1alpha1.UpdateTypeForced
	}
	return update
}

func (l *planner) countGroups() {
	for i, g := range l.groups {
		l.at(i).Counts = l.counts(g)
		l.noteCounted(g)
	}
	if len(l.groups) > 0 {
		total := l.total()
		l.status.Targets = &total
		l.status.Columns = l.columns(total)
	}
}

// columns returns the computed columns of `kubectl get`.
func (l *planner) columns(total v1alpha1.Counts) *v1alpha1.RolloutColumns {
	out := &v1alpha1.RolloutColumns{Targets: total.Targets - total.Skipped - total.Removed}
	if l.hasStarted() {
		out.Group = fmt.Sprintf("%d of %d", l.opened(), len(l.groups))
	}
	if l.status.Plan != nil {
		out.Plan = strings.TrimPrefix(l.status.Plan.Hash, "sha256:")
		out.Plan = out.Plan[:min(len(out.Plan), 12)]
	}
	return out
}

// maxFailures is the maximum number of lines in the table of failures.
const maxFailures = 10

// failures returns the merged table of failures of all groups.
func (l *planner) failures() []v1alpha1.FailureCount {
	lines := map[action.Failure]v1alpha1.FailureCount{}
	for _, g := range l.groups {
		for _, line := range l.failuresOf(g) {
			key := action.Failure{Code: line.StatusCode, Message: line.Message}
			lines[key] = merged(lines[key], line)
		}
	}
	return table(slices.Collect(maps.Values(lines)))
}

// failuresOf returns the failures of a group. Like its counts, they do not change after the group
// has closed.
func (l *planner) failuresOf(g *group) []v1alpha1.FailureCount {
	if l.isHistory(g) && len(g.stored.Failures) > 0 {
		return g.stored.Failures
	}
	return slices.Collect(maps.Values(l.tally(g).Failures))
}

// table returns the most frequent failures, the most frequent first.
func table(lines []v1alpha1.FailureCount) []v1alpha1.FailureCount {
	out := slices.SortedFunc(slices.Values(lines), func(a, b v1alpha1.FailureCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.StatusCode, b.StatusCode), cmp.Compare(a.Message, b.Message))
	})
	return out[:min(len(out), maxFailures)]
}

// mostOften returns the part of a message about the most frequent of sorted failures, or "" if no
// device reported a code or a message.
func mostOften(failures []v1alpha1.FailureCount) string {
	const longest = 160
	for _, f := range failures {
		switch {
		case f.StatusCode != "":
			return fmt.Sprintf("; by then most often with code %s (%d)", f.StatusCode, f.Count)
		case f.Message != "":
			return fmt.Sprintf("; by then most often with the message %q (%d)", text.Clean(f.Message, longest), f.Count)
		}
	}
	return ""
}

func merged(a, b v1alpha1.FailureCount) v1alpha1.FailureCount {
	if a.Count == 0 {
		return b
	}
	a.Count += b.Count
	room := min(counting.MaxExamples-len(a.Examples), len(b.Examples))
	a.Examples = append(slices.Clone(a.Examples), b.Examples[:room]...)
	if b.FirstSeen.Before(a.FirstSeen) {
		a.FirstSeen = b.FirstSeen
	}
	if a.LastSeen.Before(b.LastSeen) {
		a.LastSeen = b.LastSeen
	}
	return a
}

// writeGroups adds the statuses of groups whose state or bitmaps have changed, or that have closed.
// A change of counts alone is not written. A group whose status is written before Status gets the
// rest at the next reconcile. The reconcile that starts the rollout writes no group: the next one
// opens the first group, and must not wait for hundreds of writes of state Scheduled.
func (l *planner) writeGroups() {
	if l.hasStarted() && l.Rollout.Status.StartedAt == nil {
		return
	}
	for i, g := range l.groups {
		if g.seen == nil || g.ahead {
			continue
		}
		want := g.object.Status
		want.ObservedGeneration, want.State, want.OpenedAt, want.Counts = g.seen.Generation, l.at(i).State, l.at(i).OpenedAt, g.stored.Counts
		if !g.hasUnappended() {
			want.Targets = int32(len(g.seen.Spec.Targets))
		}
		want.Failures = nil
		if isEnded(want.State) && counting.AllClosed(l.at(i).Counts) {
			want.Failures = table(l.failuresOf(g))
		}
		if equality.Semantic.DeepEqual(&want, &g.stored) {
			continue
		}
		counts := l.at(i).Counts
		want.Counts, want.CountedAt = &counts, second(l.Now)
		l.plan.Mirror = append(l.plan.Mirror, GroupStatus{g.seen, want})
	}
}

// suppressWindowUpdates drops a change of waitingFor.until that is caused only by a maintenance
// window, so that the opening and closing of windows cause no writes. It reports whether something
// else is written.
func (l *planner) suppressWindowUpdates() bool {
	waiting, old := l.status.WaitingFor, l.Rollout.Status.WaitingFor
	if waiting != nil && old != nil && l.spec.Update.MaintenanceWindow != nil {
		quiet := *waiting
		quiet.Until = old.Until
		l.status.WaitingFor = &quiet
	}
	if equality.Semantic.DeepEqual(&l.Rollout.Status, l.status) {
		return false
	}
	l.status.WaitingFor = waiting
	l.advanceClock()
	return true
}

// withoutCounters returns a status without counters and without messages that contain them.
func withoutCounters(status *v1alpha1.RolloutStatus) *v1alpha1.RolloutStatus {
	s := status.DeepCopy()
	for i := range s.Groups {
		s.Groups[i].Counts, s.Groups[i].CountedFailures, s.Groups[i].RemovedFailures = v1alpha1.Counts{}, 0, 0
	}
	s.Targets, s.Failures = nil, nil
	if s.Columns != nil {
		s.Columns.Targets = 0
	}
	if s.WaitingFor != nil {
		s.WaitingFor.Message = ""
	}
	if s.WaitingFor != nil && s.State == v1alpha1.RolloutRunning {
		s.WaitingFor.Until = nil // the next deadline, or the next window
	}
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	return s
}
