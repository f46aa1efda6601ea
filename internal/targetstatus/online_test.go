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
			noteOnline(target, seen.Add(tt.after), Presence{})
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
			noteOnline(target, now, Presence{})
			c := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionOnline)
			if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != tt.want {
				t.Errorf("Online is %+v, want generation %d", c, tt.want)
			}
		})
	}
}

// TestOnlineByConnections: what is known about a connection decides; else what a process with the
// connection has written is kept, as long as it may be true.
func TestOnlineByConnections(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	online := func(status metav1.ConditionStatus, reason, message string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionOnline, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(at)}}
	}
	here, earlier := "the device has a connection since 2026-03-01T11:00:00Z", "the device has a connection since 2026-03-01T09:00:00Z"
	seen := "last contact recorded at 2026-03-01T10:00:00Z; without other reports this time is updated at most once a day, so the device may have been in contact since"
	gone := "the last connection ended at 2026-03-01T10:00:00Z"
	for name, tt := range map[string]struct {
		before  []metav1.Condition
		known   Presence
		seen    time.Duration // since at
		now     time.Duration // since at
		status  metav1.ConditionStatus
		message string
	}{
		"the first connection":                    {nil, Presence{State: Connected, Since: at.Add(time.Hour)}, 0, time.Hour, "True", here},
		"a connection after polls":                {online("True", "Seen", seen), Presence{State: Connected, Since: at.Add(time.Hour)}, 0, time.Hour, "True", here},
		"a connection after a short interruption": {online("True", "Connected", earlier), Presence{State: Connected, Since: at.Add(time.Hour)}, 0, time.Hour, "True", earlier},
		"a connection that another process had":   {online("True", "Connected", earlier), Presence{State: Connected, Since: at.Add(time.Hour), TakenOver: true}, 0, time.Hour, "True", here},
		"no features":                             {online("True", "Connected", earlier), Presence{State: Connected, Since: at.Add(time.Hour), AwaitsFeatures: true}, 0, time.Hour, "True", earlier + awaitingText},
		"features after a wait":                   {online("True", "AwaitingFeatures", earlier+awaitingText), Presence{State: Connected, Since: at.Add(time.Hour)}, 0, time.Hour, "True", earlier},
		"a lost connection":                       {online("True", "Connected", earlier), Presence{State: Disconnected, Since: at}, 0, time.Minute, "False", gone},
		"another process has the connection":      {online("True", "Connected", earlier), Presence{}, 0, time.Hour, "True", earlier},
		"nothing was heard of a connection for two days": {online("True", "Connected", earlier), Presence{}, 0, OfflineAfter, "False",
			"last contact between 2026-03-01T10:00:00Z and a day later: the device has been silent for at least a day"},
		"another process has written the loss": {online("False", "Disconnected", gone), Presence{}, 0, time.Hour, "False", gone},
		"a loss long ago":                      {online("False", "Disconnected", gone), Presence{}, 0, 10 * OfflineAfter, "False", gone},
		"a poll after the loss": {online("False", "Disconnected", gone), Presence{}, time.Hour, 2 * time.Hour, "True",
			"last contact recorded at 2026-03-01T11:00:00Z; without other reports this time is updated at most once a day, so the device may have been in contact since"},
		"MQTT is not served any more": {online("True", "Connected", earlier), Presence{State: Unused}, 0, time.Hour, "True", seen},
	} {
		t.Run(name, func(t *testing.T) {
			target := target()
			target.Status.Conditions, target.Status.LastSeen = tt.before, &metav1.Time{Time: at.Add(tt.seen)}
			now := at.Add(tt.now)
			noteOnline(target, now, tt.known)
			c := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionOnline)
			if c == nil || c.Status != tt.status || c.Message != tt.message {
				t.Fatalf("Online is %+v, want %s with %q", c, tt.status, tt.message)
			}
			if ChangesOnline(target, now, Presence{State: tt.known.State, Since: tt.known.Since, AwaitsFeatures: tt.known.AwaitsFeatures}) {
				t.Error("the same write once more changes it")
			}
		})
	}
}
