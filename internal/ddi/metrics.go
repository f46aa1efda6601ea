// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// metrics are labeled by resource, never by device, because a fleet is too large for labels.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	// forwardedIgnored counts ignored headers.
	forwardedIgnored *prometheus.CounterVec
	// connections that are open, and those that were closed at a limit.
	connections prometheus.Gauge
	dropped     *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ddi_requests_total",
			Help: "Requests of devices, by DDI resource and HTTP status code.",
		}, []string{"resource", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "goshawk_ddi_request_seconds",
			Help:    "Time from the header of a request to the end of its answer, by DDI resource.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"resource"}),
		forwardedIgnored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ddi_forwarded_ignored_total",
			Help: "Requests whose forwarded headers were ignored: untrusted (not from an address of --trusted-proxies) or invalid.",
		}, []string{"reason"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_ddi_connections", Help: "Open connections of devices and proxies.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_ddi_connections_dropped_total",
			Help: "Connections that were closed at a bound (all, address), by kind: new (the new one), waiting (one without a whole request yet), idle (one between two requests).",
		}, []string{"bound", "kind"}),
	}
	return m, errors.Join(
		collectors.Register(registerer, &m.requests),
		collectors.Register(registerer, &m.seconds),
		collectors.Register(registerer, &m.forwardedIgnored),
		collectors.Register(registerer, &m.connections),
		collectors.Register(registerer, &m.dropped),
	)
}

func (m *metrics) observe(resource string, status int, took time.Duration) {
	m.requests.WithLabelValues(resource, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(resource).Observe(took.Seconds())
}
