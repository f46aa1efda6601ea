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

var (
	attemptsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_notification_attempts_total", Process: collectors.Leader,
		Help:   "Attempts to deliver a notification. If only Failed grows, an event of the Secret says why.",
		Labels: []collectors.Label{{Name: "result", Values: []string{resultDelivered, resultFailed, droppedRefused}}},
	})
	droppedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_notifications_dropped_total", Process: collectors.Leader,
		Help:   "Notifications that are never delivered: refused by the receiver (Refused), tried for a day (Expired), overwritten by a later decision while the queue was full (Overwritten). The log has each of them.",
		Labels: []collectors.Label{{Name: "reason", Values: []string{droppedRefused, droppedExpired, droppedOverwritten}}},
	})
	pendingDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_notifications_pending", Process: collectors.Leader,
		Help: "Notifications that wait for delivery.",
	})
	oldestDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_notifications_oldest_pending_seconds", Process: collectors.Leader,
		Help: "Age of the oldest notification that waits for delivery, 0 if there is none.",
	})
	fullDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_notifications_queue_full", Process: collectors.Leader,
		Help: "1 while no further notification has room in the queue, else 0.",
	})
)

type metrics struct {
	attempts, dropped     *prometheus.CounterVec
	pending, oldest, full prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		attempts: attemptsDefinition.Counters(), dropped: droppedDefinition.Counters(),
		pending: pendingDefinition.Gauge(), oldest: oldestDefinition.Gauge(), full: fullDefinition.Gauge(),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	return errors.Join(collectors.Register(r, &m.attempts), collectors.Register(r, &m.dropped),
		collectors.Register(r, &m.pending), collectors.Register(r, &m.oldest), collectors.Register(r, &m.full))
}
