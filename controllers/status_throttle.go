// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// statusThrottle keep periodic status writes of each object apart. Mere counts wait for their turn;
// decisions wait for nothing.
type statusThrottle struct {
	mu    sync.Mutex
	until map[types.UID]time.Time
}

// left is how long an object still rests.
func (r *statusThrottle) left(uid types.UID, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.until[uid].Sub(now))
}

// start lets an object rest until then.
func (r *statusThrottle) start(uid types.UID, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[types.UID]time.Time{}
	}
	r.until[uid] = until
}

// forget an object that is gone.
func (r *statusThrottle) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, uid)
}

// cancelBackoff grow, object by object, while a walk over its targets gets nowhere.
type cancelBackoff struct {
	mu    sync.Mutex
	known map[types.UID]pause
}

// pause is how much was left at the last look, and how long it was to the next.
type pause struct {
	left int
	long time.Duration
}

// longestPause is how late a walk comes back at most.
const longestPause = 5 * time.Second

// next is how long a walk waits that has so much left: for the cache, when it has got on, else
// twice as long as the last time.
func (p *cancelBackoff) next(uid types.UID, left int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	long := conflictPause
	if last, ok := p.known[uid]; ok && left >= last.left {
		long = min(2*last.long, longestPause)
	}
	if p.known == nil {
		p.known = map[types.UID]pause{}
	}
	p.known[uid] = pause{left, long}
	return long
}

// forget a walk that is over.
func (p *cancelBackoff) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, uid)
}
