// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// metrics are never labeled by device, because a fleet is too large for labels.
type metrics struct {
	messages, commands, responses, refused *prometheus.CounterVec
	handling                               prometheus.Histogram
	devices                                prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ditto_messages_total",
			Help: "Messages of devices over MQTT, by kind (report, feature, response, identity, redeliver, other).",
		}, []string{"kind"}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ditto_commands_total",
			Help: "Commands that were sent to devices over MQTT, by subject.",
		}, []string{"subject"}),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ditto_responses_total",
			Help: "Responses of devices to commands, by subject and result (accepted, busy, refused).",
		}, []string{"subject", "result"}),
		handling: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "goshawk_ditto_handling_seconds",
			Help:    "Time from the receipt of a message until it may be acknowledged (PUBACK).",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ditto_refused_total",
			Help: "What was refused: connection (wrong credentials), message (wrong content, or about another device), rate (beyond the rate of the device), failed (the device API failed).",
		}, []string{"what"}),
		devices: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_ditto_devices", Help: "Devices that commands can be sent to over MQTT.",
		}),
	}
	return m, errors.Join(collectors.Register(registerer, &m.messages), collectors.Register(registerer, &m.commands),
		collectors.Register(registerer, &m.responses), collectors.Register(registerer, &m.handling),
		collectors.Register(registerer, &m.refused), collectors.Register(registerer, &m.devices))
}
