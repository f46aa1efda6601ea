// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package broker has the transports of internal/ditto: an MQTT broker in this process, and a client
// of an external broker.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/connections"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/room"
)

// Limits of what one client may do. A client beyond them is disconnected, except where a comment
// says otherwise.
const (
	// maxConnect is the maximum size of the first packet, and maxPacket that of the others.
	maxConnect = 16 << 10
	maxPacket  = ditto.MaxPayload + 4<<10
	// smallPacket is the size of packets that are always read. At most maxLarge larger ones are
	// read in parallel, and another one waits up to packetTimeout for room.
	smallPacket = 64 << 10
	maxLarge    = 32
	// maxTopic is the maximum length of topics and filters in bytes, and maxLevels that of their
	// levels. Subscriptions beyond these limits, or beyond maxSubscriptions of one connection, are
	// refused.
	maxTopic         = 2048
	maxLevels        = 16
	maxSubscriptions = 32
	// maxUnacknowledged is the maximum number of messages to a client that it has not acknowledged
	// yet, and maxPending that of the messages that wait for an acknowledgement.
	maxUnacknowledged = 16
	maxPending        = 64
	// maxReceived is the maximum number of messages of quality of service 2 that a client has not
	// completed.
	maxReceived = 64
	// maxKeepAlive replaces a longer keep-alive time, and none. A client that sends nothing for one
	// and a half times as long is disconnected.
	maxKeepAlive = 20 * time.Minute
	// connectTimeout is the time for the TLS handshake and the first packet, packetTimeout that for
	// one packet, and writeTimeout that for a packet to the client.
	connectTimeout = 10 * time.Second
	packetTimeout  = 30 * time.Second
	writeTimeout   = 10 * time.Second
	// packetsPerSecond and packetsAtOnce are the rate of packets of one connection. Further packets
	// are read later.
	packetsPerSecond = 50
	packetsAtOnce    = 200
	// maxDeviceConnections is the maximum number of connections of one device, such as the agents
	// on it. At the limit the oldest one is closed: it may be left from before a network failure.
	maxDeviceConnections = 8
	// shutdownTimeout is how long messages that are being processed have at the end of Run.
	shutdownTimeout = 15 * time.Second
	// readBuffer is small, because most connections are idle.
	readBuffer = 512
)

// Default rates of EmbeddedOptions.
var (
	defaultDeviceConnects  = deviceapi.Rate{PerSecond: 1, Burst: 20}
	defaultAddressConnects = deviceapi.Rate{PerSecond: 100, Burst: 1000}
)

// EmbeddedOptions are the options of an Embedded broker. The zero value works.
type EmbeddedOptions struct {
	// TLS serves MQTT over TLS. The client certificates that it requests are credentials, and it
	// need not verify them. Default: no TLS.
	TLS *tls.Config
	// TrustedProxies are the addresses of load balancers. The limits for one address do not apply
	// to them. Default: none.
	TrustedProxies []netip.Prefix
	// MaxConnections limits the open connections, and MaxAddressConnections those of one address
	// (an IPv6 /64). Default: 10 000 and 1000.
	MaxConnections, MaxAddressConnections int
	// Rates limit the wrong credentials that get a response that says so (Guess, Address, Refusal).
	Rates deviceapi.Rates
	// DeviceConnects limits how often one device connects, and AddressConnects the connections of
	// one address. Default: 1 a second and 20 at once; 100 and 1000.
	DeviceConnects, AddressConnects deviceapi.Rate

	// Log gets refusals at V(1) and failures as errors. Default: none.
	Log logr.Logger
	// Registerer registers the metrics. Default: none.
	Registerer prometheus.Registerer
}

// Embedded is an MQTT broker in this process, for MQTT 3.1.1 and 5. It is a ditto.Transport.
//
// A client talks only to the handler: its messages go to no other client, and it gets only messages
// that are sent to its device. So each connection has a topic name space of its own, and nothing is
// retained or kept after the end of a connection.
type Embedded struct {
	listener net.Listener
	options  EmbeddedOptions
	metrics  *metrics
	limiter  *connections.Limiter
	limits   *deviceapi.Limits
	connects *deviceapi.Buckets[deviceapi.Device]
	arrivals *deviceapi.Buckets[netip.Prefix]
	// large has room for maxLarge packets.
	large                         *room.Room
	connectTimeout, packetTimeout time.Duration

	handler ditto.Handler
	// serving is the context of the calls of the handler.
	serving context.Context
	lastID  atomic.Uint64

	mu      sync.Mutex
	open    map[*client]bool // all connections, also those that are not authorized
	devices map[deviceapi.Device][]*client
	ended   bool
}

var _ ditto.Transport = (*Embedded)(nil)

