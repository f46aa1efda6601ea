// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// TimedTransport records the durations of the requests of devices.
type TimedTransport struct {
	http.RoundTripper

	mu             sync.Mutex
	polls, reports []time.Duration
}

// RoundTrip sends a request and records its duration: a GET is a poll, every other method a report.
func (t *TimedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	started := time.Now()
	response, err := t.RoundTripper.RoundTrip(r)
	took := time.Since(started)
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Method == http.MethodGet {
		t.polls = append(t.polls, took)
	} else {
		t.reports = append(t.reports, took)
	}
	return response, err
}

// Sorted returns the durations of polls and of reports, the shortest first.
func (t *TimedTransport) Sorted() (polls, reports []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(slices.Values(t.polls)), slices.Sorted(slices.Values(t.reports))
}
