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

// write completes the plan: counts, what is waited for, conditions, and what the groups have to
// mirror.
func (l *planner) write() Plan {
	l.countGroups()
	l.status.Failures = l.failures()
	l.keepClock()
	l.recordType()
	l.recheck(l.nextDeadline())
	l.recheck(l.nextAbandonment())
	l.describeWaiting()
	l.judge()
	l.status.Conditions = l.allConditions()
	l.announceInvalidated()
	l.announceStalled()
	l.mirror()
	l.sweep()
	l.join()
	changed := l.stayQuiet()
	l.plan.Status = *l.status
	l.plan.Decided = changed && !equality.Semantic.DeepEqual(bare(&l.Rollout.Status), bare(l.status))
	return l.plan
}

// enter records the state that a step wants. The last step that wants one decides; no other
// function writes status.state.
func (l *planner) enter(state v1alpha1.RolloutState) { l.status.State = state }

// recordType writes down that a rollout started as Soft and, once it was raised, that it is Forced.
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

// UpdateOf returns what a rollout brings to a device: once update.type was raised from Soft to
// Forced, it stays Forced.
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

// columns returns what `kubectl get` shows beside the counts.
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

// maxFailures is how many lines the failure table has.
const maxFailures = 10

// failures merges the tables of all groups.
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

// failuresOf a group. Once closed, they are history like its counts: what was told to the group
// when it closed.
func (l *planner) failuresOf(g *group) []v1alpha1.FailureCount {
	if l.isHistory(g) && len(g.stored.Failures) > 0 {
		return g.stored.Failures
	}
	return slices.Collect(maps.Values(l.tally(g).Failures))
}

// table of failures: the most frequent first.
func table(lines []v1alpha1.FailureCount) []v1alpha1.FailureCount {
	out := slices.SortedFunc(slices.Values(lines), func(a, b v1alpha1.FailureCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.StatusCode, b.StatusCode), cmp.Compare(a.Message, b.Message))
	})
	return out[:min(len(out), maxFailures)]
}

// mostOften names the most frequent of failures that are sorted, as the end of a sentence about a
// moment. It is empty where no device gave a code or a message.
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

// mirror tells the groups what has become of them, when their state or bitmaps have changed, or
// when they have closed; for counts alone it does not. A group that is written already in this look
// gets it in the next. The look that starts leaves all of it to the next one, which opens the first
// group and must not wait until hundreds of groups have been told that they are scheduled.
func (l *planner) mirror() {
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

// stayQuiet leaves alone what changes with the hour, unless something else is written: no window
// costs a write when it opens or closes. It reports whether something else is written.
func (l *planner) stayQuiet() bool {
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

// bare is a status without what merely counts: numbers, and sentences with numbers.
func bare(status *v1alpha1.RolloutStatus) *v1alpha1.RolloutStatus {
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
