// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// priorityNames are the values of the label priority.
var priorityNames = [priorities]string{First: "first", Start: "start", Later: "later"}

var (
	waitingDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_target_writes_waiting", Process: collectors.Every,
		Help: "Writes to Targets that wait for one of --writes-in-flight slots, by priority: results of devices and what a user has decided (first), starts of updates (start), all others (later). " +
			"Of start and later at most 4096 wait; a request beyond that gets 503.",
		Labels: []collectors.Label{{Name: "priority", Values: priorityNames[:]}},
	})
	inFlightDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_target_writes_in_flight", Process: collectors.Every,
		Help: "Writes to Targets that are under way, at most --writes-in-flight.",
	})
	waitingDesc, inFlightDesc = waitingDefinition.Desc(), inFlightDefinition.Desc()
)

// Describe implements prometheus.Collector.
func (s *Slots) Describe(descs chan<- *prometheus.Desc) {
	descs <- waitingDesc
	descs <- inFlightDesc
}

// Collect implements prometheus.Collector.
func (s *Slots) Collect(out chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for priority, name := range priorityNames {
		out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(len(s.waiting[priority])), name)
	}
	out <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(s.most-s.free))
}
