// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestCounterInterval checks the minimum time between two writes that change only counters.
func TestCounterInterval(t *testing.T) {
	large := v1alpha1.RolloutStatus{PauseMessage: strings.Repeat("x", largeStatus)}
	tests := map[string]struct {
		took   time.Duration
		status v1alpha1.RolloutStatus
		want   time.Duration
	}{
		"after a quick write":                       {10 * time.Millisecond, v1alpha1.RolloutStatus{}, time.Second},
		"after a slow write, twenty times as long":  {200 * time.Millisecond, v1alpha1.RolloutStatus{}, 4 * time.Second},
		"with a large object, at least ten seconds": {10 * time.Millisecond, large, 10 * time.Second},
		"with a large object and a slow write":      {time.Second, large, 10 * time.Second},
		"after a very slow write, ten seconds":      {30 * time.Second, v1alpha1.RolloutStatus{}, 10 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := rolloutCounterInterval(tt.took, tt.status); got != tt.want {
				t.Errorf("interval %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFinalCountersAreWrittenAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		status v1alpha1.RolloutStatus
		want   bool
	}{
		"finished":                        {v1alpha1.RolloutStatus{State: v1alpha1.RolloutFinished, Targets: &v1alpha1.Counts{Succeeded: 9}}, true},
		"stopped, actions still open":     {v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, Targets: &v1alpha1.Counts{InProgress: 1}}, false},
		"stopped, the last one has ended": {v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, Targets: &v1alpha1.Counts{Canceled: 1}}, true},
		"running":                         {v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, Targets: &v1alpha1.Counts{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isFinal(tt.status); got != tt.want {
				t.Errorf("final: %t", got)
			}
		})
	}
}
