// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Envelope is one message of the Ditto protocol.
type Envelope struct {
	Topic   ThingTopic
	Headers Headers
	Path    string
	// Value is nil if there is none.
	Value json.RawMessage
	// Status is that of a response, or 0.
	Status int
}

// ThingTopic is the topic of an envelope:
// <namespace>/<name>/things/<channel>/<criterion>/<action>.
type ThingTopic struct {
	Namespace, Name string
	// Channel is Twin or Live.
	Channel string
	// Criterion is Commands, Events, Messages or Errors.
	Criterion string
	// Action is what to do with the digital twin, or the subject of a message.
	Action string
}

// Parts of a ThingTopic.
const (
	Twin     = "twin"
	Live     = "live"
	Commands = "commands"
	Events   = "events"
	Messages = "messages"
	Errors   = "errors"

	Create = "create"
	Modify = "modify"
	Merge  = "merge"
	Delete = "delete"
)

// String returns the topic as it is written.
func (t ThingTopic) String() string {
	s := t.Namespace + "/" + t.Name + "/things/" + t.Channel + "/" + t.Criterion
	if t.Action != "" {
		s += "/" + t.Action
	}
	return s
}

func parseThingTopic(topic string) (ThingTopic, error) {
	parts := strings.SplitN(topic, "/", 6)
	switch {
	case len(topic) > maxTopic:
		return ThingTopic{}, fmt.Errorf("the topic of the envelope has more than %d characters", maxTopic)
	case len(parts) < 5 || parts[0] == "" || parts[1] == "" || parts[2] != "things":
		return ThingTopic{}, errors.New("the topic of the envelope is not <namespace>/<name>/things/<channel>/<criterion>/<action>")
	}
	t := ThingTopic{Namespace: parts[0], Name: parts[1], Channel: parts[3], Criterion: parts[4]}
	if len(parts) == 6 {
		t.Action = parts[5]
	}
	return t, nil
}

// Headers are the headers of an envelope. Others are dropped.
type Headers struct {
	CorrelationID string
	// ResponseRequired asks for a response. It is written always.
	ResponseRequired bool
	// ContentType is that of the value; "": it is not sent.
	ContentType string
}

// MarshalJSON writes the headers.
func (h Headers) MarshalJSON() ([]byte, error) {
	fields := map[string]any{"response-required": h.ResponseRequired}
	if h.CorrelationID != "" {
		fields["correlation-id"] = h.CorrelationID
	}
	if h.ContentType != "" {
		fields["content-type"] = h.ContentType
	}
	return marshal(fields)
}

const maxCorrelationID = 256

func decodeHeaders(raw json.RawMessage) (Headers, error) {
	if isNull(raw) {
		return Headers{}, nil
	}
	fields, err := object(raw, "headers", "correlation-id", "response-required", "content-type")
	if err != nil {
		return Headers{}, err
	}
	h := Headers{CorrelationID: text(fields["correlation-id"]), ResponseRequired: flag(fields["response-required"]), ContentType: text(fields["content-type"])}
	if len(h.CorrelationID) > maxCorrelationID {
		return Headers{}, fmt.Errorf("headers.correlation-id has more than %d characters", maxCorrelationID)
	}
	return h, nil
}

type envelope struct {
	Topic   string          `json:"topic"`
	Headers Headers         `json:"headers"`
	Path    string          `json:"path"`
	Value   json.RawMessage `json:"value,omitempty"`
	Status  int             `json:"status,omitempty"`
}

// MarshalJSON writes the envelope.
func (e Envelope) MarshalJSON() ([]byte, error) {
	return marshal(envelope{Topic: e.Topic.String(), Headers: e.Headers, Path: e.Path, Value: e.Value, Status: e.Status})
}

// Encode returns the envelope as the payload of a message.
func (e Envelope) Encode() ([]byte, error) { return marshal(e) }

// DecodeEnvelope reads the payload of a message. With an error it returns what it has read, so that
// a response is possible if that has a topic.
func DecodeEnvelope(payload []byte) (Envelope, error) {
	if err := check(payload); err != nil {
		return Envelope{}, err
	}
	fields, err := object(payload, "the message", "topic", "headers", "path", "value", "status")
	if err != nil {
		return Envelope{}, err
	}
	var e Envelope
	if e.Topic, err = parseThingTopic(text(fields["topic"])); err != nil {
		return Envelope{}, err
	}
	if e.Headers, err = decodeHeaders(fields["headers"]); err != nil {
		return e, err
	}
	if path := text(fields["path"]); len(path) <= maxTopic {
		e.Path = path
	} else {
		return e, fmt.Errorf("the path of the envelope has more than %d characters", maxTopic)
	}
	e.Value = fields["value"]
	if status, ok := integer(fields["status"]); ok {
		e.Status = int(status)
	}
	return e, nil
}

// Error is the value of a response that refuses a message.
type Error struct {
	Status int `json:"status"`
	// Code is the code of Ditto, such as messages:subject.notfound.
	Code        string `json:"error"`
	Message     string `json:"message"`
	Description string `json:"description,omitempty"`
}

