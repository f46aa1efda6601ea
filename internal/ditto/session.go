// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

const (
	// activationGrace is how long after a device has subscribed to its commands Goshawk waits for
	// its features before it uses those that are stored. A device that reports its features on each
	// connection would lose a command that comes earlier, or get it twice.
	activationGrace = 2 * time.Second
	// featureGrace is how long after a device has subscribed, or has reported a feature, Goshawk
	// waits for further features before it refuses an update that needs one.
	featureGrace = 10 * time.Second
	// resendPause is how long a command is not sent again because the device reports its features,
	// if it was sent on the same connection.
	resendPause = 10 * time.Second
	// maxPartly is the maximum number of devices without connection of which the Server knows that
	// only some of their features have acknowledged a command. Beyond that all are forgotten, and
	// the other features do not get their command again.
	maxPartly = 4096
	// maxFilters is the maximum number of filters of commands that are kept for a connection.
	maxFilters = 16
)

// connection is a connection of a device or of a gateway.
type connection struct {
	id          ConnectionID
	device      deviceapi.Device
	credentials deviceapi.Credentials

	// The rest is guarded by the mutex of the Server.
	filters   []subscription
	members   map[deviceapi.Device]struct{} // other devices that it acts for
	checkedAt time.Time
}

// subscription is a filter of commands, as the device has written it and as it is read.
type subscription struct {
	written string
	wire.Filter
}

// thingID returns the id of the thing of a device.
func thingID(d deviceapi.Device) string { return d.Namespace + ":" + d.ControllerID }

// deviceNamed returns the device that a level of a topic names, in a topic of another one: by its
// controllerID or the id of its thing. An empty level is the other one.
func deviceNamed(of deviceapi.Device, level string) deviceapi.Device {
	if level == "" || level == of.ControllerID {
		return of
	}
	return deviceapi.Device{Namespace: of.Namespace, ControllerID: strings.TrimPrefix(level, of.Namespace+":")}
}

// filterFor returns the filter with which the connection gets the commands of a device, or nil.
func (c *connection) filterFor(d deviceapi.Device) *wire.Filter {
	for i, f := range c.filters {
		if f.Device == wire.AnyDevice || f.Device == "" && d == c.device || f.Device == thingID(d) || f.Device == d.ControllerID {
			return &c.filters[i].Filter
		}
	}
	return nil
}

// session is what the Server keeps about a device that has a connection, or, with an external
// broker, about each device that has reported features.
type session struct {
	device  deviceapi.Device
	backend deviceapi.Backend
	unwatch func()
	// isChanged is set when an object has changed, so that the credentials must be checked.
	isChanged atomic.Bool
	position  position

	mu    sync.Mutex
	links []link
	// features are those that the device has, if hasFeatures is set. They are sorted by id.
	features    []feature
	hasFeatures bool
	// newAt is when the device subscribed to its commands or reported a feature at last, and
	// readyAt when commands may be sent. isActive means that the device has reported its features
	// on the present connection.
	newAt, readyAt time.Time
	isActive       bool
	// mustResend means that commands that are not acknowledged are sent again, and mustRedeliver
	// that acknowledged ones are, too.
	mustResend, mustRedeliver bool
	// quietUntil is until when commands are not sent again.
	quietUntil time.Time
	work       *work
	// cancelSent is the action whose cancel was sent on the present connection.
	cancelSent int32
	// denied is the action that waits for a confirmation that the device cannot give. isSecond
	// means that another process may send its command first.
	denied   int32
	isSecond bool
	// processed are the last operations of each feature that were processed.
	processed map[string]processed
	servedAt  time.Time
	failures  int
}

// link is how a device can be reached.
type link struct {
	id ConnectionID
	// via is the device of the connection: another one if that is a gateway.
	via          deviceapi.Device
	peer         string
	filter       *wire.Filter // nil: it has not subscribed to commands
	disconnected func()
}

// feature is a feature of a device.
type feature struct{ id, moduleType, definition string }

// serves reports whether software modules of a type can be sent to the feature.
func (f feature) serves(moduleType string) bool {
	return f.moduleType == moduleType && f.moduleType != "" && inventory.IsSupported(f.definition)
}

