// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Priority is the order in which writes get a slot.
type Priority int

const (
	// First writes go before all others: results of devices, and what a user has decided.
	First Priority = iota
	// Start writes start an update on a device, and wait behind First.
	Start
	// Later writes can wait. They wait behind all others, and take at most half of the slots.
	Later

	priorities = int(Later) + 1
)

const (
	// fairShare is the number of grants to other writes after which the next write of a priority is
	// granted a slot. For Later writes this applies only if none of them has one.
	fairShare = 16
	// maxWaiting is the maximum number of waiting writes of each priority but First. A write beyond
	// it gets ErrBusy at once.
	maxWaiting = 4096
)

// ErrBusy is the error of a write that is not First if too many of its priority wait. Nothing was
// written; the caller may try again later.
var ErrBusy = errors.New("too many writes to Targets wait for the API server")

// Slots limits the writes in flight of all Stores that share it, and the writes that wait for one.
// No priority waits forever. Create it with NewSlots.
type Slots struct {
	mu sync.Mutex
	// free slots, and how many of them may be taken by Later writes. most is the number of all
	// slots.
	free, freeForLater int
	most, mostForLater int
	mostWaiting        int
	// waiting writes of each priority, in the order of their arrival.
	waiting [priorities][]chan struct{}
	// passedBy counts, for each priority, the grants to others since its last slot, while one of
	// its writes waits and may have a slot.
	passedBy [priorities]int
}

// NewSlots returns n slots.
func NewSlots(n int) *Slots {
	half := max(1, n/2)
	return &Slots{free: n, freeForLater: half, most: n, mostForLater: half, mostWaiting: maxWaiting}
}

// slot is a slot that was granted or is waited for.
type slot struct {
	slots    *Slots
	priority Priority
	turn     chan struct{}
}

// take waits for a slot. When urgent is closed, a write of another priority becomes First. release
// returns the slot. The error is ErrBusy if too many writes wait.
func (s *Slots) take(ctx context.Context, priority Priority, urgent <-chan struct{}) (release func(), err error) {
	mine, err := s.enqueue(priority)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case <-mine.turn:
			return mine.release, nil
		case <-urgent:
			mine.move()
			urgent = nil
		case <-ctx.Done():
			mine.leave()
			return nil, ctx.Err()
		}
	}
}

func (s *Slots) enqueue(priority Priority) (*slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if priority != First && len(s.waiting[priority]) >= s.mostWaiting {
		return nil, ErrBusy
	}
	mine := &slot{slots: s, priority: priority, turn: make(chan struct{})}
	s.waiting[priority] = append(s.waiting[priority], mine.turn)
	s.grant()
	return mine, nil
}

// grant gives free slots to the next writes.
func (s *Slots) grant() {
	for s.free > 0 {
		next, ok := s.next()
		if !ok {
			return
		}
		for p := range s.waiting {
			if s.mayHave(Priority(p)) {
				s.passedBy[p]++
			}
		}
		s.passedBy[next] = 0
		close(s.waiting[next][0])
		s.waiting[next] = s.waiting[next][1:]
		s.free--
		if next == Later {
			s.freeForLater--
		}
	}
}

// next returns the priority that gets the next slot: one that was passed by too often, or else the
// first one.
func (s *Slots) next() (next Priority, ok bool) {
	for p := Later; p >= First; p-- {
		if !s.mayHave(p) {
			continue
		}
		next, ok = p, true
		if s.passedBy[p] >= fairShare && (p != Later || s.freeForLater == s.mostForLater) {
			break
		}
	}
	return next, ok
}

// mayHave reports whether a write of the priority waits and may have a slot.
func (s *Slots) mayHave(p Priority) bool {
	return len(s.waiting[p]) > 0 && (p != Later || s.freeForLater > 0)
}

// move moves a waiting write to the end of the queue of First.
func (m *slot) move() {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	if m.priority == First || m.isGranted() {
		return
	}
	m.slots.waiting[m.priority] = without(m.slots.waiting[m.priority], m.turn)
	m.priority = First
	m.slots.waiting[First] = append(m.slots.waiting[First], m.turn)
	m.slots.grant()
}

// leave stops waiting.
func (m *slot) leave() {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	if m.isGranted() {
		m.giveBack()
		return
	}
	m.slots.waiting[m.priority] = without(m.slots.waiting[m.priority], m.turn)
}

func (m *slot) release() {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	m.giveBack()
}

func (m *slot) giveBack() {
	m.slots.free++
	if m.priority == Later {
		m.slots.freeForLater++
	}
	m.slots.grant()
}

func (m *slot) isGranted() bool {
	select {
	case <-m.turn:
		return true
	default:
		return false
	}
}

func without(queue []chan struct{}, turn chan struct{}) []chan struct{} {
	if i := slices.Index(queue, turn); i >= 0 {
		return slices.Delete(queue, i, i+1)
	}
	return queue
}
