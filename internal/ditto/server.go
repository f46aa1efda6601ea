// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// workers is how many devices are looked at in parallel.
	workers = 32
	// cancelers is how many devices are sent a cancel in parallel.
	cancelers = 8
	// maxMembers is the maximum number of devices that a gateway acts for on one connection.
	maxMembers = 5000
	// checkInterval is how often the credentials of a connection are checked at least, and
	// checkPause how long after a check the next one is made at the earliest.
	checkInterval = 10 * time.Minute
	checkPause    = 2 * time.Second
	// sweepInterval is how often connections are searched for credentials to check, and with an
	// external broker the stored devices for new ones.
	sweepInterval = time.Minute
)

// Options of a Server. The zero value works.
type Options struct {
	// Rates limit the messages of devices.
	Rates deviceapi.Rates
	// FileURL returns the URL at which the device gets a file that the device API sends itself,
	// or "" if there is none. Default: there is none.
	FileURL func(device deviceapi.Device, moduleID, fileName string) string
	// Reporters returns the devices that have reported features. With an external broker they may
	// get commands although they have sent nothing to this process. Default: there are none.
	Reporters func(ctx context.Context) ([]deviceapi.Device, error)
	// Log gets refusals at V(1) and failures as errors. Default: none.
	Log logr.Logger
	// Registerer registers the metrics. Default: none.
	Registerer prometheus.Registerer
}

// Server serves devices with the SoftwareUpdatable feature. It gets their messages from a
// Transport, and everything else from the Backend of their namespace.
//
// For each device that has a connection it keeps a session. A session is looked at when something
// may have changed: by the device, by an object (Backend.Changed), or by the time
// (State.NextChange). All sessions share a few workers and one timer. What must survive the end of
// the process is stored before it has an effect: an action before its command, its acknowledgement
// and its result before the message is acknowledged. Only a cancel is sent before it is stored,
// because it may be sent twice.
type Server struct {
	namespaces deviceapi.Namespaces
	transport  Transport
	limits     *deviceapi.Limits
	fileURL    func(device deviceapi.Device, moduleID, fileName string) string
	reporters  func(ctx context.Context) ([]deviceapi.Device, error)
	metrics    *metrics
	log        logr.Logger
	notes      *rate.Limiter // of log lines about single devices
	queue      *queue

	mu          sync.Mutex
	sessions    map[deviceapi.Device]*session
	connections map[ConnectionID]*connection
	// partly are actions of devices without connection that only some features have acknowledged.
	partly map[deviceapi.Device]*work
}

// NewServer returns a Server. Run starts it.
func NewServer(namespaces deviceapi.Namespaces, transport Transport, options Options) (*Server, error) {
	metrics, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	return &Server{
		namespaces: namespaces, transport: transport, limits: deviceapi.NewLimits(options.Rates), fileURL: options.FileURL, reporters: options.Reporters, metrics: metrics, log: options.Log,
		notes: rate.NewLimiter(10, 100), queue: newQueue(),
		sessions: map[deviceapi.Device]*session{}, connections: map[ConnectionID]*connection{}, partly: map[deviceapi.Device]*work{},
	}, nil
}

// Run serves devices until ctx is done. The error is that of the transport.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.queue.keepTime(ctx) })
	running.Go(func() { s.sweep(ctx) })
	work := func(next func() *session, serve func(context.Context, *session)) {
		for session := next(); session != nil; session = next() {
			serve(ctx, session)
			s.queue.done(session)
		}
	}
	for range workers {
		running.Go(func() { work(s.queue.next, s.serve) })
	}
	for range cancelers {
		running.Go(func() { work(s.queue.nextChanged, s.cancelNow) })
	}
	err := s.transport.Run(ctx, s)
	cancel()
	s.queue.close()
	running.Wait()
	s.endAll()
	return err
}

// endAll ends the sessions that have not ended with their connections.
func (s *Server) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		for _, l := range session.links {
			if l.disconnected != nil {
				l.disconnected()
			}
		}
		s.end(session)
	}
}

