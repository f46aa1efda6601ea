// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

const (
	// servePause is how long a session is not looked at again: changes that come together are
	// handled together.
	servePause = 20 * time.Millisecond
	// firstRetry is how long after an error a session is looked at again; it doubles with each
	// further one up to lastRetry.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// staleOffer is how long after an offer that did not exist any more the session is looked at
	// again.
	staleOffer = 5 * time.Second
)

func correlationID(actionID int32) string { return strconv.Itoa(int(actionID)) }

// actionIDOf returns the action of a correlationId. Other correlationIds are of commands that
// Goshawk has not sent.
func actionIDOf(correlationID string) (int32, bool) {
	id, err := strconv.ParseInt(correlationID, 10, 32)
	return int32(id), err == nil && id > 0
}

// requestID returns the id of a request. The response to it may reach another process, so
// everything that is needed to interpret it is in the id.
func requestID(actionID int32, subject string, part int) string {
	return fmt.Sprintf("%d-%s-%d", actionID, subject, part)
}

func parseRequestID(id string) (actionID int32, subject string, part int, ok bool) {
	fields := strings.Split(id, "-")
	if len(fields) != 3 {
		return 0, "", 0, false
	}
	actionID, ok = actionIDOf(fields[0])
	part, err := strconv.Atoi(fields[2])
	return actionID, fields[1], part, ok && err == nil
}

// serve does for a device what is to be done now.
func (s *Server) serve(ctx context.Context, session *session) {
	now := time.Now()
	session.mu.Lock()
	next := session.servedAt.Add(servePause)
	if next.After(now) {
		session.mu.Unlock()
		s.queue.wake(session, next)
		return
	}
	session.servedAt = now
	session.mu.Unlock()
	if session.isChanged.Swap(false) {
		s.checkCredentials(ctx, session)
	}
	peer, readyAt, ok := session.isReachable()
	switch {
	case !ok:
		return
	case readyAt.After(now):
		s.queue.wake(session, readyAt)
		return
	}
	s.retry(ctx, session, s.send(ctx, session, peer))
}

// retry plans the next look at a session after an error.
func (s *Server) retry(ctx context.Context, session *session, err error) {
	session.mu.Lock()
	wait := min(firstRetry<<min(session.failures, 10), lastRetry)
	if session.failures++; err == nil {
		session.failures = 0
	}
	session.mu.Unlock()
	if err == nil || ctx.Err() != nil {
		return
	}
	unavailable, isUnavailable := errors.AsType[deviceapi.Unavailable](err)
	tooMany, isTooMany := errors.AsType[deviceapi.TooMany](err)
	switch {
	case errors.Is(err, deviceapi.ErrNotFound):
		s.gone(session)
		return
	case isUnavailable:
		wait = max(wait, unavailable.RetryAfter)
	case isTooMany:
		wait = max(wait, tooMany.RetryAfter)
	case errors.Is(err, deviceapi.ErrConflict):
	default:
		s.metrics.refused.WithLabelValues("failed").Inc()
		s.log.Error(err, "Cannot send a command; trying again", "namespace", session.device.Namespace, "controllerID", session.device.ControllerID)
	}
	s.queue.wake(session, time.Now().Add(wait))
}

// gone ends the session of a device that does not exist any more.
func (s *Server) gone(gone *session) {
	var closing []ConnectionID
	s.mu.Lock()
	if s.sessions[gone.device] == gone {
		gone.mu.Lock()
		links := slices.Clone(gone.links)
		gone.mu.Unlock()
		for _, l := range links {
			switch c := s.connections[l.id]; {
			case l.id == 0:
				s.end(gone)
			case c == nil:
			case c.device == gone.device:
				closing = append(closing, c.id)
			default:
				delete(c.members, gone.device)
				s.unlink(gone.device, l.id)
			}
		}
	}
	s.mu.Unlock()
	for _, id := range closing {
		s.transport.Close(gone.device, id, "its Target was deleted")
	}
}

