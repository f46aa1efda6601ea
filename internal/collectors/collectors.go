// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package collectors defines and registers metrics. A metric is defined once, with its labels and
// their values; its collectors and its row in docs/metrics.md are made from the definition.
package collectors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Definition is a metric. Its type follows from the definition: a metric with Buckets is a
// histogram, one whose name ends with _total is a counter, and every other one is a gauge.
type Definition struct {
	// Name starts with goshawk_ and ends with the unit, if there is one, such as _seconds.
	Name string
	// Help is one sentence. It says what each value of a label means, if that is not clear.
	Help   string
	Labels []Label
	// Buckets are the upper bounds of a histogram.
	Buckets []float64
	// Process exports the metric.
	Process Process
}

// Label is a label of a metric. None of its values is the name of a device.
type Label struct {
	Name string
	// Values are the values that the label can have. If there are none, Of says what they are.
	Values []string
	// Of says what the values are, and Max how many of them one process exports at most.
	Of  string
	Max int
}

// Process is a process that exports a metric.
type Process string

const (
	// Leader is the process whose controllers run.
	Leader Process = "controllers, leader"
	// DeviceAPI is each process that serves the device API.
	DeviceAPI Process = "device API"
	// Every process exports the metric.
	Every Process = "every process"
)

// defined holds all definitions of the process. It is written only while packages are initialized.
var defined []*Definition

// Define defines a metric. Call it once for each metric, for a variable of a package.
func Define(d Definition) *Definition {
	defined = append(defined, &d)
	return &d
}

// All returns the definitions of all packages that the program imports, sorted by name.
func All() []*Definition {
	return slices.SortedFunc(slices.Values(defined), func(a, b *Definition) int { return cmp.Compare(a.Name, b.Name) })
}

// Type returns counter, gauge or histogram.
func (d *Definition) Type() string {
	switch {
	case len(d.Buckets) > 0:
		return "histogram"
	case strings.HasSuffix(d.Name, "_total"):
		return "counter"
	}
	return "gauge"
}

// Counter returns a new counter without labels.
func (d *Definition) Counter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts(d.opts()))
}

// Counters returns a new counter with the labels of the definition.
func (d *Definition) Counters() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts(d.opts()), d.labels())
}

// Gauge returns a new gauge without labels.
func (d *Definition) Gauge() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts(d.opts()))
}

// Gauges returns a new gauge with the labels of the definition.
func (d *Definition) Gauges() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts(d.opts()), d.labels())
}

// Histogram returns a new histogram without labels.
func (d *Definition) Histogram() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets})
}

// Histograms returns a new histogram with the labels of the definition.
func (d *Definition) Histograms() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets}, d.labels())
}

// Desc returns the description for a collector that computes its values when it is read.
func (d *Definition) Desc() *prometheus.Desc {
	return prometheus.NewDesc(d.Name, d.Help, d.labels(), nil)
}

func (d *Definition) opts() prometheus.Opts { return prometheus.Opts{Name: d.Name, Help: d.Help} }

func (d *Definition) labels() []string {
	names := make([]string, len(d.Labels))
	for i, label := range d.Labels {
		names[i] = label.Name
	}
	return names
}

// Register registers a collector, or replaces it by the one that an earlier instance in the same
// process has registered. A nil registerer registers nothing.
func Register[C prometheus.Collector](registerer prometheus.Registerer, collector *C) error {
	if registerer == nil {
		return nil
	}
	err := registerer.Register(*collector)
	if present := new(prometheus.AlreadyRegisteredError); errors.As(err, present) {
		if shared, ok := present.ExistingCollector.(C); ok {
			*collector = shared
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}
