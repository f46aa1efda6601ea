// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package room

import (
	"testing"
	"time"
)

func TestOneNamespaceLeavesRoomToOthers(t *testing.T) {
	r := New(8)
	var leaves []func()
	enter := func(namespace string, n int) {
		t.Helper()
		for i := range n {
			leave := r.Enter(namespace, nil, nil)
			if leave == nil {
				t.Fatalf("device %d of %s got no place", i, namespace)
			}
			leaves = append(leaves, leave)
		}
	}
	wantFull := func(namespace string) {
		t.Helper()
		if r.Enter(namespace, nil, time.After(20*time.Millisecond)) != nil {
			t.Fatalf("one more device of %s got a place", namespace)
		}
		gone := make(chan struct{})
		time.AfterFunc(20*time.Millisecond, func() { close(gone) })
		if r.Enter(namespace, gone, nil) != nil || r.TryEnter(namespace) != nil {
			t.Fatalf("one more device of %s got a place", namespace)
		}
	}
	enter("a", 6)
	wantFull("a")
	enter("b", 1)
	last := r.TryEnter("b")
	if last == nil {
		t.Fatal("there is a place, and b did not get it")
	}
	leaves = append(leaves, last)
	wantFull("b")
	wantFull("c")
	waits := make(chan func())
	go func() { waits <- r.Enter("c", nil, nil) }()
	leaves[0]()
	if leaves[0] = <-waits; leaves[0] == nil {
		t.Fatal("the place of a device that has left is not free")
	}
	for _, leave := range leaves {
		leave()
	}
	if len(r.shares) != 0 || r.Taken() != 0 {
		t.Errorf("%d shares and %d places are in use", len(r.shares), r.Taken())
	}
}