// Connected starts the session of a device.
func (s *Server) Connected(device deviceapi.Device, c Connection) {
	made := &connection{id: c.ID, device: device, credentials: c.credentials(), checkedAt: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections[c.ID] = made
	if err := s.link(made, device); err != nil {
		s.log.Error(err, "A device has connected whose namespace is not served", "namespace", device.Namespace, "controllerID", device.ControllerID)
	}
}

// Disconnected ends the session of a device, and of those that it acted for.
func (s *Server) Disconnected(_ deviceapi.Device, id ConnectionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.connections[id]
	if c == nil {
		return
	}
	delete(s.connections, id)
	s.unlink(c.device, id)
	for member := range c.members {
		s.unlink(member, id)
	}
}

// Subscribed makes commands reach the device, if the filter is about them.
func (s *Server) Subscribed(_ deviceapi.Device, id ConnectionID, filter string) {
	parsed, ok := wire.ParseFilter(filter)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.connections[id]
	if c == nil || len(c.filters) >= maxFilters || slices.ContainsFunc(c.filters, func(f subscription) bool { return f.written == filter }) {
		return
	}
	c.filters = append(c.filters, subscription{filter, parsed})
	s.reach(c, c.device)
	for member := range c.members {
		s.reach(c, member)
	}
}

// MaySubscribe reports whether the connection may subscribe to a filter.
func (s *Server) MaySubscribe(ctx context.Context, device deviceapi.Device, id ConnectionID, filter string) bool {
	tenant, name := wire.OwnerOf(filter)
	if tenant != "" && !strings.EqualFold(tenant, device.Namespace) {
		return false
	}
	owner := deviceNamed(device, name)
	if owner == device {
		return true
	}
	s.mu.Lock()
	c := s.connections[id]
	s.mu.Unlock()
	return c != nil && !isAboutClient(s.authorizeMember(ctx, c, owner))
}

// Unsubscribed ends what Subscribed has started.
func (s *Server) Unsubscribed(_ deviceapi.Device, id ConnectionID, filter string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.connections[id]
	if c == nil {
		return
	}
	c.filters = slices.DeleteFunc(slices.Clone(c.filters), func(f subscription) bool { return f.written == filter })
	s.reachBy(c, c.device)
	for member := range c.members {
		s.reachBy(c, member)
	}
}

// reachBy makes commands of a device that reached it on a connection take the filter that is left.
// The caller holds the lock.
func (s *Server) reachBy(c *connection, device deviceapi.Device) {
	session := s.sessions[device]
	if session == nil {
		return
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	for i := range session.links {
		if l := &session.links[i]; l.id == c.id && l.filter != nil {
			l.filter = c.filterFor(device)
		}
	}
}

// link makes a connection one of a device. The caller holds the lock.
func (s *Server) link(c *connection, device deviceapi.Device) error {
	session, err := s.sessionLocked(device)
	if err != nil {
		return err
	}
	peer := ""
	if c.credentials.Peer.IsValid() {
		peer = c.credentials.Peer.String()
	}
	made := link{id: c.id, via: c.device, peer: peer, disconnected: session.backend.Connected(device, peer)}
	session.mu.Lock()
	session.links = append(session.links, made)
	session.isActive = false
	session.mu.Unlock()
	s.reach(c, device)
	return nil
}

// reach records that commands of a device reach it on a connection, if they do.
func (s *Server) reach(c *connection, device deviceapi.Device) {
	filter, session := c.filterFor(device), s.sessions[device]
	if filter == nil || session == nil {
		return
	}
	now := time.Now()
	session.mu.Lock()
	defer session.mu.Unlock()
	for i := range session.links {
		if l := &session.links[i]; l.id == c.id && l.filter == nil {
			l.filter = filter
			session.newAt, session.readyAt = now, now.Add(activationGrace)
			if session.isActive {
				session.readyAt = now
			}
			session.mustResend, session.cancelSent, session.quietUntil = true, 0, time.Time{}
			s.queue.add(session)
		}
	}
}

// unlink ends a link of a device, and its session after the last one. The caller holds the lock.
func (s *Server) unlink(device deviceapi.Device, id ConnectionID) {
	session := s.sessions[device]
	if session == nil {
		return
	}
	session.mu.Lock()
	for _, l := range session.links {
		if l.id == id && l.disconnected != nil {
			l.disconnected()
		}
	}
	session.links = slices.DeleteFunc(session.links, func(l link) bool { return l.id == id })
	isLast := len(session.links) == 0
	if isLast && session.work.isPartlyAcknowledged() {
		if len(s.partly) >= maxPartly {
			clear(s.partly)
		}
		s.partly[device] = session.work
	}
	session.mu.Unlock()
	if isLast {
		s.end(session)
	}
}

// end removes a session. The caller holds the lock.
func (s *Server) end(session *session) {
	session.unwatch()
	s.queue.forget(session)
	delete(s.sessions, session.device)
	s.metrics.devices.Set(float64(len(s.sessions)))
}

// sessionLocked returns the session of a device, and starts it if there is none. The caller holds
// the lock.
func (s *Server) sessionLocked(device deviceapi.Device) (*session, error) {
	if present := s.sessions[device]; present != nil {
		return present, nil
	}
	backend, err := s.namespaces(device.Namespace)
	if err != nil {
		return nil, err
	}
	made := &session{device: device, backend: backend, work: s.partly[device]}
	delete(s.partly, device)
	made.unwatch = backend.Changed(device, func() {
		made.isChanged.Store(true)
		s.queue.addChanged(made)
	})
	s.sessions[device] = made
	s.metrics.devices.Set(float64(len(s.sessions)))
	return made, nil
}

// remote returns the session of a device behind an external broker, which decides which client acts
// for it.
func (s *Server) remote(device deviceapi.Device) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, err := s.sessionLocked(device)
	if err != nil {
		return nil, err
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if len(session.links) == 0 {
		// Another replica, or the process before this one, may have sent its commands a moment ago.
		session.links = []link{{via: device, filter: &wire.Filter{}}}
		session.mustResend, session.quietUntil = true, time.Now().Add(resendPause)
		s.queue.add(session)
	}
	return session, nil
}

// actingFor returns the session of a device that a message is about. A connection of another device
// must be one of a gateway that may act for it.
func (s *Server) actingFor(ctx context.Context, id ConnectionID, sender, device deviceapi.Device) (*session, error) {
	if id == 0 {
		if sender != device {
			return nil, deviceapi.ErrUnauthorized
		}
		return s.remote(device)
	}
	s.mu.Lock()
	c, session := s.connections[id], s.sessions[device]
	isMember := false
	if c != nil {
		_, isMember = c.members[device]
	}
	s.mu.Unlock()
	switch {
	case c == nil:
		return nil, deviceapi.Unavailable{Cause: errors.New("the connection has ended")}
	case session != nil && (c.device == device || isMember):
		return session, nil
	case c.device == device:
		return nil, deviceapi.ErrNotServed
	}
	if err := s.authorizeMember(ctx, c, device); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connections[id] == nil {
		return nil, deviceapi.Unavailable{Cause: errors.New("the connection has ended")}
	}
	if _, isMember := c.members[device]; !isMember {
		if len(c.members) >= maxMembers {
			return nil, deviceapi.TooMany{Reason: "this connection acts for too many devices; use one more"}
		}
		if c.members == nil {
			c.members = map[deviceapi.Device]struct{}{}
		}
		c.members[device] = struct{}{}
		if err := s.link(c, device); err != nil {
			delete(c.members, device)
			return nil, err
		}
	}
	return s.sessions[device], nil
}

// authorizeMember returns nil if a connection may act for another device than its own.
func (s *Server) authorizeMember(ctx context.Context, c *connection, device deviceapi.Device) error {
	if err := deviceapi.CheckID("the name of the thing", device.ControllerID); err != nil {
		return err
	}
	if len(c.credentials.GatewayToken) == 0 || device.Namespace != c.device.Namespace {
		return deviceapi.ErrUnauthorized
	}
	return s.authorize(ctx, device, deviceapi.Credentials{GatewayToken: c.credentials.GatewayToken, Peer: c.credentials.Peer})
}

// gatewayTokenOf returns the token of the gateway whose connection sends a message for another
// device. That of a device that sends for itself is not known to be one of a gateway.
func (s *Server) gatewayTokenOf(id ConnectionID, device deviceapi.Device) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.connections[id]; c != nil && c.device != device {
		return c.credentials.GatewayToken
	}
	return ""
}

// checkCredentials ends the connections of a session whose credentials are no longer accepted.
func (s *Server) checkCredentials(ctx context.Context, session *session) {
	now := time.Now()
	session.mu.Lock()
	links := slices.Clone(session.links)
	session.mu.Unlock()
	for _, l := range links {
		s.mu.Lock()
		c := s.connections[l.id]
		isEarly := c != nil && now.Sub(c.checkedAt) < checkPause
		if c != nil && !isEarly && c.device == session.device {
			c.checkedAt = now
		}
		s.mu.Unlock()
		switch {
		case c == nil:
			continue
		case isEarly && c.device == session.device:
			session.isChanged.Store(true)
			s.queue.wake(session, c.checkedAt.Add(checkPause))
			continue
		}
		credentials := c.credentials
		if c.device != session.device {
			credentials = deviceapi.Credentials{GatewayToken: c.credentials.GatewayToken, Peer: c.credentials.Peer}
		}
		if err := s.authorize(ctx, session.device, credentials); err == nil || !isAboutClient(err) {
			continue
		}
		if c.device == session.device {
			s.transport.Close(c.device, c.id, "its credentials are not accepted any more, or its Target was deleted")
			continue
		}
		s.mu.Lock()
		delete(c.members, session.device)
		s.unlink(session.device, c.id)
		s.mu.Unlock()
	}
}

// sweep looks at sessions whose credentials may have expired, until ctx is done. With an external
// broker it starts the sessions of devices that have reported features to another process.
func (s *Server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		if !s.transport.KnowsPresence() {
			s.startRemote(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.checkOld(time.Now())
	}
}

// checkOld has the credentials of connections checked that were not checked for long, or whose
// certificate has expired.
func (s *Server) checkOld(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.connections {
		isExpired := len(c.credentials.Certificates) > 0 && now.After(c.credentials.Certificates[0].NotAfter)
		if session := s.sessions[c.device]; session != nil && (isExpired || now.Sub(c.checkedAt) >= checkInterval) {
			session.isChanged.Store(true)
			s.queue.add(session)
		}
	}
}

// startRemote starts the sessions of all devices behind an external broker.
func (s *Server) startRemote(ctx context.Context) {
	if s.reporters == nil {
		return
	}
	devices, err := s.reporters(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.V(1).Info("Cannot list the devices with features; trying again", "reason", err.Error())
		}
		return
	}
	for _, device := range devices {
		if _, err := s.remote(device); err != nil {
			s.note("Cannot serve a device", device, err)
		}
	}
}

// featuresOf returns the features of a device: those that it has reported since the session
// started, or else those that are stored.
func (session *session) featuresOf(ctx context.Context) ([]feature, error) {
	session.mu.Lock()
	if session.hasFeatures {
		defer session.mu.Unlock()
		return slices.Clone(session.features), nil
	}
	session.mu.Unlock()
	stored, err := session.backend.Features(ctx, session.device)
	if err != nil {
		return nil, err
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if !session.hasFeatures {
		session.features, session.hasFeatures = nil, true
		for _, f := range stored {
			session.features = append(session.features, feature{id: f.ID, moduleType: strings.Clone(f.SoftwareModuleType), definition: f.Definition})
			session.remember(f)
		}
	}
	return slices.Clone(session.features), nil
}

// newness returns for how long the device may still report a feature that it has.
func (session *session) newness(now time.Time) time.Duration {
	session.mu.Lock()
	defer session.mu.Unlock()
	return session.newAt.Add(featureGrace).Sub(now)
}

// activate records that the device has reported a feature, or that it serves another type now.
func (session *session) activate(now time.Time) {
	session.mu.Lock()
	defer session.mu.Unlock()
	session.isActive, session.mustResend, session.newAt = true, true, now
	if session.readyAt.After(now) {
		session.readyAt = now
	}
}

// isReachable reports whether commands reach the device, and since when it is ready for them.
func (session *session) isReachable() (peer string, readyAt time.Time, ok bool) {
	session.mu.Lock()
	defer session.mu.Unlock()
	for _, l := range session.links {
		if l.filter != nil {
			return l.peer, session.readyAt, true
		}
	}
	return "", time.Time{}, false
}
