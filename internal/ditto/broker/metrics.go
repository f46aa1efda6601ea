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
	connections prometheus.Gauge
	dropped     *prometheus.CounterVec
	refused     *prometheus.CounterVec
	closed      *prometheus.CounterVec
	messages    *prometheus.CounterVec
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
			Help: "MQTT messages, by direction: received, sent.",
		}, []string{"direction"}),
	}
	return m, errors.Join(
		collectors.Register(registerer, &m.connections),
		collectors.Register(registerer, &m.dropped),
		collectors.Register(registerer, &m.refused),
		collectors.Register(registerer, &m.closed),
		collectors.Register(registerer, &m.messages),
	)
}
