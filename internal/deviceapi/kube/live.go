// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// liveTimeout limits one read from the API server.
const liveTimeout = 5 * time.Second

// liveReads reads rollouts, auto-assignments and sets from the API server. One read serves all
// actions that were stored before it started, so a group of thousands of devices that starts at
// once costs a few reads and not thousands.
type liveReads struct {
	reader   client.Reader
	rollouts shared[*v1alpha1.Rollout]
	sets     shared[*v1alpha1.DistributionSet]
	autos    shared[*v1alpha1.AutoAssignment]
}

func newLiveReads(reader client.Reader) *liveReads { return &liveReads{reader: reader} }

// rollout returns a rollout from the API server, or nil if there is none.
func (l *liveReads) rollout(ctx context.Context, key types.NamespacedName) (*v1alpha1.Rollout, error) {
	return l.rollouts.get(ctx, key, func(ctx context.Context) (*v1alpha1.Rollout, error) {
		r := &v1alpha1.Rollout{}
		return r, l.reader.Get(ctx, key, r)
	})
}

// set returns a set from the API server, or nil if there is none.
func (l *liveReads) set(ctx context.Context, key types.NamespacedName) (*v1alpha1.DistributionSet, error) {
	return l.sets.get(ctx, key, func(ctx context.Context) (*v1alpha1.DistributionSet, error) {
		s := &v1alpha1.DistributionSet{}
		return s, l.reader.Get(ctx, key, s)
	})
}

// auto returns an auto-assignment from the API server, or nil if there is none.
func (l *liveReads) auto(ctx context.Context, key types.NamespacedName) (*v1alpha1.AutoAssignment, error) {
	return l.autos.get(ctx, key, func(ctx context.Context) (*v1alpha1.AutoAssignment, error) {
		a := &v1alpha1.AutoAssignment{}
		return a, l.reader.Get(ctx, key, a)
	})
}

// shared lets callers share reads, but only reads that start after their call.
type shared[T any] struct {
	mu     sync.Mutex
	queues map[types.NamespacedName]*readQueue[T]
}

// readQueue is the running read of one object, and the one that starts after it.
type readQueue[T any] struct{ next *read[T] }

type read[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func (s *shared[T]) get(ctx context.Context, key types.NamespacedName, fetch func(context.Context) (T, error)) (T, error) {
	mine := s.join(key, fetch)
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// join joins the next read of an object, which starts at once if none is running.
func (s *shared[T]) join(key types.NamespacedName, fetch func(context.Context) (T, error)) *read[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues == nil {
		s.queues = map[types.NamespacedName]*readQueue[T]{}
	}
	l, running := s.queues[key]
	if !running {
		l = &readQueue[T]{}
		s.queues[key] = l
	}
	if l.next == nil {
		l.next = &read[T]{done: make(chan struct{})}
	}
	mine := l.next
	if !running {
		go s.drive(key, l, fetch)
	}
	return mine
}

// drive reads until no caller waits for another read.
func (s *shared[T]) drive(key types.NamespacedName, l *readQueue[T], fetch func(context.Context) (T, error)) {
	for {
		s.mu.Lock()
		current := l.next
		l.next = nil
		if current == nil {
			delete(s.queues, key)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		current.value, current.err = fetchOne(key, fetch)
		close(current.done)
	}
}

func fetchOne[T any](key types.NamespacedName, fetch func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), liveTimeout)
	defer cancel()
	var none T
	value, err := fetch(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("read %s: %w", key, err)
	}
	return value, nil
}
