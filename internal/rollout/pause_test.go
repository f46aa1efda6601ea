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

func TestAPauseBySpecIsLiftedBySpec(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.startUpdate("dev-01")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Scheduled")
	w.wantCondition(v1alpha1.ConditionPaused, "True PausedBySpec")
	w.wantCondition(v1alpha1.ConditionReady, "True PausedBySpec")
	w.wantContains(w.waitingFor(), "to continue, set spec.state to Running")
	if w.isOffered("dev-02") {
		t.Error("a member that has not started is offered the update")
	}
	w.report("dev-01", "Download", "")
	w.report("dev-01", "Succeed", "")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Scheduled")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcile()
	w.want(v1alpha1.RolloutRunning, "Running Running")
	w.wantCondition(v1alpha1.ConditionPaused, "False Progressing")
}

func TestResumedAt(t *testing.T) {
	tests := map[string]struct {
		resumedAt func(pausedAt time.Time) time.Time
		wait      time.Duration
		want      v1alpha1.RolloutState
	}{
		"the time of the pause lifts it":                  {func(p time.Time) time.Time { return p }, 0, "Running"},
		"the second of the pause lifts it":                {func(p time.Time) time.Time { return p.Truncate(time.Second) }, 0, "Running"},
		"a later time lifts it at that time":              {func(p time.Time) time.Time { return p.Add(time.Minute) }, time.Minute, "Running"},
		"a later time does not lift it before":            {func(p time.Time) time.Time { return p.Add(time.Minute) }, 0, "Paused"},
		"an earlier time does not lift it":                {func(p time.Time) time.Time { return p.Add(-time.Second) }, time.Hour, "Paused"},
		"a time one microsecond earlier does not lift it": {func(p time.Time) time.Time { return p.Add(-time.Microsecond) }, time.Hour, "Paused"},
		"an old time from Git does not lift it":           {func(p time.Time) time.Time { return epoch.Add(-24 * time.Hour) }, time.Hour, "Paused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(0) })
			w.tick(345678 * time.Microsecond)
			w.fail("17", "dev-01")
			w.reconcileAll()
			w.want(v1alpha1.RolloutPaused, "Error Scheduled")
			resumedAt := metav1.NewTime(tt.resumedAt(w.rollout.Status.PausedAt.Time))
			w.edit(func(s *v1alpha1.RolloutSpec) { s.ResumedAt = &resumedAt })
			if p := w.reconcileAll(); tt.wait == time.Minute && p.RecheckAfter != time.Minute {
				t.Errorf("the next reconcile is after %s", p.RecheckAfter)
			}
			w.tick(tt.wait)
			w.reconcileAll()
			if w.state() != tt.want {
				t.Errorf("%s, want %s", w.state(), tt.want)
			}
		})
	}
}

func TestAnAutomaticPauseIsKeptDuringAPauseBySpec(t *testing.T) {
	w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(0) })
	w.fail("17", "dev-01")
	w.reconcileAll()
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.reconcileAll()
	w.wantContains(w.waitingFor(), "set spec.state to Running and set spec.resumedAt to status.pausedAt")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Scheduled")

	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Scheduled")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Error Running")
}

// A time in whole seconds covers its second, but it lifts only one pause.
func TestAResumeLiftsOnePause(t *testing.T) {
	w := running(t, 6, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.SuccessAction = num(3), v1alpha1.SuccessActionPause })
	w.succeed("dev-01")
	w.tick(100 * time.Millisecond)
	w.reconcileAll()
	w.tick(100 * time.Millisecond)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.ResumedAt = at(w.now.Truncate(time.Second)) })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Running Scheduled")
	w.succeed("dev-03")
	w.tick(100 * time.Millisecond)
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Running Scheduled")
}

// A rollout that has started does not become Planned again.
func TestPlannedAfterTheStartPauses(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPlanned })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Scheduled")
	w.wantContains(w.waitingFor(), "spec.state is Planned; devices that have started continue; to continue, set spec.state to Running")
}

// After a resume the group in Error offers its update again, and only failures after resumedAt
// count.
func TestAfterAResumeTheErrorThresholdCountsOnlyLaterFailures(t *testing.T) {
	w := running(t, 8, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(25) })
	w.fail("17", "dev-01", "dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Scheduled")
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Error Running")
	w.fail("17", "dev-03")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Error Running")
	w.tick(time.Second)
	w.fail("17", "dev-04")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Running")
	w.wantContains(w.rollout.Status.PauseMessage, "group group-1 went into Error when 2 of 4 had failed since 2026-03-01T10:00:02Z, more than errorThreshold 25 percent")
}

// Devices that had started continued during the pause. Their failures are evaluated before the
// update is offered to more members.
func TestErrorsAreCheckedBeforeAnythingIsOfferedAfterAResume(t *testing.T) {
	w := running(t, 8, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(25) })
	for _, name := range []string{"dev-01", "dev-02", "dev-03", "dev-04"} {
		w.startUpdate(name)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.reconcileAll()
	w.report("dev-01", "Fail", "17")
	w.report("dev-02", "Fail", "17")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	p := w.reconcile()
	w.want(v1alpha1.RolloutPaused, "Error Scheduled")
	if p.Status.PauseReason != v1alpha1.PauseByErrorThreshold {
		t.Errorf("paused by %s", p.Status.PauseReason)
	}
}

