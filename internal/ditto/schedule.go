// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// queue has the sessions that a worker must look at. A worker that looks at a session may wait for
// a write, so after a change a session is first looked at by another worker that never waits.
// A session is in each of the two lists at most once, and is not looked at by two workers at a
// time. The memory of the queue is that of the sessions.
type queue struct {
	mu       sync.Mutex
	notEmpty sync.Cond
	waiting  []*session
	// hasChanged is notEmpty of changed, the sessions to be looked at without waiting.
	hasChanged sync.Cond
	changed    []*session
	isClosed   bool
	timers     timers
	// earlier receives a value when the first timer has changed.
	earlier chan struct{}
}

// position is where a session is in the queue. It is guarded by the mutex of the queue.
type position struct {
	isWaiting, isServed, isAgain bool
	// isChanged means that the session is in the list changed, or is put there after isServed.
	isChanged bool
	// wakeAt is when the session is put into the queue by time; zero: never. timer is its place
	// among the timers, plus one.
	wakeAt time.Time
	timer  int
}

func newQueue() *queue {
	q := &queue{earlier: make(chan struct{}, 1)}
	q.notEmpty.L, q.hasChanged.L = &q.mu, &q.mu
	return q
}

// add makes a worker look at the session soon.
func (q *queue) add(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(s)
}

func (q *queue) addLocked(s *session) {
	switch {
	case q.isClosed, s.position.isWaiting:
	case s.position.isServed:
		s.position.isAgain = true
	default:
		s.position.isWaiting = true
		q.waiting = append(q.waiting, s)
		q.notEmpty.Signal()
	}
}

// addChanged makes a worker look at the session without waiting, and then another one as add does.
func (q *queue) addChanged(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed || s.position.isChanged {
		return
	}
	s.position.isChanged = true
	if !s.position.isServed {
		q.pushChanged(s)
	}
}

func (q *queue) pushChanged(s *session) {
	q.changed = append(q.changed, s)
	q.hasChanged.Signal()
}

// next returns the next session, or nil after close.
func (q *queue) next() *session {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.waiting) == 0 && !q.isClosed {
			q.notEmpty.Wait()
		}
		if q.isClosed {
			return nil
		}
		s := pop(&q.waiting)
		s.position.isWaiting = false
		switch {
		case s.position.isServed:
			s.position.isAgain = true
		case s.position.isChanged: // that comes first, and adds it again
		default:
			s.position.isServed = true
			return s
		}
	}
}

// nextChanged returns the next session that is looked at without waiting, or nil after close.
func (q *queue) nextChanged() *session {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.changed) == 0 && !q.isClosed {
		q.hasChanged.Wait()
	}
	if q.isClosed {
		return nil
	}
	s := pop(&q.changed)
	s.position.isChanged, s.position.isServed, s.position.isAgain = false, true, true
	return s
}

func pop(list *[]*session) *session {
	s := (*list)[0]
	(*list)[0] = nil
	*list = (*list)[1:]
	return s
}

// done is called after a worker has looked at the session.
func (q *queue) done(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	isAgain := s.position.isAgain
	s.position.isServed, s.position.isAgain = false, false
	switch {
	case s.position.isChanged:
		q.pushChanged(s)
	case isAgain:
		q.addLocked(s)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isClosed = true
	q.notEmpty.Broadcast()
	q.hasChanged.Broadcast()
}

// wake puts the session into the queue at a time, or earlier if it was to be woken earlier.
func (q *queue) wake(s *session, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.position.timer == 0 || at.Before(s.position.wakeAt) {
		q.setTimer(s, at)
	}
}

// forget removes the timer of a session.
func (q *queue) forget(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.position.timer > 0 {
		heap.Remove(&q.timers, s.position.timer-1)
	}
}

func (q *queue) setTimer(s *session, at time.Time) {
	s.position.wakeAt = at
	if s.position.timer > 0 {
		heap.Fix(&q.timers, s.position.timer-1)
	} else {
		heap.Push(&q.timers, s)
	}
	if s.position.timer == 1 {
		select {
		case q.earlier <- struct{}{}:
		default:
		}
	}
}

// keepTime puts sessions into the queue when their time has come, until ctx is done.
func (q *queue) keepTime(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.earlier:
		case <-timer.C:
		}
		if next, ok := q.expire(time.Now()); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// expire puts the sessions whose time has come into the queue, and returns the time of the next.
func (q *queue) expire(now time.Time) (next time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.timers) > 0 {
		s := q.timers[0]
		if s.position.wakeAt.After(now) {
			return s.position.wakeAt, true
		}
		heap.Pop(&q.timers)
		q.addLocked(s)
	}
	return time.Time{}, false
}

// timers are a heap of sessions by wakeAt.
type timers []*session

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].position.wakeAt.Before(t[j].position.wakeAt) }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].position.timer, t[j].position.timer = i+1, j+1
}

// Push adds a session.
func (t *timers) Push(x any) {
	s := x.(*session)
	*t = append(*t, s)
	s.position.timer = len(*t)
}

// Pop removes the last session.
func (t *timers) Pop() any {
	last := len(*t) - 1
	s := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	s.position.timer, s.position.wakeAt = 0, time.Time{}
	return s
}