// Authorize returns the device of a connection.
func (s *Server) Authorize(ctx context.Context, c Connection) (deviceapi.Device, error) {
	device, err := deviceOf(c)
	if err == nil {
		err = s.authorize(ctx, device, c.credentials())
	}
	if err == nil {
		return device, nil
	}
	if isAboutClient(err) && !s.limits.ExplainRefusal(c.Peer, device, time.Now()) {
		err = errGuesses
	}
	s.note("Refused a connection", device, err, "address", c.Peer)
	s.metrics.refused.WithLabelValues("connection").Inc()
	if _, isBad := errors.AsType[deviceapi.BadRequest](err); isBad {
		err = fmt.Errorf("%w: %w", deviceapi.ErrUnauthorized, err) // a user name that cannot be right
	}
	return deviceapi.Device{}, err
}

var errGuesses = deviceapi.TooMany{Reason: "the credentials of this connection are wrong, and so were those of many before", RetryAfter: 10 * time.Second}

// isAboutClient reports whether an error is caused by the client, and not by this process.
func isAboutClient(err error) bool {
	_, isBad := errors.AsType[deviceapi.BadRequest](err)
	return isBad || errors.Is(err, deviceapi.ErrUnauthorized) || errors.Is(err, deviceapi.ErrNotServed) || errors.Is(err, deviceapi.ErrNotFound)
}

func (s *Server) authorize(ctx context.Context, device deviceapi.Device, credentials deviceapi.Credentials) error {
	backend, err := s.namespaces(device.Namespace)
	if errors.Is(err, deviceapi.ErrNotServed) {
		return errors.Join(deviceapi.ErrUnauthorized, err)
	}
	if err != nil {
		return err
	}
	return backend.Authorize(ctx, device, credentials)
}

// credentials of a connection. A password is the token of the device or of a gateway.
func (c Connection) credentials() deviceapi.Credentials {
	return deviceapi.Credentials{TargetToken: c.Password, GatewayToken: c.Password, Certificates: c.Certificates, Peer: c.Peer}
}

// deviceOf returns the device that a connection names: controllerID@namespace, or without a user
// name the URI goshawk://<namespace>/<controllerID> in its certificate. Nothing is checked yet.
func deviceOf(c Connection) (deviceapi.Device, error) {
	device := deviceapi.Device{}
	if at := strings.LastIndexByte(c.User, '@'); at >= 0 {
		device = deviceapi.Device{Namespace: strings.ToLower(c.User[at+1:]), ControllerID: c.User[:at]}
	} else if c.User == "" && len(c.Certificates) > 0 {
		device = deviceOfURIs(c.Certificates[0].URIs)
	}
	if device == (deviceapi.Device{}) {
		return device, deviceapi.BadRequest{Reason: "the user name is not controllerID@namespace"}
	}
	if err := deviceapi.CheckID("the namespace in the user name", device.Namespace); err != nil {
		return device, err
	}
	return device, deviceapi.CheckID("the controllerID in the user name", device.ControllerID)
}

func deviceOfURIs(uris []*url.URL) deviceapi.Device {
	for _, uri := range uris {
		if uri.Scheme == "goshawk" {
			return deviceapi.Device{Namespace: strings.ToLower(uri.Host), ControllerID: strings.TrimPrefix(uri.Path, "/")}
		}
	}
	return deviceapi.Device{}
}

// note logs what a device has caused, at V(1). The number of such lines is limited.
func (s *Server) note(message string, device deviceapi.Device, err error, more ...any) {
	if log := s.log.V(1); log.Enabled() && s.notes.Allow() {
		log.Info(message, append([]any{"namespace", device.Namespace, "controllerID", device.ControllerID, "reason", text.LimitBytes(err.Error(), maxText)}, more...)...)
	}
}

// maxText limits the length of a text of a device in bytes, in logs and in errors.
const maxText = 400
