// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"slices"
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

var (
	requestsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ddi_requests_total", Process: collectors.DeviceAPI,
		Help:   "Requests of devices, by DDI resource and HTTP status code.",
		Labels: []collectors.Label{resourceLabel, {Name: "code", Of: "the HTTP status code", Max: 30}},
	})
	secondsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ddi_request_seconds", Process: collectors.DeviceAPI,
		Help:    "Time from the header of a request to the end of its answer, by DDI resource.",
		Labels:  []collectors.Label{resourceLabel},
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	forwardedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ddi_forwarded_ignored_total", Process: collectors.DeviceAPI,
		Help:   "Requests whose forwarded headers were ignored: the proxy is missing in --trusted-proxies (untrusted), or it sends a value that cannot be used (invalid).",
		Labels: []collectors.Label{{Name: "reason", Values: []string{"untrusted", "invalid"}}},
	})
	connectionsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ddi_connections", Process: collectors.DeviceAPI,
		Help: "Open connections of devices and proxies.",
	})
	droppedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_ddi_connections_dropped_total", Process: collectors.DeviceAPI,
		Help: "Connections that were closed at a bound: the new one (new), one that has not sent a whole request with the right credentials yet (waiting), one between two requests (idle). If new grows, raise the bound, or name the proxy in --trusted-proxies.",
		Labels: []collectors.Label{
			{Name: "bound", Values: []string{"all", "address"}}, {Name: "kind", Values: []string{"new", "waiting", "idle"}},
		},
	})
)

// resourceLabel has the names of the resources.
var resourceLabel = collectors.Label{Name: "resource", Values: resourceNames()}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: requestsDefinition.Counters(), seconds: secondsDefinition.Histograms(), forwardedIgnored: forwardedDefinition.Counters(),
		connections: connectionsDefinition.Gauge(), dropped: droppedDefinition.Counters(),
	}
	return m, errors.Join(
		collectors.Register(registerer, &m.requests),
		collectors.Register(registerer, &m.seconds),
		collectors.Register(registerer, &m.forwardedIgnored),
		collectors.Register(registerer, &m.connections),
		collectors.Register(registerer, &m.dropped),
	)
}

// resourceNames returns the names of all resources, also that of unknown paths.
func resourceNames() []string {
	names := []string{nowhere.name}
	for i := range resources {
		names = append(names, resources[i].name)
	}
	slices.Sort(names)
	return names
}

func (m *metrics) observe(resource string, status int, took time.Duration) {
	m.requests.WithLabelValues(resource, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(resource).Observe(took.Seconds())
}
