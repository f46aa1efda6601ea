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

// slowServer answers reads one by one, when a test lets it.
type slowServer struct {
	started chan int // the number of the read that has started
	goOn    chan error

	mu sync.Mutex
	n  int
}

func newSlowServer() *slowServer {
	return &slowServer{started: make(chan int, 100), goOn: make(chan error)}
}

// read answers its own number.
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
		late = append(late, ask(t.Context(), &s, anyKey, server)) // the first read started before they asked, so it is not for them
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

// wantIdle waits until nothing is remembered any more.
func wantIdle(t *testing.T, s *shared[int]) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		left := len(s.lanes)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d objects are still remembered", left)
		}
	}
}

// One caller that goes away takes nobody's read away.
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
		t.Errorf("the caller that has gone away got %v", err)
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
	<-server.started // neither waits for the other
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
		"a power cut":               {errPowerCut, true},
		"an object that is no more": {apierrors.NewNotFound(schema.GroupResource{Resource: "rollouts"}, "rollout"), false},
	} {
		got := ask(t.Context(), &s, anyKey, server)
		<-server.started
		server.goOn <- c.err
		a := <-got
		if c.passes && !errors.Is(a.err, c.err) || !c.passes && (a.err != nil || a.value != 0) {
			t.Errorf("%s is answered as %+v", name, a)
		}
		wantIdle(t, &s)
	}
}

func TestTurns(t *testing.T) {
	targetLocks := newTargetLocks()
	first, err := targetLocks.take(t.Context(), anyKey, false)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := targetLocks.take(impatient, anyKey, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second turn at the same time: %v", err)
	}
	if first.hurried {
		t.Error("a writer that can wait hurries the one before it")
	}
	if _, err := targetLocks.take(impatient, anyKey, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a turn of a writer that goes first, at the same time: %v", err)
	}
	select {
	case <-first.hurry:
	default:
		t.Error("a writer that goes first does not hurry the one before it")
	}
	other, err := targetLocks.take(t.Context(), types.NamespacedName{Name: "other"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if other.hurried {
		t.Error("a writer without another one is hurried")
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
