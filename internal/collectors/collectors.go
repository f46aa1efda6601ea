// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package collectors registers metrics.
package collectors

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

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
