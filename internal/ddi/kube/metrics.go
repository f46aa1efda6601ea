package kube

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	actionsBegun = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "goshawk_actions_begun_total", Help: "Updates that devices have begun at this door.",
	})
	actionsClosed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "goshawk_actions_closed_total", Help: "Updates that devices have closed at this door, by result.",
	}, []string{"state"})
)

func init() { metrics.Registry.MustRegister(actionsBegun, actionsClosed) }
