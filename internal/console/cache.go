// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"container/list"
	"context"
	"sync"
	"time"
)

const (
	// maxCached and maxCachedBytes limit the pages that are kept for the next viewer.
	maxCached      = 512
	maxCachedBytes = 32 << 20
	// cachedLifetime is how long a page is kept that has not changed: what it says can depend on
	// the time.
	cachedLifetime = 10 * time.Second
	// cachedStale is how long a page is kept that has changed, if no open page has been notified of
	// a change since: while much changes, it is made once in flushInterval.
	cachedStale = time.Second
)

// pageCache keeps pages, so that many viewers of one page cause one rendering.
type pageCache struct {
	// stale is cachedStale. Tests set it to 0.
	stale time.Duration

	mu      sync.Mutex
	entries map[string]*list.Element
	// used has the entries, the one that was used last at the front.
	used  *list.List
	bytes int
}

// cached is a page that was made, or is being made until done is closed.
type cached struct {
	key              string
	version, flushes uint64
	at               time.Time
	done             chan struct{}
	made             *made
	err              error
	bytes            int
}

func newPageCache() *pageCache {
	return &pageCache{stale: cachedStale, entries: map[string]*list.Element{}, used: list.New()}
}

// get returns the page with that key, which has this version. It calls load if no other request has
// made or is making it. An error is returned to those that wait for it, and not kept.
func (c *pageCache) get(ctx context.Context, key string, version, flushes uint64, now time.Time, load func() (*made, error)) (*made, error) {
	c.mu.Lock()
	if e, ok := c.entries[key]; ok {
		entry := e.Value.(*cached)
		age := now.Sub(entry.at)
		if age < cachedLifetime && (entry.version == version || entry.flushes == flushes && age < c.stale) {
			c.used.MoveToFront(e)
			c.mu.Unlock()
			select {
			case <-entry.done:
				return entry.made, entry.err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		c.drop(e)
	}
	entry := &cached{key: key, version: version, flushes: flushes, at: now, done: make(chan struct{}), err: errInterrupted}
	c.entries[key] = c.used.PushFront(entry)
	c.mu.Unlock()
	defer c.finish(entry)
	entry.made, entry.err = load()
	return entry.made, entry.err
}

// finish keeps an entry that was made, within the limits.
func (c *pageCache) finish(entry *cached) {
	close(entry.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[entry.key]
	if e == nil || e.Value != entry {
		return // replaced by a newer one
	}
	if entry.err != nil {
		c.drop(e)
		return
	}
	entry.bytes = len(entry.key) + len(entry.made.main)
	c.bytes += entry.bytes
	for len(c.entries) > maxCached || c.bytes > maxCachedBytes {
		c.drop(c.used.Back())
	}
}

// drop removes an entry. The caller holds the lock.
func (c *pageCache) drop(e *list.Element) {
	entry := c.used.Remove(e).(*cached)
	delete(c.entries, entry.key)
	c.bytes -= entry.bytes
}
