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

var (
	downloadsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_downloads", Process: collectors.DeviceAPI,
		Help: "Artifacts that are being sent to devices.",
	})
	resultsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_downloads_total", Process: collectors.DeviceAPI,
		Help:   "Downloads that have ended: to the end of the request (sent), the device has closed the connection or was too slow (gone), nothing could be sent (failed), broken because the source failed or has other content (aborted).",
		Labels: []collectors.Label{{Name: "result", Values: []string{"sent", "gone", "failed", "aborted"}}},
	})
	sentDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_sent_bytes_total", Process: collectors.DeviceAPI,
		Help: "Bytes of artifacts that were sent to devices.",
	})
	fetchedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_fetched_bytes_total", Process: collectors.DeviceAPI,
		Help: "Bytes of artifacts that were received from their sources.",
	})
	fetchesDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_fetches_total", Process: collectors.DeviceAPI,
		Help:   "Artifacts that were fetched into the cache.",
		Labels: []collectors.Label{{Name: "result", Values: []string{"verified", "failed"}}},
	})
	cachedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_cache_bytes", Process: collectors.DeviceAPI,
		Help: "Size of the artifact cache.",
	})
	uncachedDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_artifact_uncached_total", Process: collectors.DeviceAPI,
		Help:   "Downloads past the cache: there is none (off), the file is larger than the cache (large), all files in it are in use (full), the disk is full or fails (disk). If full or disk grows, make the cache or its disk larger.",
		Labels: []collectors.Label{{Name: "reason", Values: []string{"off", "large", "full", "disk"}}},
	})
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		downloads: downloadsDefinition.Gauge(), results: resultsDefinition.Counters(), sent: sentDefinition.Counter(), fetched: fetchedDefinition.Counter(),
		fetches: fetchesDefinition.Counters(), cached: cachedDefinition.Gauge(), uncached: uncachedDefinition.Counters(),
	}
	return m, errors.Join(collectors.Register(registerer, &m.downloads), collectors.Register(registerer, &m.results), collectors.Register(registerer, &m.sent),
		collectors.Register(registerer, &m.fetched), collectors.Register(registerer, &m.fetches), collectors.Register(registerer, &m.cached), collectors.Register(registerer, &m.uncached))
}