func TestSuccessActionPauseBetweenGroups(t *testing.T) {
	w := running(t, 6, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.SuccessAction = num(3), v1alpha1.SuccessActionPause })
	w.succeed("dev-01")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Scheduled Scheduled")
	w.wantCondition(v1alpha1.ConditionReady, "True SuccessActionPause")
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Running Scheduled")
	w.succeed("dev-02", "dev-03", "dev-04")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Finished Finished Scheduled")
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Finished Running")
	w.succeed("dev-05", "dev-06")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished Finished Finished")
	w.wantCondition(v1alpha1.ConditionSucceeded, "True Succeeded")
	w.wantCondition(v1alpha1.ConditionReady, "True Succeeded")
}

func TestRetry(t *testing.T) {
	finished := func(t *testing.T) *world {
		w := running(t, 6, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(100) })
		w.fail("17", "dev-01")
		w.fail("flash", "dev-02")
		w.succeed("dev-03")
		w.reconcileAll()
		w.succeed("dev-04", "dev-05", "dev-06")
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished Finished")
		w.tick(time.Minute)
		return w
	}
	retry := func(w *world, at time.Time, codes ...string) {
		w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(at), StatusCodes: codes} })
	}
	t.Run("sets a finished rollout to Running for the targets that failed", func(t *testing.T) {
		w := finished(t)
		retry(w, w.now, "17")
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Finished")
		w.wantCondition(v1alpha1.ConditionSucceeded, "Unknown Progressing")
		if w.bucket("dev-01") != counting.Pending || w.bucket("dev-02") != counting.Failed {
			t.Errorf("dev-01 %s, dev-02 %s", w.bucket("dev-01"), w.bucket("dev-02"))
		}
		w.succeed("dev-01")
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished Finished")
		if got := w.rollout.Status.Targets; got.Succeeded != 5 || got.Failed != 1 {
			t.Errorf("counts %+v", got)
		}
	})
	t.Run("is carried out once for each request", func(t *testing.T) {
		w := finished(t)
		retry(w, w.now)
		w.reconcileAll()
		w.tick(time.Second)
		w.fail("17", "dev-01")
		w.succeed("dev-02")
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished Finished")
	})
	t.Run("waits for its time", func(t *testing.T) {
		w := finished(t)
		retry(w, w.now.Add(time.Hour))
		if p := w.reconcileAll(); p.RecheckAfter != time.Hour {
			t.Errorf("the next reconcile is after %s", p.RecheckAfter)
		}
		w.want(v1alpha1.RolloutFinished, "Finished Finished")
	})
	t.Run("does not apply to deleted targets", func(t *testing.T) {
		w := finished(t)
		delete(w.targets, "dev-01")
		retry(w, w.now, "17")
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished Finished")
	})
	t.Run("sets a group in Error to Running", func(t *testing.T) {
		w := running(t, 2, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(0) })
		w.fail("17", "dev-01")
		w.reconcileAll()
		w.resume()
		w.reconcileAll()
		w.succeed("dev-02")
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Error")
		w.tick(time.Minute)
		retry(w, w.now)
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running")
		w.succeed("dev-01")
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished")
		w.wantCondition(v1alpha1.ConditionSucceeded, "True Succeeded")
	})
	t.Run("is refused on a stopped rollout", func(t *testing.T) {
		w := running(t, 2, nil)
		w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
		w.reconcileAll()
		w.tick(time.Minute)
		retry(w, w.now)
		w.reconcileAll()
		w.want(v1alpha1.RolloutStopped, "Finished")
		w.wantCondition(v1alpha1.ConditionStalled, "")
		w.wantContains(w.message(v1alpha1.ConditionReady), "spec.retry is refused")
		if last := w.log[len(w.log)-1]; !strings.Contains(last, "RetryRefused") {
			t.Errorf("the last event is %s", last)
		}
	})
	t.Run("is refused when the set was invalidated", func(t *testing.T) {
		w := finished(t)
		w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now
		retry(w, w.now)
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished Finished")
		w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
		w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = nil })
		w.reconcileAll()
		w.wantCondition(v1alpha1.ConditionStalled, "")
	})
}

