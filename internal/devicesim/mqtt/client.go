// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mqtt is a small MQTT client for simulated devices. It uses one goroutine and few KiB of
// memory for a connection, and never reconnects by itself.
package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// readBuffer is small, because most connections are idle.
const readBuffer = 512

// Message is a message that was published.
type Message struct {
	Topic   string
	Payload []byte
}

// Options of a Client.
type Options struct {
	// Address is the host and the port of the broker.
	Address string
	// TLS connects with TLS. Default: without.
	TLS *tls.Config
	// Version is 4 for MQTT 3.1.1, which is the default, or 5.
	Version byte
	// ClientID, User and Password are what the client shows. Empty: nothing.
	ClientID, User, Password string
	// KeepAlive is the keep-alive time in seconds. The client pings only when Ping is called.
	KeepAlive uint16
	// ReceiveMaximum is how many messages the client takes before it acknowledges one, with MQTT 5.
	// Zero means 65535.
	ReceiveMaximum uint16
	// Will is sent by the broker if the connection ends without Close.
	Will *Message
	// Received is called for each message, one at a time. A message is acknowledged after it
	// returns true.
	Received func(Message) bool
	// Ended is called once after the connection has ended, if it was established.
	Ended func(*Client)
}

// Refused is the error of a connection that the broker has refused.
type Refused struct {
	// Code is the code of the response.
	Code byte
}

func (r Refused) Error() string {
	return fmt.Sprintf("the broker refuses the connection: code %d", r.Code)
}

// ErrClosed means that the connection has ended.
var ErrClosed = errors.New("the MQTT connection has ended")

// Client is one connection to a broker. Its methods may be called concurrently.
type Client struct {
	options Options
	conn    net.Conn
	reader  *bufio.Reader
	done    chan struct{}

	mu     sync.Mutex
	lastID uint16
	waits  map[uint16]chan packets.Packet
	reason byte // of the broker's DISCONNECT
}

// Connect connects to a broker. The error is Refused if the broker answers and refuses. ctx limits
// only the time until the connection is established.
func Connect(ctx context.Context, options Options) (*Client, error) {
	if options.Version == 0 {
		options.Version = 4
	}
	conn, err := dial(ctx, options)
	if err != nil {
		return nil, err
	}
	c := &Client{
		options: options, conn: conn, reader: bufio.NewReaderSize(conn, readBuffer),
		done: make(chan struct{}), waits: map[uint16]chan packets.Packet{},
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = c.connect()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func dial(ctx context.Context, options Options) (net.Conn, error) {
	if options.TLS != nil {
		dialer := tls.Dialer{Config: options.TLS}
		return dialer.DialContext(ctx, "tcp", options.Address)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", options.Address)
}

func (c *Client) connect() error {
	o := c.options
	connect := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: o.Version}
	connect.Connect = packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: o.ClientID, Keepalive: o.KeepAlive,
		Username: []byte(o.User), UsernameFlag: o.User != "", Password: []byte(o.Password), PasswordFlag: o.Password != "",
	}
	connect.Properties.ReceiveMaximum = o.ReceiveMaximum
	if o.Will != nil {
		connect.Connect.WillFlag, connect.Connect.WillQos = true, 1
		connect.Connect.WillTopic, connect.Connect.WillPayload = o.Will.Topic, o.Will.Payload
	}
	if err := c.write(connect); err != nil {
		return err
	}
	answer, err := c.next()
	switch {
	case err != nil:
		return err
	case answer.FixedHeader.Type != packets.Connack:
		return fmt.Errorf("the broker answers with a packet of type %d", answer.FixedHeader.Type)
	case answer.ReasonCode != 0:
		return Refused{Code: answer.ReasonCode}
	}
	return nil
}

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Reason returns the code with which a broker of MQTT 5 has ended the connection, or zero.
func (c *Client) Reason() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Close ends the connection in order, so that the broker does not send the will.
func (c *Client) Close() {
	_ = c.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	c.Abort()
}

// Abort ends the connection without a word.
func (c *Client) Abort() { _ = c.conn.Close() }

// Ping keeps the connection alive. It does not wait for the response.
func (c *Client) Ping() error {
	return c.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
}

// Subscribe subscribes to filters with quality of service 1, and returns the codes of the response.
func (c *Client) Subscribe(ctx context.Context, filters ...string) ([]byte, error) {
	request := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}}
	for _, filter := range filters {
		request.Filters = append(request.Filters, packets.Subscription{Filter: filter, Qos: 1})
	}
	answer, err := c.ask(ctx, request)
	return answer.ReasonCodes, err
}

