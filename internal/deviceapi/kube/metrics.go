// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	actionsStarted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "goshawk_actions_started_total", Help: "Updates that devices have started at this device API.",
	})
	actionsClosed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "goshawk_actions_closed_total", Help: "Updates that devices have closed at this device API, by result.",
	}, []string{"state"})
	pollFileValid = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "goshawk_poll_intervals_valid",
		Help: "1 if the file of poll intervals is in effect as it is, 0 while it cannot be used and the last good one stays in effect.",
	}, []string{"file"})
	devicesRefused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "goshawk_devices_refused_total", Help: "Requests of devices that were refused because of their credentials, by reason.",
	}, []string{"reason"})
)

func init() {
	metrics.Registry.MustRegister(actionsStarted, actionsClosed, pollFileValid, devicesRefused)
}
