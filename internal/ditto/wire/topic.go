// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MQTT topics of the identity of a device: it asks with an empty message, and gets an Identity.
const (
	IdentityRequest  = "edge/thing/request"
	IdentityResponse = "edge/thing/response"
)

// TopicKind is what a message with a topic is.
type TopicKind string

// Kinds of topics that a device publishes to.
const (
	// EventTopic is `e` or `event`: an envelope. Telemetry, `t` or `telemetry`, has the same
	// content and the same meaning here.
	EventTopic TopicKind = "event"
	// ResponseTopic is the response to a command.
	ResponseTopic TopicKind = "response"
	// IdentityTopic is IdentityRequest.
	IdentityTopic TopicKind = "identity"
)

// Topic is the topic of a message of a device, in the forms of Eclipse Hono.
type Topic struct {
	Kind TopicKind
	// Tenant and Device are empty if the topic does not name them: then the message is from the
	// device that is connected. Otherwise a gateway sends it for the device.
	Tenant, Device string
	// RequestID and Status are those of a response.
	RequestID string
	Status    int
}

const (
	maxTopic = 1024
	maxLevel = 300
)

// ParseTopic reads a topic that a device publishes to:
//
//	e, event, t, telemetry                        with /<tenant>/<device>; the tenant may be empty
//	command/<tenant>/<device>/res/<id>/<status>   and c/<tenant>/<device>/s/<id>/<status>; both may be empty
//	edge/thing/request
//
// Properties at its end, as in `e/?content-type=json`, are ignored.
func ParseTopic(topic string) (Topic, error) {
	if len(topic) > maxTopic {
		return Topic{}, fmt.Errorf("the topic has more than %d characters", maxTopic)
	}
	if topic == IdentityRequest {
		return Topic{Kind: IdentityTopic}, nil
	}
	if at := strings.LastIndex(topic, "/?"); at >= 0 {
		topic = topic[:at]
	}
	levels := strings.Split(strings.TrimSuffix(topic, "/"), "/")
	for _, level := range levels {
		if len(level) > maxLevel {
			return Topic{}, fmt.Errorf("a level of the topic has more than %d characters", maxLevel)
		}
	}
	switch levels[0] {
	case "e", "event", "t", "telemetry":
		return eventTopic(levels)
	case "command", "c":
		return responseTopic(levels)
	}
	return Topic{}, errTopic
}

var errTopic = errors.New("the topic is not one of e, t, event, telemetry, command///res/<id>/<status> and edge/thing/request")

func eventTopic(levels []string) (Topic, error) {
	switch len(levels) {
	case 1:
		return Topic{Kind: EventTopic}, nil
	case 2: // event/<tenant>
		return Topic{Kind: EventTopic, Tenant: levels[1]}, nil
	case 3:
		return Topic{Kind: EventTopic, Tenant: levels[1], Device: levels[2]}, nil
	}
	return Topic{}, errTopic
}

func responseTopic(levels []string) (Topic, error) {
	// With a gateway, some connectors write command/<tenant>/<gateway>/<device>/res/<id>/<status>.
	if len(levels) == 7 {
		levels = append([]string{levels[0], levels[1]}, levels[3:]...)
	}
	if len(levels) != 6 || levels[3] != responseLevel(levels[0] == "c") {
		return Topic{}, errTopic
	}
	status, err := strconv.Atoi(levels[5])
	if err != nil || status < 100 || status > 599 {
		return Topic{}, errors.New("the status at the end of the topic is not a number between 100 and 599")
	}
	return Topic{Kind: ResponseTopic, Tenant: levels[1], Device: levels[2], RequestID: levels[4], Status: status}, nil
}

func requestLevel(isShort bool) string {
	if isShort {
		return "q"
	}
	return "req"
}

func responseLevel(isShort bool) string {
	if isShort {
		return "s"
	}
	return "res"
}

