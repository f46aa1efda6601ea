// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

func TestStop(t *testing.T) {
	stop := func(c v1alpha1.Cancellation) func(*v1alpha1.RolloutSpec) {
		return func(s *v1alpha1.RolloutSpec) { s.State, s.StopCancellation = v1alpha1.IntentStopped, c }
	}
	t.Run("with None started devices finish", func(t *testing.T) {
		w := running(t, 6, groupCount(2))
		w.startUpdate("dev-01")
		w.edit(stop(v1alpha1.CancellationNone))
		p := w.reconcile()
		w.want(v1alpha1.RolloutStopped, "Finished Finished")
		if p.CancelOpenActions {
			t.Error("CancelOpenActions is true")
		}
		w.wantContains(w.waitingFor(), "stopped; no result yet of 1 target that had started")
		w.report("dev-01", action.Download, "")
		w.report("dev-01", action.Succeed, "")
		w.reconcileAll()
		if got := w.rollout.Status.Targets; got.Succeeded != 1 || got.Canceled != 5 {
			t.Errorf("counts %+v", got)
		}
		w.wantCondition(v1alpha1.ConditionReady, "True Stopped")
		w.wantCondition(v1alpha1.ConditionSucceeded, "False Stopped")
		w.wantCondition(v1alpha1.ConditionStalled, "")
	})
	t.Run("None closes actions that wait for confirmation", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.Update.ConfirmationRequired = true })
		w.startUpdate("dev-01")
		w.startUpdate("dev-02")
		w.report("dev-01", action.Confirm, "")
		question := action.Newest(&w.targets["dev-02"].Status)
		w.reconcileAll()
		w.edit(stop(v1alpha1.CancellationNone))
		if p := w.reconcileAll(); !p.CancelOpenActions {
			t.Error("CancelOpenActions is false")
		}
		w.want(v1alpha1.RolloutStopping, "Finished")
		w.wantContains(w.waitingFor(), "stopped by spec.state; still to be canceled: 1 action without confirmation")
		action.Cancel(&w.targets["dev-02"].Status, question.ID, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, w.now)
		if p := w.reconcileAll(); p.CancelOpenActions {
			t.Error("CancelOpenActions stays true")
		}
		w.want(v1alpha1.RolloutStopped, "Finished")
		if got := w.rollout.Status.Targets; got.InProgress != 1 || got.Canceled != 3 {
			t.Errorf("counts %+v", got)
		}
	})
	t.Run("None closes an action that waits for confirmation on a device on hold", func(t *testing.T) {
		w := running(t, 2, func(s *v1alpha1.RolloutSpec) { s.Update.ConfirmationRequired = true })
		w.startUpdate("dev-01")
		w.hold("dev-01", true)
		w.edit(stop(v1alpha1.CancellationNone))
		if p := w.reconcileAll(); !p.CancelOpenActions {
			t.Error("CancelOpenActions is false")
		}
	})
	t.Run("with Soft the rollout is Stopped when all started devices were asked", func(t *testing.T) {
		w := running(t, 6, groupCount(2))
		w.startUpdate("dev-01")
		w.startUpdate("dev-02")
		w.edit(stop(""))
		if p := w.reconcileAll(); !p.CancelOpenActions {
			t.Error("CancelOpenActions is false")
		}
		w.want(v1alpha1.RolloutStopping, "Finished Finished")
		if got := w.rollout.Status.Targets; got.InProgress != 2 || got.Canceled != 4 {
			t.Errorf("counts %+v", got)
		}
		w.cancelOpenActions(v1alpha1.CancellationSoft, v1alpha1.CauseStopped)
		if p := w.reconcileAll(); p.CancelOpenActions {
			t.Error("CancelOpenActions stays true")
		}
		w.want(v1alpha1.RolloutStopped, "Finished Finished")
	})
	t.Run("a device that refuses to cancel is not asked again", func(t *testing.T) {
		w := running(t, 2, nil)
		w.startUpdate("dev-01")
		w.startUpdate("dev-02")
		w.edit(stop(v1alpha1.CancellationSoft))
		w.cancelOpenActions(v1alpha1.CancellationSoft, v1alpha1.CauseStopped)
		w.report("dev-01", action.CancelRejected, "")
		w.report("dev-02", action.CancelAccepted, "")
		w.reconcileAll()
		w.want(v1alpha1.RolloutStopped, "Finished")
		if w.bucket("dev-01") != counting.InProgress || w.bucket("dev-02") != counting.Canceled {
			t.Errorf("dev-01 %s, dev-02 %s", w.bucket("dev-01"), w.bucket("dev-02"))
		}
	})
	t.Run("Force after the stop is applied to open actions", func(t *testing.T) {
		w := running(t, 2, nil)
		w.startUpdate("dev-01")
		w.edit(stop(v1alpha1.CancellationNone))
		w.reconcileAll()
		w.edit(stop(v1alpha1.CancellationForce))
		if p := w.reconcileAll(); !p.CancelOpenActions {
			t.Error("CancelOpenActions is false")
		}
		w.want(v1alpha1.RolloutStopped, "Finished")
		w.cancelOpenActions(v1alpha1.CancellationForce, v1alpha1.CauseStopped)
		if p := w.reconcileAll(); p.CancelOpenActions || w.bucket("dev-01") != counting.Canceled {
			t.Errorf("CancelOpenActions %v, dev-01 %s", p.CancelOpenActions, w.bucket("dev-01"))
		}
	})
	t.Run("a finished rollout cannot be stopped", func(t *testing.T) {
		w := running(t, 2, nil)
		w.succeed("dev-01", "dev-02")
		w.reconcileAll()
		w.edit(stop(v1alpha1.CancellationForce))
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished")
		w.wantCondition(v1alpha1.ConditionSucceeded, "True Succeeded")
	})
	t.Run("a group in Error stays in Error", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(0) })
		w.fail("17", "dev-01")
		w.reconcileAll()
		w.edit(stop(v1alpha1.CancellationSoft))
		w.reconcileAll()
		w.want(v1alpha1.RolloutStopped, "Error Finished")
		w.wantCondition(v1alpha1.ConditionPaused, "False Stopped")
	})
}

