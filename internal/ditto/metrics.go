// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// metrics are never labeled by device, because a fleet is too large for labels.
type metrics struct {
	messages, commands, responses, refused *prometheus.CounterVec
	handling                               prometheus.Histogram
	devices                                prometheus.Gauge
}

// subjectLabel has the commands.
var subjectLabel = collectors.Label{Name: "subject", Values: []string{wire.Install, wire.Download, wire.Cancel, wire.Remove, wire.CancelRemove}}

var (
	messagesDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ditto_messages_total", Process: collectors.DeviceAPI,
		Help:   "Messages of devices over MQTT.",
		Labels: []collectors.Label{{Name: "kind", Values: []string{"report", "feature", "response", "identity", "redeliver", "other"}}},
	})
	commandsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ditto_commands_total", Process: collectors.DeviceAPI,
		Help:   "Commands that were sent to devices over MQTT.",
		Labels: []collectors.Label{subjectLabel},
	})
	responsesDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ditto_responses_total", Process: collectors.DeviceAPI,
		Help:   "Responses of devices to commands. Each refused one is a failed update, or a cancel that goes on.",
		Labels: []collectors.Label{subjectLabel, {Name: "result", Values: []string{"accepted", "busy", "refused"}}},
	})
	handlingDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ditto_handling_seconds", Process: collectors.DeviceAPI,
		Help:    "Time from the receipt of a message until it may be acknowledged (PUBACK): for a result, until it is stored.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	})
	refusedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ditto_refused_total", Process: collectors.DeviceAPI,
		Help:   "What was refused over MQTT: a connection with wrong credentials (connection); a message with wrong content or about another device (message), or beyond a rate or a quota (rate); a command that could not be sent because Goshawk failed (failed).",
		Labels: []collectors.Label{{Name: "what", Values: []string{"connection", "message", "rate", "failed"}}},
	})
	devicesDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ditto_devices", Process: collectors.DeviceAPI,
		Help: "Devices that this process can send commands to over MQTT.",
	})
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		messages: messagesDefinition.Counters(), commands: commandsDefinition.Counters(), responses: responsesDefinition.Counters(),
		handling: handlingDefinition.Histogram(), refused: refusedDefinition.Counters(), devices: devicesDefinition.Gauge(),
	}
	return m, errors.Join(collectors.Register(registerer, &m.messages), collectors.Register(registerer, &m.commands),
		collectors.Register(registerer, &m.responses), collectors.Register(registerer, &m.handling),
		collectors.Register(registerer, &m.refused), collectors.Register(registerer, &m.devices))
}
