// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"testing"
	"time"
)

// Devices that register in one namespace, however many, leave a quarter of each limit to others.
func TestOneNamespaceDoesNotUseUpRegistrations(t *testing.T) {
	now := time.Unix(0, 0)
	t.Run("at the same time", func(t *testing.T) {
		l := NewRegistrationLimits()
		inA, inB := 0, 0
		var endA func()
		for range 20 {
			if end := l.start("a", now); end != nil {
				inA, endA = inA+1, end
			}
		}
		for range 20 {
			if l.start("b", now) != nil {
				inB++
			}
		}
		if inA != 6 || inB != 2 {
			t.Errorf("%d and %d Targets are being created, want 6 and 2", inA, inB)
		}
		endA()
		if l.start("b", now) == nil {
			t.Error("the end of a creation makes no room")
		}
		if l.start("a", now) != nil {
			t.Error("more than 8 Targets are being created")
		}
	})
	t.Run("one after the other", func(t *testing.T) {
		l := NewRegistrationLimits()
		created := map[string]int{}
		for _, namespace := range []string{"a", "b", "c"} {
			for range 200 {
				if end := l.start(namespace, now); end != nil {
					created[namespace]++
					end()
				}
			}
		}
		if created["a"] != 75 || created["b"] != 25 || created["c"] != 0 {
			t.Errorf("created %v, want 75, 25 and 0", created)
		}
		later := now.Add(time.Second)
		for _, namespace := range []string{"a", "b"} {
			n := 0
			for range 100 {
				if end := l.start(namespace, later); end != nil {
					n++
					end()
				}
			}
			if want := map[string]int{"a": 15, "b": 5}[namespace]; n != want {
				t.Errorf("%s: %d Targets a second later, want %d", namespace, n, want)
			}
		}
		if n := l.underWay.Taken(); n != 0 {
			t.Errorf("after the end of all creations %d are under way", n)
		}
	})
}
