// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// floodPause is how long a message beyond the rate of its device waits before it is read, so that a
// flood is read slowly. The other messages of the connection wait with it.
const floodPause = 50 * time.Millisecond

// A message that must not be dropped waits resultTries times for resultPause if its device is
// beyond the rate of results as well. Then it is not acknowledged, and is sent again.
const (
	resultPause = 250 * time.Millisecond
	resultTries = 40
)

// sleep waits, and returns the error of ctx if that is done first.
func sleep(ctx context.Context, wait time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// Received handles a message of a device. A message that cannot be handled now returns an error,
// and is sent again. One that is wrong is dropped, because it would be wrong again; if it asks for
// a response, that says what is wrong.
func (s *Server) Received(ctx context.Context, sender deviceapi.Device, id ConnectionID, m Message) error {
	started := time.Now()
	err := s.receive(ctx, sender, id, m)
	s.metrics.handling.Observe(time.Since(started).Seconds())
	bad, isBad := errors.AsType[deviceapi.BadRequest](err)
	switch {
	case err == nil:
		return nil
	case isBad:
		s.note("Dropped a message", sender, bad, "topic", text.LimitBytes(m.Topic, maxText))
	case errors.Is(err, deviceapi.ErrTooMany) && !isUnavailable(err):
		s.note("Dropped a message beyond a rate or a quota", sender, err, "topic", text.LimitBytes(m.Topic, maxText))
		s.metrics.refused.WithLabelValues("rate").Inc()
		return nil
	case errors.Is(err, deviceapi.ErrUnauthorized), errors.Is(err, deviceapi.ErrNotServed), errors.Is(err, deviceapi.ErrNotFound):
		s.note("Dropped a message that is about another device, or about one that does not exist", sender, err, "topic", text.LimitBytes(m.Topic, maxText))
	default:
		s.note("A message is not acknowledged", sender, err, "topic", text.LimitBytes(m.Topic, maxText))
		return err
	}
	s.metrics.refused.WithLabelValues("message").Inc()
	return nil
}

func (s *Server) receive(ctx context.Context, sender deviceapi.Device, id ConnectionID, m Message) error {
	topic, err := wire.ParseTopic(m.Topic)
	if err != nil {
		return deviceapi.BadRequest{Reason: err.Error()}
	}
	switch topic.Kind {
	case wire.IdentityTopic:
		return s.identify(ctx, sender, id)
	case wire.ResponseTopic, wire.EventTopic:
	}
	e, err := wire.DecodeEnvelope(m.Payload)
	switch {
	case err == nil:
	case topic.Kind == wire.ResponseTopic:
		e = wire.Envelope{} // the topic has what is needed
	default:
		return s.refuse(ctx, id, sender, e, deviceapi.BadRequest{Reason: err.Error()})
	}
	device, err := deviceOfMessage(sender, topic, e)
	var session *session
	if err == nil {
		session, err = s.actingFor(ctx, id, sender, device)
	}
	if err != nil {
		return s.refuse(ctx, id, sender, e, err)
	}
	beyond, err := s.admitted(ctx, id, device)
	if err != nil {
		return err
	}
	r := received{Server: s, session: session, envelope: e, feature: featureOf(e), wantsReply: e.Headers.ResponseRequired, beyond: beyond, gatewayToken: s.gatewayTokenOf(id, device)}
	if topic.Kind == wire.ResponseTopic {
		return r.response(ctx, topic)
	}
	return r.event(ctx)
}

// admitted counts a message of a device that the connection may act for. A message beyond the rates
// is read slowly; beyond is the reason.
func (s *Server) admitted(ctx context.Context, id ConnectionID, device deviceapi.Device) (beyond, err error) {
	if beyond = s.limits.Admit(device, s.gatewayTokenOf(id, device), time.Now()); beyond != nil {
		err = sleep(ctx, floodPause)
	}
	return beyond, err
}

// refuse returns the error of a message that cannot be read, or that the connection may not send.
// The message counts as one of the sender, which gets the response that it asks for. The response
// is the same whether or not the other device exists.
func (s *Server) refuse(ctx context.Context, id ConnectionID, sender deviceapi.Device, e wire.Envelope, refused error) error {
	beyond, err := s.admitted(ctx, id, sender)
	isAnswered := e.Headers.ResponseRequired && (isAboutClient(refused) || errors.Is(refused, deviceapi.ErrTooMany) && !isUnavailable(refused))
	if err != nil || beyond != nil || !isAnswered {
		return cmp.Or(err, refused)
	}
	session, err := s.actingFor(ctx, id, sender, sender)
	if err != nil {
		return refused
	}
	r := received{Server: s, session: session, envelope: e}
	return errors.Join(refused, ignoring(r.respond(ctx, refused), ErrNotConnected))
}

// deviceOfMessage returns the device that a message is about: that of its envelope, which must be
// that of its topic, if the topic names one.
func deviceOfMessage(sender deviceapi.Device, topic wire.Topic, e wire.Envelope) (deviceapi.Device, error) {
	named := deviceNamed(sender, topic.Device)
	if topic.Tenant != "" && !strings.EqualFold(topic.Tenant, sender.Namespace) {
		return named, fmt.Errorf("the topic is of the tenant %s: %w", topic.Tenant, deviceapi.ErrUnauthorized)
	}
	if e.Topic == (wire.ThingTopic{}) {
		return named, nil
	}
	thing := deviceapi.Device{Namespace: strings.ToLower(e.Topic.Namespace), ControllerID: e.Topic.Name}
	if thing.Namespace != sender.Namespace || topic.Device != "" && thing != named {
		return thing, fmt.Errorf("the envelope is about %s: %w", thingID(thing), deviceapi.ErrUnauthorized)
	}
	return thing, nil
}

// featureOf returns the feature that a live message is about, or "".
func featureOf(e wire.Envelope) string {
	feature, _, _ := e.MessageOf()
	return feature
}

// identify sends a device its identity, on the connection on which it asked.
func (s *Server) identify(ctx context.Context, device deviceapi.Device, id ConnectionID) error {
	if id == 0 {
		return deviceapi.BadRequest{Reason: "behind an external broker a device is configured with its identity"}
	}
	if beyond := s.limits.Admit(device, "", time.Now()); beyond != nil {
		return beyond
	}
	payload, err := wire.Identity{DeviceID: thingID(device), TenantID: device.Namespace, PolicyID: thingID(device)}.Encode()
	if err != nil {
		return err
	}
	s.metrics.messages.WithLabelValues("identity").Inc()
	return ignoring(s.transport.Send(ctx, device, Message{Topic: wire.IdentityResponse, Payload: payload}), ErrNotConnected)
}

// received is one message while it is handled.
type received struct {
	*Server
	session  *session
	envelope wire.Envelope
	feature  string
	// wantsReply means that the device wants a response.
	wantsReply bool
	// beyond is ErrDeviceRate and so on for a message beyond the rates, of which only those are
	// handled that would be lost otherwise.
	beyond       error
	gatewayToken string
}

// admit returns an error for a message that is beyond the rates. isProgress means that it has no
// effect that a later message does not have, so that it can be dropped. Others wait.
func (r *received) admit(ctx context.Context, isProgress bool) error {
	if r.beyond == nil {
		return nil
	}
	if isProgress {
		return r.beyond
	}
	for range resultTries {
		if r.limits.AdmitResult(r.session.device, r.gatewayToken, time.Now()) {
			return nil
		}
		if err := sleep(ctx, resultPause); err != nil {
			return err
		}
	}
	return deviceapi.Unavailable{Cause: r.beyond}
}

// event handles an envelope that the device sends by itself.
func (r *received) event(ctx context.Context) error {
	var err error
	if r.envelope.Topic.Channel == wire.Live {
		err = r.live(ctx)
	} else {
		err = r.changes(ctx)
	}
	if !r.wantsReply || isOurs(err) {
		return err
	}
	return errors.Join(err, ignoring(r.respond(ctx, err), ErrNotConnected))
}

// isOurs reports whether a message has to be sent again, because this process could not handle it.
func isOurs(err error) bool {
	_, isBad := errors.AsType[deviceapi.BadRequest](err)
	return err != nil && !isBad && !errors.Is(err, deviceapi.ErrNotFound) && (!errors.Is(err, deviceapi.ErrTooMany) || isUnavailable(err))
}

// live handles a message that is not about the digital twin.
func (r *received) live(ctx context.Context) error {
	_, subject, ok := r.envelope.MessageOf()
	if !ok || subject != wire.RedeliverCommands {
		r.metrics.messages.WithLabelValues("other").Inc()
		return deviceapi.BadRequest{Reason: fmt.Sprintf("there is no message %q; send %s", text.LimitBytes(subject, maxText), wire.RedeliverCommands)}
	}
	if err := r.admit(ctx, false); err != nil {
		return err
	}
	r.metrics.messages.WithLabelValues("redeliver").Inc()
	return r.redeliver(ctx, wire.DecodeRedelivery(r.envelope.Value))
}

// respond sends the response that the device asked for.
func (r *received) respond(ctx context.Context, err error) error {
	reply, failed := r.envelope.Reply(http.StatusNoContent, nil)
	if err != nil {
		reply, failed = r.envelope.Refuse(errorOf(err, r.envelope.Topic.Channel))
	}
	if failed != nil {
		return failed
	}
	payload, failed := reply.Encode()
	if failed != nil {
		return failed
	}
	id, subject := r.envelope.ReplyRequest()
	return r.publish(ctx, r.session, id, subject, payload)
}

// errorOf returns the error of Ditto for an error of the backend.
func errorOf(err error, channel string) wire.Error {
	if bad, ok := errors.AsType[deviceapi.BadRequest](err); ok {
		if channel == wire.Live {
			return wire.Error{Status: http.StatusNotFound, Code: wire.CodeSubjectNotFound, Message: text.LimitBytes(bad.Reason, maxText)}
		}
		return wire.Error{Status: http.StatusBadRequest, Code: wire.CodeWrongValue, Message: text.LimitBytes(bad.Reason, maxText)}
	}
	if tooMany, ok := errors.AsType[deviceapi.TooMany](err); ok {
		return wire.Error{Status: http.StatusTooManyRequests, Code: wire.CodeTooMany, Message: text.LimitBytes(tooMany.Reason, maxText)}
	}
	message := "the device has no such action, or does not exist"
	if errors.Is(err, deviceapi.ErrUnauthorized) || errors.Is(err, deviceapi.ErrNotServed) {
		message = "this connection may not act for the thing that the topic names"
	}
	return wire.Error{Status: http.StatusNotFound, Code: wire.CodeThingNotFound, Message: message}
}
