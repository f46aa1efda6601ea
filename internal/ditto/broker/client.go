// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// stopReason is why the broker ends a connection.
type stopReason string

const (
	stoppedServer   stopReason = "server"   // Close, or the end of Run
	stoppedTakeover stopReason = "takeover" // a newer connection of the device
	stoppedSlow     stopReason = "slow"     // the client does not take its messages
	stoppedLimit    stopReason = "limit"    // the client exceeds a limit, or does not keep to MQTT
	stoppedFailed   stopReason = "failed"   // the handler did not store a message
)

// refusal is the error of a packet that ends the connection. A client of MQTT 5 gets the code.
type refusal struct {
	reason stopReason
	code   packets.Code
}

func (r refusal) Error() string { return r.code.Reason }

// errDisconnected is the error after the client has ended the connection in order.
var errDisconnected = errors.New("the client disconnects")

// client is one connection.
type client struct {
	broker *Embedded
	id     ditto.ConnectionID
	// conn is raw with TLS, or raw.
	conn, raw net.Conn

	// Only the goroutine that reads uses these.
	reader    *bufio.Reader
	keepAlive time.Duration // zero before the connection is authorized
	packets   *rate.Limiter
	will      *ditto.Message
	// isConnected means that the handler knows the connection.
	isConnected bool
	// incoming are the ids of messages with quality of service 2 that the client has not completed.
	incoming map[uint16]bool

	// These do not change after the client has joined.
	version       byte
	device        deviceapi.Device
	clientID      string
	maxUnanswered int
	maxMessage    int // zero: the client has no limit

	stopping sync.Once
	stopped  chan struct{}

	mu sync.Mutex
	// filters are the subscriptions with their quality of service.
	filters map[string]byte
	// pending are messages to the client, in order. unanswered are the ids of those that were sent
	// and not acknowledged. isSending means that a goroutine sends the pending ones.
	pending    []ditto.Message
	unanswered map[uint16]bool
	lastID     uint16
	isSending  bool
}

func newClient(broker *Embedded, id ditto.ConnectionID, raw net.Conn) *client {
	return &client{broker: broker, id: id, conn: raw, raw: raw, stopped: make(chan struct{})}
}

// stop ends the connection. It does not wait.
func (c *client) stop(reason stopReason) {
	c.stopping.Do(func() {
		if reason != "" {
			c.broker.metrics.closed.WithLabelValues(string(reason)).Inc()
		}
		close(c.stopped)
		_ = c.raw.Close()
	})
}

func (c *client) isStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// run serves the connection until it ends. A fault that a packet causes in the MQTT library ends
// the connection, and not the process.
func (c *client) run() (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("reading a packet panicked: %v", fault)
			c.broker.options.Log.Error(err, "an MQTT connection failed", "peer", c.raw.RemoteAddr().String())
		}
	}()
	_ = c.raw.SetDeadline(time.Now().Add(c.broker.connectTimeout))
	if err := c.secure(); err != nil {
		return err
	}
	c.reader = bufio.NewReaderSize(c.conn, readBuffer)
	if err := c.connect(); err != nil {
		return err
	}
	for {
		if err := c.step(); err != nil {
			return err
		}
	}
}

func (c *client) secure() error {
	if c.broker.options.TLS == nil {
		return nil
	}
	secure := tls.Server(c.raw, c.broker.options.TLS)
	if err := secure.HandshakeContext(c.broker.serving); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.conn = secure
	return nil
}

// step waits for a packet and processes it. A packet is not in the frame of run, because it is
// large, and most connections are idle.
func (c *client) step() error {
	_ = c.raw.SetReadDeadline(time.Now().Add(c.keepAlive * 3 / 2))
	if _, err := c.reader.Peek(1); err != nil {
		return err
	}
	return c.stepNow()
}

func (c *client) stepNow() error {
	pk, leave, err := c.read(maxPacket)
	if err != nil {
		return err
	}
	defer leave()
	if err := c.decode(pk); err != nil {
		return err
	}
	if wait := c.packets.Reserve().Delay(); wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.stopped:
		}
	}
	return c.process(pk)
}

