// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package room limits how many things happen at the same time, in all and for one namespace.
package room

import (
	"sync"
	"time"
)

// Room has a number of places. One namespace takes at most three quarters of them, so that the
// devices or sources of one tenant do not stop those of the others.
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

// New returns a room with this number of places.
func New(places int) *Room {
	return &Room{places: make(chan struct{}, places), shares: map[string]*share{}}
}

// ShareOf returns what one namespace has at most of an amount.
func ShareOf(amount int) int { return max(1, amount*3/4) }

// Enter waits for a place for a namespace. It returns the function that leaves it, or nil if gone
// was closed or late came before.
func (r *Room) Enter(namespace string, gone <-chan struct{}, late <-chan time.Time) (leave func()) {
	return r.enter(namespace, func(places chan struct{}) bool {
		select {
		case places <- struct{}{}:
			return true
		case <-gone:
		case <-late:
		}
		return false
	})
}

// TryEnter returns the function that leaves a place, or nil if none is free for the namespace.
func (r *Room) TryEnter(namespace string) (leave func()) {
	return r.enter(namespace, func(places chan struct{}) bool {
		select {
		case places <- struct{}{}:
			return true
		default:
			return false
		}
	})
}

// enter takes a place of the namespace, and then one of all.
func (r *Room) enter(namespace string, take func(places chan struct{}) bool) (leave func()) {
	mine := r.use(namespace)
	if !take(mine.places) {
		r.unuse(namespace, mine)
		return nil
	}
	if !take(r.places) {
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

func (r *Room) use(namespace string) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.shares[namespace]
	if mine == nil {
		mine = &share{places: make(chan struct{}, ShareOf(cap(r.places)))}
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