// Codes of Ditto. The first two are those of a device that refuses a command.
const (
	CodeWrongParameter  = "messages:parameter.invalid"
	CodeSubjectNotFound = "messages:subject.notfound"
	CodeWrongValue      = "json.invalid"
	CodeThingNotFound   = "things:thing.notfound"
	CodeTooMany         = "things:toomanyrequests"
)

// DecodeError reads the error in a response. Its fields are empty if there is none.
func DecodeError(value json.RawMessage) Error {
	fields, err := object(value, "the error", "error", "status", "message", "description")
	if err != nil {
		return Error{}
	}
	status, _ := integer(fields["status"])
	return Error{Status: int(status), Code: text(fields["error"]), Message: text(fields["message"]), Description: text(fields["description"])}
}

// Identity is the value of IdentityResponse.
type Identity struct {
	DeviceID string `json:"deviceId"`
	TenantID string `json:"tenantId"`
	PolicyID string `json:"policyId"`
}

// Encode returns the payload of the message.
func (i Identity) Encode() ([]byte, error) { return marshal(i) }

const jsonType = "application/json"

// Command returns the envelope that invokes an operation of a feature.
func Command(namespace, name, feature, subject, correlationID string, value any) (Envelope, error) {
	raw, err := marshal(value)
	return Envelope{
		Topic:   ThingTopic{Namespace: namespace, Name: name, Channel: Live, Criterion: Messages, Action: subject},
		Headers: Headers{ContentType: jsonType, CorrelationID: correlationID, ResponseRequired: true},
		Path:    "/features/" + escape(feature) + "/inbox/messages/" + subject,
		Value:   raw,
	}, err
}

// Reply returns the response to an envelope. A value is optional.
func (e Envelope) Reply(status int, value any) (Envelope, error) {
	reply := Envelope{Topic: e.Topic, Path: strings.Replace(e.Path, "/inbox/messages/", "/outbox/messages/", 1), Status: status, Headers: Headers{CorrelationID: e.Headers.CorrelationID}}
	if value == nil {
		return reply, nil
	}
	raw, err := marshal(value)
	reply.Value, reply.Headers.ContentType = raw, jsonType
	return reply, err
}

// Refuse returns the response to an envelope that is refused. The response to a command for the
// digital twin has the criterion errors.
func (e Envelope) Refuse(refusal Error) (Envelope, error) {
	reply, err := e.Reply(refusal.Status, refusal)
	if e.Topic.Channel == Twin {
		reply.Topic.Criterion, reply.Topic.Action, reply.Path = Errors, "", "/"
	}
	return reply, err
}

// ReplyRequest is the id and the subject of the topic on which a device gets the reply to a message
// that it sent.
func (e Envelope) ReplyRequest() (id, subject string) {
	if action := e.Topic.Action; action != "" && !strings.ContainsAny(action, "/+#") {
		return "", action + "-response"
	}
	return "", e.Topic.Criterion + "-response"
}

// MessageOf returns the feature, which may be empty for the thing itself, and the subject of a live
// message of the device, and reports whether the envelope is one.
func (e Envelope) MessageOf() (feature, subject string, ok bool) {
	if e.Topic.Channel != Live || e.Topic.Criterion != Messages {
		return "", "", false
	}
	steps, err := split(e.Path)
	if err != nil {
		return "", "", false
	}
	if len(steps) >= 2 && steps[0] == "features" {
		feature, steps = steps[1], steps[2:]
	}
	if len(steps) != 3 || steps[1] != "messages" || steps[0] != "outbox" && steps[0] != "inbox" {
		return "", "", false
	}
	return feature, e.Topic.Action, true
}

// Redelivery is the value of the message ROLLOUTS_REDELIVER_COMMANDS of a device that has lost its
// commands. The specification also has reuseCorrelationId: a command is always sent again with its
// correlationId, because that is the id of its action.
type Redelivery struct {
	// Message is the reason.
	Message string
	// FinishCancelActions closes actions that are being canceled. Default: true.
	FinishCancelActions bool
}

// RedeliverCommands is the subject of a Redelivery.
const RedeliverCommands = "ROLLOUTS_REDELIVER_COMMANDS"

// DecodeRedelivery reads a Redelivery. The value is optional.
func DecodeRedelivery(value json.RawMessage) Redelivery {
	r := Redelivery{FinishCancelActions: true}
	fields, err := object(value, "the value", "message", "finishCancelActions")
	if err != nil {
		r.Message = text(value)
		return r
	}
	r.Message = text(fields["message"])
	if raw, ok := fields["finishCancelActions"]; ok && !isNull(raw) {
		r.FinishCancelActions = flag(raw)
	}
	return r
}

// split returns the steps of a path. In a step, %2F and ~1 are a slash, and ~0 is a tilde.
func split(path string) ([]string, error) {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil, nil
	}
	steps := strings.Split(path, "/")
	for i, step := range steps {
		if step == "" {
			return nil, fmt.Errorf("the path %s has an empty step", strconv.Quote(path))
		}
		steps[i] = unescaper.Replace(step)
	}
	return steps, nil
}

var (
	unescaper = strings.NewReplacer("%2F", "/", "%2f", "/", "~1", "/", "~0", "~")
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
)

func escape(step string) string { return escaper.Replace(step) }