// Filter is what a device subscribes to in order to receive commands. The zero Filter is
// `command///req/#`.
type Filter struct {
	// IsShort means `c///q/#` instead of `command///req/#`.
	IsShort bool
	// Tenant and Gateway are those levels of the topics, which may be empty.
	Tenant, Gateway string
	// HasGateway means that the topics have a level more, for the gateway.
	HasGateway bool
	// Device is the device whose commands are meant: empty for the one that is connected, AnyDevice
	// for all devices that a gateway acts for, or the id of one.
	Device string
}

// AnyDevice is the device of a Filter of a gateway.
const AnyDevice = "+"

// ParseFilter reads the filter of a subscription, and reports whether commands match it.
func ParseFilter(filter string) (Filter, bool) {
	if len(filter) > maxTopic {
		return Filter{}, false
	}
	levels := strings.Split(filter, "/")
	if last := len(levels) - 1; levels[last] == "#" && last < 4 { // such as command/fleet/#
		levels = append(levels[:last], "+", "+", "+", "+")[:4]
		levels = append(levels, "#")
	}
	if len(levels) < 5 || levels[0] != "command" && levels[0] != "c" && levels[0] != "+" {
		return Filter{}, false
	}
	isShort := levels[0] == "c" || levels[0] == "+" && levels[3] == requestLevel(true)
	at := 3
	switch {
	case levels[3] == requestLevel(isShort):
	case levels[4] == requestLevel(isShort):
		at = 4
	case levels[3] != "+":
		return Filter{}, false
	}
	// After req follow the id and the subject: `#`, `+/#`, `+/+`, `+/install` and so on.
	if rest := len(levels) - at; rest < 2 || rest > 4 {
		return Filter{}, false
	}
	f := Filter{IsShort: isShort, Tenant: literal(levels[1]), Device: levels[at-1]}
	if at == 4 {
		f.HasGateway, f.Gateway = true, literal(levels[2])
	}
	return f, true
}

// OwnerOf returns the tenant and the device in whose topics a filter is. They are empty if the
// filter does not name one.
func OwnerOf(filter string) (tenant, device string) {
	if f, ok := ParseFilter(filter); ok {
		return f.Tenant, literal(f.Device)
	}
	levels := strings.Split(filter, "/")
	switch levels[0] {
	case "command", "c", "event", "e", "telemetry", "t":
	default:
		return "", ""
	}
	at := func(i int) string {
		if i >= len(levels) || levels[i] == "#" {
			return ""
		}
		return literal(levels[i])
	}
	return at(1), at(2)
}

// literal returns a level of a topic that a level of a filter matches.
func literal(level string) string {
	if level == "+" {
		return ""
	}
	return level
}

// RequestTopic returns the topic of a command that matches the filter. device is empty for the
// device that is connected.
func (f Filter) RequestTopic(device, requestID, subject string) string {
	start, gateway := "command/", ""
	if f.IsShort {
		start = "c/"
	}
	if f.HasGateway {
		gateway = f.Gateway + "/"
	}
	if f.Device != AnyDevice {
		device = f.Device
	}
	return start + f.Tenant + "/" + gateway + device + "/" + requestLevel(f.IsShort) + "/" + requestID + "/" + subject
}

// Request is a command as its topic names it, for programs that act as a device.
type Request struct {
	IsShort                     bool
	Tenant, Device, ID, Subject string
}

// ParseRequest reads the topic of a command.
func ParseRequest(topic string) (Request, bool) {
	levels := strings.Split(topic, "/")
	if len(topic) > maxTopic || len(levels) != 6 || levels[0] != "command" && levels[0] != "c" || levels[3] != requestLevel(levels[0] == "c") {
		return Request{}, false
	}
	return Request{IsShort: levels[0] == "c", Tenant: levels[1], Device: levels[2], ID: levels[4], Subject: levels[5]}, true
}

// ResponseTopic returns the topic of the response to a command.
func (r Request) ResponseTopic(status int) string {
	start := "command/"
	if r.IsShort {
		start = "c/"
	}
	return start + r.Tenant + "/" + r.Device + "/" + responseLevel(r.IsShort) + "/" + r.ID + "/" + strconv.Itoa(status)
}
