// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
)

// The order of rollouts: which of two is newer, and when that is ambiguous. docs/decisions/order.md
// has the reasons.

// Neighbor is another rollout of the namespace, as a rollout that is about to start sees it.
type Neighbor struct {
	Rollout *v1alpha1.Rollout
	// Set of the neighbor; nil if it does not exist.
	Set *eligibility.Set
	// Shared returns bitmaps over spec.targets, one for each of Snapshot.Groups, of the members
	// that the neighbor has too or, while its plan is not known, selects. A bitmap is nil if it
	// marks no member.
	Shared func() [][]byte
}

// arrives is how long the other objects that are applied together with an object may take to
// arrive: GitOps tools apply manifests in any order.
const arrives = 5 * time.Second

// Replaces reports whether the newer of two started rollouts replaces the older one on the targets
// that they share. set is the set of the older one; nil if it was deleted. A required migration
// step is not replaced: the newer rollout waits for it.
func Replaces(newer, older *v1alpha1.Rollout, set *eligibility.Set) bool {
	return newer.Status.StartedAt != nil && older.Status.StartedAt != nil && Since(newer).After(Since(older)) &&
		!newer.Spec.Update.IsQueued() && !(set != nil && set.RequiredMigrationStep)
}

// IsOver reports whether a rollout has ended.
func IsOver(r *v1alpha1.Rollout) bool {
	return r.Status.State.IsOver()
}

// CanStart reports whether a rollout that has not started may still start without another commit.
// set is its set; nil if it does not exist.
func CanStart(r *v1alpha1.Rollout, set *eligibility.Set, now time.Time) bool {
	stalled := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled)
	isNew := now.Before(r.CreationTimestamp.Add(arrives))
	switch {
	case r.Status.StartedAt != nil, !r.DeletionTimestamp.IsZero(), IsStopped(r),
		r.Spec.State != v1alpha1.IntentRunning && r.Spec.State != "":
		return false
	case stalled != nil && stalled.ObservedGeneration == r.Generation, !isApprovedIfRequired(r):
		return false
	case set == nil:
		return isNew
	}
	return !set.IsInvalid() && (set.Deployable || set.Transient || isNew)
}

// isApprovedIfRequired reports whether a rollout has the approval that it needs, as far as its
// object shows. The manager's --require-approval is visible in the state only.
func isApprovedIfRequired(r *v1alpha1.Rollout) bool {
	switch {
	case r.Status.State == v1alpha1.RolloutWaitingForApproval && r.Status.ObservedGeneration == r.Generation:
		return false
	case !r.Spec.ApprovalRequired:
		return true
	}
	return r.Spec.Approval != nil && (r.Status.Plan == nil || r.Status.Plan.Hash == r.Spec.Approval.PlanHash)
}

// areUnordered reports whether it is ambiguous which of two rollouts is newer, when self is about
// to start. A rollout without startAt is as new as its start, which decides nothing if both were
// created within a minute, as after a rebuild from Git. Queued rollouts of different weight are
// ordered by it.
func areUnordered(self, other *v1alpha1.Rollout, now time.Time) bool {
	mine, theirs := self.Spec.StartAt, other.Spec.StartAt
	switch {
	case self.Spec.Update.IsQueued() && other.Spec.Update.IsQueued() && self.Spec.Update.EffectiveWeight() != other.Spec.Update.EffectiveWeight():
		return false
	case mine != nil && theirs != nil:
		return mine.Equal(theirs)
	case theirs != nil && theirs.After(now):
		return false
	}
	return self.CreationTimestamp.Sub(other.CreationTimestamp.Time).Abs() < eligibility.AppliedTogether
}

// endedBefore reports whether one rollout had ended when the other one was created, with a
// resolution of one second.
func endedBefore(one, other *v1alpha1.Rollout) bool {
	end := one.Status.FinishedAt
	return end != nil && IsOver(one) && !end.Truncate(time.Second).After(other.CreationTimestamp.Time)
}

