// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// maxHeader is the maximum size of the head of a request, in bytes.
	maxHeader = 32 << 10
	// shutdownTime is how long requests may continue after the end was requested.
	shutdownTime = 5 * time.Second
)

// bounds are what browsers can use.
type bounds struct {
	// connections is the maximum number of open connections of browsers.
	connections int
	// idle is how long a connection without a request stays open.
	idle time.Duration
	// write is the maximum time of a write to a browser.
	write time.Duration
	// stream is how long a stream lasts. Then the browser connects again.
	stream time.Duration
}

var defaultBounds = bounds{connections: 2000, idle: 2 * time.Minute, write: 15 * time.Second, stream: time.Hour}

// Serve serves the console on a listener until ctx ends. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	streams, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer endStreams()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       s.bounds.idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return streams },
		ErrorLog:          log.New(io.Discard, "", 0), // what browsers do wrong
	}
	server.RegisterOnShutdown(endStreams)
	served := make(chan error, 1)
	limited := netutil.LimitListener(listener, s.bounds.connections)
	if s.o.TLS != nil {
		limited = tls.NewListener(limited, s.o.TLS)
	}
	go func() { served <- server.Serve(limited) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer stop()
	if err := server.Shutdown(ending); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
