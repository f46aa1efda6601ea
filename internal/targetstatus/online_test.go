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
