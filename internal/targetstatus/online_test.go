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

// The sentence names the time that it is of: a time that is written once a day looks old although
// the device comes by.
func TestOnlineSaysHowOldItIs(t *testing.T) {
	seen := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		after  time.Duration
		status metav1.ConditionStatus
		says   string
	}{
		"just written":   {0, metav1.ConditionTrue, "the device was heard of at 2026-03-01T10:00:00Z, and perhaps since: this time is written with other reports, else at most once a day"},
		"a day later":    {25 * time.Hour, metav1.ConditionTrue, "the device was heard of at 2026-03-01T10:00:00Z, and perhaps since: this time is written with other reports, else at most once a day"},
		"two days later": {OfflineAfter, metav1.ConditionFalse, "the device was last heard of between 2026-03-01T10:00:00Z and a day later: it has been silent for at least a day"},
	} {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{}
			target.Status.LastSeen = &metav1.Time{Time: seen}
			noteOnline(target, seen.Add(tt.after))
			c := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionOnline)
			if c == nil || c.Status != tt.status || c.Message != tt.says {
				t.Errorf("Online is %+v, want %s with %q", c, tt.status, tt.says)
			}
		})
	}
}

// What is said of a device never claims to know a manifest that the controller has not looked at.
func TestOnlineSpeaksOfTheGenerationThatWasObserved(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ generation, observed, want int64 }{
		"looked at":                         {2, 2, 2},
		"edited since":                      {2, 1, 1},
		"polled before the very first look": {1, -1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Generation: tt.generation}}
			target.Status.ObservedGeneration, target.Status.LastSeen = tt.observed, &metav1.Time{Time: now}
			noteOnline(target, now)
			c := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionOnline)
			if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != tt.want {
				t.Errorf("Online is %+v, want generation %d", c, tt.want)
			}
		})
	}
}