// send sends the command or the cancel that the device should get now.
func (s *Server) send(ctx context.Context, session *session, peer string) error {
	state, err := session.backend.State(ctx, session.device, peer)
	if err != nil {
		return err
	}
	if !state.NextChange.IsZero() {
		s.queue.wake(session, state.NextChange)
	}
	switch {
	case state.CancelID != 0:
		return s.sendCancel(ctx, session, state.CancelID)
	case state.DeployID != 0:
		return s.sendCommands(ctx, session, state.DeployID)
	case state.ConfirmID != 0:
		return s.denyConfirmation(ctx, session, state.ConfirmID)
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	session.mustResend, session.mustRedeliver, session.cancelSent, session.work = false, false, 0, nil
	return nil
}

// noConfirmation is the denial of an update that must be confirmed at the device.
const noConfirmation = "a device that uses MQTT cannot be asked for confirmation; set spec.autoConfirm of its Target to Always"

// denyConfirmation records, once, why an update that must be confirmed waits. SoftwareUpdatable has
// no confirmation. If several processes may send the command after a confirmation, the one that has
// created the action does; the others wait, as for a command that another process has sent.
func (s *Server) denyConfirmation(ctx context.Context, session *session, id int32) error {
	session.mu.Lock()
	isDenied := session.denied == id
	session.denied = id
	session.mustResend = true // the action exists when it is confirmed, and its command was never sent
	session.mu.Unlock()
	if isDenied {
		return nil
	}
	d, err := session.backend.Confirmation(ctx, session.device, id)
	if err == nil {
		session.mu.Lock()
		session.isSecond = !d.Created && !s.transport.KnowsPresence()
		session.mu.Unlock()
	}
	if err == nil && !slices.ContainsFunc(d.History.Messages, func(m string) bool { return strings.Contains(m, noConfirmation) }) {
		err = session.backend.Confirm(ctx, session.device, action.Report{ID: id, Event: action.Deny, Details: []string{noConfirmation}})
	}
	if err = ignoring(err, deviceapi.ErrNotFound, deviceapi.ErrGone); err != nil {
		session.mu.Lock()
		session.denied = 0
		session.mu.Unlock()
	}
	return err
}

// sendCommands creates the action that is offered, unless it exists, and sends its commands if the
// device must get them now.
func (s *Server) sendCommands(ctx context.Context, session *session, id int32) error {
	if session.isWorkingOn(id) {
		return nil
	}
	features, err := session.featuresOf(ctx)
	if err != nil || len(features) == 0 {
		return err // the features of the device are waited for
	}
	if wait := session.newness(time.Now()); wait > 0 {
		// The device may still report the feature that is missing now.
		d, err := session.backend.Preview(ctx, session.device, id, false)
		if err != nil {
			return s.notCreated(session, err)
		}
		if _, lack := divide(d, features); lack != "" {
			s.queue.wake(session, time.Now().Add(wait))
			return nil
		}
	}
	d, err := session.backend.Deployment(ctx, session.device, id)
	if err != nil {
		return s.notCreated(session, err)
	}
	planned, lack := divide(d, features)
	if lack != "" {
		if d.Acknowledged {
			return nil // the device had the features when it got the command
		}
		return ignoring(session.backend.Refuse(ctx, session.device, id, deviceapi.Refusal{Code: v1alpha1.CodeNoFeature, Message: lack}), deviceapi.ErrGone, deviceapi.ErrNotAllowed, deviceapi.ErrNotFound)
	}
	parts, wait := session.adopt(planned, d.Created, time.Now())
	if wait > 0 {
		s.queue.wake(session, time.Now().Add(wait))
	}
	for _, at := range parts {
		p := planned.parts[at]
		if err := s.deliver(ctx, session, p.feature, subject(d), requestID(id, subject(d), at), s.command(session.device, d, p)); err != nil {
			return session.notSent(err)
		}
	}
	return nil
}

// isWorkingOn reports whether the device has got the commands of an action and gets none again.
func (session *session) isWorkingOn(id int32) bool {
	session.mu.Lock()
	defer session.mu.Unlock()
	if session.work == nil || session.work.id != id || session.mustResend || session.mustRedeliver {
		return false
	}
	session.cancelSent = 0
	return true
}

// notCreated returns the error of a call that may have created an action. If it has, its command
// must still be sent.
func (s *Server) notCreated(session *session, err error) error {
	session.mu.Lock()
	session.mustResend = true
	session.mu.Unlock()
	if errors.Is(err, deviceapi.ErrNotFound) { // the offer has changed meanwhile
		s.queue.wake(session, time.Now().Add(staleOffer))
		return nil
	}
	return err
}

// adopt makes an action the present one, and returns the parts whose command must be sent now, or
// how long to wait before that is decided.
func (session *session) adopt(planned *work, isNew bool, now time.Time) (parts []int, wait time.Duration) {
	session.mu.Lock()
	defer session.mu.Unlock()
	if session.denied == planned.id { // it is confirmed now
		if session.denied = 0; session.isSecond {
			session.quietUntil = now.Add(resendPause)
		}
	}
	planned.resume(session.work)
	session.work, session.cancelSent = planned, 0
	if !isNew && !session.mustRedeliver {
		switch {
		case !session.mustResend:
			return nil, 0
		case session.quietUntil.After(now):
			return nil, session.quietUntil.Sub(now)
		}
	}
	for at, p := range planned.parts {
		if isNew || session.mustRedeliver || !p.isAcknowledged {
			parts = append(parts, at)
		}
	}
	session.mustResend, session.mustRedeliver = false, false
	if len(parts) > 0 {
		session.quietUntil = now.Add(resendPause)
	}
	return parts, 0
}

// notSent makes a command that could not be sent be sent again. A device without connection gets it
// at its next one.
func (session *session) notSent(err error) error {
	session.mu.Lock()
	defer session.mu.Unlock()
	session.mustResend, session.quietUntil = true, time.Time{}
	return ignoring(err, ErrNotConnected)
}

// sendCancel sends the cancel of an action once per cause and connection. The device may respond
// with a status, or never.
func (s *Server) sendCancel(ctx context.Context, session *session, id int32) error {
	session.mu.Lock()
	isSent := session.cancelSent == id
	session.mu.Unlock()
	if isSent {
		return nil
	}
	features, err := session.featuresOf(ctx)
	if err != nil || len(features) == 0 {
		return err
	}
	d, err := session.backend.Command(ctx, session.device, id)
	if err != nil {
		return ignoring(err, deviceapi.ErrNotFound) // the cancel is not offered any more
	}
	return s.cancel(ctx, session, d, features)
}

// cancelNow sends the cancel that a change has caused, without waiting for the write that stores
// it: otherwise the last of many devices would get it only after the writes for all the others.
// serve comes next, stores the cancel, and sends it if cancelNow has not.
func (s *Server) cancelNow(ctx context.Context, session *session) {
	if _, readyAt, ok := session.isReachable(); !ok || readyAt.After(time.Now()) {
		return
	}
	d, ok := session.backend.PendingCancel(session.device)
	if !ok {
		return
	}
	session.mu.Lock()
	isSent, features := session.cancelSent == d.ID, slices.Clone(session.features)
	session.mu.Unlock()
	if isSent || len(features) == 0 {
		return
	}
	if err := s.cancel(ctx, session, d, features); err != nil && ctx.Err() == nil {
		s.note("Cannot send a cancel; trying again", session.device, err)
	}
}

// cancel sends the cancel of an action to the features that have got its commands.
func (s *Server) cancel(ctx context.Context, session *session, d deviceapi.Deployment, features []feature) error {
	id := d.ID
	planned, _ := divide(d, features)
	session.mu.Lock()
	planned.resume(session.work)
	session.work, session.cancelSent = planned, id
	for feature, p := range session.processed { // the device may answer as it did before
		p.last, p.lastFailed = 0, 0
		session.processed[feature] = p
	}
	session.mu.Unlock()
	subject := wire.Cancel
	if planned.isRemoval {
		subject = wire.CancelRemove
	}
	for at, p := range planned.parts {
		if err := s.deliver(ctx, session, p.feature, subject, requestID(id, subject, at), cancel(d, p)); err != nil {
			session.mu.Lock()
			session.cancelSent = 0
			session.mu.Unlock()
			return ignoring(err, ErrNotConnected)
		}
	}
	return nil
}

// deliver sends a command to a feature of the device.
func (s *Server) deliver(ctx context.Context, session *session, feature, subject, id string, value any) error {
	envelope, err := wire.Command(session.device.Namespace, session.device.ControllerID, feature, subject, id, value)
	if err != nil {
		return err
	}
	payload, err := envelope.Encode()
	if err != nil {
		return err
	}
	if err := s.publish(ctx, session, id, subject, payload); err != nil {
		return err
	}
	s.metrics.commands.WithLabelValues(subject).Inc()
	return nil
}

// publish sends a message to the topic of the requests of the device, on each of its connections.
func (s *Server) publish(ctx context.Context, session *session, id, subject string, payload []byte) error {
	type place struct {
		via   deviceapi.Device
		topic string
	}
	var places []place
	session.mu.Lock()
	for _, l := range session.links {
		if l.filter == nil {
			continue
		}
		member := ""
		if l.via != session.device {
			member = thingID(session.device)
		}
		if at := (place{l.via, l.filter.RequestTopic(member, id, subject)}); !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	session.mu.Unlock()
	err := ErrNotConnected
	for _, at := range places {
		if sent := s.transport.Send(ctx, at.via, Message{Topic: at.topic, Payload: payload}); err != nil {
			err = sent
		}
	}
	return err
}

// ignoring returns nil for an error that is one of those that are expected.
func ignoring(err error, expected ...error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
