// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import (
	"sync"
	"time"
)

// Room limits what takes much memory at the same time, such as large messages. One namespace has at
// most three quarters of the places, so that its devices do not stop those of others.
type Room struct {
	places chan struct{}

	mu     sync.Mutex
	shares map[string]*share
}

// share is the part of a namespace. It exists while it has users.
type share struct {
	places chan struct{}
	users  int
}

// NewRoom returns a room with this number of places.
func NewRoom(places int) *Room {
	return &Room{places: make(chan struct{}, places), shares: map[string]*share{}}
}

// Enter waits for a place for a device of the namespace. It returns the function that leaves it, or
// nil if gone was closed or late came before.
func (r *Room) Enter(namespace string, gone <-chan struct{}, late <-chan time.Time) (leave func()) {
	mine := r.use(namespace)
	if !take(mine.places, gone, late) {
		r.unuse(namespace, mine)
		return nil
	}
	if !take(r.places, gone, late) {
		<-mine.places
		r.unuse(namespace, mine)
		return nil
	}
	return func() {
		<-r.places
		<-mine.places
		r.unuse(namespace, mine)
	}
}

// Taken returns the number of places that are taken.
func (r *Room) Taken() int { return len(r.places) }

func take(places chan struct{}, gone <-chan struct{}, late <-chan time.Time) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-gone:
	case <-late:
	}
	return false
}

func (r *Room) use(namespace string) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.shares[namespace]
	if mine == nil {
		mine = &share{places: make(chan struct{}, max(1, cap(r.places)*3/4))}
		r.shares[namespace] = mine
	}
	mine.users++
	return mine
}

func (r *Room) unuse(namespace string, mine *share) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(r.shares, namespace)
	}
}
