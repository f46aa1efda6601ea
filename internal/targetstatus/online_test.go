// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestOnlineMessageContainsItsTime: the message contains lastSeen, which is written at most once a
// day, so that a reader does not take an old lastSeen for a silent device.
func TestOnlineMessageContainsItsTime(t *testing.T) {
	seen := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		after  time.Duration
		status metav1.ConditionStatus
		says   string
	}{
		"just written":   {0, metav1.ConditionTrue, "last contact recorded at 2026-03-01T10:00:00Z; without other reports this time is updated at most once a day, so the device may have been in contact since"},
		"a day later":    {25 * time.Hour, metav1.ConditionTrue, "last contact recorded at 2026-03-01T10:00:00Z; without other reports this time is updated at most once a day, so the device may have been in contact since"},
		"two days later": {OfflineAfter, metav1.ConditionFalse, "last contact between 2026-03-01T10:00:00Z and a day later: the device has been silent for at least a day"},
	} {
		t.Run(name, func(t *testing.T) {
			target := target()
			target.Status.LastSeen = &metav1.Time{Time: seen}
			noteOnline(target, seen.Add(tt.after))
			c := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionOnline)
			if c == nil || c.Status != tt.status || c.Message != tt.says {
				t.Errorf("Online is %+v, want %s with %q", c, tt.status, tt.says)
			}
		})
	}
}

// TestOnlineHasTheObservedGeneration: the observedGeneration of a condition is never newer than the
// generation that the controller has reconciled.
func TestOnlineHasTheObservedGeneration(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ generation, observed, want int64 }{
		"reconciled":                        {2, 2, 2},
		"edited since":                      {2, 1, 1},
		"polled before the first reconcile": {1, -1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			target := target(func(t *v1alpha1.Target) { t.Generation = tt.generation })
			target.Status.ObservedGeneration, target.Status.LastSeen = tt.observed, &metav1.Time{Time: now}
			noteOnline(target, now)
			c := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionOnline)
			if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != tt.want {
				t.Errorf("Online is %+v, want generation %d", c, tt.want)
			}
		})
	}
}
