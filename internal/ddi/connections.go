// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"context"
	"net"
	"net/http"
	"time"
)

// deviceIdleTimeout is how long a connection of a device stays open after a response. Connections
// of a trusted proxy stay open for idleTimeout, which must be longer than the proxies keep theirs:
// a proxy that sends a report on a connection while it is being closed may lose the report.
const deviceIdleTimeout = 30 * time.Second

// connectionChanged is the hook of an http.Server.
func (s *Server) connectionChanged(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.connections.Add(conn)
	case http.StateActive:
		s.connections.Work(conn)
	case http.StateIdle:
		s.connections.Idle(conn)
	default:
		s.connections.Remove(conn)
	}
}

// connectionKey is the key of a request's connection in its context.
type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// connectionRefused marks the connection of a request with wrong credentials, so that it is closed
// first. net/http keeps it open for a while after the response if a body was announced.
func (s *Server) connectionRefused(request context.Context) {
	if conn, ok := request.Value(connectionKey{}).(net.Conn); ok {
		s.connections.Refuse(conn)
	}
}

// closeIdle closes the connections of devices that have waited too long for the next request, until
// done is closed.
func (s *Server) closeIdle(done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			s.connections.CloseIdle(now.Add(-deviceIdleTimeout))
		}
	}
}
