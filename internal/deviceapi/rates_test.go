// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestBucketsStayBounded: neither a fleet nor a client with many addresses fills the memory, and
// the bucket that was used a moment ago is kept.
func TestBucketsStayBounded(t *testing.T) {
	now := time.Unix(0, 0)
	b := NewBuckets[string](Rate{PerSecond: 1, Burst: 1})
	b.max = 100
	for i := range 10_000 {
		b.Take("busy", now)
		if !b.Take(fmt.Sprint(i), now) {
			t.Fatalf("the first request of device %d was refused", i)
		}
	}
	if len(b.byKey) != 100 || b.recent.Len() != 100 {
		t.Errorf("%d keys, %d buckets, want 100", len(b.byKey), b.recent.Len())
	}
	if b.Take("busy", now) {
		t.Error("the bucket of a busy device was dropped")
	}
	if !b.Take("busy", now.Add(time.Second)) {
		t.Error("want the bucket filled a second later")
	}
}

func TestSourceOf(t *testing.T) {
	tests := map[string]struct {
		a, b string
		same bool
	}{
		"an IPv4 address is one source":       {"192.0.2.1", "192.0.2.2", false},
		"an IPv6 /64 is one source":           {"2001:db8::1", "2001:db8::ffff:0:0:1", true},
		"another /64 is another source":       {"2001:db8::1", "2001:db8:0:1::1", false},
		"a zone does not make another source": {"fe80::1%eth0", "fe80::2%eth1", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := SourceOf(netip.MustParseAddr(tc.a)), SourceOf(netip.MustParseAddr(tc.b))
			if !a.IsValid() || (a == b) != tc.same {
				t.Errorf("%s is in %s and %s in %s", tc.a, a, tc.b, b)
			}
		})
	}
	if p := SourceOf(netip.Addr{}); p.IsValid() {
		t.Errorf("no address is in %s", p)
	}
}
