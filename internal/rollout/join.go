// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// Join lets targets join a dynamic group. Status is written first: it has the time when they
// joined, which has no effect until Targets are appended to spec.targets. That is the second write,
// with the resource version of the first.
type Join struct {
	Object  *v1alpha1.DeploymentGroup
	Status  v1alpha1.DeploymentGroupStatus
	Targets []v1alpha1.TargetName
}

const (
	// joinPause is the minimum time between two batches.
	joinPause = time.Second
	// maxBatch is the maximum number of targets in a batch.
	maxBatch = 5000
)

// join lets new targets join the trailing group, one batch per reconcile, unless the rollout is
// held. If the status of the group is written for another reason, they join at the next reconcile.
func (l *planner) join() {
	if l.JoinCandidates == nil || l.spec.Dynamic == nil || l.status.State != v1alpha1.RolloutRunning || l.held {
		return
	}
	g := l.trailing()
	if g == nil || g.seen == nil || l.isWritten(g) {
		return
	}
	if next := l.lastJoin().Add(joinPause); next.After(l.Now) {
		l.recheck(next)
		return
	}
	if joiners := fitting(g, l.JoinCandidates(l.room(g))); len(joiners) > 0 {
		l.plan.Join = &Join{Object: g.seen, Status: l.statusWith(g, joiners), Targets: namesIn(joiners)}
	}
}

// isWritten reports whether the plan writes the group's status for another reason.
func (l *planner) isWritten(g *group) bool {
	for _, w := range l.plan.Mirror {
		if w.Object == g.seen {
			return true
		}
	}
	return g.ahead
}

// lastJoin returns when targets last joined, or the zero time if none has.
func (l *planner) lastJoin() time.Time {
	for i := len(l.groups) - 1; i >= 0 && l.groups[i].isDynamic(); i-- {
		if joined := l.groups[i].object.Status.Joined; len(joined) > 0 {
			return joined[len(joined)-1].At.Time
		}
	}
	return noTime
}

// room returns how many targets may join the group now.
func (l *planner) room(g *group) int {
	n := min(maxBatch, l.capacity()-g.size())
	if most := l.spec.Dynamic.MaxTargets; most != nil {
		n = min(n, int(*most)-l.members())
	}
	return n
}

// fitting returns the first candidates, as many as the group has room for their names.
func fitting(g *group, joiners []*v1alpha1.Target) []*v1alpha1.Target {
	bytes := bytesOf(g)
	for i, t := range joiners {
		if bytes += len(t.Name); bytes > v1alpha1.MaxGroupBytes {
			return joiners[:i]
		}
	}
	return joiners
}

// statusWith returns the group's status with a new batch and, in an open group, with the bits of
// the members that have the set installed. A batch whose targets were never appended is dropped.
func (l *planner) statusWith(g *group, joiners []*v1alpha1.Target) v1alpha1.DeploymentGroupStatus {
	status, n := *g.object.Status.DeepCopy(), g.size()
	for k := len(status.Joined); k > 0 && int(status.Joined[k-1].First) >= n; k-- {
		status.Joined = status.Joined[:k-1]
	}
	status.Joined = append(status.Joined, v1alpha1.JoinedBatch{First: int32(n), At: *micro(l.Now), Offering: l.reading()})
	status.AlreadyThere = bitmap.First(status.AlreadyThere, n)
	if isOpen(l.at(g.index).State) && !l.spec.Update.Reinstall {
		for i, t := range joiners {
			if l.isThere(t) {
				status.AlreadyThere = bitmap.Set(status.AlreadyThere, n+i, n+len(joiners))
			}
		}
	}
	status.Targets = int32(n + len(joiners))
	status.ObservedGeneration = g.seen.Generation + 1 // the generation after the targets were appended
	return status
}

// hasUnappended reports whether the group's status has a batch whose targets are not in
// spec.targets yet.
func (g *group) hasUnappended() bool {
	joined := g.object.Status.Joined
	return len(joined) > 0 && int(joined[len(joined)-1].First) >= len(g.seen.Spec.Targets)
}

func namesIn(joiners []*v1alpha1.Target) []v1alpha1.TargetName {
	names := make([]v1alpha1.TargetName, len(joiners))
	for i, t := range joiners {
		names[i] = v1alpha1.TargetName(t.Name)
	}
	return names
}

// JoinFilter decides, from the target alone, whether it may join a dynamic rollout.
type JoinFilter struct{ query *query.Query }

// NewJoinFilter compiles the selection of a rollout, which is frozen once it has started. An error
// is a *Problem. inventories has the software of the targets.
func NewJoinFilter(r *v1alpha1.Rollout, inventories query.Inventories) (*JoinFilter, error) {
	q, err := query.Compile(r.Spec.Selection, inventories)
	if err != nil {
		return nil, &grouping.Problem{Reason: v1alpha1.ReasonInvalidExpression, Message: "spec." + err.Error()}
	}
	return &JoinFilter{q}, nil
}

// Selects reports whether the rollout selects the target and the device API serves it.
func (f *JoinFilter) Selects(t *v1alpha1.Target) bool {
	return grouping.CanBePlanned(t) && f.query.Matches(t)
}

// Takes reports whether the target may join, according to the target and the set.
func (f *JoinFilter) Takes(r *v1alpha1.Rollout, set *eligibility.Set, t *v1alpha1.Target) bool {
	return set != nil && set.Fits(t.Spec.Type) && f.Selects(t) && !isTakenByNewer(r, set, t)
}

// isTakenByNewer reports whether the target has had an action of a newer rollout, so that it never
// joins the older one. If the older one brings a required migration step, the action must be
// Finished.
func isTakenByNewer(r *v1alpha1.Rollout, set *eligibility.Set, t *v1alpha1.Target) bool {
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if a.Source.Kind == v1alpha1.SourceRollout && a.Source.UID != r.Identity() && a.Source.Name != r.Name &&
			a.Update.Superseding != v1alpha1.SupersedingQueue && a.Source.Since != nil && a.Source.Since.After(Since(r)) &&
			(!set.RequiredMigrationStep || a.State == v1alpha1.ActionFinished) {
			return true
		}
	}
	return false
}
