// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// Results of an attempt, and reasons why an event is dropped, as metrics have them.
const (
	resultDelivered = "Delivered"
	resultFailed    = "Failed"

	droppedRefused     = "Refused"
	droppedExpired     = "Expired"
	droppedOverwritten = "Overwritten"
)

type metrics struct {
	attempts        *prometheus.CounterVec
	dropped         *prometheus.CounterVec
	pending, oldest prometheus.Gauge
	full            prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_notification_attempts_total",
			Help: "Attempts to deliver a notification, by their result: Delivered, Failed or Refused.",
		}, []string{"result"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_notifications_dropped_total",
			Help: "Notifications that will never be delivered, by reason: Refused by the receiver, Expired after a day of attempts, Overwritten by a later decision while the queue was full. The log has each of them.",
		}, []string{"reason"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_notifications_pending",
			Help: "Notifications that wait for delivery.",
		}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_notifications_oldest_pending_seconds",
			Help: "Age of the oldest notification that waits for delivery, 0 if there is none.",
		}),
		full: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_notifications_queue_full",
			Help: "1 while no further notification has room in the queue, else 0.",
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	return errors.Join(collectors.Register(r, &m.attempts), collectors.Register(r, &m.dropped),
		collectors.Register(r, &m.pending), collectors.Register(r, &m.oldest), collectors.Register(r, &m.full))
}
