// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// expire marks the members of open groups that have not started within startDeadlineSeconds after
// the opening or after they joined: they count as failed or as skipped. A mark is never removed.
// All late members of a group are marked in one write. The time also passes while the controller is
// down.
func (l *planner) expire() next {
	if !l.hasDeadline() || l.status.Offering == nil {
		return goOn
	}
	late := 0
	for _, g := range l.groups[:l.opened()] {
		if g.object != nil && !l.isHistory(g) && l.tally(g).NotStarted > 0 {
			late += l.expireIn(g, l.due(g))
		}
	}
	if late == 0 {
		return goOn
	}
	if l.isSkipping() {
		l.event(EventSkipped, "%s did not start within startDeadlineSeconds %d and left their groups (startDeadlineAction Skip)", targets(late), *l.spec.Update.StartDeadlineSeconds)
	} else {
		l.warningEvent(EventExpired, "%s did not start within startDeadlineSeconds %d and counted as failed", targets(late), *l.spec.Update.StartDeadlineSeconds)
	}
	return goOn
}

func (l *planner) isSkipping() bool {
	return l.spec.Update.StartDeadlineAction == v1alpha1.DeadlineActionSkip
}

// cohort is a range of members with the same deadline.
type cohort struct {
	// through is the position after the last member, by the value of the clock at their deadline.
	through int
	by      int64
}

// cohorts returns the cohorts of a group, sorted by deadline.
func (l *planner) cohorts(g *group) []cohort {
	from, limit := max(l.at(g.index).OpenedAtOffering, l.status.Offering.RetriedAt), int64(*l.spec.Update.StartDeadlineSeconds)
	n, joined := len(g.object.Spec.Targets), g.object.Status.Joined
	if len(joined) == 0 {
		return []cohort{{n, from + limit}}
	}
	out := make([]cohort, len(joined))
	for k, b := range joined {
		out[k] = cohort{n, max(from, b.Offering) + limit}
		if k > 0 {
			out[k-1].through = int(b.First)
		}
	}
	return out
}

// due returns the number of members, from the first, whose deadline has passed.
func (l *planner) due(g *group) int {
	due, read := 0, int64(l.offered()/time.Second)
	for _, c := range l.cohorts(g) {
		if c.by > read {
			break
		}
		due = c.through
	}
	return due
}

// expireIn marks those of the first n members that have not started, and returns their number.
func (l *planner) expireIn(g *group, n int) int {
	if n == 0 {
		return 0
	}
	counter, members, s := l.counterOf(g), g.members(), &g.object.Status
	var late []int
	for i := range n {
		if counter.EntryOf(members[i], counting.MemberOf(g.object, i)).NotStarted {
			late = append(late, i)
		}
	}
	if len(late) == 0 {
		return 0
	}
	if !l.isSkipping() {
		l.openBatch(s, n, late)
	}
	for _, i := range late {
		if l.isSkipping() {
			s.Skipped = bitmap.Set(s.Skipped, i, len(members))
		} else {
			s.Expired = bitmap.Set(s.Expired, i, len(members))
		}
	}
	g.stale = true
	l.writeAhead(g)
	return len(late)
}

// maxStragglers is the maximum number of batches with a bitmap of members in a group.
const maxStragglers = 20

// openBatch records when members before position n expire. If a retry has cleared the earlier
// marks, they are dropped: their members have started or are late again. A late member of an
// earlier batch, which a newer rollout had taken over and given back, is recorded in the bitmap of
// this batch.
func (l *planner) openBatch(s *v1alpha1.DeploymentGroupStatus, n int, late []int) {
	at, retried := RetryOf(l.next)
	if k := len(s.ExpiredAt); k > 0 && !(counting.Member{Expired: s.ExpiredAt[k-1].At.Time}).HasExpired(at, retried) {
		s.Expired, s.ExpiredAt = nil, nil
	}
	batch, before := v1alpha1.ExpiredBatch{Through: int32(n), At: *micro(l.Now)}, 0
	if k := len(s.ExpiredAt); k > 0 {
		before = int(s.ExpiredAt[k-1].Through)
		batch.Through = max(batch.Through, s.ExpiredAt[k-1].Through)
	}
	for _, i := range late {
		if i < before {
			batch.Members = bitmap.Set(batch.Members, i, before)
		}
	}
	if n > before || batch.Members != nil {
		s.ExpiredAt = dropOldBitmaps(append(s.ExpiredAt, batch))
	}
}

// dropOldBitmaps keeps the bitmaps of the newest batches that have one. Members of the others
// count as expired with the batch of their position.
func dropOldBitmaps(batches []v1alpha1.ExpiredBatch) []v1alpha1.ExpiredBatch {
	named := 0
	for k := len(batches) - 1; k >= 0; k-- {
		if batches[k].Members == nil {
			continue
		}
		if named++; named <= maxStragglers {
			continue
		}
		if batches[k].Members = nil; k > 0 && batches[k].Through == batches[k-1].Through {
			batches = slices.Delete(batches, k, k+1)
		}
	}
	return batches
}

// nextDeadline returns the next deadline of members, or the zero time if there is none or the clock
// is stopped.
func (l *planner) nextDeadline() time.Time {
	if !l.hasDeadline() || l.status.Offering == nil || l.isOver() {
		return noTime
	}
	next, read := int64(0), int64(l.offered()/time.Second)
	for _, g := range l.groups[:l.opened()] {
		if g.object == nil || l.tally(g).NotStarted == 0 {
			continue
		}
		for _, c := range l.cohorts(g) {
			if c.by > read && (next == 0 || c.by < next) {
				next = c.by
			}
		}
	}
	if next == 0 {
		return noTime
	}
	return l.until(next)
}
