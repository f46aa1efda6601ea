// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// process processes one packet after the first. An error ends the connection.
func (c *client) process(pk *packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return c.publish(pk)
	case packets.Puback:
		c.acknowledged(pk.PacketID)
		return nil
	case packets.Pubrel:
		delete(c.incoming, pk.PacketID)
		return c.answer(packets.Pubcomp, pk.PacketID)
	case packets.Subscribe:
		return c.subscribe(pk)
	case packets.Unsubscribe:
		return c.unsubscribe(pk)
	case packets.Pingreq:
		return c.answer(packets.Pingresp, 0)
	case packets.Disconnect:
		if pk.ReasonCode == packets.CodeDisconnect.Code {
			return errDisconnected
		}
		return fmt.Errorf("the client disconnects with code %#x", pk.ReasonCode)
	default:
		return refusal{stoppedLimit, packets.ErrProtocolViolation}
	}
}

// answer writes a packet that has at most an id.
func (c *client) answer(kind byte, id uint16) error {
	return c.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id})
}

// publish gives a message of the client to the handler, and acknowledges it after that. A message
// with quality of service 2 is acknowledged once more without the handler if it comes again.
func (c *client) publish(pk *packets.Packet) error {
	switch code := pk.PublishValidate(0); {
	case code != packets.CodeSuccess:
		return refusal{stoppedLimit, code}
	case !isTopic(pk.TopicName):
		return refusal{stoppedLimit, packets.ErrTopicNameInvalid}
	case len(pk.Payload) > ditto.MaxPayload:
		return refusal{stoppedLimit, packets.ErrPacketTooLarge}
	}
	if pk.FixedHeader.Qos == 2 && c.incoming[pk.PacketID] {
		return c.answer(packets.Pubrec, pk.PacketID)
	}
	if pk.FixedHeader.Qos == 2 && len(c.incoming) >= maxReceived {
		return refusal{stoppedLimit, packets.ErrReceiveMaximum}
	}
	c.broker.metrics.messages.WithLabelValues("received").Inc()
	if err := c.broker.handler.Received(c.broker.serving, c.device, c.id, ditto.Message{Topic: pk.TopicName, Payload: pk.Payload}); err != nil {
		c.broker.options.Log.V(1).Info("an MQTT message is not acknowledged", "namespace", c.device.Namespace, "controllerID", c.device.ControllerID, "topic", pk.TopicName, "error", err.Error())
		return refusal{stoppedFailed, packets.ErrImplementationSpecificError}
	}
	switch pk.FixedHeader.Qos {
	case 1:
		return c.answer(packets.Puback, pk.PacketID)
	case 2:
		if c.incoming == nil {
			c.incoming = map[uint16]bool{}
		}
		c.incoming[pk.PacketID] = true
		return c.answer(packets.Pubrec, pk.PacketID)
	default:
		return nil
	}
}

// subscribe adds subscriptions. The handler is called after the client has its response.
func (c *client) subscribe(pk *packets.Packet) error {
	if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
		return refusal{stoppedLimit, code}
	}
	if len(pk.Properties.SubscriptionIdentifier) > 0 {
		return refusal{stoppedLimit, packets.ErrSubscriptionIdentifiersNotSupported}
	}
	answer := &packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID}
	var added []string
	for i, asked := range pk.Filters {
		code := packets.ErrQuotaExceeded.Code
		if i < maxSubscriptions {
			code = c.addFilter(asked.Filter, min(asked.Qos, 1))
		}
		if code <= packets.CodeGrantedQos2.Code {
			added = append(added, asked.Filter)
		} else if c.version < 5 {
			code = packets.ErrUnspecifiedError.Code
		}
		answer.ReasonCodes = append(answer.ReasonCodes, code)
	}
	if err := c.write(answer); err != nil {
		return err
	}
	for _, filter := range added {
		c.broker.handler.Subscribed(c.device, c.id, filter)
	}
	return nil
}

// addFilter adds one subscription, and returns the code of the response.
func (c *client) addFilter(filter string, qos byte) byte {
	switch {
	case isShared(filter):
		return packets.ErrSharedSubscriptionsNotSupported.Code
	case !isTopic(filter) || !isFilter(filter):
		return packets.ErrTopicFilterInvalid.Code
	}
	if !c.broker.handler.MaySubscribe(c.broker.serving, c.device, c.id, filter) {
		return packets.ErrNotAuthorized.Code
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, isPresent := c.filters[filter]; !isPresent && len(c.filters) >= maxSubscriptions {
		return packets.ErrQuotaExceeded.Code
	}
	if c.filters == nil {
		c.filters = map[string]byte{}
	}
	c.filters[filter] = qos
	return qos
}

func (c *client) unsubscribe(pk *packets.Packet) error {
	if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
		return refusal{stoppedLimit, code}
	}
	answer := &packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: pk.PacketID}
	var ended []string
	c.mu.Lock()
	for _, asked := range pk.Filters {
		code := packets.CodeNoSubscriptionExisted
		if _, ok := c.filters[asked.Filter]; ok {
			code = packets.CodeSuccess
			ended = append(ended, asked.Filter)
		}
		delete(c.filters, asked.Filter)
		answer.ReasonCodes = append(answer.ReasonCodes, code.Code)
	}
	c.mu.Unlock()
	for _, filter := range ended {
		c.broker.handler.Unsubscribed(c.device, c.id, filter)
	}
	return c.write(answer)
}

// isTopic reports whether a topic or a filter is within the limits. Names that start with a dollar
// sign are those of a broker.
func isTopic(topic string) bool {
	return topic != "" && len(topic) <= maxTopic && topic[0] != '$' && strings.Count(topic, "/") < maxLevels
}

func isShared(filter string) bool {
	first, _, _ := strings.Cut(filter, "/")
	return strings.EqualFold(first, "$share")
}

// isFilter reports whether the wildcards of a filter are whole levels, and # is the last one.
func isFilter(filter string) bool {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.ContainsAny(level, "+#") && level != "+" && (level != "#" || i < len(levels)-1) {
			return false
		}
	}
	return true
}

// matches reports whether a filter matches a topic. `a/#` also matches `a`.
func matches(filter, topic string) bool {
	for {
		want, moreFilter, filterGoesOn := strings.Cut(filter, "/")
		if want == "#" {
			return true
		}
		level, moreTopic, topicGoesOn := strings.Cut(topic, "/")
		switch {
		case want != "+" && want != level:
			return false
		case !topicGoesOn:
			return !filterGoesOn || moreFilter == "#"
		case !filterGoesOn:
			return false
		}
		filter, topic = moreFilter, moreTopic
	}
}
