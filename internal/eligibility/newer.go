// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package eligibility

import (
	"cmp"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Newer is what the caller knows of the other updates of a target. Each field that is nil keeps
// nothing from the target.
type Newer struct {
	// All updates that reach the target.
	All []*Intent
	// Reached is the newest update that has reached the target and replaces everything older.
	Reached *Intent
	// Installed is the newest rollout whose set the target runs already.
	Installed *Intent
	// Running is the newest auto-assignment that runs and replaces what is older.
	Running *Intent
	// AutoHasReached reports whether an auto-assignment that is newer than since has reached the
	// target. The counters set it in place of Reached and Running, because they do not list the
	// auto-assignments of every member. It is asked last.
	AutoHasReached func(t *v1alpha1.Target, since time.Time) bool
}

// NewerAmong finds, among the updates that reach a target, those that keep older ones from it. The
// updates are in the order of NewestFirst.
func NewerAmong(t *v1alpha1.Target, sorted []*Intent, now time.Time) Newer {
	return Newer{
		All:       sorted,
		Reached:   first(sorted, func(in *Intent) bool { return !isQueued(in) && hasReached(t, in, now) }),
		Installed: first(sorted, func(in *Intent) bool { return isInstalled(t, in) }),
		Running:   first(sorted, func(in *Intent) bool { return isAutoInForce(t, in) }),
	}
}

func first(sorted []*Intent, is func(*Intent) bool) *Intent {
	if i := slices.IndexFunc(sorted, is); i >= 0 {
		return sorted[i]
	}
	return nil
}

// replaced sets in r that a newer update takes the target over, if one does. What is final stays as
// it is, but for the end of the source and for what a newer update brings anyway. A required
// migration step is not replaced, nor is an assignment that has to be fixed: its condition says so
// whatever is newer.
func replaced(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer) {
	if r.IsFinal() && !r.Code.isEndOfSource() && !r.Brought || IsStep(in) || since(&in.Source).IsZero() || isMistaken(in, r) {
		return
	}
	other, brought := newer.over(t, in)
	if brought || other == nil {
		if newer.autoHasReached(t, in, other) {
			other, brought = nil, false
		} else if other == nil || r.IsFinal() {
			return
		}
	}
	*r = Result{Code: CodeSuperseded, Other: other, Own: r.Own, Again: r.Again, Brought: brought}
}

// over returns the newer update that keeps this one from the target; nil: none does. Brought is
// true when that is about to bring the same set. An auto-assignment is not waited for, because it
// brings nothing to a target that had its set once.
func (n *Newer) over(t *v1alpha1.Target, in *Intent) (other *Intent, brought bool) {
	if n.Reached != nil && NewestFirst(n.Reached, in) < 0 {
		other = n.Reached
		brought = other.Source.Kind != v1alpha1.SourceAutoAssignment && other.Update.DistributionSet == in.Update.DistributionSet
		if !brought {
			return other, false
		}
	}
	switch {
	case n.Installed != nil && NewestFirst(n.Installed, in) < 0 && !bringsSame(n.Installed, in),
		n.Installed != nil && NewestFirst(n.Installed, in) > 0 && isRecreatedBeside(t, in, n.Installed):
		return n.Installed, false
	case n.Running != nil && in.Source.Kind == v1alpha1.SourceAutoAssignment && NewestFirst(n.Running, in) < 0:
		return n.Running, false
	}
	return other, brought
}

// autoHasReached asks AutoHasReached about auto-assignments that are newer than the update, and
// than the other one that is about to bring the same.
func (n *Newer) autoHasReached(t *v1alpha1.Target, in, other *Intent) bool {
	if n.AutoHasReached == nil {
		return false
	}
	if other != nil {
		return n.AutoHasReached(t, since(&other.Source))
	}
	return n.AutoHasReached(t, since(&in.Source))
}

// NewestFirst orders by since, then by source, so that the same world always gives the same result.
// What has not started comes last. Auto-assignments that came by a new target at once go by their
// own place.
func NewestFirst(a, b *Intent) int {
	if c := since(&b.Source).Compare(since(&a.Source)); c != 0 {
		return c
	}
	x, y := &a.Source, &b.Source
	if x.Kind == v1alpha1.SourceAutoAssignment && y.Kind == v1alpha1.SourceAutoAssignment && !a.StartedAt.Equal(b.StartedAt) {
		return b.StartedAt.Compare(a.StartedAt)
	}
	return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name), cmp.Compare(x.UID, y.UID), cmp.Compare(x.Group, y.Group))
}