// hawkBit creates another rollout for a retry. It copies startAt and so starts by itself, its name
// may exist already, and it ignores later changes. Here a retry belongs to the same rollout, any
// number of times.
func TestW23_ARetryBelongsToTheSameRollout(t *testing.T) {
	w := newWorld(t, 2, func(s *v1alpha1.RolloutSpec) {
		s.StartAt, s.ErrorThreshold, s.Update.Type = at(epoch.Add(time.Minute)), num(100), v1alpha1.UpdateTypeSoft
	})
	w.reconcileAll()
	w.tick(time.Minute)
	w.reconcileAll()
	w.succeed("dev-01")
	w.fail("17", "dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	started, hash, groups := w.rollout.Status.StartedAt, w.planHash(), len(w.groups)
	for n := range 3 {
		w.edit(func(s *v1alpha1.RolloutSpec) {
			s.StartAt, s.Update.Type = at(w.now.Add(24*time.Hour)), v1alpha1.UpdateTypeForced
		})
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished") // nothing starts by itself
		w.tick(time.Minute)
		w.edit(func(s *v1alpha1.RolloutSpec) {
			s.StartAt, s.Retry = at(epoch.Add(time.Minute)), &v1alpha1.Retry{At: metav1.NewTime(w.now), StatusCodes: []string{"17"}}
		})
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running")
		if w.isOffered("dev-01") || !w.isOffered("dev-02") {
			t.Fatal("the retry was offered to a member that had not failed")
		}
		w.tick(time.Second)
		if w.fail("17", "dev-02"); action.OfSource(&w.targets["dev-02"].Status, "uid-r").Source.Attempt != int32(n+2) {
			t.Errorf("retry %d is attempt %+v", n+1, action.Newest(&w.targets["dev-02"].Status).Source)
		}
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished")
	}
	if !w.rollout.Status.StartedAt.Equal(started) || w.planHash() != hash || len(w.groups) != groups {
		t.Error("the rollout started again, or has another plan")
	}
}

func TestAutomaticRetriesKeepAMemberInProgress(t *testing.T) {
	w := running(t, 2, func(s *v1alpha1.RolloutSpec) {
		s.Update.Retries = &v1alpha1.Retries{Limit: 1, StatusCodes: []string{"17"}}
		s.ErrorThreshold = num(100)
	})
	w.fail("17", "dev-01")
	w.fail("flash", "dev-02")
	w.reconcileAll()
	if w.bucket("dev-01") != counting.InProgress || w.bucket("dev-02") != counting.Failed {
		t.Errorf("dev-01 %s, dev-02 %s", w.bucket("dev-01"), w.bucket("dev-02"))
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	w.reconcileAll()
	w.want(v1alpha1.RolloutStopped, "Finished")
	if w.bucket("dev-01") != counting.Failed {
		t.Errorf("in a stopped rollout dev-01 is %s", w.bucket("dev-01"))
	}
}

// Older rollouts give up shared targets while a rollout is Starting. A pause does not skip this
// wait.
func TestAfterAPauseBeforeTheFirstGroupOlderRolloutsAreWaitedFor(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.olderRollouts = []string{"older"}
	w.reconcileAll()
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Scheduled Scheduled")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.olderRollouts = nil // the snapshot has it only for rollouts that are Starting
	w.reconcile()
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.olderRollouts = []string{"older"}
	w.reconcileAll()
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.olderRollouts = nil
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
}

// The pause after the first group is lifted, and in the same reconcile the failures of the meantime
// exceed the budget. A resume after that lifts both.
func TestALiftedSuccessActionPauseDoesNotPauseAgain(t *testing.T) {
	w := running(t, 6, func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.SuccessAction, s.ErrorThreshold = num(2), v1alpha1.SuccessActionPause, num(100)
		s.SuccessThreshold, s.ErrorBudget = num(30), &v1alpha1.ErrorBudget{Count: num(0)}
	})
	w.startUpdate("dev-02")
	w.succeed("dev-01")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Scheduled")
	w.wantCondition(v1alpha1.ConditionPaused, "True SuccessActionPause")
	w.tick(2 * time.Second)
	w.report("dev-02", action.Fail, "17")
	w.resume()
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionPaused, "True ErrorBudgetExceeded")
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Running")
}

// A group closes while its set is missing. The rollout pauses after it all the same.
func TestSuccessActionPauseOfAGroupThatClosedWhileTheSetWasMissing(t *testing.T) {
	w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.SuccessAction = num(2), v1alpha1.SuccessActionPause })
	w.startUpdate("dev-01")
	w.startUpdate("dev-02")
	w.set.Deployable = false
	for _, name := range []string{"dev-01", "dev-02"} {
		w.report(name, action.Download, "")
		w.report(name, action.Succeed, "")
	}
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Scheduled")
	w.set.Deployable = true
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Finished Scheduled")
	w.wantCondition(v1alpha1.ConditionPaused, "True SuccessActionPause")
	w.tick(time.Second)
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
}

// One commit lifts the pause and opens the next group: the pause after that group is another one.
func TestAResumeTogetherWithAnAdvanceLiftsOnePause(t *testing.T) {
	w := running(t, 6, func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.SuccessAction, s.SuccessThreshold = num(3), v1alpha1.SuccessActionPause, num(0)
	})
	w.want(v1alpha1.RolloutPaused, "Running Scheduled Scheduled")
	w.resume()
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Advance = &v1alpha1.Advance{To: "group-2", At: *at(w.now)} })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Running Scheduled")
}
