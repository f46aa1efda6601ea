// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// taken takes a slot in the background, and sends its release function when it has the slot.
func taken(t *testing.T, s *Slots, later bool, urgent <-chan struct{}) <-chan func() {
	t.Helper()
	s.mu.Lock()
	before := len(s.waiting) + len(s.waitingForLater) - s.free
	s.mu.Unlock()
	got := make(chan func(), 1)
	go func() {
		if release, err := s.take(t.Context(), later, urgent); err == nil {
			got <- release
		}
	}()
	for { // until it is queued, or has a slot
		s.mu.Lock()
		now := len(s.waiting) + len(s.waitingForLater) - s.free
		s.mu.Unlock()
		if now > before {
			return got
		}
		time.Sleep(time.Millisecond)
	}
}

func has(t *testing.T, got <-chan func()) func() {
	t.Helper()
	select {
	case release := <-got:
		return release
	case <-time.After(5 * time.Second):
		t.Fatal("the write has no slot")
		return nil
	}
}

func hasNot(t *testing.T, got <-chan func(), what string) {
	t.Helper()
	select {
	case <-got:
		t.Fatalf("%s has a slot", what)
	case <-time.After(5 * time.Millisecond):
	}
}

// TestWritesThatCanWaitGiveWay: writes that can wait take at most half of the slots, and queue
// behind all others.
func TestWritesThatCanWaitGiveWay(t *testing.T) {
	s := NewSlots(4)
	first, second := taken(t, s, true, nil), taken(t, s, true, nil)
	third := taken(t, s, true, nil)
	releaseFirst := has(t, first)
	has(t, second)
	hasNot(t, third, "a third write that can wait")
	a, b := taken(t, s, false, nil), taken(t, s, false, nil)
	has(t, a)
	releaseB := has(t, b)
	c := taken(t, s, false, nil)
	hasNot(t, c, "a fifth write")
	releaseFirst()
	releaseC := has(t, c)
	hasNot(t, third, "a write that can wait")
	releaseB()
	has(t, third)
	releaseC()
	if len(s.waiting)+len(s.waitingForLater) != 0 {
		t.Errorf("%d and %d writes wait", len(s.waiting), len(s.waitingForLater))
	}
}

// TestAnUrgentWriteGoesFirst: a urgentWrite write moves to the end of the first queue, before all
// writes that can wait.
func TestAnUrgentWriteGoesFirst(t *testing.T) {
	s := NewSlots(1)
	release := has(t, taken(t, s, false, nil))
	urgent := make(chan struct{})
	patient, urgentWrite := taken(t, s, true, nil), taken(t, s, true, urgent)
	close(urgent)
	for moved := false; !moved; {
		s.mu.Lock()
		moved = len(s.waiting) == 1
		s.mu.Unlock()
	}
	release()
	release = has(t, urgentWrite)
	hasNot(t, patient, "the write before it")
	release()
	has(t, patient)
}

// TestWritesThatCanWaitDoNotWaitForever: although there is always another write that goes first, a
// write that can wait gets a slot in the end.
func TestWritesThatCanWaitDoNotWaitForever(t *testing.T) {
	s := NewSlots(1)
	release := has(t, taken(t, s, false, nil))
	patient := taken(t, s, true, nil)
	for range fairShare + 1 {
		next := taken(t, s, false, nil)
		release()
		select {
		case <-patient:
			return
		case release = <-next:
		}
	}
	t.Errorf("it was passed by %d times", fairShare+1)
}

// TestAWriteThatGivesUpLeavesNothing: a write gives up while it waits, after it was granted a slot,
// or after it was urgentWrite. All slots are free afterwards.
func TestAWriteThatGivesUpLeavesNothing(t *testing.T) {
	s := NewSlots(2)
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*100*time.Microsecond)
			defer cancel()
			urgent := make(chan struct{})
			if i%3 == 0 {
				close(urgent)
			}
			if release, err := s.take(ctx, i%2 == 0, urgent); err == nil {
				time.Sleep(50 * time.Microsecond)
				release()
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s.free != 2 || s.freeForLater != 1 || len(s.waiting)+len(s.waitingForLater) != 0 {
		t.Errorf("%d and %d slots are free, %d and %d writes wait", s.free, s.freeForLater, len(s.waiting), len(s.waitingForLater))
	}
}

// TestAResultBesideAHundredPushingDevices: the API server takes 100 ms for a write and 100 devices
// send attributes all the time. A result is stored within a second.
func TestAResultBesideAHundredPushingDevices(t *testing.T) {
	s := newServer(t, target())
	for i := range 100 {
		pushing := target(func(t *v1alpha1.Target) { t.Name, t.UID = fmt.Sprintf("pushing-%d", i), "" })
		must(t, s.client.Create(t.Context(), pushing))
		must(t, s.client.Status().Update(t.Context(), pushing))
	}
	s.show()
	s.onWrite = func(write func() error) error {
		time.Sleep(100 * time.Millisecond)
		return write()
	}
	store := s.deviceAPI(8)
	ctx, stop := context.WithCancel(t.Context())
	var pushing sync.WaitGroup
	defer pushing.Wait()
	defer stop()
	for i := range 100 {
		key := dev
		key.Name = fmt.Sprintf("pushing-%d", i)
		pushing.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, _ = store.UpdateLater(ctx, key, notes(fmt.Sprint(n)), nil)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	for i := range 5 {
		started := time.Now()
		_, err := store.Update(t.Context(), dev, notes(fmt.Sprint(i)))
		must(t, err)
		if took := time.Since(started); took > time.Second {
			t.Errorf("a result took %s", took)
		}
	}
}
