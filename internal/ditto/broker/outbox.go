// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/eclipse/paho.golang/autopaho/queue"
)

// errOutboxFull means that the external broker has not taken messages for some time.
var errOutboxFull = errors.New("too many messages wait for the external MQTT broker")

// outbox is a queue in memory with a limit.
type outbox struct {
	most int

	mu       sync.Mutex
	messages [][]byte
	// filled is closed when the queue is not empty.
	filled chan struct{}
}

var _ queue.Queue = (*outbox)(nil)

func newOutbox(most int) *outbox { return &outbox{most: most, filled: make(chan struct{})} }

// Wait returns a channel that is closed when the queue is not empty.
func (o *outbox) Wait() chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.filled
}

// Enqueue adds a message.
func (o *outbox) Enqueue(r io.Reader) error {
	message, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.messages) >= o.most {
		return errOutboxFull
	}
	if o.messages = append(o.messages, message); len(o.messages) == 1 {
		close(o.filled)
	}
	return nil
}

// Peek returns the first message.
func (o *outbox) Peek() (queue.Entry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.messages) == 0 {
		return nil, queue.ErrEmpty
	}
	return entry{o, o.messages[0]}, nil
}

// entry is the first message of an outbox.
type entry struct {
	outbox  *outbox
	message []byte
}

// Reader returns the message.
func (e entry) Reader() (io.Reader, error) { return bytes.NewReader(e.message), nil }

// Leave keeps the message in the queue.
func (entry) Leave() error { return nil }

// Remove removes the message.
func (e entry) Remove() error {
	e.outbox.mu.Lock()
	defer e.outbox.mu.Unlock()
	if e.outbox.messages = e.outbox.messages[1:]; len(e.outbox.messages) == 0 {
		e.outbox.messages, e.outbox.filled = nil, make(chan struct{})
	}
	return nil
}

// Quarantine removes a message that cannot be read.
func (e entry) Quarantine() error { return e.Remove() }
