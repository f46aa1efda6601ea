// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// metrics have no label for a device or a file, because there are too many of them.
type metrics struct {
	downloads     prometheus.Gauge
	results       *prometheus.CounterVec
	sent, fetched prometheus.Counter
	fetches       *prometheus.CounterVec
	cached        prometheus.Gauge
	uncached      *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		downloads: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_artifact_downloads", Help: "Downloads of devices that are under way.",
		}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_artifact_downloads_total",
			Help: "Downloads of devices that have ended: sent, gone (the device closed the connection or was too slow), failed (nothing was sent), aborted (the source failed or has other content).",
		}, []string{"result"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "goshawk_artifact_sent_bytes_total", Help: "Bytes of artifacts that were sent to devices.",
		}),
		fetched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "goshawk_artifact_fetched_bytes_total", Help: "Bytes of artifacts that were received from their sources.",
		}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_artifact_fetches_total", Help: "Artifacts that were fetched into the cache: verified or failed.",
		}, []string{"result"}),
		cached: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goshawk_artifact_cache_bytes", Help: "Size of the artifact cache.",
		}),
		uncached: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_artifact_uncached_total",
			Help: "Downloads past the cache: off (there is none), large (the file is larger than the cache), full (all files in it are in use), disk (the disk is full or fails).",
		}, []string{"reason"}),
	}
	return m, errors.Join(collectors.Register(registerer, &m.downloads), collectors.Register(registerer, &m.results), collectors.Register(registerer, &m.sent),
		collectors.Register(registerer, &m.fetched), collectors.Register(registerer, &m.fetches), collectors.Register(registerer, &m.cached), collectors.Register(registerer, &m.uncached))
}
