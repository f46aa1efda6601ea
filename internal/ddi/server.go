// Package ddi is the door: it speaks hawkBit's DDI with devices over HTTP.
//
// It knows paths, JSON, status codes and rates, and asks a Backend everything
// else. Every request goes one way: its route, its device, the credentials, the
// rates, the method, the resource; each step answers or refuses, and an
// answer is data until it is written. Nothing a device sends is trusted: it is
// bounded before it is read and logged only as a value.
package ddi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxBody is an order of magnitude above the largest report that a real
	// client has been seen to send.
	maxBody = 64 << 10

	maxHeader         = 16 << 10
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	shutdownTimeout   = 15 * time.Second
)

// Options of a Server. The zero value works.
type Options struct {
	// BaseURL is how devices reach the door, such as https://door.example; links
	// are built on it. Empty: every device gets links to the host it asked.
	BaseURL string
	// TrustForwarded believes the X-Forwarded-Proto, -Host and -For headers. Set
	// it only behind a proxy that overwrites them.
	TrustForwarded bool

	// DeviceRate bounds the requests of one device. Default: 5 a second, 30 at
	// once.
	DeviceRate Rate
	// AddressRate bounds the refused credentials of one address. Default: 10 a
	// second, 100 at once.
	AddressRate Rate
	// GlobalRate bounds all authorized requests of this door. Default: 10 000 a
	// second, 20 000 at once.
	GlobalRate Rate

	// Log takes refusals at level 1 and failures as errors. Default: none.
	Log logr.Logger
	// Registerer takes the door's metrics. Default: none.
	Registerer prometheus.Registerer
}

// Server is the door as an http.Handler. Every replica may have one.
type Server struct {
	backend        Backend
	baseURL        string
	trustForwarded bool
	limits         *limits
	metrics        *metrics
	log            logr.Logger
}

// NewServer makes a door in front of backend. The error says which option is
// wrong.
func NewServer(backend Backend, options Options) (*Server, error) {
	if err := checkBaseURL(options.BaseURL); err != nil {
		return nil, err
	}
	metrics, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		backend:        backend,
		baseURL:        strings.TrimSuffix(options.BaseURL, "/"),
		trustForwarded: options.TrustForwarded,
		limits:         newLimits(options),
		metrics:        metrics,
		log:            options.Log,
	}
	return s, nil
}

func checkBaseURL(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the base URL must be http:// or https:// and a host without a path, as in https://door.example")
	}
	return nil
}

// ServeHTTP answers one request: ask, write, count. No path, method or header goes another way.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	resource, namesDevice := route(r, "")
	answer, err := s.ask(resource, namesDevice, r, began)
	if err != nil {
		answer = s.refuse(resource, r, err)
	}
	answer.write(w)
	s.metrics.observe(resource.name, answer.status, time.Since(began))
}

// Serve answers on the listener until ctx is done, then lets the requests in
// flight finish. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// net/http would answer OPTIONS * by itself.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(logr.ToSlogHandler(s.log), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return server.Shutdown(grace)
}

// ask goes to the resource; what is in the way is an error. Credentials come first, so that a stranger
// does not learn which paths and methods there are.
func (s *Server) ask(resource resource, namesDevice bool, r *http.Request, now time.Time) (answer, error) {
	device, err := s.identify(r, namesDevice, now)
	if err != nil {
		return answer{}, err
	}
	v := &visit{Server: s, Request: r, device: device, now: now}
	if v.hurried, err = s.limits.admit(device, now); err != nil {
		return answer{}, err
	}
	if v.hurried && !resource.judgesHurry {
		return answer{}, tooFast
	}
	if resource.methods == nil {
		return answer{}, ErrNotFound
	}
	serve, ok := resource.methods[r.Method]
	if !ok {
		return answer{}, wrongMethod
	}
	return serve(v)
}
