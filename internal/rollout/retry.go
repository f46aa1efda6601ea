// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// retry carries out spec.retry when its time has come: members that failed before it are pending
// again, and a finished rollout is Running again.
func (l *planner) retry() next {
	if !l.isRetryDue() {
		return goOn
	}
	if l.invalid || l.Set != nil && l.Set.IsInvalid() {
		l.stall(v1alpha1.ReasonDistributionSetInvalid, "spec.retry is refused: DistributionSet %s was invalidated%s; remove spec.retry, and create a Rollout of another set",
			l.spec.Update.DistributionSet, because(l.reasonOfInvalid()))
		return goOn
	}
	failed := make([]int32, len(l.groups))
	for i, g := range l.groups {
		failed[i] = l.tally(g).Failed
	}
	l.keepLost(false)
	h := l.handled()
	h.RetryAt, h.RetriedAt = micro(l.spec.Retry.At.Time), micro(l.Now)
	if c := l.status.Offering; c != nil && retriedBy(l.spec.Retry).Name(counting.DeadlineExceeded) {
		c.RetriedAt = l.reading()
	}
	again := 0
	for i, g := range l.groups {
		l.clearAbandoned(g)
		again += l.reopen(g, failed[i])
	}
	l.event(EventRetried, "spec.retry of %s: %s can be retried", formatTime(l.spec.Retry.At.Time), targets(again))
	if again > 0 && l.status.State == v1alpha1.RolloutFinished {
		l.status.FinishedAt = nil
		l.enter(v1alpha1.RolloutRunning)
	}
	return goOn
}

// isRetryDue reports whether spec.retry is a request that has not been carried out and whose time
// has come. A request from before the start is ignored.
func (l *planner) isRetryDue() bool {
	if l.spec.Retry == nil || !l.hasStarted() {
		return false
	}
	at, h := requested(l.spec.Retry.At), l.status.Handled
	if !at.After(l.status.StartedAt.Time) || h != nil && h.RetryAt != nil && h.RetryAt.Time.Equal(at) {
		return false
	}
	l.recheck(at)
	return !at.After(l.Now)
}

// reopen sets a closed group to Running if the retry affects any of its members, and returns their
// number.
func (l *planner) reopen(g *group, failed int32) int {
	st, again := l.at(g.index), int(failed-l.tally(g).Failed)
	if !isOpen(st.State) || again <= 0 {
		return 0
	}
	if st.State != v1alpha1.GroupRunning {
		st.State, st.Counts = v1alpha1.GroupRunning, g.tally.Counts
	}
	return again
}

// refuseRetry records a retry of a stopped rollout as handled, with a warning that it is refused.
func (l *planner) refuseRetry() {
	if l.isRetryDue() && l.isOver() {
		l.handled().RetryAt = micro(l.spec.Retry.At.Time)
		l.warningEvent(EventRetryRefused, "%s", retryRefused)
	}
}

const retryRefused = "spec.retry is refused: a stopped rollout is final; create another Rollout"

func (l *planner) reasonOfInvalid() string {
	if l.Set == nil {
		return ""
	}
	return l.Set.InvalidationReason
}