// read reads one packet of limited size, without decoding its body, which is the payload. If it is
// larger than smallPacket, it has a place in large until leave is called.
func (c *client) read(limit int) (_ *packets.Packet, leave func(), err error) {
	pk := &packets.Packet{ProtocolVersion: c.version}
	first, err := c.reader.ReadByte()
	if err != nil {
		return nil, nil, err
	}
	if c.keepAlive > 0 {
		_ = c.raw.SetReadDeadline(time.Now().Add(c.broker.packetTimeout))
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return nil, nil, malformed(err)
	}
	leave = func() {}
	size, _, err := packets.DecodeLength(c.reader)
	switch {
	case err != nil:
		return nil, nil, malformed(err)
	case size > limit:
		return nil, nil, refusal{stoppedLimit, packets.ErrPacketTooLarge}
	case size > smallPacket:
		if leave, err = c.enterLarge(); err != nil {
			return nil, nil, err
		}
	}
	pk.FixedHeader.Remaining = size
	pk.Payload = make([]byte, size)
	if _, err := io.ReadFull(c.reader, pk.Payload); err != nil {
		leave()
		return nil, nil, err
	}
	return pk, leave, nil
}

// malformed returns the refusal of a packet that cannot be decoded.
func malformed(err error) error {
	code := packets.ErrMalformedPacket
	errors.As(err, &code)
	return refusal{stoppedLimit, code}
}

// enterLarge waits for room for a large packet.
func (c *client) enterLarge() (leave func(), err error) {
	leave = c.broker.large.Enter(c.device.Namespace, c.stopped, time.After(c.broker.packetTimeout))
	switch {
	case leave != nil:
		return leave, nil
	case c.isStopped():
		return nil, net.ErrClosed
	default:
		return nil, refusal{stoppedLimit, packets.ErrServerBusy}
	}
}

// decode decodes the body of a packet.
func (c *client) decode(pk *packets.Packet) error {
	body := pk.Payload
	pk.Payload = nil
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	case packets.Pingreq:
	default:
		err = packets.ErrProtocolViolation
	}
	if err != nil {
		return malformed(err)
	}
	return nil
}

// write writes one packet. A client that does not take it in time is disconnected.
func (c *client) write(pk *packets.Packet) error {
	pk.ProtocolVersion = c.version
	pk.Mods.AllowResponseInfo = true
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Pubrec:
		err = pk.PubrecEncode(&b)
	case packets.Pubcomp:
		err = pk.PubcompEncode(&b)
	case packets.Suback:
		err = pk.SubackEncode(&b)
	case packets.Unsuback:
		err = pk.UnsubackEncode(&b)
	case packets.Pingresp:
		err = pk.PingrespEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	}
	if err != nil {
		return fmt.Errorf("encode a packet: %w", err)
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err = c.conn.Write(b.Bytes()) // a connection writes each buffer as a whole
	return err
}

// end is called after the connection has ended, with the reason.
func (c *client) end(err error) {
	log := c.broker.options.Log.V(1).WithValues("peer", c.raw.RemoteAddr().String(), "namespace", c.device.Namespace, "controllerID", c.device.ControllerID)
	var refused refusal
	if errors.As(err, &refused) {
		if c.version == 5 && c.isConnected {
			_ = c.write(&packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: refused.code.Code,
				Properties: packets.Properties{ReasonString: refused.code.Reason},
			})
		}
	}
	_ = c.conn.Close() // with TLS it says so to the client
	c.stop(refused.reason)
	log.Info("an MQTT connection has ended", "reason", err.Error())
	c.broker.part(c)
	if !c.isConnected {
		return
	}
	if c.will != nil && !errors.Is(err, errDisconnected) {
		if err := c.broker.handler.Received(c.broker.serving, c.device, c.id, *c.will); err != nil {
			log.Info("a will is lost", "topic", c.will.Topic, "error", err.Error())
		}
	}
	c.broker.handler.Disconnected(c.device, c.id)
}
