// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"sync"
)

// slots limit what happens at the same time. A namespace takes at most three quarters of them, so
// that the devices or sources of one tenant do not stop those of the others.
type slots struct {
	most, mostOfNamespace int

	mu          sync.Mutex
	used        int
	byNamespace map[string]int
	freed       chan struct{} // closed, and replaced, when a slot becomes free
}

func newSlots(most int) *slots {
	return &slots{most: most, mostOfNamespace: max(1, most*3/4), byNamespace: map[string]int{}, freed: make(chan struct{})}
}

// take reports whether there was a free slot. release returns it.
func (s *slots) take(namespace string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.most || s.byNamespace[namespace] >= s.mostOfNamespace {
		return false
	}
	s.used++
	s.byNamespace[namespace]++
	return true
}

func (s *slots) release(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.byNamespace[namespace]--; s.byNamespace[namespace] == 0 {
		delete(s.byNamespace, namespace)
	}
	close(s.freed)
	s.freed = make(chan struct{})
}

// wait takes a slot as soon as there is one, and returns the error of ctx if it ends before.
func (s *slots) wait(ctx context.Context, namespace string) error {
	for {
		s.mu.Lock()
		freed := s.freed
		s.mu.Unlock()
		if s.take(namespace) {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
