// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// writeBurst is how many writes one device may cause at once, and writeEvery how long it takes
	// until it may cause another one.
	writeBurst = 20
	writeEvery = 10 * time.Second
	// sweepBudgetsAt is how many devices are remembered at least before those are forgotten that
	// may cause writeBurst writes again.
	sweepBudgetsAt = 1024
)

// weight is how a write for a device stands to the device's budget and to the writes of other
// devices.
type weight int

const (
	// decisive writes are not counted and go first. Either the device can cause each of them once
	// only (the result of an open action, the answer to its cancel, a first sign of work that the
	// result is judged by), or people caused it (a stop, an invalidation, a deadline).
	decisive weight = iota
	// starting writes are counted and go first: an action starts, or waits for confirmation.
	starting
	// ordinary writes are counted, and give way to all others. A device can cause them as often as
	// it likes.
	ordinary
)

func (w weight) isCounted() bool { return w != decisive }
func (w weight) isFirst() bool   { return w != ordinary }

// writeBudgets bound the writes that each device causes in one process.
type writeBudgets struct {
	mu sync.Mutex
	// full is when a device may cause writeBurst writes again. A device that is not in it may do so
	// now.
	full    map[types.NamespacedName]time.Time
	sweepAt int
}

func newWriteBudgets() *writeBudgets {
	return &writeBudgets{full: map[types.NamespacedName]time.Time{}, sweepAt: sweepBudgetsAt}
}

// wait returns how long it takes until the device may cause a write; zero: it may now.
func (b *writeBudgets) wait(key types.NamespacedName, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, isKnown := b.full[key]
	if !isKnown {
		return 0
	}
	return max(0, full.Add(-(writeBurst-1)*writeEvery).Sub(now))
}

// count notes a write.
func (b *writeBudgets) count(key types.NamespacedName, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.full[key]
	if from.Before(now) {
		from = now
	}
	b.full[key] = from.Add(writeEvery)
	if len(b.full) <= b.sweepAt {
		return
	}
	for k, at := range b.full {
		if !at.After(now) {
			delete(b.full, k)
		}
	}
	b.sweepAt = max(sweepBudgetsAt, 2*len(b.full))
}
