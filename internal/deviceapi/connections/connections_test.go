// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// aConn is a connection of an address. It records that it was closed.
type aConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *aConn) Close() error { c.closed = true; return nil }

func (c *aConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 4711))
}

// bounded returns a Limiter with a limit of 6, and of 4 of one address.
func bounded(t *testing.T) *Limiter {
	t.Helper()
	return New(Options{
		Max: 6, MaxOfAddress: 4, IsProxy: func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.1") },
		Open: prometheus.NewGauge(prometheus.GaugeOpts{}), Dropped: prometheus.NewCounterVec(prometheus.CounterOpts{}, []string{"bound", "kind"}),
	})
}

// At a limit, a connection that waits is closed: of two kinds one of the kind that has more than
// half of the places.
func TestWhichConnectionIsClosedAtALimit(t *testing.T) {
	const device, other, proxy = "192.0.2.1", "192.0.2.2", "10.0.0.1"
	const first, next, working = waitsForFirst, waitsForNext, atWork
	type given struct {
		from  string
		state waitingKind
	}
	for name, tc := range map[string]struct {
		open []given
		from string
		// closed is the index of the connection that is closed; -1: none, -2: the new one.
		closed int
	}{
		"there is room":                                 {[]given{{device, first}, {device, working}, {other, next}}, device, -1},
		"all of the address are working":                {[]given{{device, working}, {device, working}, {device, working}, {device, working}}, device, -2},
		"all of another address are working":            {[]given{{device, working}, {device, working}, {device, working}, {device, working}}, other, -1},
		"a proxy has no limit of its address":           {[]given{{proxy, working}, {proxy, working}, {proxy, working}, {proxy, working}, {proxy, working}}, proxy, -1},
		"all are working":                               {[]given{{proxy, working}, {proxy, working}, {proxy, working}, {proxy, working}, {proxy, working}, {proxy, working}}, other, -2},
		"the address has some that have sent nothing":   {[]given{{other, first}, {device, working}, {device, first}, {device, first}, {device, first}}, device, 2},
		"the address has some that are idle":            {[]given{{other, next}, {device, working}, {device, next}, {device, next}, {device, next}}, device, 2},
		"half have sent nothing, half are idle":         {[]given{{device, first}, {device, first}, {device, next}, {device, next}}, device, 2},
		"more than half have sent nothing":              {[]given{{device, next}, {device, first}, {device, first}, {device, first}}, device, 1},
		"more than half of all have sent nothing":       {[]given{{proxy, working}, {proxy, next}, {proxy, first}, {other, first}, {device, first}, {device, first}}, device, 2},
		"one of a proxy is idle":                        {[]given{{proxy, next}, {proxy, working}, {proxy, working}, {proxy, working}, {device, working}, {device, working}}, device, 0},
		"addresses of one IPv6 network share the bound": {[]given{{"2001:db8::1", working}, {"2001:db8::2", working}, {"2001:db8::3", working}, {"2001:db8::4", working}}, "2001:db8::5", -2},
	} {
		t.Run(name, func(t *testing.T) {
			l := bounded(t)
			var conns []*aConn
			for _, g := range tc.open {
				conn := &aConn{from: g.from}
				l.Add(conn)
				l.Work(conn)
				l.mark(conn, g.state)
				conns = append(conns, conn)
			}
			made := &aConn{from: tc.from}
			admitted := l.Add(made)
			got := -1
			for i, conn := range conns {
				if conn.closed {
					got = i
				}
			}
			if made.closed {
				got = -2
			}
			if admitted == made.closed {
				t.Errorf("Add returns %t, and the connection is closed: %t", admitted, made.closed)
			}
			if got != tc.closed {
				t.Errorf("connection %d is closed, want %d", got, tc.closed)
			}
			for _, conn := range append(conns, made) {
				l.Remove(conn)
				l.Remove(conn)
			}
			if len(l.open) > 0 || len(l.addresses) > 0 || l.all.open > 0 || l.all.lists[waitsForFirst].Len()+l.all.lists[waitsForNext].Len() > 0 {
				t.Errorf("after all were closed, %+v is left", l)
			}
		})
	}
}

// A connection of a device that waits too long for the next request is closed, one of a proxy is
// not.
func TestIdleConnectionsAreClosed(t *testing.T) {
	l := bounded(t)
	idle, proxied, working, fresh := &aConn{from: "192.0.2.1"}, &aConn{from: "10.0.0.1"}, &aConn{from: "192.0.2.1"}, &aConn{from: "192.0.2.1"}
	for conn, mark := range map[*aConn]func(net.Conn){idle: l.Idle, proxied: l.Idle, working: l.Work} {
		l.Add(conn)
		mark(conn)
	}
	before := time.Now()
	l.Add(fresh)
	l.Idle(fresh)
	l.CloseIdle(before)
	if got, want := fmt.Sprint(idle.closed, proxied.closed, working.closed, fresh.closed), "true false false false"; got != want {
		t.Errorf("closed are %s, want %s", got, want)
	}
}