// isRunning reports whether a rollout has started and has neither ended nor been stopped.
func isRunning(r *v1alpha1.Rollout) bool {
	return r.Status.StartedAt != nil && !IsOver(r) && !IsStopped(r)
}

// goesFirst reports whether, of two rollouts without an order, the other one starts first, and self
// waits for it or for a startAt.
func goesFirst(other, self *v1alpha1.Rollout, e *evidence) bool {
	gap := self.CreationTimestamp.Sub(other.CreationTimestamp.Time)
	switch {
	case self.Spec.StartAt != nil && other.Spec.StartAt == nil:
		return false
	case other.Status.StartedAt != nil, other.Spec.StartAt != nil && self.Spec.StartAt == nil:
		return true
	case e.runMine > 0:
		return false
	}
	return gap > 0 || gap == 0 && other.Name < self.Name
}

// evidence counts what the targets that two rollouts share show about their order.
type evidence struct {
	shared int
	// runTheirs and runMine count the targets that run the content of one of the two and have no
	// action of either: they had it when the rollouts were created.
	runTheirs, runMine int
	// mineIsNewer counts the targets whose newest update brought this rollout's content after the
	// neighbor's place in the order, or after the neighbor's content.
	mineIsNewer int
	// returned counts the targets that had this rollout's content before the neighbor started.
	returned int
	// example is a target that shows that this rollout is older, else any shared target.
	example string
}

// evidenceOn returns the evidence of the members that this rollout shares with a neighbor.
func (l *planner) evidenceOn(n *Neighbor) *evidence {
	e, other := &evidence{}, n.Rollout
	mine, theirs := l.status.Plan.ContentHash, contentOf(n)
	l.eachShared(n, func(t *v1alpha1.Target) {
		if e.shared++; e.example == "" {
			e.example = t.Name
		}
		s, against := &t.Status, false
		if theirs != mine && action.OfSource(s, other.Identity()) == nil && action.OfSource(s, l.next.Identity()) == nil {
			switch {
			case action.Installed(s, theirs):
				e.runTheirs++
				against = true
			case action.Installed(s, mine):
				e.runMine++
			}
		}
		if isNewerOn(s, mine, theirs, other) {
			e.mineIsNewer++
		}
		if brought := action.OfContent(s, mine); theirs != mine && brought != nil && brought.Source.Since != nil && Since(other).After(brought.Source.Since.Time) {
			e.returned++
			against = true
		}
		if against && e.runTheirs+e.returned == 1 {
			e.example = t.Name
		}
	})
	return e
}

// isNewerOn reports whether the history of a target shows that the content mine is newer than the
// other rollout, which brings theirs.
func isNewerOn(s *v1alpha1.TargetStatus, mine, theirs string, other *v1alpha1.Rollout) bool {
	newest := action.Newest(s)
	switch {
	case newest == nil || newest.ContentHash != mine || newest.Source.Since == nil:
		return false
	case other.Spec.StartAt != nil:
		return newest.Source.Since.After(other.Spec.StartAt.Time)
	}
	return theirs != mine && action.HadContent(s, theirs)
}

// contentOf returns the content that a neighbor brings, or "" if it is not known.
func contentOf(n *Neighbor) string {
	switch {
	case n.Rollout.Status.Plan != nil:
		return n.Rollout.Status.Plan.ContentHash
	case n.Set != nil:
		return n.Set.ContentHash
	}
	return ""
}

// eachShared calls f for the members that exist and that a neighbor has too.
func (l *planner) eachShared(n *Neighbor, f func(*v1alpha1.Target)) {
	marks := n.Shared()
	for i, g := range l.groups {
		if i >= len(marks) || bitmap.IsEmpty(marks[i]) {
			continue
		}
		for position, t := range g.members() {
			if t != nil && bitmap.Has(marks[i], position) {
				f(t)
			}
		}
	}
}
