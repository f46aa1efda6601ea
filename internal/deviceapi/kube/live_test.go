// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var anyKey = types.NamespacedName{Namespace: fleetNamespace, Name: "rollout"}

// slowServer finishes reads one by one, when a test allows it.
type slowServer struct {
	started chan int // the number of the read that has started
	goOn    chan error

	mu sync.Mutex
	n  int
}

func newSlowServer() *slowServer {
	return &slowServer{started: make(chan int, 100), goOn: make(chan error)}
}

// read returns its own number.
func (s *slowServer) read(context.Context) (int, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	s.started <- n
	return n, <-s.goOn
}

type answer struct {
	value int
	err   error
}

// ask starts a caller and returns when it has taken part in a read.
func ask(ctx context.Context, s *shared[int], key types.NamespacedName, server *slowServer) chan answer {
	got := make(chan answer, 1)
	mine := s.join(key, server.read)
	go func() {
		select {
		case <-mine.done:
			got <- answer{mine.value, mine.err}
		case <-ctx.Done():
			got <- answer{0, ctx.Err()}
		}
	}()
	return got
}

// A caller gets a read that started after its call, and all waiting callers share that read.
func TestSharedReads(t *testing.T) {
	var s shared[int]
	server := newSlowServer()
	first := ask(t.Context(), &s, anyKey, server)
	if n := <-server.started; n != 1 {
		t.Fatalf("read %d has started, want 1", n)
	}
	var late []chan answer
	for range 100 {
		late = append(late, ask(t.Context(), &s, anyKey, server)) // the first read started before their call, so they do not share it
	}
	server.goOn <- nil
	if got := <-first; got != (answer{1, nil}) {
		t.Errorf("the first caller got %+v, want read 1", got)
	}
	<-server.started
	server.goOn <- nil
	for i, caller := range late {
		if got := <-caller; got != (answer{2, nil}) {
			t.Errorf("late caller %d got %+v, want read 2", i, got)
		}
	}
	wantIdle(t, &s)
	third := ask(t.Context(), &s, anyKey, server)
	<-server.started
	server.goOn <- nil
	if got := <-third; got != (answer{3, nil}) {
		t.Errorf("a caller after all reads got %+v, want read 3", got)
	}
}

// wantIdle waits until no object is remembered.
func wantIdle(t *testing.T, s *shared[int]) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		left := len(s.queues)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d objects are still remembered", left)
		}
	}
}

// A caller that is canceled does not cancel the read of the others.
func TestSharedReadOfACanceledCaller(t *testing.T) {
	var s shared[int]
	server := newSlowServer()
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := s.get(ctx, anyKey, server.read); gone <- err }()
	<-server.started
	second := ask(t.Context(), &s, anyKey, server)
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the canceled caller got %v", err)
	}
	server.goOn <- nil
	<-server.started
	server.goOn <- nil
	if got := <-second; got != (answer{2, nil}) {
		t.Errorf("the other caller got %+v, want read 2", got)
	}
	wantIdle(t, &s)
}

func TestSharedReadsOfTwoObjects(t *testing.T) {
	var s shared[int]
	server := newSlowServer()
	one := ask(t.Context(), &s, anyKey, server)
	other := ask(t.Context(), &s, types.NamespacedName{Namespace: fleetNamespace, Name: "other"}, server)
	<-server.started
	<-server.started // the two reads do not wait for each other
	server.goOn <- nil
	server.goOn <- nil
	<-one
	<-other
}

func TestSharedReadThatFails(t *testing.T) {
	var s shared[int]
	server := newSlowServer()
	for name, c := range map[string]struct {
		err    error
		passes bool
	}{
		"an error":         {errInjected, true},
		"a deleted object": {apierrors.NewNotFound(schema.GroupResource{Resource: "rollouts"}, "rollout"), false},
	} {
		got := ask(t.Context(), &s, anyKey, server)
		<-server.started
		server.goOn <- c.err
		a := <-got
		if c.passes && !errors.Is(a.err, c.err) || !c.passes && (a.err != nil || a.value != 0) {
			t.Errorf("%s: the answer is %+v", name, a)
		}
		wantIdle(t, &s)
	}
}

func TestTargetLocks(t *testing.T) {
	targetLocks := newTargetLocks()
	first, err := targetLocks.take(t.Context(), anyKey, false)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := targetLocks.take(short, anyKey, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock at the same time: %v", err)
	}
	if first.isUrgent {
		t.Error("a writer without priority makes the one before it urgent")
	}
	if _, err := targetLocks.take(short, anyKey, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock of a writer with priority, at the same time: %v", err)
	}
	select {
	case <-first.urgent:
	default:
		t.Error("a writer with priority does not make the one before it urgent")
	}
	other, err := targetLocks.take(t.Context(), types.NamespacedName{Name: "other"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if other.isUrgent {
		t.Error("a writer is urgent, but no other writer waits")
	}
	other.release()
	first.release()
	if first, err = targetLocks.take(t.Context(), anyKey, false); err != nil {
		t.Fatal(err)
	}
	first.release()
	if n := len(targetLocks.devices); n != 0 {
		t.Errorf("%d devices are remembered", n)
	}
}
