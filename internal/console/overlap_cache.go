// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// overlapShare limits the time that is spent on overlaps: they are computed again after so many
// times the duration of the last time, so they take at most 5 % of a processor.
const overlapShare = 20

// overlapCache keeps the overlaps of each namespace, because they take a look at every target.
type overlapCache struct {
	index *fleet.Index
	now   func() time.Time

	mu         sync.Mutex
	namespaces map[string]*cachedOverlaps
}

// cachedOverlaps are the overlaps of one namespace.
type cachedOverlaps struct {
	changed bool // since they were computed; guarded by the lock of the cache

	computing sync.Mutex
	overlaps  *explain.Overlaps
	at        time.Time
	took      time.Duration
}

func newOverlapCache(index *fleet.Index, now func() time.Time) *overlapCache {
	c := &overlapCache{index: index, now: now, namespaces: map[string]*cachedOverlaps{}}
	index.Watch(func(old, now client.Object) {
		o := now
		if o == nil {
			o = old
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if cached := c.namespaces[o.GetNamespace()]; cached != nil {
			cached.changed = true
		}
	})
	return c
}

// of returns the overlaps of a namespace, and when they were computed.
func (c *overlapCache) of(namespace string) (*explain.Overlaps, time.Time, error) {
	c.mu.Lock()
	cached := c.namespaces[namespace]
	if cached == nil {
		cached = &cachedOverlaps{changed: true}
		c.namespaces[namespace] = cached
	}
	c.mu.Unlock()
	cached.computing.Lock()
	defer cached.computing.Unlock()
	start := c.now()
	if !c.isDue(cached, start) {
		return cached.overlaps, cached.at, nil
	}
	overlaps, err := explain.OverlapsOf(c.index, namespace, start)
	if err != nil {
		return nil, start, err
	}
	cached.overlaps, cached.at, cached.took = overlaps, start, c.now().Sub(start)
	return overlaps, start, nil
}

// isDue reports whether the overlaps have to be computed, and notes that they are.
func (c *overlapCache) isDue(cached *cachedOverlaps, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cached.overlaps != nil && (!cached.changed || now.Sub(cached.at) < overlapShare*cached.took) {
		return false
	}
	cached.changed = false
	return true
}
