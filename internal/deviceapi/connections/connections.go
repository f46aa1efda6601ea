// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package connections limits the open connections of devices, of every protocol of the device API.
package connections

import (
	"cmp"
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

const (
	// defaultMax and defaultMaxOfAddress are the default limits of Options.
	defaultMax          = 10_000
	defaultMaxOfAddress = 1000
)

// Options of a Limiter.
type Options struct {
	// Max limits the open connections, and MaxOfAddress those of one address (an IPv6 /64) that is
	// not a trusted proxy. Zero means the default.
	Max, MaxOfAddress int
	// IsProxy reports whether an address is that of a trusted proxy, whose connections belong to
	// many devices.
	IsProxy func(netip.Addr) bool
	// Open counts the open connections. Dropped counts those that were closed at a limit, by bound
	// and kind.
	Open    prometheus.Gauge
	Dropped *prometheus.CounterVec
}

// Limiter limits the open connections. At a limit, the connection that has waited longest for a
// request is closed, and the new one is closed only if all others are processing requests.
//
// A connection without a request may belong to a client without a token. A connection that waits
// for its next request does not, because wrong credentials close it. So neither kind is closed
// while it has less than half of the places and there is one of the other kind.
type Limiter struct {
	options Options

	mu        sync.Mutex
	open      map[net.Conn]*connection
	all       *waiting
	addresses map[netip.Prefix]*waiting // without trusted proxies
}

// connection is an open connection.
type connection struct {
	net.Conn
	isProxied bool
	// places are the counters that include it: that of all connections, and that of its address.
	places []*place
	// kind selects the list in its places; since is when it was put there.
	kind  waitingKind
	since time.Time
	from  netip.Prefix
}

// waitingKind is what a connection waits for.
type waitingKind int

const (
	waitsForFirst waitingKind = iota // no request yet, or wrong credentials
	waitsForNext                     // all requests answered
	atWork
)

// waiting are connections that share a limit. lists has the connections of each kind, the one that
// has waited longest first.
type waiting struct {
	bound string
	open  int
	lists [atWork]*list.List
}

type place struct {
	in      *waiting
	element *list.Element
}

func newWaiting(bound string) *waiting {
	return &waiting{bound: bound, lists: [atWork]*list.List{list.New(), list.New()}}
}

// New returns a Limiter without connections.
func New(options Options) *Limiter {
	options.Max = cmp.Or(options.Max, defaultMax)
	options.MaxOfAddress = cmp.Or(options.MaxOfAddress, defaultMaxOfAddress)
	return &Limiter{
		options: options,
		open:    map[net.Conn]*connection{}, all: newWaiting("all"), addresses: map[netip.Prefix]*waiting{},
	}
}

// Add counts a new connection, which waits for its first request. It reports whether there is room;
// otherwise it closes the connection.
func (l *Limiter) Add(conn net.Conn) bool {
	peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	address := peer.Addr().Unmap().WithZone("")
	made := &connection{Conn: conn, isProxied: l.options.IsProxy(address), from: deviceapi.SourceOf(address), kind: atWork}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !made.isProxied {
		there := l.addresses[made.from]
		if there != nil && there.open >= l.options.MaxOfAddress && !l.makeRoom(there, l.options.MaxOfAddress) {
			_ = conn.Close()
			return false
		}
	}
	if l.all.open >= l.options.Max && !l.makeRoom(l.all, l.options.Max) {
		_ = conn.Close()
		return false
	}
	made.places = []*place{{in: l.all}}
	if !made.isProxied {
		there := l.addresses[made.from]
		if there == nil {
			there = newWaiting("address")
			l.addresses[made.from] = there
		}
		made.places = append(made.places, &place{in: there})
	}
	for _, p := range made.places {
		p.in.open++
	}
	l.open[conn] = made
	l.options.Open.Inc()
	l.move(made, waitsForFirst)
	return true
}

// Work marks a connection as one with a request. It is not closed at a limit.
func (l *Limiter) Work(conn net.Conn) { l.mark(conn, atWork) }

// Idle marks a connection as one whose requests are all answered.
func (l *Limiter) Idle(conn net.Conn) { l.mark(conn, waitsForNext) }

// Refuse marks a connection with wrong credentials like one without a request, so that it is closed
// first.
func (l *Limiter) Refuse(conn net.Conn) { l.mark(conn, waitsForFirst) }

func (l *Limiter) mark(conn net.Conn, kind waitingKind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.move(l.open[conn], kind)
}

// Remove ends the counting of a connection that is closed. It has no effect for a connection that
// is not counted.
func (l *Limiter) Remove(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.open[conn])
}

// makeRoom closes the connection that has waited longest, and reports whether there was one.
func (l *Limiter) makeRoom(in *waiting, most int) bool {
	first, next := in.lists[waitsForFirst], in.lists[waitsForNext]
	kind, from := "idle", next
	if next.Len() == 0 || first.Len() > most/2 {
		kind, from = "waiting", first
	}
	if from.Len() == 0 {
		l.options.Dropped.WithLabelValues(in.bound, "new").Inc()
		return false
	}
	victim := from.Front().Value.(*connection)
	_ = victim.Close()
	l.forget(victim)
	l.options.Dropped.WithLabelValues(in.bound, kind).Inc()
	return true
}

// move puts a connection into the lists of another kind. A connection that was closed here is not
// counted again.
func (l *Limiter) move(conn *connection, kind waitingKind) {
	if conn == nil {
		return
	}
	for _, p := range conn.places {
		if p.element != nil {
			p.in.lists[conn.kind].Remove(p.element)
			p.element = nil
		}
		if kind != atWork {
			p.element = p.in.lists[kind].PushBack(conn)
		}
	}
	conn.kind, conn.since = kind, time.Now()
}

func (l *Limiter) forget(conn *connection) {
	if conn == nil {
		return
	}
	l.move(conn, atWork)
	for _, p := range conn.places {
		p.in.open--
	}
	if there := l.addresses[conn.from]; there != nil && there.open == 0 {
		delete(l.addresses, conn.from)
	}
	delete(l.open, conn.Conn)
	l.options.Open.Dec()
}

// CloseIdle closes the connections of devices that have been idle since before a time. Connections
// of a trusted proxy stay open.
func (l *Limiter) CloseIdle(before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for element := l.all.lists[waitsForNext].Front(); element != nil; {
		conn := element.Value.(*connection)
		if !conn.since.Before(before) {
			return
		}
		element = element.Next()
		if !conn.isProxied {
			_ = conn.Close()
			l.forget(conn)
		}
	}
}
