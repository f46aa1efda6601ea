// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestBucketsStayBounded: a fleet, or a stranger with many addresses, does not
// fill the memory; who was busy a moment ago is remembered.
func TestBucketsStayBounded(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBuckets[string](Rate{PerSecond: 1, Burst: 1}, 100)
	for i := range 10_000 {
		b.take("busy", now)
		if !b.take(fmt.Sprint(i), now) {
			t.Fatalf("the first request of device %d was refused", i)
		}
	}
	if len(b.byKey) != 100 || b.recent.Len() != 100 {
		t.Errorf("%d keys, %d buckets, want 100", len(b.byKey), b.recent.Len())
	}
	if b.take("busy", now) {
		t.Error("a busy device was forgotten")
	}
	if !b.take("busy", now.Add(time.Second)) {
		t.Error("want the bucket filled a second later")
	}
}

func TestNeighbours(t *testing.T) {
	tests := map[string]struct {
		a, b string
		same bool
	}{
		"an IPv4 address stands for itself":         {"192.0.2.1", "192.0.2.2", false},
		"an IPv6 customer has a /64":                {"2001:db8::1", "2001:db8::ffff:0:0:1", true},
		"another /64 is another customer":           {"2001:db8::1", "2001:db8:0:1::1", false},
		"a zone does not make another neighborhood": {"fe80::1%eth0", "fe80::2%eth1", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := neighbours(netip.MustParseAddr(tc.a)), neighbours(netip.MustParseAddr(tc.b))
			if !a.IsValid() || (a == b) != tc.same {
				t.Errorf("%s is in %s and %s in %s", tc.a, a, tc.b, b)
			}
		})
	}
	if p := neighbours(netip.Addr{}); p.IsValid() {
		t.Errorf("no address is in %s", p)
	}
}
