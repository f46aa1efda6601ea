// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long these tests wait for what has to happen.
const patience = time.Minute

// pipes is a listener in memory. Its connections have no buffer, so a write waits until the other
// side reads.
type pipes struct {
	waiting chan net.Conn
	// accepts is how often a connection was asked for.
	accepts atomic.Int32
	once    sync.Once
	closed  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	p.accepts.Add(1)
	select {
	case c := <-p.waiting:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// watched is the server's side of a connection.
type watched struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (c *watched) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

// browserConn is a browser's side of a connection.
type browserConn struct {
	net.Conn
	t    testing.TB
	read *bufio.Reader
	// ended is closed when the server has closed the connection.
	ended chan struct{}
}

// serveBounded serves a console with these bounds, and returns a function that connects to it.
func (w *world) serveBounded(change func(*bounds)) (*pipes, func() *browserConn) {
	w.Helper()
	change(&w.server.bounds)
	listener := &pipes{waiting: make(chan net.Conn), closed: make(chan struct{})}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, listener) }()
	w.Cleanup(func() {
		end()
		if err := <-served; err != nil {
			w.Errorf("the server ended with %v", err)
		}
	})
	return listener, func() *browserConn {
		ours, theirs := net.Pipe()
		c := &browserConn{Conn: ours, t: w.TB, read: bufio.NewReader(ours), ended: make(chan struct{})}
		w.Cleanup(func() { _ = ours.Close() })
		select {
		case listener.waiting <- &watched{Conn: theirs, ended: c.ended}:
		case <-time.After(patience):
			w.Fatal("the server accepts no connection")
		}
		return c
	}
}

// ask sends a request.
func (c *browserConn) ask(path string) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: console\r\n\r\n", path); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads a whole response.
func (c *browserConn) answer() {
	c.t.Helper()
	response, err := http.ReadResponse(c.read, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		c.t.Fatalf("the response is %d: %v", response.StatusCode, err)
	}
}

// wantEnd fails the test if the server does not close the connection.
func (c *browserConn) wantEnd(why string) {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Errorf("%s stays open", why)
	}
}

func TestNumberOfConnectionsIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, objects.Rollout("r", "set"))
	listener, connect := w.serveBounded(func(b *bounds) { b.connections = 2 })
	first, second := connect(), connect()
	for _, c := range []*browserConn{first, second} {
		c.ask("/rollouts")
		c.answer()
	}
	if got := listener.accepts.Load(); got > 2 {
		t.Errorf("with 2 connections the server asks for connection %d", got)
	}
	_ = first.Close()
	third := connect()
	third.ask("/rollouts")
	third.answer()
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, objects.Rollout("r", "set"))
	_, connect := w.serveBounded(func(b *bounds) { b.idle = 10 * time.Millisecond })
	c := connect()
	c.ask("/rollouts")
	c.answer()
	c.wantEnd("a connection without a request")
}

// A browser that reads nothing keeps no connection and no stream.
func TestBrowserThatReadsNothing(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"a page": "/rollouts", "a stream": "/events?kinds=rollouts&namespace=&version=0", "a file": assetPath(".css")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, objects.Rollout("r", "set"))
			_, connect := w.serveBounded(func(b *bounds) { b.write = 10 * time.Millisecond })
			c := connect()
			c.ask(path)
			c.wantEnd(name)
			w.server.hub.mu.Lock()
			defer w.server.hub.mu.Unlock()
			if n := len(w.server.hub.streams); n > 0 {
				t.Errorf("%d streams are open", n)
			}
		})
	}
}

func TestStreamEndsAfterItsLifetime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.bounds.stream = 10 * time.Millisecond
	s := w.openPage(w.serve(), "kinds=rollouts&namespace=&version=0")
	s.want("hello")
	for s.lines.Scan() {
	}
	if err := s.lines.Err(); err != nil {
		t.Errorf("the stream did not end by itself: %v", err)
	}
}

// The bounds are those of docs/console.md.
func TestDefaultBounds(t *testing.T) {
	if want := (bounds{connections: 2000, idle: 2 * time.Minute, write: 15 * time.Second, stream: time.Hour}); defaultBounds != want {
		t.Errorf("the bounds are %+v, and docs/console.md has %+v", defaultBounds, want)
	}
}
