package ddi

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count by resource, never by device: a fleet is too large for labels.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "goshawk_door_requests_total",
			Help: "Requests of devices, by DDI resource and HTTP status code.",
		}, []string{"resource", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "goshawk_door_request_seconds",
			Help:    "Time from the header of a request to the end of its answer, by DDI resource.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"resource"}),
	}
	if registerer == nil {
		return m, nil
	}
	var err, other error
	m.requests, err = register(registerer, m.requests)
	m.seconds, other = register(registerer, m.seconds)
	return m, errors.Join(err, other)
}

// register shares what an earlier door of the same process has registered.
func register[C prometheus.Collector](registerer prometheus.Registerer, collector C) (C, error) {
	err := registerer.Register(collector)
	if present := new(prometheus.AlreadyRegisteredError); errors.As(err, present) {
		if shared, ok := present.ExistingCollector.(C); ok {
			return shared, nil
		}
	}
	if err != nil {
		return collector, fmt.Errorf("register the metrics of the door: %w", err)
	}
	return collector, nil
}

func (m *metrics) observe(resource string, status int, took time.Duration) {
	m.requests.WithLabelValues(resource, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(resource).Observe(took.Seconds())
}
