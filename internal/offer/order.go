package offer

import (
	"cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Which of several intents goes first, and which of them keeps others away.

// newestFirst orders by since, then by source, so that the same world always gives the same answer. What has not started comes last. Auto-assignments that came
// by a new target at once go by their own place.
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

// coverOf finds the newest intent that replaces everything older, and its place; older ones than that are superseded.
func coverOf(w *World, intents []*Intent) (*Intent, int) {
	for i, in := range intents {
		if in.Update.Superseding != v1alpha1.SupersedingQueue && hasReached(w, in) {
			return in, i
		}
	}
	return nil, len(intents)
}

// hasReached tells whether an intent has come as far as this target, so that older ones give way even while it waits for a window or is paused.
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

// everOpens tells whether the intent's maintenance window can be read and comes some day.
func everOpens(w *World, in *Intent) bool {
	open, next, _ := windowAt(in.Update.MaintenanceWindow, w.Now)
	return open || !next.IsZero()
}

// Covers tells whether an auto-assignment has reached the target and replaces what is older: that is not offered, also where nothing of the auto-assignment will ever
// begin because the target runs its set already.
func Covers(in *Intent, t *v1alpha1.Target) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Update.Superseding != v1alpha1.SupersedingQueue && hasReached(&World{Target: t}, in)
}

// homeOf finds the newest rollout whose set the target runs already, though its group may not have opened, and its place. Older assignments and auto-assignments
// are superseded by it: in a cluster that is rebuilt from Git nothing else tells that the device has been past them. Between rollouts the groups keep the order.
func homeOf(w *World, intents []*Intent) (*Intent, int) {
	for i, in := range intents {
		if in.Source.Kind == v1alpha1.SourceRollout && in.Update.Superseding != v1alpha1.SupersedingQueue && !since(&in.Source).IsZero() &&
			!in.Stopped && !in.Superseded && setProblem(in, w.Target) == "" && action.Installed(&w.Target.Status, in.Set.ContentHash) {
			return in, i
		}
	}
	return nil, len(intents)
}

// firstAuto finds the newest running auto-assignment, and its place. Older ones are superseded by it, also where the target had its set long ago: each offers its
// set once, and none returns to an older one.
func firstAuto(w *World, intents []*Intent) (*Intent, int) {
	for i, in := range intents {
		if in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Update.Superseding != v1alpha1.SupersedingQueue && isRunningAuto(in) && setProblem(in, w.Target) == "" {
			return in, i
		}
	}
	return nil, len(intents)
}

// isRunningAuto: one that waits for the rollouts of a rebuild runs, too.
func isRunningAuto(in *Intent) bool { return in.Closed.IsZero() || in.Closed.Code == CodeSettling }

// byTurn puts required migration steps first, the oldest of them before the others, then what is queued by weight and age. The rest stays as it is.
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

// rankOf: an intent is queued when it asks for that, or when it is the one that the queued ones live beside.
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

// holdBehindSteps makes what is newer wait for a required migration step that has reached the target and is not done.
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
			if v := &list[k]; v.mayBegin() && since(&v.in.Source).After(since(&step.in.Source)) {
				v.finding = finding{code: CodeWaitingForStep, other: step.in}
			}
		}
	}
}
