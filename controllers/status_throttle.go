// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// countsInterval is the minimum time between two status writes that change only counters.
const countsInterval = time.Second

// maxCountsInterval is the maximum of that time: after one slow write, counters must not be out of
// date for minutes.
const maxCountsInterval = 10 * time.Second

// counterInterval returns the minimum time until counters are written again after a write that took
// this long: a second, or up to ten if writes are slow, because a busy API server then has other
// writes to do.
func counterInterval(took time.Duration) time.Duration {
	return min(max(countsInterval, 20*took), maxCountsInterval)
}

// statusThrottle limits how often the status of each object is written when only counters change.
// Decisions are written at once.
type statusThrottle struct {
	mu    sync.Mutex
	until map[types.UID]time.Time
}

// left returns how long counters of the object must not be written yet.
func (r *statusThrottle) left(uid types.UID, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.until[uid].Sub(now))
}

// start delays counter writes of the object until the given time.
func (r *statusThrottle) start(uid types.UID, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[types.UID]time.Time{}
	}
	r.until[uid] = until
}

// forget drops a deleted object.
func (r *statusThrottle) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, uid)
}

// cancelBackoff is a backoff for each object that increases while canceling its actions makes no
// progress.
type cancelBackoff struct {
	mu    sync.Mutex
	known map[types.UID]backoff
}

// backoff holds how many targets were left at the last reconcile, and the delay after it.
type backoff struct {
	left int
	long time.Duration
}

// maxCancelBackoff is the maximum delay.
const maxCancelBackoff = 5 * time.Second

// next returns the delay before the next page, given how many targets are left: the shortest delay
// if there was progress, else twice the last one.
func (p *cancelBackoff) next(uid types.UID, left int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	long := conflictRetryDelay
	if last, ok := p.known[uid]; ok && left >= last.left {
		long = min(2*last.long, maxCancelBackoff)
	}
	if p.known == nil {
		p.known = map[types.UID]backoff{}
	}
	p.known[uid] = backoff{left, long}
	return long
}

// forget drops an object whose actions are all canceled.
func (p *cancelBackoff) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, uid)
}
