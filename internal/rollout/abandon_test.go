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

// attempts returns an edit: a device gets two attempts, ten minutes apart, and an hour to start
// each.
func attempts(s *v1alpha1.RolloutSpec) {
	s.Update.Retries = &v1alpha1.Retries{Limit: 1}
	s.Update.StartDeadlineSeconds = num(3600)
	s.ErrorThreshold = num(100)
}

// A device fails, has an attempt left, and does not poll again.
func TestAnAttemptThatDoesNotStartInTimeFails(t *testing.T) {
	w := running(t, 2, attempts)
	w.fail("17", "dev-01")
	w.succeed("dev-02")
	p := w.reconcileAll()
	if want := 70 * time.Minute; p.RecheckAfter != want {
		t.Errorf("the next reconcile is after %s, want %s: ten minutes and an hour", p.RecheckAfter, want)
	}
	w.tick(70*time.Minute - time.Second)
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	w.tick(time.Second)
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	if f := w.rollout.Status.Failures; len(f) != 1 || f[0].StatusCode != "17" || f[0].Count != 1 {
		t.Errorf("failures are %+v, want the code of its last attempt", f)
	}
	w.wantContains(strings.Join(w.log, "\n"), "1 target did not start another attempt within startDeadlineSeconds 3600 and failed; there is no further attempt")
	if w.isOffered("dev-01") {
		t.Error("another attempt is offered after the deadline")
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	if !w.isOffered("dev-01") {
		t.Error("after a retry the update is not offered")
	}
	w.tick(time.Hour)
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
}

func TestTimeForAnotherAttempt(t *testing.T) {
	nightly := &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 1800}
	tests := map[string]struct {
		spec func(*v1alpha1.RolloutSpec)
		do   func(*world)
		// lasts is the time from the failure until the member has failed and has no further
		// attempt.
		lasts time.Duration
	}{
		"ten minutes and an hour": {lasts: 70 * time.Minute},
		"the time starts again after a pause": {
			do: func(w *world) {
				w.tick(30 * time.Minute)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
				w.reconcileAll()
				w.tick(5 * time.Hour)
				w.reconcileAll()
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
				w.reconcileAll()
			},
			lasts: 30*time.Minute + 5*time.Hour + time.Hour,
		},
		"a pause within the backoff does not shorten it": {
			do: func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
				w.reconcileAll()
				w.tick(time.Minute)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
				w.reconcileAll()
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
			w.reconcileAll()
			if tt.do != nil {
				tt.do(w)
			}
			w.now = failed.Add(tt.lasts - time.Second)
			w.reconcileAll()
			w.want(v1alpha1.RolloutRunning, "Running")
			w.tick(time.Second)
			w.reconcileAll()
			w.want(v1alpha1.RolloutFinished, "Finished")
		})
	}
}

// A finished rollout is retried, and the device does not poll.
func TestARetryThatDoesNotStartInTimeFails(t *testing.T) {
	w := running(t, 1, func(s *v1alpha1.RolloutSpec) {
		attempts(s)
		s.Update.Retries = nil
	})
	w.fail("17", "dev-01")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	w.tick(time.Minute)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	w.wantContains(w.waitingFor(), "1 pending (1 waiting for a retry), e.g. dev-01 (retried from 2026-03-01T10:01:")
	w.tick(time.Hour - time.Second)
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	w.tick(time.Second)
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
}

// The time of the retry request is that of the failure, but it is committed hours later: the hour
// of the device starts when the retry is carried out.
func TestTheDeadlineOfARetryStartsWhenItIsCarriedOut(t *testing.T) {
	w := running(t, 2, func(s *v1alpha1.RolloutSpec) {
		attempts(s)
		s.Update.Retries = nil
	})
	w.fail("17", "dev-01")
	w.startUpdate("dev-02")
	w.reconcileAll()
	failed := w.now
	w.tick(3 * time.Hour)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(failed.Add(time.Minute))} })
	w.reconcileAll()
	if got := w.bucket("dev-01"); got != counting.Pending || !w.isOffered("dev-01") {
		t.Fatalf("it is %s\n%s", got, strings.Join(w.log, "\n"))
	}
	w.tick(time.Hour - time.Second)
	if p := w.reconcileAll(); p.RecheckAfter != time.Second || w.bucket("dev-01") != counting.Pending {
		t.Errorf("it is %s, and the next look is after %s", w.bucket("dev-01"), p.RecheckAfter)
	}
	w.tick(time.Second)
	w.reconcileAll()
	if got := w.bucket("dev-01"); got != counting.Failed {
		t.Errorf("in the end it is %s", got)
	}
}

// The update is not confirmed in time. A retry asks for the confirmation again.
func TestARetryAsksAgainForAConfirmation(t *testing.T) {
	w := running(t, 1, func(s *v1alpha1.RolloutSpec) {
		attempts(s)
		s.Update.ConfirmationRequired = true
	})
	w.startUpdate("dev-01")
	action.Newest(&w.targets["dev-01"].Status).State = v1alpha1.ActionWaitingForConfirmation
	w.reconcileAll()
	w.tick(time.Hour)
	w.reconcile()
	action.Cancel(&w.targets["dev-01"].Status, action.Newest(&w.targets["dev-01"].Status).ID, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, w.now)
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	w.tick(time.Minute)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	if got := w.bucket("dev-01"); got != counting.Pending {
		t.Errorf("it is %s", got)
	}
	w.tick(time.Hour)
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	if got := w.bucket("dev-01"); got != counting.Failed {
		t.Errorf("in the end it is %s", got)
	}
}
