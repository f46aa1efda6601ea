// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ditto is the device API with the SoftwareUpdatable feature in Eclipse Ditto's envelopes
// over MQTT with the topics of Eclipse Hono.
package ditto

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// MaxPayload is the maximum size of a message of a device, in bytes. A Transport does not read
// larger ones.
const MaxPayload = 256 << 10

// ErrNotConnected means that the device has no connection to this process.
var ErrNotConnected = errors.New("the device is not connected")

// Transport carries messages between devices and a Handler. Its methods are called concurrently.
type Transport interface {
	// Run serves devices until ctx is done, and returns the reason if it ends earlier. It calls the
	// methods of the handler concurrently for different connections, and in order for one
	// connection. With an external broker the messages of one device are in order.
	Run(ctx context.Context, handler Handler) error

	// Send sends a message to the connections of a device, with at least quality of service 1. It
	// does not wait for the device. The error is ErrNotConnected if the device has no connection,
	// as far as the transport knows. A message that is not acknowledged is sent again for as long
	// as the connection exists.
	Send(ctx context.Context, device deviceapi.Device, message Message) error

	// Close closes one connection of a device. reason is logged. It has no effect for a connection
	// that does not exist any more.
	Close(device deviceapi.Device, id ConnectionID, reason string)

	// KnowsPresence reports whether the transport calls Authorize, Connected, Disconnected and
	// Subscribed. If it does not, an external broker decides which client may act for which device,
	// and a device counts as reachable always.
	KnowsPresence() bool
}

// Message is one MQTT message, without its quality of service. The topic is the one that the device
// uses: `e`, `command///req/<id>/<subject>`, `command///res/<id>/<status>`, `edge/thing/request`
// and the other forms of internal/ditto/wire. A transport does not change it, except for the name
// space of the connection: with an external broker `event/<namespace>/<controllerID>` is `e` of
// that device.
type Message struct {
	Topic   string
	Payload []byte
}

// ConnectionID is the id of a connection, which is unique in this process. It is not zero.
type ConnectionID uint64

// Connection is what a client shows about itself when it connects. Nothing of it has been checked
// before Authorize, except that the peer has the key of the first certificate.
type Connection struct {
	ID ConnectionID
	// User is controllerID@namespace. Password is the token of the device or of a gateway.
	User, Password string
	// Certificates are those of the TLS connection: that of the client, then intermediate ones.
	Certificates []*x509.Certificate
	// Peer is the address of the other end of the connection.
	Peer netip.Addr
}

// Handler handles connections and messages of devices.
type Handler interface {
	// Authorize returns the device of a connection. The error is deviceapi.ErrUnauthorized for a
	// connection that is refused, deviceapi.ErrTooMany for one that may be tried again later, and
	// deviceapi.Unavailable if it cannot be decided now. Its text is for the log.
	Authorize(ctx context.Context, connection Connection) (deviceapi.Device, error)

	// Connected is called once for an authorized connection, before all other methods for it.
	Connected(device deviceapi.Device, connection Connection)

	// Disconnected is called once after the last other call for a connection.
	Disconnected(device deviceapi.Device, id ConnectionID)

	// MaySubscribe reports whether the connection may subscribe to a filter. It may not if the
	// filter names another tenant, or a device for which it may not act.
	MaySubscribe(ctx context.Context, device deviceapi.Device, id ConnectionID, filter string) bool

	// Subscribed is called for each filter that the connection has subscribed to, after the
	// subscription is in effect. Commands are sent to a device after it has subscribed to them.
	Subscribed(device deviceapi.Device, id ConnectionID, filter string)

	// Unsubscribed is called for each filter whose subscription has ended before the connection.
	Unsubscribed(device deviceapi.Device, id ConnectionID, filter string)

	// Received handles a message. It returns nil after everything that must not be lost is stored;
	// only then the message may be acknowledged (PUBACK). If it returns an error, the message is
	// not acknowledged: the transport closes the connection, or makes the external broker send the
	// message again. The id of the connection is zero if the transport does not know presence.
	Received(ctx context.Context, device deviceapi.Device, id ConnectionID, message Message) error
}
