// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ddi is the device API with hawkBit's DDI over HTTP.
//
// It handles paths, JSON, status codes and rates, and gets everything else from a Backend. Each
// request passes the same steps: route, device, credentials, rates, method, resource. Each step
// continues or refuses, and a response is data until it is written. Nothing that a device sends is
// trusted: its size is limited before it is read, and it is logged only as a value.
package ddi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/connections"
)

const (
	// refusedWait is how long the rest of a body is read after credentials were refused.
	refusedWait = time.Second
	// maxBody is ten times the size of the largest report that was observed of a real client.
	maxBody = 64 << 10
	// maxResult is the maximum size of a result that is used. More is read and discarded, up to
	// maxPast, so that the client gets its response.
	maxResult = 1 << 20
	maxPast   = 8 << 20
	// maxLarge is the maximum number of bodies above maxBody that are read in parallel, and
	// largeWait how long another one waits for room.
	maxLarge  = 32
	largeWait = 5 * time.Second

	maxHeader         = 16 << 10
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	shutdownTimeout   = 15 * time.Second
)

// Options of a Server. The zero value works.
type Options struct {
	// BaseURL is the URL of the device API for devices, such as https://devices.example/goshawk.
	// Links start with it. If it is empty, links start with the host of the request.
	BaseURL string
	// DefaultNamespace is the namespace of the tenant DEFAULT, in any case. If it is empty, that is
	// the namespace default.
	DefaultNamespace string
	// TrustedProxies are the addresses whose X-Forwarded-For, -Proto, -Host, -Port and -Prefix, and
	// Forwarded, headers are trusted. From other addresses they are ignored, with a warning.
	// Default: none.
	TrustedProxies []netip.Prefix

	// Rates limit the requests of devices. Wrong credentials beyond theirs get 429; a path without
	// a device counts as one more controllerID.
	Rates deviceapi.Rates
	// MaxConnections limits the open connections, and MaxAddressConnections those of one address
	// (an IPv6 /64) that is not a trusted proxy. Default: 10 000 and 1000.
	MaxConnections, MaxAddressConnections int

	// TLS serves HTTPS instead of HTTP, only as HTTP/1.1. The client certificates that it requests
	// are credentials for the backend, and it need not verify them. Default: HTTP.
	TLS *tls.Config

	// Artifacts sends artifacts to devices.
	Artifacts Artifacts

	// Log gets refusals at V(1) and failures as errors. Default: none.
	Log logr.Logger
	// Registerer registers the device API's metrics. Default: none.
	Registerer prometheus.Registerer
}

// Server is the device API as an http.Handler. Each replica has one.
type Server struct {
	namespaces deviceapi.Namespaces
	// baseURL has no slash at its end. basePath is its path.
	baseURL, basePath string
	defaultNamespace  string
	proxies           []netip.Prefix
	proxyWarnings     proxyWarnings
	// tooLargeNotes limits the log lines about reports that are too large.
	tooLargeNotes rate.Sometimes
	// guessNotes limits the log lines about wrong credentials.
	guessNotes  rate.Sometimes
	limits      *limits
	connections *connections.Limiter
	metrics     *metrics
	tls         *tls.Config
	artifacts   Artifacts
	log         logr.Logger
}

// NewServer makes a device API whose tenants are namespaces, each with its backend. The error says
// which option is wrong.
func NewServer(namespaces deviceapi.Namespaces, options Options) (*Server, error) {
	baseURL, basePath, err := readBaseURL(options.BaseURL)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		namespaces:       namespaces,
		baseURL:          baseURL,
		basePath:         basePath,
		defaultNamespace: options.DefaultNamespace,
		proxies:          options.TrustedProxies,
		tooLargeNotes:    rate.Sometimes{First: 10, Interval: time.Minute},
		guessNotes:       rate.Sometimes{Interval: time.Minute},
		limits:           newLimits(options.Rates),
		metrics:          metrics,
		tls:              options.TLS,
		artifacts:        options.Artifacts,
		log:              options.Log,
	}
	s.connections = connections.New(connections.Options{
		Max: options.MaxConnections, MaxOfAddress: options.MaxAddressConnections, IsProxy: s.isProxy,
		Open: metrics.connections, Dropped: metrics.dropped,
	})
	return s, nil
}

