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

// Newer has the other updates of a target that may supersede an update. A nil field supersedes
// nothing.
type Newer struct {
	// All updates that reach the target.
	All []*Intent
	// Reached is the newest update that has reached the target and replaces all older ones.
	Reached *Intent
	// Installed is the newest rollout whose set is installed on the target.
	Installed *Intent
	// Running is the newest auto-assignment that is running and replaces older ones.
	Running *Intent
	// AutoHasReached reports whether an auto-assignment newer than since has reached the target.
	// The counters set it in place of Reached and Running, because they do not list the
	// auto-assignments of every member. It is called last.
	AutoHasReached func(t *v1alpha1.Target, since time.Time) bool
}

// NewerAmong returns, among the updates that reach a target, those that supersede older ones. The
// updates must be sorted by NewestFirst.
func NewerAmong(t *v1alpha1.Target, sorted []*Intent, now time.Time) Newer {
	return Newer{
		All:       sorted,
		Reached:   first(sorted, func(in *Intent) bool { return !in.Update.IsQueued() && hasReached(t, in, now) }),
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

// replaced sets CodeSuperseded in r if a newer update takes the target over. A final result stays
// as it is, except for the end of the source, and if a newer update brings the same content. A
// required migration step is not replaced, nor is an assignment that has to be fixed: its condition
// must report that also if a newer update exists.
func replaced(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer) {
	if r.IsFinal() && !r.Code.isEndOfSource() && !r.Brought || IsMigrationStep(in) || since(&in.Source).IsZero() || isMistaken(in, r) {
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

// over returns the newer update that supersedes this one, or nil if none does. Brought is true when
// the newer update is about to bring the same set; that never holds for an auto-assignment, because
// it brings nothing to a target that had its set before.
func (n *Newer) over(t *v1alpha1.Target, in *Intent) (other *Intent, brought bool) {
	if n.Reached != nil && NewestFirst(n.Reached, in) < 0 {
		other = n.Reached
		brought = other.Source.Kind != v1alpha1.SourceAutoAssignment && IsSameSubject(&other.Update, &in.Update)
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

// IsSameSubject reports whether two updates name the same set, or remove the same software.
func IsSameSubject(a, b *v1alpha1.Update) bool {
	return a.DistributionSet == b.DistributionSet && RemovalHash(a.Remove) == RemovalHash(b.Remove)
}

// autoHasReached calls AutoHasReached for auto-assignments that are newer than the update or, if
// another update is about to bring the same set, newer than that one.
func (n *Newer) autoHasReached(t *v1alpha1.Target, in, other *Intent) bool {
	if n.AutoHasReached == nil {
		return false
	}
	if other != nil {
		return n.AutoHasReached(t, since(&other.Source))
	}
	return n.AutoHasReached(t, since(&in.Source))
}

// NewestFirst compares by since, then by source, so that the same world always gives the same
// result. Updates that have not started come last. Auto-assignments that reached a new target at
// the same time are compared by when they started.
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

// successor returns the newest rollout that took the target over from an older one, or nil if it
// does not exist any more or the caller does not list the other updates.
func (n *Newer) successor(in *Intent) *Intent {
	var newest *Intent
	for _, o := range n.All {
		if o.Source.Kind == v1alpha1.SourceRollout && !o.Stopped && since(&o.Source).After(since(&in.Source)) && (newest == nil || NewestFirst(o, newest) < 0) {
			newest = o
		}
	}
	return newest
}

// isNewerAuto reports whether an auto-assignment started later than the one that an action was
// created from, though both reached the target at the same time.
func (n *Newer) isNewerAuto(in *Intent, a *v1alpha1.Action) bool {
	if in.Source.Kind != v1alpha1.SourceAutoAssignment || a.Source.Kind != v1alpha1.SourceAutoAssignment {
		return false
	}
	return slices.ContainsFunc(n.All, func(o *Intent) bool { return o.Source.UID == a.Source.UID && o.StartedAt.Before(in.StartedAt) })
}

// hasReached reports whether an update has reached this target, so that it replaces older ones even
// while it waits for a window or is paused.
func hasReached(t *v1alpha1.Target, in *Intent, now time.Time) bool {
	if in.Stopped || in.Superseded || in.Skipped || in.Expired {
		return false
	}
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return !in.OpenedAt.IsZero()
	case v1alpha1.SourceAutoAssignment:
		return isRunningAuto(in) && setProblem(in, t) == "" && !action.HadContent(&t.Status, in.Set.ContentHash)
	default:
		return setProblem(in, t) == "" && everOpens(in, now)
	}
}

// everOpens reports whether the update's maintenance window can be read and opens at some time.
func everOpens(in *Intent, now time.Time) bool {
	open, next, _ := window.At(in.Update.MaintenanceWindow, now)
	return open || !next.IsZero()
}

// AutoHasReached reports whether an auto-assignment has reached the target and replaces older
// updates. They are not offered even if the auto-assignment will never start on the target because
// its set is installed.
func AutoHasReached(in *Intent, t *v1alpha1.Target) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && !in.Update.IsQueued() && hasReached(t, in, time.Time{})
}

// isInstalled reports whether an update is a rollout whose set is installed on the target, even if
// its group has not opened. The newest of them supersedes all older updates: in a cluster that is
// rebuilt from Git nothing else shows that the device has gone past them. A removal is never
// installed: a device without the software may never have had it.
func isInstalled(t *v1alpha1.Target, in *Intent) bool {
	return in.Source.Kind == v1alpha1.SourceRollout && !in.Update.IsQueued() && !in.Set.Removes() && !since(&in.Source).IsZero() &&
		!in.Stopped && !in.Superseded && setProblem(in, t) == "" && action.Installed(&t.Status, in.Set.ContentHash)
}

// bringsSame reports whether two updates are of rollouts that bring the same content.
func bringsSame(a, b *Intent) bool {
	return a.Source.Kind == b.Source.Kind && b.Set != nil && a.Set.ContentHash == b.Set.ContentHash
}

// isRecreatedBeside reports whether an assignment or auto-assignment counts as newer than a
// rollout, whose set is installed, only because both objects were created again at about the same
// time: the device itself reported the set as installed, and only the creation says how new the
// update is.
func isRecreatedBeside(t *v1alpha1.Target, in, installed *Intent) bool {
	return in.IsUnplaced && in.Source.Kind != v1alpha1.SourceRollout && in.CreatedAt.Sub(installed.CreatedAt).Abs() < AppliedTogether &&
		t.Status.Installed.ActionID == 0
}

// AppliedTogether is the greatest difference between the creation of two objects that count as
// applied together, as in a cluster that is rebuilt from Git.
const AppliedTogether = time.Minute

// isAutoInForce reports whether an update is a running auto-assignment whose set can be given to
// the target. The newest of them supersedes older auto-assignments, even if the target had its set
// long ago: each offers its set once, and a target never goes back to the set of an older one.
func isAutoInForce(t *v1alpha1.Target, in *Intent) bool {
	return in.Source.Kind == v1alpha1.SourceAutoAssignment && !in.Update.IsQueued() && isRunningAuto(in) && setProblem(in, t) == ""
}

// isRunningAuto reports whether an auto-assignment is running, or waits for newer rollouts after a
// rebuild from Git.
func isRunningAuto(in *Intent) bool { return in.Closed.IsZero() || in.Closed.Code == CodeStabilizing }

// isMistaken reports whether the update is the target's own assignment and has to be fixed.
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

// IsMigrationStep reports whether an update is a required migration step.
func IsMigrationStep(in *Intent) bool { return in.Set != nil && in.Set.RequiredMigrationStep }
