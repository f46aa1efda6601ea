// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// A device that failed and has another attempt left may never start it. It gets
// startDeadlineSeconds for that attempt, as for the first one, and then counts as failed. After a
// pause this time starts again.

// abandon marks the members whose time for another attempt is over. It is one write per group.
func (l *planner) abandon() next {
	lost := 0
	for _, g := range l.awaitingAttempts() {
		var late []int
		l.eachAttempt(g, func(i int, end time.Time) {
			if !end.After(l.Now) {
				late = append(late, i)
			}
		})
		if len(late) == 0 {
			continue
		}
		s := &g.object.Status
		for _, i := range late {
			s.Abandoned = bitmap.Set(s.Abandoned, i, len(g.object.Spec.Targets))
		}
		g.stale = true
		l.writeAhead(g)
		lost += len(late)
	}
	if lost > 0 {
		l.warningEvent(EventExpired, "%s did not start another attempt within startDeadlineSeconds %d and failed; there is no further attempt", targets(lost), *l.spec.Update.StartDeadlineSeconds)
	}
	return goOn
}

// nextAbandonment returns when the time of the next such member is over, or the zero time if there
// is none or the clock is stopped.
func (l *planner) nextAbandonment() time.Time {
	next := noTime
	for _, g := range l.awaitingAttempts() {
		l.eachAttempt(g, func(_ int, end time.Time) {
			if end.After(l.Now) && (next.IsZero() || end.Before(next)) {
				next = end
			}
		})
	}
	return next
}

// awaitingAttempts returns the groups with members that failed and have another attempt left, or
// none if the clock is stopped.
func (l *planner) awaitingAttempts() []*group {
	c := l.status.Offering
	if !l.hasDeadline() || c == nil || c.Since == nil || l.isOver() {
		return nil
	}
	var groups []*group
	for _, g := range l.groups[:l.opened()] {
		if g.object != nil && g.members != nil && !l.isHistory(g) && l.tally(g).Again > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// eachAttempt calls event for each of those members, with the time when its time is over.
func (l *planner) eachAttempt(g *group, event func(i int, end time.Time)) {
	counter, c := l.counterOf(g), l.status.Offering
	running, long := c.Since.Time, time.Duration(*l.spec.Update.StartDeadlineSeconds)*time.Second
	if c.RunningSince != nil {
		running = c.RunningSince.Time
	}
	for i, t := range g.members() {
		if t == nil || !counter.EntryOf(t, counting.MemberOf(g.object, i)).Again {
			continue
		}
		due := later(running, nextAttempt(l.next, action.OfSource(&t.Status, l.next.Identity())))
		if end := window.AfterOpenTime(l.spec.Update.MaintenanceWindow, due, long); !end.IsZero() {
			event(i, end)
		}
	}
}

// nextAttempt returns from when on a failed action may be retried: by spec.retry, after it was
// carried out, or by update.retries.
func nextAttempt(r *v1alpha1.Rollout, a *v1alpha1.Action) time.Time {
	at, retried := RetryOf(r)
	switch retries := r.Spec.Update.Retries; {
	case a.ClosedAt == nil:
		return noTime
	case a.ClosedAt.Time.Before(at) && retried.Name(action.FailureOf(a)):
		return retriedSince(r, at)
	case retries != nil:
		return eligibility.NextAttempt(retries, a)
	}
	return a.ClosedAt.Time
}

// retriedSince returns when the retry request with this time was carried out: the time may have
// been in the past when the request was committed.
func retriedSince(r *v1alpha1.Rollout, at time.Time) time.Time {
	if retried := r.Status.Handled.RetriedAt; retried != nil {
		return later(at, retried.Time)
	}
	return at
}

// clearAbandoned clears the bit of abandoned members that spec.retry selects, so that they can be
// retried.
func (l *planner) clearAbandoned(g *group) {
	if g.object == nil || len(g.object.Status.Abandoned) == 0 || g.members == nil {
		return
	}
	var left []byte
	for i, t := range g.members() {
		if t == nil || !bitmap.Has(g.object.Status.Abandoned, i) {
			continue
		}
		if a := action.OfSource(&t.Status, l.next.Identity()); a == nil || !retriedBy(l.spec.Retry).Name(action.FailureOf(a)) {
			left = bitmap.Set(left, i, len(g.object.Spec.Targets))
		}
	}
	g.object.Status.Abandoned, g.stale = left, true
	l.writeAhead(g)
}
