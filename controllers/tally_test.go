// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// How long mere counts of a rollout rest after a write.
func TestRestAfter(t *testing.T) {
	large := v1alpha1.RolloutStatus{PauseMessage: strings.Repeat("x", largeStatus)}
	tests := map[string]struct {
		took   time.Duration
		status v1alpha1.RolloutStatus
		want   time.Duration
	}{
		"a quick write rests a second":              {10 * time.Millisecond, v1alpha1.RolloutStatus{}, time.Second},
		"a slow write rests twenty times as long":   {200 * time.Millisecond, v1alpha1.RolloutStatus{}, 4 * time.Second},
		"a large object rests ten seconds at least": {10 * time.Millisecond, large, 10 * time.Second},
		"a large and slow one rests longer":         {time.Second, large, 20 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := restAfter(tt.took, tt.status); got != tt.want {
				t.Errorf("rests %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTheLastWordDoesNotWait(t *testing.T) {
	for name, tt := range map[string]struct {
		status v1alpha1.RolloutStatus
		want   bool
	}{
		"finished":                        {v1alpha1.RolloutStatus{State: v1alpha1.RolloutFinished, Targets: &v1alpha1.Counts{Succeeded: 9}}, true},
		"stopped, devices still at work":  {v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, Targets: &v1alpha1.Counts{InProgress: 1}}, false},
		"stopped, the last one has ended": {v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, Targets: &v1alpha1.Counts{Canceled: 1}}, true},
		"running":                         {v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, Targets: &v1alpha1.Counts{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isLastWord(tt.status); got != tt.want {
				t.Errorf("last word: %t", got)
			}
		})
	}
}
