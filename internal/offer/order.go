// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"cmp"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Which of several intents goes first, and which of them keeps others away.

// newestFirst orders by since, then by source, so that the same world always gives the same answer.
// What has not started comes last. Auto-assignments that came by a new target at once go by their
// own place.
func newestFirst(a, b *Intent) int {
	if c := since(&b.Source).Compare(since(&a.Source)); c != 0 {
		return c
	}
	x, y := &a.Source, &b.Source
	if x.Kind == v1alpha1.SourceAutoAssignment && y.Kind == v1alpha1.SourceAutoAssignment && !a.StartedAt.Equal(b.StartedAt) {
		return b.StartedAt.Compare(a.StartedAt)
	}
	return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name), cmp.Compare(x.UID, y.UID), cmp.Compare(x.Group, y.Group))
}

// first finds the newest intent of a kind, and its place among the intents, newest first; past the
// last: there is none.
func first(intents []*Intent, is func(*Intent) bool) (*Intent, int) {
	if i := slices.IndexFunc(intents, is); i >= 0 {
		return intents[i], i
	}
	return nil, len(intents)
}

// isCover reports whether an intent replaces everything older; of these the newest counts.
func isCover(w *World, in *Intent) bool {
	return in.Update.Superseding != v1alpha1.SupersedingQueue && hasReached(w, in)
}

// hasReached reports whether an intent has come as far as this target, so that older ones give way
// even while it waits for a window or is paused.
func hasReached(w *World, in *Intent) bool {
	if in.Stopped || in.Superseded || in.Skipped || in.Expired {
		return false
	}
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return !in.OpenedAt.IsZero()
	case v1alpha1.SourceAutoAssignment:
		return isRunningAuto(in) && setProblem(in, w.Target) == "" && !action.Had(&w.Target.Status, in.Set.ContentHash)
	default:
		return setProblem(in, w.Target) == "" && everOpens(w, in)
	}
}

// everOpens reports whether the intent's maintenance window can be read and comes some day.
func everOpens(w *World, in *Intent) bool {
	open, next, _ := windowAt(in.Update.MaintenanceWindow, w.Now)
	return open || !next.IsZero()
}

// Covers reports whether an auto-assignment has reached the target and replaces what is older: that
// is not offered, also where nothing of the auto-assignment will ever start because the target runs
// its set already.
func Covers(in *Intent, t *v1alpha1.Target) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Update.Superseding != v1alpha1.SupersedingQueue && hasReached(&World{Target: t}, in)
}

// isHome reports whether an intent is a rollout whose set the target runs already, though its group
// may not have opened. Everything older is superseded by the newest of these: in a cluster that is
// rebuilt from Git nothing else shows that the device has been past it.
func isHome(w *World, in *Intent) bool {
	return in.Source.Kind == v1alpha1.SourceRollout && in.Update.Superseding != v1alpha1.SupersedingQueue && !since(&in.Source).IsZero() &&
		!in.Stopped && !in.Superseded && setProblem(in, w.Target) == "" && action.Installed(&w.Target.Status, in.Set.ContentHash)
}

// isRecreatedBeside reports whether an assignment or auto-assignment is newer than home, the
// rollout whose set the target runs, only because it was created again together with it: the device
// had the set before, by its own report, and nothing says how new the intent is.
func isRecreatedBeside(w *World, in, home *Intent) bool {
	return home != nil && in.IsUnplaced && in.Source.Kind != v1alpha1.SourceRollout && in.CreatedAt.Sub(home.CreatedAt).Abs() < together &&
		w.Target.Status.Installed.ActionID == 0
}

// together is how close to each other two objects must have been created to count as applied
// together.
const together = time.Minute

// isAutoInForce reports whether an intent is a running auto-assignment. Older ones are superseded
// by the newest, also where the target had its set long ago: each offers its set once, and none
// returns to an older one.
func isAutoInForce(w *World, in *Intent) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Update.Superseding != v1alpha1.SupersedingQueue && isRunningAuto(in) && setProblem(in, w.Target) == ""
}

// isRunningAuto: one that waits for the rollouts of a rebuild runs, too.
func isRunningAuto(in *Intent) bool { return in.Closed.IsZero() || in.Closed.Code == CodeStabilizing }

// byTurn puts required migration steps first, the oldest of them before the others, then what is
// queued by weight and age. The rest stays as it is.
func byTurn(a, b *Intent, cover *Intent) int {
	rank := rankOf(a, cover)
	if c := cmp.Compare(rank, rankOf(b, cover)); c != 0 {
		return c
	}
	older := since(&a.Source).Compare(since(&b.Source))
	switch rank {
	case rankStep:
		return older
	case rankQueued:
		return cmp.Or(cmp.Compare(weight(b), weight(a)), older)
	}
	return 0
}

const (
	rankStep = iota
	rankQueued
	rankOther
)

// rankOf: an intent is queued when it asks for that, or when it is the one that the queued ones
// live beside.
func rankOf(in, cover *Intent) int {
	switch {
	case isStep(in):
		return rankStep
	case in.Update.Superseding == v1alpha1.SupersedingQueue, in == cover:
		return rankQueued
	}
	return rankOther
}

func isStep(in *Intent) bool { return in.Set != nil && in.Set.RequiredMigrationStep }

// holdBehindSteps makes what is newer wait for a required migration step that has reached the
// target and is not done.
func holdBehindSteps(list []judged) {
	for i := range list {
		step := list[i]
		if !isStep(step.in) {
			return
		}
		if step.in.OpenedAt.IsZero() && step.in.Source.Kind == v1alpha1.SourceRollout || step.isFinal() || step.code == CodeIncompatible {
			continue
		}
		for k := i + 1; k < len(list); k++ {
			if v := &list[k]; v.mayStart() && since(&v.in.Source).After(since(&step.in.Source)) {
				v.finding = finding{code: CodeWaitingForStep, other: step.in}
			}
		}
	}
}
