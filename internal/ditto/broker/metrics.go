// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// metrics are never labeled by device, because a fleet is too large for labels.
type metrics struct {
	connections     prometheus.Gauge
	dropped         *prometheus.CounterVec
	refused         *prometheus.CounterVec
	closed          *prometheus.CounterVec
	messages        *prometheus.CounterVec
	connected       prometheus.Gauge
	connectFailures prometheus.Counter
}

var (
	connectionsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_connections", Process: collectors.DeviceAPI,
		Help: "Open connections of the embedded MQTT broker.",
	})
	droppedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_connections_dropped_total", Process: collectors.DeviceAPI,
		Help: "MQTT connections that were closed at a bound: the new one (new), or one that is not authorized yet (waiting).",
		Labels: []collectors.Label{
			{Name: "bound", Values: []string{"all", "address", "rate"}}, {Name: "kind", Values: []string{"new", "waiting"}},
		},
	})
	refusedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_connections_refused_total", Process: collectors.DeviceAPI,
		Help:   "MQTT connections that were not authorized, by the reason in the response.",
		Labels: []collectors.Label{{Name: "reason", Of: "a reason of CONNACK", Max: 20}},
	})
	closedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_connections_closed_total", Process: collectors.DeviceAPI,
		Help: "Connections that the embedded MQTT broker closed: at the end of the process or of a credential (server); for a newer connection of the device (takeover); " +
			"because the client does not take its messages (slow); because it exceeds a bound (limit); because a message could not be stored, so that the device sends it again (failed).",
		Labels: []collectors.Label{{Name: "reason", Values: []string{"server", "takeover", "slow", "limit", "failed"}}},
	})
	messagesDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_messages_total", Process: collectors.DeviceAPI,
		Help:   "MQTT messages. Those of an external broker are dropped after 20 failures that are not those of the API server, or, with quality of service 0, if 1000 wait.",
		Labels: []collectors.Label{{Name: "direction", Values: []string{"received", "sent", "dropped"}}},
	})
	connectedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_broker_connected", Process: collectors.DeviceAPI,
		Help: "1 while this process is connected to the external MQTT broker and has subscribed to the topics of devices, else 0.",
	})
	connectFailuresDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_mqtt_broker_connect_failures_total", Process: collectors.DeviceAPI,
		Help: "Connections to the external MQTT broker that failed or were refused.",
	})
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: connectionsDefinition.Gauge(), dropped: droppedDefinition.Counters(), refused: refusedDefinition.Counters(),
		closed: closedDefinition.Counters(), messages: messagesDefinition.Counters(),
		connected: connectedDefinition.Gauge(), connectFailures: connectFailuresDefinition.Counter(),
	}
	return m, errors.Join(
		collectors.Register(registerer, &m.connections),
		collectors.Register(registerer, &m.dropped),
		collectors.Register(registerer, &m.refused),
		collectors.Register(registerer, &m.closed),
		collectors.Register(registerer, &m.messages),
		collectors.Register(registerer, &m.connected),
		collectors.Register(registerer, &m.connectFailures),
	)
}