// TestW19_WhatInvalidationDoesToARollout has a rollout of four targets in two groups.
func TestW19_WhatInvalidationDoesToARollout(t *testing.T) {
	type outcome struct {
		state      v1alpha1.RolloutState
		groups     string
		ready      string
		walk, self bool
	}
	const none, soft, force = v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce
	refused, going := "False DistributionSetInvalid", "True Progressing"
	tests := []struct {
		when           string
		cancellation   v1alpha1.Cancellation
		deleteRollouts bool
		want           outcome
	}{
		{"started", none, false, outcome{"Running", "Running Scheduled", going, false, false}},
		{"started", soft, false, outcome{"Stopping", "Finished Finished", refused, true, false}},
		{"started", force, false, outcome{"Stopped", "Finished Finished", refused, true, false}},
		{"started", force, true, outcome{"Stopped", "Finished Finished", refused, true, true}},
		{"not started", none, false, outcome{"Creating", "Ready Ready", refused, false, false}},
		{"not started", soft, false, outcome{"Stopped", "Finished Finished", refused, false, false}},
		{"not started", force, false, outcome{"Stopped", "Finished Finished", refused, false, false}},
		{"not started", force, true, outcome{"Stopped", "Finished Finished", refused, false, true}},
		{"created later", soft, false, outcome{"Creating", "", refused, false, false}},
		{"created later", force, true, outcome{"Creating", "", refused, false, false}},
		{"finished", soft, false, outcome{"Finished", "Finished Finished", "True Succeeded", false, false}},
		{"finished", force, true, outcome{"Finished", "Finished Finished", "True Succeeded", false, false}},
		{"stopped before", force, true, outcome{"Stopped", "Finished Finished", "True Stopped", false, false}},
		{"paused", soft, false, outcome{"Stopping", "Finished Finished", refused, true, false}},
		{"paused", none, false, outcome{"Paused", "Running Scheduled", "True PausedBySpec", false, false}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, %s, deleteRollouts %v", tt.when, tt.cancellation, tt.deleteRollouts), func(t *testing.T) {
			w := newWorld(t, 4, groupCount(2))
			switch tt.when {
			case "not started":
				w.rollout.Spec.State = v1alpha1.IntentPlanned
			case "created later":
				w.rollout.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
			}
			if tt.when != "created later" {
				w.reconcileAll()
				w.tick(time.Second)
			}
			switch tt.when {
			case "started", "paused":
				w.startUpdate("dev-01")
			case "finished":
				w.succeed("dev-01", "dev-02")
				w.reconcileAll()
				w.succeed("dev-03", "dev-04")
			case "stopped before":
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
			}
			if tt.when == "paused" {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			}
			if tt.when != "created later" {
				w.reconcileAll()
			}
			w.tick(time.Second)
			w.set.Invalidation, w.set.DeleteRollouts, w.set.InvalidatedAt = tt.cancellation, tt.deleteRollouts, w.now
			p := w.reconcileAll()
			got := outcome{w.state(), w.states(), w.condition(v1alpha1.ConditionReady), p.CancelOpenActions, p.DeleteSelf}
			if got != tt.want {
				t.Errorf("\ngot  %+v\nwant %+v\n%s", got, tt.want, w.message(v1alpha1.ConditionReady))
			}
			wantInvalidated := "True DistributionSetInvalid"
			if tt.when == "finished" || tt.when == "stopped before" {
				wantInvalidated = ""
			}
			w.wantCondition(v1alpha1.ConditionInvalidated, wantInvalidated)
		})
	}
}

func TestAStartedRolloutOpensGroupsAfterAnInvalidationWithNone(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now
	w.reconcileAll()
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
}

// The rollout started although the set was invalidated before, because the cache was behind.
func TestARolloutThatStartedAfterTheInvalidationOpensNothing(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.reconcile()
	w.reconcile()
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now.Add(-time.Millisecond)
	w.reconcileAll()
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
}

// The time of an invalidation has whole seconds, that of a start has microseconds.
func TestARolloutThatStartedInTheSecondOfTheInvalidationContinues(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.now = w.now.Truncate(time.Second).Add(300 * time.Millisecond)
	w.reconcile()
	w.reconcile()
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now.Truncate(time.Second)
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
}

func TestAStopByInvalidationIsKeptWhenTheSetIsDeleted(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.startUpdate("dev-01")
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationSoft, w.now
	w.reconcileAll()
	w.set = nil
	if p := w.reconcileAll(); !p.CancelOpenActions {
		t.Error("the started device is not asked to cancel")
	}
	w.want(v1alpha1.RolloutStopping, "Finished Finished")
	w.wantCondition(v1alpha1.ConditionInvalidated, "True DistributionSetInvalid")
	w.cancelOpenActions(v1alpha1.CancellationSoft, v1alpha1.CauseInvalidated)
	w.reconcileAll()
	w.want(v1alpha1.RolloutStopped, "Finished Finished")

	// The condition Stalled ends when spec.state is Stopped.
	w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "")
}
