// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// attempts is a rollout in which a device gets two attempts, ten minutes apart, and an hour to
// start each of them.
func attempts(s *v1alpha1.RolloutSpec) {
	s.Update.Retries = &v1alpha1.Retries{Limit: 1}
	s.Update.StartDeadlineSeconds = num(3600)
	s.ErrorThreshold = num(100)
}

// A device fails, has an attempt left, and is never heard of again.
func TestNobodyWaitsForEverForAnotherAttempt(t *testing.T) {
	w := running(t, 2, attempts)
	w.fail("17", "dev-01")
	w.succeed("dev-02")
	p := w.stabilizationPeriod()
	if want := 70 * time.Minute; p.RecheckAfter != want {
		t.Errorf("looks again in %s, want %s: ten minutes and an hour", p.RecheckAfter, want)
	}
	w.tick(70*time.Minute - time.Second)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Running")
	w.tick(time.Second)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutFinished, "Finished")
	if f := w.rollout.Status.Failures; len(f) != 1 || f[0].StatusCode != "17" || f[0].Count != 1 {
		t.Errorf("failures are %+v, want the code of its last attempt", f)
	}
	w.wantSays(strings.Join(w.log, "\n"), "1 target did not start another attempt within startDeadlineSeconds 3600 and failed for good")
	if w.isOffered("dev-01") {
		t.Error("it is offered another attempt, though its time is up")
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Running")
	if !w.isOffered("dev-01") {
		t.Error("a retry does not bring it back")
	}
	w.tick(time.Hour)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutFinished, "Finished")
}

func TestTimeForAnotherAttempt(t *testing.T) {
	nightly := &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 1800}
	tests := map[string]struct {
		spec func(*v1alpha1.RolloutSpec)
		do   func(*world)
		// lasts is how long after the failure the device is still awaited.
		lasts time.Duration
	}{
		"ten minutes and an hour": {lasts: 70 * time.Minute},
		"a pause starts it anew": {
			do: func(w *world) {
				w.tick(30 * time.Minute)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
				w.stabilizationPeriod()
				w.tick(5 * time.Hour)
				w.stabilizationPeriod()
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
				w.stabilizationPeriod()
			},
			lasts: 30*time.Minute + 5*time.Hour + time.Hour,
		},
		"a pause within the backoff does not shorten it": {
			do: func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
				w.stabilizationPeriod()
				w.tick(time.Minute)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
				w.stabilizationPeriod()
			},
			lasts: 70 * time.Minute,
		},
		"closed windows do not count": {
			spec:  func(s *v1alpha1.RolloutSpec) { s.Update.MaintenanceWindow = nightly },
			lasts: 48*time.Hour + 10*time.Minute, // twenty minutes of this night, thirty of the next, ten of the third
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 1, func(s *v1alpha1.RolloutSpec) {
				attempts(s)
				if tt.spec != nil {
					tt.spec(s)
				}
			})
			if w.rollout.Spec.Update.MaintenanceWindow != nil {
				w.now = time.Date(2026, 3, 2, 2, 0, 5, 0, time.UTC)
			}
			w.fail("17", "dev-01")
			failed := action.Newest(&w.targets["dev-01"].Status).ClosedAt.Time
			w.stabilizationPeriod()
			if tt.do != nil {
				tt.do(w)
			}
			w.now = failed.Add(tt.lasts - time.Second)
			w.stabilizationPeriod()
			w.want(v1alpha1.RolloutRunning, "Running")
			w.tick(time.Second)
			w.stabilizationPeriod()
			w.want(v1alpha1.RolloutFinished, "Finished")
		})
	}
}

// Somebody asks for a retry of a finished rollout, and the device never comes.
func TestARetryIsNotAwaitedForEver(t *testing.T) {
	w := running(t, 1, func(s *v1alpha1.RolloutSpec) {
		attempts(s)
		s.Update.Retries = nil
	})
	w.fail("17", "dev-01")
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutFinished, "Finished")
	w.tick(time.Minute)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Running")
	w.wantSays(w.waitingFor(), "1 pending (1 waiting for a retry), e.g. dev-01 (retried from 2026-03-01T10:01:")
	w.tick(time.Hour - time.Second)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Running")
	w.tick(time.Second)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutFinished, "Finished")
}

// The retry bears the time of the failure, and is committed hours later: the device has its hour
// from when it is tried again.
func TestARetryThatLooksBackGivesNoLessTime(t *testing.T) {
	w := running(t, 2, func(s *v1alpha1.RolloutSpec) {
		attempts(s)
		s.Update.Retries = nil
	})
	w.fail("17", "dev-01")
	w.openFirstGroup("dev-02")
	w.stabilizationPeriod()
	failed := w.now
	w.tick(3 * time.Hour)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(failed.Add(time.Minute))} })
	w.stabilizationPeriod()
	if got := w.bucket("dev-01"); got != counting.Pending || !w.isOffered("dev-01") {
		t.Fatalf("it is %s\n%s", got, strings.Join(w.log, "\n"))
	}
	w.tick(time.Hour - time.Second)
	if p := w.stabilizationPeriod(); p.RecheckAfter != time.Second || w.bucket("dev-01") != counting.Pending {
		t.Errorf("it is %s, and the next look is after %s", w.bucket("dev-01"), p.RecheckAfter)
	}
	w.tick(time.Second)
	w.stabilizationPeriod()
	if got := w.bucket("dev-01"); got != counting.Failed {
		t.Errorf("in the end it is %s", got)
	}
}

// Nobody at the device agrees in time. A retry asks once more.
func TestARetryAsksAgainWhereNobodyAgreed(t *testing.T) {
	w := running(t, 1, func(s *v1alpha1.RolloutSpec) {
		attempts(s)
		s.Update.ConfirmationRequired = true
	})
	w.openFirstGroup("dev-01")
	action.Newest(&w.targets["dev-01"].Status).State = v1alpha1.ActionWaitingForConfirmation
	w.stabilizationPeriod()
	w.tick(time.Hour)
	w.planner()
	action.Cancel(&w.targets["dev-01"].Status, action.Newest(&w.targets["dev-01"].Status).ID, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, w.now)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutFinished, "Finished")
	w.tick(time.Minute)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Running")
	if got := w.bucket("dev-01"); got != counting.Pending {
		t.Errorf("it is %s", got)
	}
	w.tick(time.Hour)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutFinished, "Finished")
	if got := w.bucket("dev-01"); got != counting.Failed {
		t.Errorf("in the end it is %s", got)
	}
}