// successor returns the newest rollout that reaches the target beside an older one that gave it up;
// nil: it is gone, or the caller does not list the others.
func (n *Newer) successor(in *Intent) *Intent {
	var newest *Intent
	for _, o := range n.All {
		if o.Source.Kind == v1alpha1.SourceRollout && !o.Stopped && since(&o.Source).After(since(&in.Source)) && (newest == nil || NewestFirst(o, newest) < 0) {
			newest = o
		}
	}
	return newest
}

// isNewerAuto reports whether an auto-assignment has a later place than the one that an action came
// from, though both came by the target at once.
func (n *Newer) isNewerAuto(in *Intent, a *v1alpha1.Action) bool {
	if in.Source.Kind != v1alpha1.SourceAutoAssignment || a.Source.Kind != v1alpha1.SourceAutoAssignment {
		return false
	}
	return slices.ContainsFunc(n.All, func(o *Intent) bool { return o.Source.UID == a.Source.UID && o.StartedAt.Before(in.StartedAt) })
}

// hasReached reports whether an update has come as far as this target, so that older ones give way
// even while it waits for a window or is paused.
func hasReached(t *v1alpha1.Target, in *Intent, now time.Time) bool {
	if in.Stopped || in.Superseded || in.Skipped || in.Expired {
		return false
	}
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return !in.OpenedAt.IsZero()
	case v1alpha1.SourceAutoAssignment:
		return isRunningAuto(in) && setProblem(in, t) == "" && !action.Had(&t.Status, in.Set.ContentHash)
	default:
		return setProblem(in, t) == "" && everOpens(in, now)
	}
}

// everOpens reports whether the update's maintenance window can be read and opens at some time.
func everOpens(in *Intent, now time.Time) bool {
	open, next, _ := window.At(in.Update.MaintenanceWindow, now)
	return open || !next.IsZero()
}

// AutoHasReached reports whether an intent is an auto-assignment that has reached the target and
// replaces older updates. These are not offered any more, also if the auto-assignment never starts
// because the target runs its set already.
func AutoHasReached(in *Intent, t *v1alpha1.Target) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && !isQueued(in) && hasReached(t, in, time.Time{})
}

// isInstalled reports whether an update is a rollout whose set the target runs already, though its
// group may not have opened. Everything older is superseded by the newest of these: in a cluster
// that is rebuilt from Git nothing else shows that the device has been past it.
func isInstalled(t *v1alpha1.Target, in *Intent) bool {
	return in.Source.Kind == v1alpha1.SourceRollout && !isQueued(in) && !since(&in.Source).IsZero() &&
		!in.Stopped && !in.Superseded && setProblem(in, t) == "" && action.Installed(&t.Status, in.Set.ContentHash)
}

// bringsSame reports whether two updates are of rollouts that bring the same content.
func bringsSame(a, b *Intent) bool {
	return a.Source.Kind == b.Source.Kind && b.Set != nil && a.Set.ContentHash == b.Set.ContentHash
}

// isRecreatedBeside reports whether an assignment or auto-assignment is newer than a rollout whose
// set the target runs only because it was created again together with it: the device had the set
// before, by its own report, and nothing says how new the update is.
func isRecreatedBeside(t *v1alpha1.Target, in, installed *Intent) bool {
	return in.IsUnplaced && in.Source.Kind != v1alpha1.SourceRollout && in.CreatedAt.Sub(installed.CreatedAt).Abs() < AppliedTogether &&
		t.Status.Installed.ActionID == 0
}

// AppliedTogether is the greatest difference between the creation of two objects that count as
// applied together, as in a cluster that is rebuilt from Git.
const AppliedTogether = time.Minute

// isAutoInForce reports whether an update is a running auto-assignment. Older ones are superseded
// by the newest, also where the target had its set long ago: each offers its set once, and none
// returns to an older one.
func isAutoInForce(t *v1alpha1.Target, in *Intent) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && !isQueued(in) && isRunningAuto(in) && setProblem(in, t) == ""
}

// isRunningAuto: an auto-assignment that waits for the rollouts of a rebuild runs, too.
func isRunningAuto(in *Intent) bool { return in.Closed.IsZero() || in.Closed.Code == CodeStabilizing }

// isMistaken reports whether a person has to fix the target's own assignment.
func isMistaken(in *Intent, r *Result) bool {
	if in.Source.Kind != v1alpha1.SourceTarget {
		return false
	}
	switch r.Code {
	case CodeSetNotFound, CodeSetNotReady, CodeContentChanged, CodeIncompatible:
		return true
	default:
		return false
	}
}

// IsStep reports whether an update is a required migration step.
func IsStep(in *Intent) bool { return in.Set != nil && in.Set.RequiredMigrationStep }

func isQueued(in *Intent) bool { return in.Update.Superseding == v1alpha1.SupersedingQueue }
