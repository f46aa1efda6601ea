// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// connect reads the first packet and authorizes the client.
func (c *client) connect() error {
	pk, _, err := c.read(maxConnect) // smaller than smallPacket
	if err != nil {
		return err
	}
	if pk.FixedHeader.Type != packets.Connect {
		return packets.ErrProtocolViolationRequireFirstConnect
	}
	if err := c.decode(pk); err != nil && pk.ProtocolVersion <= 5 {
		return err
	}
	c.version = pk.ProtocolVersion
	shown := c.connection(pk)
	if code, err := c.admit(pk, shown); err != nil {
		c.broker.metrics.refused.WithLabelValues(code.Reason).Inc()
		_ = c.write(connack(c.version, code))
		return fmt.Errorf("connection of %q refused: %w", shown.User, err)
	}
	c.broker.limiter.Work(c.raw)
	c.accept(pk)
	c.broker.join(c)
	if err := c.write(c.welcome(pk)); err != nil {
		return err
	}
	c.isConnected = true
	c.broker.handler.Connected(c.device, shown)
	return nil
}

// connection returns what the client shows about itself.
func (c *client) connection(pk *packets.Packet) ditto.Connection {
	shown := ditto.Connection{
		ID: c.id, User: string(pk.Connect.Username), Password: string(pk.Connect.Password), Peer: addressOf(c.raw),
	}
	if secure, ok := c.conn.(*tls.Conn); ok {
		shown.Certificates = secure.ConnectionState().PeerCertificates
	}
	return shown
}

// admit sets the device of the connection, or returns the code of the response and the reason.
func (c *client) admit(pk *packets.Packet, shown ditto.Connection) (packets.Code, error) {
	switch code := pk.ConnectValidate(); {
	case code == packets.ErrProtocolViolationProtocolVersion:
		return packets.ErrUnsupportedProtocolVersion, code
	case code != packets.CodeSuccess:
		return code, code
	case pk.Properties.AuthenticationMethod != "":
		return packets.ErrBadAuthenticationMethod, errors.New("authentication methods are not supported; use user and password, or a certificate")
	case c.version < 5 && pk.Connect.ClientIdentifier == "" && !pk.Connect.Clean:
		return packets.ErrClientIdentifierNotValid, errors.New("there is no client id, and no clean session")
	}
	device, err := c.broker.handler.Authorize(c.broker.serving, shown)
	now := time.Now()
	switch unavailable := new(deviceapi.Unavailable); {
	case err == nil:
		if !c.broker.connects.Take(device, now) {
			return packets.ErrConnectionRateExceeded, errors.New("the device connects too often")
		}
		c.device = device
		return packets.CodeSuccess, nil
	case errors.Is(err, deviceapi.ErrUnauthorized):
		if !c.broker.limits.ExplainRefusal(shown.Peer, deviceapi.Device{ControllerID: shown.User}, now) {
			return packets.ErrConnectionRateExceeded, err
		}
		return packets.ErrBadUsernameOrPassword, err
	case errors.Is(err, deviceapi.ErrTooMany):
		return packets.ErrConnectionRateExceeded, err
	case errors.As(err, unavailable):
		return packets.ErrServerUnavailable, err
	default:
		c.broker.options.Log.Error(err, "an MQTT connection could not be authorized", "peer", c.raw.RemoteAddr().String())
		return packets.ErrServerUnavailable, err
	}
}

// accept sets what the client asks for, within the limits.
func (c *client) accept(pk *packets.Packet) {
	c.clientID = pk.Connect.ClientIdentifier
	c.packets = rate.NewLimiter(packetsPerSecond, packetsAtOnce)
	c.maxUnanswered = maxUnacknowledged
	if most := int(pk.Properties.ReceiveMaximum); most > 0 {
		c.maxUnanswered = min(c.maxUnanswered, most)
	}
	c.maxMessage = int(pk.Properties.MaximumPacketSize)
	c.keepAlive = maxKeepAlive
	if asked := time.Duration(pk.Connect.Keepalive) * time.Second; asked > 0 {
		c.keepAlive = min(c.keepAlive, asked)
	}
	if topic := pk.Connect.WillTopic; pk.Connect.WillFlag && isTopic(topic) && !strings.ContainsAny(topic, "+#") {
		c.will = &ditto.Message{Topic: topic, Payload: pk.Connect.WillPayload}
	}
}

// connack returns the response to a connection that is refused. MQTT 3 has few codes.
func connack(version byte, code packets.Code) *packets.Packet {
	answer := &packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code.Code}
	answer.Properties.ReasonString = code.Reason
	if version != 5 {
		known, ok := packets.V5CodesToV3[code]
		if !ok {
			known = packets.Err3ServerUnavailable
		}
		answer.ReasonCode = known.Code
	}
	return answer
}

// welcome returns the response to a connection that is accepted. It tells a client of MQTT 5 which
// limits it has.
func (c *client) welcome(pk *packets.Packet) *packets.Packet {
	answer := &packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}}
	answer.Properties = packets.Properties{
		ReceiveMaximum: maxReceived, MaximumPacketSize: maxPacket,
		RetainAvailableFlag: true, SharedSubAvailableFlag: true, SubIDAvailableFlag: true, // 0: not available
		SessionExpiryIntervalFlag: pk.Properties.SessionExpiryInterval > 0,
	}
	if c.clientID == "" {
		answer.Properties.AssignedClientID = "goshawk-" + strconv.FormatUint(uint64(c.id), 36)
	}
	if asked := time.Duration(pk.Connect.Keepalive) * time.Second; asked != c.keepAlive {
		answer.Properties.ServerKeepAlive, answer.Properties.ServerKeepAliveFlag = uint16(c.keepAlive/time.Second), true
	}
	return answer
}