// readBaseURL returns a base URL without the slash at its end, and its path.
func readBaseURL(base string) (baseURL, path string, err error) {
	if base == "" {
		return "", "", nil
	}
	u, err := url.Parse(base)
	if err == nil {
		path = strings.TrimSuffix(u.EscapedPath(), "/")
	}
	if err != nil || !isScheme(u.Scheme) || u.User != nil || !isHost(u.Host) || path != "" && !isPathPrefix(path) || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", "", errors.New("the base URL must be http:// or https://, a host and perhaps a path, as in https://devices.example/goshawk")
	}
	return strings.TrimSuffix(base, "/"), path, nil
}

// ServeHTTP processes one request: ask, write, count. All requests pass these steps.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	v := visits.Get().(*visit)
	*v = visit{Server: s, Request: r, writer: w, origin: s.originOf(r), now: started, body: v.body}
	v.destination = route(r.URL, v.origin.prefix)
	resource := v.destination.resource
	answer, err := v.ask(resource, v.destination.device != nil)
	if err != nil {
		answer = v.refuse(resource, err)
	}
	if v.isRefused && !v.origin.isProxied {
		answer = v.last(w, answer)
	}
	answer.write(w)
	if v.isRefused {
		s.connectionRefused(r.Context())
	}
	s.metrics.observe(resource.name, answer.status, time.Since(started))
	*v = visit{body: v.body} // without what it refers to
	visits.Put(v)
}

// last makes a response the last one on its connection, so that a client without the right token
// does not keep a connection. Connections of a trusted proxy stay open, because other clients share
// them.
func (v *visit) last(w http.ResponseWriter, a answer) answer {
	_ = http.NewResponseController(w).SetReadDeadline(v.now.Add(refusedWait)) // only a test has a writer without a connection
	a.headers = append(a.headers, header{"Connection", "close"})
	return a
}

// Serve serves requests on the listener until ctx is done, and then waits for the present requests.
// It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         s.connectionChanged,
		ConnContext:       withConnection,
		MaxHeaderBytes:    maxHeader,
		// net/http would respond to OPTIONS * itself.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(logr.ToSlogHandler(s.log), slog.LevelDebug),
	}
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server.BaseContext = func(net.Listener) context.Context { return requests }
	swept := make(chan struct{})
	defer close(swept)
	go s.closeIdle(swept)
	served := make(chan error, 1)
	go func() { served <- s.accept(server, listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	// Only downloads take that long. Their devices resume them at another replica.
	endRequests()
	return server.Close()
}

// accept serves HTTPS or HTTP until the server is shut down.
func (s *Server) accept(server *http.Server, listener net.Listener) error {
	if s.tls == nil {
		return server.Serve(listener)
	}
	// The limits of connections count one request at a time on each, as in HTTP/1.1.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.TLSConfig = s.tls
	return server.ServeTLS(listener, "", "")
}

// ask calls the resource, or returns an error. Credentials are checked first, so that an
// unauthorized client does not learn which paths and methods exist.
func (v *visit) ask(resource *resource, namesDevice bool) (answer, error) {
	if err := v.identify(resource, namesDevice); err != nil {
		return answer{}, err
	}
	if !v.limits.enter(v.device) {
		return answer{}, tooMany
	}
	defer v.limits.leave(v.device)
	v.beyondRate = v.limits.Admit(v.device, v.gatewayToken, v.now)
	if v.beyondRate != nil && (!resource.readsBeyondRate || !v.limits.admitBody(v.device, v.ContentLength, v.now)) {
		return answer{}, v.beyondRate
	}
	if resource.methods == nil {
		return answer{}, deviceapi.ErrNotFound
	}
	serve, ok := resource.methods[v.Method]
	if !ok {
		return answer{}, wrongMethod
	}
	return serve(v)
}
