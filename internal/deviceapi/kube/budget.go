// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// writeBurst is how many writes one device may cause at once, and writeEvery the time until it
	// may cause another one.
	writeBurst = 20
	writeEvery = 10 * time.Second
	// sweepBudgetsAt is the number of remembered devices at which those with a full budget are
	// dropped.
	sweepBudgetsAt = 1024
)

// writeClass says whether a write counts for the budget of the device, and its priority among the
// writes of all devices.
type writeClass int

const (
	// decisive writes are not counted and go first. Either the device can cause each of them only
	// once (the result of an open action, the answer to its cancel, the first evidence that changes
	// the meaning of the result), or a user caused it (a stop, an invalidation, a deadline).
	decisive writeClass = iota
	// starting writes are counted and go second: an action starts, or waits for confirmation.
	starting
	// ordinary writes are counted, and give way to all others. A device can cause any number of
	// them.
	ordinary
)

func (c writeClass) isCounted() bool { return c != decisive }
func (c writeClass) isFirst() bool   { return c != ordinary }

// priority returns the priority among the writes of all devices.
func (c writeClass) priority() targetstatus.Priority {
	switch c {
	case decisive:
		return targetstatus.First
	case starting:
		return targetstatus.Start
	default:
		return targetstatus.Later
	}
}

// writeBudgets limits the writes that each device causes in one process.
type writeBudgets struct {
	mu sync.Mutex
	// full is when a device has its full budget again. A device that is not in it has its full
	// budget now.
	full    map[types.NamespacedName]time.Time
	sweepAt int
}

func newWriteBudgets() *writeBudgets {
	return &writeBudgets{full: map[types.NamespacedName]time.Time{}, sweepAt: sweepBudgetsAt}
}

// wait returns the time until the device may cause a write, or 0 if it may now.
func (b *writeBudgets) wait(key types.NamespacedName, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, isKnown := b.full[key]
	if !isKnown {
		return 0
	}
	return max(0, full.Add(-(writeBurst-1)*writeEvery).Sub(now))
}

// count counts a write.
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
