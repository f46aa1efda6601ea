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

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_mqtt_connections", Help: "Open connections of the embedded MQTT broker.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_mqtt_connections_dropped_total",
			Help: "Connections that were closed at a bound (all, address, rate), by kind: new (the new one), waiting (one that is not authorized yet).",
		}, []string{"bound", "kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_mqtt_connections_refused_total",
			Help: "Connections that were not authorized, by the reason in the response.",
		}, []string{"reason"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_mqtt_connections_closed_total",
			Help: "Connections that the embedded MQTT broker closed, by reason: server, takeover, slow, limit, failed.",
		}, []string{"reason"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_mqtt_messages_total",
			Help: "MQTT messages, by direction: received, sent, dropped (of an external broker: it could not be handled, or there are too many with quality of service 0).",
		}, []string{"direction"}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_mqtt_broker_connected", Help: "1 while this process is connected to the external MQTT broker and has subscribed to the topics of devices.",
		}),
		connectFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "goshawk_mqtt_broker_connect_failures_total", Help: "Connections to the external MQTT broker that failed or were refused.",
		}),
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
