// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ports gives tests addresses on loopback that stay free.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The kernel takes the port of a connection, and of a listener on port 0, from a range that starts
// at 32768 on Linux and at 49152 elsewhere. A port below that is not taken by a connection of
// another test while nothing listens on it.
const lowest, highest = 20000, 32767

// given are the addresses that tests of this process have.
var given sync.Map

// Free returns an address that nothing listens on, and that no other test of the process gets. The
// test may listen on it, stop, and listen again.
func Free(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest+1))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatalf("each of 100 ports from %d to %d is in use", lowest, highest)
	return ""
}
