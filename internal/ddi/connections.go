// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

const (
	// defaultConnections and defaultAddressConnections are the default limits of Options.
	defaultConnections        = 10_000
	defaultAddressConnections = 1000
	// deviceIdleTimeout is how long a connection of a device stays open after a response.
	// Connections of a trusted proxy stay open for idleTimeout, which must be longer than the
	// proxies keep theirs: a proxy that sends a report on a connection while it is being closed may
	// lose the report.
	deviceIdleTimeout = 30 * time.Second
)

// connections limits the open connections. At a limit, the connection that has waited longest for a
// request is closed, and the new one is closed only if all others are processing requests.
//
// A connection without a request may belong to a client without a token. A connection that waits
// for its next request does not, because wrong credentials close it. So neither kind is closed
// while it has less than half of the places and there is one of the other kind.
type connections struct {
	most, mostOfAddress int
	isProxy             func(netip.Addr) bool
	metrics             *metrics

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

func newConnections(options Options, isProxy func(netip.Addr) bool, m *metrics) *connections {
	c := &connections{
		most: options.MaxConnections, mostOfAddress: options.MaxAddressConnections, isProxy: isProxy, metrics: m,
		open: map[net.Conn]*connection{}, all: newWaiting("all"), addresses: map[netip.Prefix]*waiting{},
	}
	if c.most == 0 {
		c.most = defaultConnections
	}
	if c.mostOfAddress == 0 {
		c.mostOfAddress = defaultAddressConnections
	}
	return c
}

// changed is the hook of an http.Server.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.admit(conn)
	case http.StateActive:
		c.move(c.open[conn], atWork)
	case http.StateIdle:
		c.move(c.open[conn], waitsForNext)
	default:
		c.forget(c.open[conn])
	}
}

// connectionKey is the key of a request's connection in its context.
type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// refused marks the connection of a request with wrong credentials like one without a request, so
// that it is closed first. net/http keeps it open for a while after the response if a body was
// announced.
func (c *connections) refused(request context.Context) {
	conn, ok := request.Value(connectionKey{}).(net.Conn)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(c.open[conn], waitsForFirst)
}

// admit accepts a new connection, or closes it.
func (c *connections) admit(conn net.Conn) {
	peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	address := peer.Addr().Unmap().WithZone("")
	made := &connection{Conn: conn, isProxied: c.isProxy(address), from: deviceapi.SourceOf(address), kind: atWork}
	if !made.isProxied {
		there := c.addresses[made.from]
		if there != nil && there.open >= c.mostOfAddress && !c.makeRoom(there, c.mostOfAddress) {
			_ = conn.Close()
			return
		}
	}
	if c.all.open >= c.most && !c.makeRoom(c.all, c.most) {
		_ = conn.Close()
		return
	}
	made.places = []*place{{in: c.all}}
	if !made.isProxied {
		there := c.addresses[made.from]
		if there == nil {
			there = newWaiting("address")
			c.addresses[made.from] = there
		}
		made.places = append(made.places, &place{in: there})
	}
	for _, p := range made.places {
		p.in.open++
	}
	c.open[conn] = made
	c.metrics.connections.Inc()
	c.move(made, waitsForFirst)
}

// makeRoom closes the connection that has waited longest, and reports whether there was one.
func (c *connections) makeRoom(in *waiting, most int) bool {
	first, next := in.lists[waitsForFirst], in.lists[waitsForNext]
	kind, from := "idle", next
	if next.Len() == 0 || first.Len() > most/2 {
		kind, from = "waiting", first
	}
	if from.Len() == 0 {
		c.metrics.dropped.WithLabelValues(in.bound, "new").Inc()
		return false
	}
	victim := from.Front().Value.(*connection)
	_ = victim.Close()
	c.forget(victim)
	c.metrics.dropped.WithLabelValues(in.bound, kind).Inc()
	return true
}

// move puts a connection into the lists of another kind. A connection that was closed here is not
// counted again.
func (c *connections) move(conn *connection, kind waitingKind) {
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

func (c *connections) forget(conn *connection) {
	if conn == nil {
		return
	}
	c.move(conn, atWork)
	for _, p := range conn.places {
		p.in.open--
	}
	if there := c.addresses[conn.from]; there != nil && there.open == 0 {
		delete(c.addresses, conn.from)
	}
	delete(c.open, conn.Conn)
	c.metrics.connections.Dec()
}

// sweep closes the connections of devices that have waited too long for the next request, until
// done is closed.
func (c *connections) sweep(done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			c.closeIdle(now.Add(-deviceIdleTimeout))
		}
	}
}

func (c *connections) closeIdle(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for element := c.all.lists[waitsForNext].Front(); element != nil; {
		conn := element.Value.(*connection)
		if !conn.since.Before(before) {
			return
		}
		element = element.Next()
		if !conn.isProxied {
			_ = conn.Close()
			c.forget(conn)
		}
	}
}
