// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"
	"slices"
	"sync"
)

// fairShare is the number of grants to other writes after which a write that can wait is granted a
// slot, if none of its kind has one.
const fairShare = 16

// Slots limits the writes in flight of all Stores that share it. Writes that can wait take at most
// half of the slots and queue behind all others, but do not wait forever. Create it with NewSlots.
type Slots struct {
	mu sync.Mutex
	// free slots, and how many of them may be taken by writes that can wait.
	free, freeForLater int
	mostForLater       int
	// waiting writes in the order of their arrival.
	waiting, waitingForLater []chan struct{}
	// passedBy counts the grants since the last slot of a write that can wait, while one waits.
	passedBy int
}

// NewSlots returns n slots.
func NewSlots(n int) *Slots {
	half := max(1, n/2)
	return &Slots{free: n, freeForLater: half, mostForLater: half}
}

// slot is a slot that was granted or is waited for.
type slot struct {
	slots *Slots
	later bool
	turn  chan struct{}
}

// take waits for a slot. When urgent is closed, a write that can wait moves to the first queue.
// release returns the slot.
func (s *Slots) take(ctx context.Context, later bool, urgent <-chan struct{}) (release func(), err error) {
	mine := s.enqueue(later)
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

func (s *Slots) enqueue(later bool) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := &slot{slots: s, later: later, turn: make(chan struct{})}
	if later {
		s.waitingForLater = append(s.waitingForLater, mine.turn)
	} else {
		s.waiting = append(s.waiting, mine.turn)
	}
	s.grant()
	return mine
}

// grant gives free slots to the next writes.
func (s *Slots) grant() {
	for s.free > 0 {
		mayLater := len(s.waitingForLater) > 0 && s.freeForLater > 0
		isDue := mayLater && s.freeForLater == s.mostForLater && s.passedBy >= fairShare
		switch {
		case len(s.waiting) > 0 && !isDue:
			close(s.waiting[0])
			s.waiting = s.waiting[1:]
			if mayLater {
				s.passedBy++
			}
		case mayLater:
			close(s.waitingForLater[0])
			s.waitingForLater = s.waitingForLater[1:]
			s.freeForLater--
			s.passedBy = 0
		default:
			return
		}
		s.free--
	}
}

// move moves a waiting write to the end of the first queue.
func (m *slot) move() {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	if !m.later || m.isGranted() {
		return
	}
	m.slots.waitingForLater = without(m.slots.waitingForLater, m.turn)
	m.later = false
	m.slots.waiting = append(m.slots.waiting, m.turn)
	m.slots.grant()
}

// leave stops waiting.
func (m *slot) leave() {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	switch {
	case m.isGranted():
		m.giveBack()
	case m.later:
		m.slots.waitingForLater = without(m.slots.waitingForLater, m.turn)
	default:
		m.slots.waiting = without(m.slots.waiting, m.turn)
	}
}

func (m *slot) release() {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	m.giveBack()
}

func (m *slot) giveBack() {
	m.slots.free++
	if m.later {
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
