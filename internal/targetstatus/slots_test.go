// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/timing"
)

// count returns the number of waiting writes.
func (s *Slots) count() (n int) {
	for _, queue := range s.waiting {
		n += len(queue)
	}
	return n
}

// taken takes a slot in the background, and sends its release function when it has the slot.
func taken(t *testing.T, s *Slots, priority Priority, urgent <-chan struct{}) <-chan func() {
	t.Helper()
	s.mu.Lock()
	before := s.count() - s.free
	s.mu.Unlock()
	got := make(chan func(), 1)
	go func() {
		if release, err := s.take(t.Context(), priority, urgent); err == nil {
			got <- release
		}
	}()
	for { // until it is queued, or has a slot
		s.mu.Lock()
		now := s.count() - s.free
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
	first, second := taken(t, s, Later, nil), taken(t, s, Later, nil)
	third := taken(t, s, Later, nil)
	releaseFirst := has(t, first)
	has(t, second)
	hasNot(t, third, "a third write that can wait")
	a, b := taken(t, s, First, nil), taken(t, s, First, nil)
	has(t, a)
	releaseB := has(t, b)
	c := taken(t, s, First, nil)
	hasNot(t, c, "a fifth write")
	releaseFirst()
	releaseC := has(t, c)
	hasNot(t, third, "a write that can wait")
	releaseB()
	has(t, third)
	releaseC()
	if n := s.count(); n != 0 {
		t.Errorf("%d writes wait", n)
	}
}

// TestAnUrgentWriteGoesFirst: a urgentWrite write moves to the end of the first queue, before all
// writes that can wait.
func TestAnUrgentWriteGoesFirst(t *testing.T) {
	s := NewSlots(1)
	release := has(t, taken(t, s, First, nil))
	urgent := make(chan struct{})
	patient, urgentWrite := taken(t, s, Later, nil), taken(t, s, Later, urgent)
	close(urgent)
	for moved := false; !moved; {
		s.mu.Lock()
		moved = len(s.waiting[First]) == 1
		s.mu.Unlock()
	}
	release()
	release = has(t, urgentWrite)
	hasNot(t, patient, "the write before it")
	release()
	has(t, patient)
}

// TestResultsGoBeforeStarts: a result that arrives after many starts gets the next slot, and the
// starts get theirs in the order of their arrival, before a write that can wait.
func TestResultsGoBeforeStarts(t *testing.T) {
	s := NewSlots(1)
	release := has(t, taken(t, s, First, nil))
	patient := taken(t, s, Later, nil)
	one, two := taken(t, s, Start, nil), taken(t, s, Start, nil)
	result := taken(t, s, First, nil)
	for _, next := range []struct {
		what string
		got  <-chan func()
		rest []<-chan func()
	}{
		{"a result", result, []<-chan func(){one, two, patient}},
		{"the first start", one, []<-chan func(){two, patient}},
		{"the second start", two, []<-chan func(){patient}},
		{"a write that can wait", patient, nil},
	} {
		release()
		release = has(t, next.got)
		for _, other := range next.rest {
			hasNot(t, other, "a write after "+next.what)
		}
	}
}

// TestWritesBeyondTheQueueAreRefused: at the bound of waiting writes, a start and a write that can
// wait are refused at once; a result is not. When a write has left the queue, the next one may
// wait.
func TestWritesBeyondTheQueueAreRefused(t *testing.T) {
	for name, priority := range map[string]Priority{"starts": Start, "writes that can wait": Later} {
		t.Run(name, func(t *testing.T) {
			s := NewSlots(1)
			s.mostWaiting = 3
			release := has(t, taken(t, s, First, nil))
			waiting := taken(t, s, priority, nil)
			for range s.mostWaiting - 1 {
				taken(t, s, priority, nil)
			}
			if _, err := s.take(t.Context(), priority, nil); !errors.Is(err, ErrBusy) {
				t.Errorf("the error is %v, want ErrBusy", err)
			}
			result := taken(t, s, First, nil)
			release()
			release = has(t, result)
			release()
			has(t, waiting)
			last := taken(t, s, priority, nil)
			hasNot(t, last, "the last write")
		})
	}
}

// TestWritesThatCanWaitDoNotWaitForever: although there is always a result that goes first, a
// write that can wait gets a slot in the end, and so does a start.
func TestWritesThatCanWaitDoNotWaitForever(t *testing.T) {
	for name, priority := range map[string]Priority{"a write that can wait": Later, "a start": Start} {
		t.Run(name, func(t *testing.T) {
			s := NewSlots(1)
			release := has(t, taken(t, s, First, nil))
			patient := taken(t, s, priority, nil)
			for range fairShare + 1 {
				next := taken(t, s, First, nil)
				release()
				select {
				case <-patient:
					return
				case release = <-next:
				}
			}
			t.Errorf("it was passed by %d times", fairShare+1)
		})
	}
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
			if i%4 == 0 {
				close(urgent)
			}
			if release, err := s.take(ctx, Priority(i%priorities), urgent); err == nil {
				time.Sleep(50 * time.Microsecond)
				release()
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s.free != 2 || s.freeForLater != 1 || s.count() != 0 {
		t.Errorf("%d and %d slots are free, %d writes wait", s.free, s.freeForLater, s.count())
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
				_, _ = store.UpdateAs(ctx, Later, key, notes(fmt.Sprint(n)), nil)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	for i := range 5 {
		timing.Within(t, time.Second, func() {
			_, err := store.Update(t.Context(), dev, notes(fmt.Sprint(i)))
			must(t, err)
		})
	}
}

// TestWaitingWritesAreExported: the writes that wait, by priority, and those that have a slot.
func TestWaitingWritesAreExported(t *testing.T) {
	s := NewSlots(2)
	for _, priority := range []Priority{First, Later, First, Later, Later} {
		if _, err := s.enqueue(priority); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{"goshawk_target_writes_in_flight": 2, "goshawk_target_writes_waiting first": 1, "goshawk_target_writes_waiting start": 0, "goshawk_target_writes_waiting later": 2}
	if !maps.Equal(got, want) {
		t.Errorf("exported %v, want %v", got, want)
	}
}
