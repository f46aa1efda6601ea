// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package apirequests

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// ages holds when each watch last received something.
type ages struct {
	now func() time.Time

	mu      sync.Mutex
	watches map[watch]*atomic.Int64
}

// watch is the watch of a kind below a path: that of one namespace, or of all of them.
type watch struct{ kind, path string }

func newAges(now func() time.Time) *ages {
	return &ages{now: now, watches: map[watch]*atomic.Int64{}}
}

// follow returns a body that records when something is read from it. The time of a watch that has
// ended is kept, because it is the age of the cache until there is another watch.
func (a *ages) follow(kind, path string, body io.ReadCloser) io.ReadCloser {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.watches[watch{kind, path}]
	if last == nil {
		last = &atomic.Int64{}
		a.watches[watch{kind, path}] = last
	}
	last.Store(a.now().UnixNano())
	return &followed{ReadCloser: body, now: a.now, last: last}
}

// longest returns the longest time without a message of all watches of each kind.
func (a *ages) longest() map[string]time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, longest := a.now(), map[string]time.Duration{}
	for w, last := range a.watches {
		longest[w.kind] = max(longest[w.kind], now.Sub(time.Unix(0, last.Load())))
	}
	return longest
}

// followed is the body of the response to a watch.
type followed struct {
	io.ReadCloser
	now  func() time.Time
	last *atomic.Int64
}

// Read implements io.Reader.
func (f *followed) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		f.last.Store(f.now().UnixNano())
	}
	return n, err
}
