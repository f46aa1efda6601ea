package ddi

import (
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
	for _, collector := range []prometheus.Collector{m.requests, m.seconds} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register the metrics of the door: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(resource string, status int, took time.Duration) {
	m.requests.WithLabelValues(resource, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(resource).Observe(took.Seconds())
}