// Unsubscribe ends subscriptions.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	request := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}}
	for _, filter := range filters {
		request.Filters = append(request.Filters, packets.Subscription{Filter: filter})
	}
	_, err := c.ask(ctx, request)
	return err
}

// Publish sends a message with quality of service 1, and returns when it is acknowledged. The error
// is ErrClosed if the connection ends before.
func (c *Client) Publish(ctx context.Context, message Message) error {
	answer, err := c.ask(ctx, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: message.Topic, Payload: message.Payload,
	})
	if err == nil && answer.ReasonCode >= packets.ErrUnspecifiedError.Code {
		err = fmt.Errorf("the broker refuses a message: code %d", answer.ReasonCode)
	}
	return err
}

// Post sends a message like Publish, and does not wait.
func (c *Client) Post(message Message) error {
	return c.write(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: c.wait(nil), TopicName: message.Topic, Payload: message.Payload,
	})
}

// ask sends a packet with an id and returns the response.
func (c *Client) ask(ctx context.Context, request packets.Packet) (packets.Packet, error) {
	answer := make(chan packets.Packet, 1)
	request.PacketID = c.wait(answer)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waits, request.PacketID)
	}()
	if err := c.write(request); err != nil {
		return packets.Packet{}, err
	}
	select {
	case pk := <-answer:
		return pk, nil
	case <-c.done:
		return packets.Packet{}, ErrClosed
	case <-ctx.Done():
		return packets.Packet{}, context.Cause(ctx)
	}
}

// wait returns an unused id, whose response goes to the channel.
func (c *Client) wait(answer chan packets.Packet) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.lastID++
		if _, used := c.waits[c.lastID]; !used && c.lastID != 0 {
			c.waits[c.lastID] = answer
			return c.lastID
		}
	}
}

// read processes packets until the connection ends.
func (c *Client) read() {
	defer func() {
		_ = c.conn.Close()
		close(c.done)
		if c.options.Ended != nil {
			c.options.Ended(c)
		}
	}()
	for {
		pk, err := c.next()
		if err != nil {
			return
		}
		switch pk.FixedHeader.Type {
		case packets.Publish:
			if c.options.Received != nil && !c.options.Received(Message{pk.TopicName, pk.Payload}) || pk.FixedHeader.Qos == 0 {
				continue
			}
			err = c.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
			if err != nil {
				return
			}
		case packets.Puback, packets.Suback, packets.Unsuback:
			c.mu.Lock()
			if answer := c.waits[pk.PacketID]; answer != nil {
				answer <- pk
			}
			delete(c.waits, pk.PacketID)
			c.mu.Unlock()
		case packets.Disconnect:
			c.mu.Lock()
			c.reason = pk.ReasonCode
			c.mu.Unlock()
			return
		}
	}
}

// next reads one packet.
func (c *Client) next() (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: c.options.Version}
	first, err := c.reader.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(c.reader); err != nil {
		return pk, err
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(c.reader, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}

// write writes one packet.
func (c *Client) write(pk packets.Packet) error {
	pk.ProtocolVersion = c.options.Version
	var buffer bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buffer)
	case packets.Publish:
		err = pk.PublishEncode(&buffer)
	case packets.Puback:
		err = pk.PubackEncode(&buffer)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&buffer)
	case packets.Unsubscribe:
		err = pk.UnsubscribeEncode(&buffer)
	case packets.Pingreq:
		err = pk.PingreqEncode(&buffer)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buffer)
	}
	if err != nil {
		return err
	}
	_, err = c.conn.Write(buffer.Bytes()) // net.Conn writes each buffer as a whole
	return err
}
