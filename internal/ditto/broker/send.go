// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/goshawk-dev/goshawk/internal/ditto"
)

// send adds a message to those that are sent to the client. It does not wait. The error is
// ditto.ErrNotConnected if the client has not subscribed to the topic.
func (c *client) send(message ditto.Message) error {
	if size := len(message.Payload) + len(message.Topic) + 16; c.maxMessage > 0 && size > c.maxMessage {
		return fmt.Errorf("the message has %d bytes, and the client accepts packets of %d", size, c.maxMessage)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, isSubscribed := c.qosOf(message.Topic); !isSubscribed {
		return ditto.ErrNotConnected
	}
	if len(c.pending) >= maxPending {
		c.stop(stoppedSlow)
	}
	if c.isStopped() {
		return ditto.ErrNotConnected
	}
	c.pending = append(c.pending, message)
	c.wake()
	return nil
}

// qosOf returns the highest quality of service of the subscriptions to a topic.
func (c *client) qosOf(topic string) (qos byte, isSubscribed bool) {
	for filter, granted := range c.filters {
		if matches(filter, topic) {
			qos, isSubscribed = max(qos, granted), true
		}
	}
	return qos, isSubscribed
}

// acknowledged processes that the client has received a message.
func (c *client) acknowledged(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unanswered, id)
	c.wake()
}

// wake starts to send pending messages, if that has not been started.
func (c *client) wake() {
	if !c.isSending && len(c.pending) > 0 && len(c.unanswered) < c.maxUnanswered {
		c.isSending = true
		go c.sendPending()
	}
}

// sendPending sends messages until none is pending, or the client must acknowledge some first. A
// message that was sent is not sent again on the same connection, because TCP does not lose it.
func (c *client) sendPending() {
	for {
		pk := c.nextPending()
		if pk == nil {
			return
		}
		if err := c.write(pk); err != nil {
			c.stop(stoppedSlow)
		}
		c.broker.metrics.messages.WithLabelValues("sent").Inc()
	}
}

// nextPending returns the next message as a packet, or nil at the end of sendPending.
func (c *client) nextPending() *packets.Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 || len(c.unanswered) >= c.maxUnanswered || c.isStopped() {
		c.isSending = false
		return nil
	}
	message := c.pending[0]
	if c.pending = c.pending[1:]; len(c.pending) == 0 {
		c.pending = nil
	}
	pk := &packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: message.Topic, Payload: message.Payload}
	if pk.FixedHeader.Qos, _ = c.qosOf(message.Topic); pk.FixedHeader.Qos > 0 {
		pk.PacketID = c.nextID()
		c.unanswered[pk.PacketID] = true
	}
	return pk
}

// nextID returns an id that no unanswered message has.
func (c *client) nextID() uint16 {
	if c.unanswered == nil {
		c.unanswered = map[uint16]bool{}
	}
	for {
		if c.lastID++; c.lastID != 0 && !c.unanswered[c.lastID] {
			return c.lastID
		}
	}
}
