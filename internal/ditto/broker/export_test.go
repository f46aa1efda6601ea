// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import "time"

// SetTimeouts sets the time for the first packet and for one packet. It is called before Run.
func (e *Embedded) SetTimeouts(connect, packet time.Duration) {
	e.connectTimeout, e.packetTimeout = connect, packet
}

// Matches reports whether a filter matches a topic.
var Matches = matches

// Left returns how much the broker knows of connections.
func (e *Embedded) Left() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.open) + len(e.devices) + e.large.Taken()
}