// NewEmbedded returns a broker for the connections of a listener. Run serves and closes it.
func NewEmbedded(listener net.Listener, options EmbeddedOptions) (*Embedded, error) {
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	e := &Embedded{
		listener: listener,
		options:  options,
		metrics:  m,
		limits:   deviceapi.NewLimits(options.Rates),
		connects: deviceapi.NewBuckets[deviceapi.Device](options.DeviceConnects.Or(defaultDeviceConnects)),
		arrivals: deviceapi.NewBuckets[netip.Prefix](options.AddressConnects.Or(defaultAddressConnects)),
		large:    room.New(maxLarge),

		connectTimeout: connectTimeout, packetTimeout: packetTimeout,
		open:    map[*client]bool{},
		devices: map[deviceapi.Device][]*client{},
	}
	e.limiter = connections.New(connections.Options{
		Max: options.MaxConnections, MaxOfAddress: options.MaxAddressConnections, IsProxy: e.isProxy,
		Open: m.connections, Dropped: m.dropped,
	})
	return e, nil
}

func (e *Embedded) isProxy(address netip.Addr) bool {
	for _, prefix := range e.options.TrustedProxies {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// KnowsPresence returns true.
func (e *Embedded) KnowsPresence() bool { return true }

// Run serves the listener until ctx is done. Then it closes all connections and waits until the
// messages that are being processed are done.
func (e *Embedded) Run(ctx context.Context, handler ditto.Handler) error {
	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	e.handler, e.serving = handler, serving
	stop := context.AfterFunc(ctx, func() { _ = e.listener.Close() })
	defer stop()

	var clients sync.WaitGroup
	err := e.accept(ctx, &clients)
	_ = e.listener.Close()
	e.closeAll()
	grace := time.AfterFunc(shutdownTimeout, endServing)
	defer grace.Stop()
	clients.Wait()
	return err
}

// accept serves the connections of the listener until it is closed.
func (e *Embedded) accept(ctx context.Context, clients *sync.WaitGroup) error {
	var wait time.Duration
	for {
		conn, err := e.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept MQTT connections: %w", err)
		case err != nil: // such as too many open files
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			e.options.Log.Error(err, "accepting an MQTT connection failed", "retryAfter", wait.String())
			sleep(ctx, wait)
			continue
		}
		wait = 0
		if e.isTooFrequent(conn) || !e.limiter.Add(conn) {
			_ = conn.Close()
			continue
		}
		clients.Go(func() { e.serve(conn) })
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// isTooFrequent counts a new connection of an address, and reports whether there are too many.
func (e *Embedded) isTooFrequent(conn net.Conn) bool {
	address := addressOf(conn)
	if e.isProxy(address) || e.arrivals.Take(deviceapi.SourceOf(address), time.Now()) {
		return false
	}
	e.metrics.dropped.WithLabelValues("rate", "new").Inc()
	return true
}

func addressOf(conn net.Conn) netip.Addr {
	peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return peer.Addr().Unmap().WithZone("")
}

// serve serves one connection until it ends.
func (e *Embedded) serve(raw net.Conn) {
	defer e.limiter.Remove(raw)
	defer func() { _ = raw.Close() }()
	c := newClient(e, ditto.ConnectionID(e.lastID.Add(1)), raw)
	if !e.enter(c) {
		return
	}
	defer e.leave(c)
	c.end(c.run())
}

// enter records a connection. It reports false at the end of Run.
func (e *Embedded) enter(c *client) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return false
	}
	e.open[c] = true
	return true
}

func (e *Embedded) leave(c *client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, c)
}

func (e *Embedded) closeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for c := range e.open {
		c.stop(stoppedServer)
	}
}

// join adds the connection to those of its device. It closes an earlier one with the same client
// id, and the oldest one if there are too many.
func (e *Embedded) join(c *client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	present := e.devices[c.device]
	for _, other := range present {
		if c.clientID != "" && other.clientID == c.clientID {
			other.stop(stoppedTakeover)
		}
	}
	if len(present) >= maxDeviceConnections {
		present[len(present)-maxDeviceConnections].stop(stoppedTakeover)
	}
	e.devices[c.device] = append(present, c)
}

// part removes the connection from those of its device.
func (e *Embedded) part(c *client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	rest := slices.DeleteFunc(e.devices[c.device], func(other *client) bool { return other == c })
	if e.devices[c.device] = rest; len(rest) == 0 {
		delete(e.devices, c.device)
	}
}

func (e *Embedded) connectionsOf(device deviceapi.Device) []*client {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.devices[device])
}

// Send sends a message to the connections of the device that have subscribed to its topic. The
// error is ditto.ErrNotConnected if there is none. A connection that does not take its messages is
// closed.
func (e *Embedded) Send(_ context.Context, device deviceapi.Device, message ditto.Message) error {
	err := ditto.ErrNotConnected
	for _, c := range e.connectionsOf(device) {
		if sent := c.send(message); sent == nil || errors.Is(err, ditto.ErrNotConnected) {
			err = sent
		}
	}
	return err
}

// Close closes one connection of the device.
func (e *Embedded) Close(device deviceapi.Device, id ditto.ConnectionID, reason string) {
	for _, c := range e.connectionsOf(device) {
		if c.id == id {
			e.options.Log.V(1).Info("an MQTT connection is closed", "namespace", device.Namespace, "controllerID", device.ControllerID, "reason", reason)
			c.stop(stoppedServer)
		}
	}
}
