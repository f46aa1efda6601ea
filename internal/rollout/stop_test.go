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
	t.Run("None lets started devices finish", func(t *testing.T) {
		w := running(t, 6, groupCount(2))
		w.openFirstGroup("dev-01")
		w.edit(stop(v1alpha1.CancellationNone))
		p := w.planner()
		w.want(v1alpha1.RolloutStopped, "Finished Finished")
		if p.CancelOpenActions {
			t.Error("asks for a walk")
		}
		w.wantSays(w.waitingFor(), "stopped; no result yet of 1 target that had started")
		w.report("dev-01", action.Download, "")
		w.report("dev-01", action.Succeed, "")
		w.stabilizationPeriod()
		if got := w.rollout.Status.Targets; got.Succeeded != 1 || got.Canceled != 5 {
			t.Errorf("counts %+v", got)
		}
		w.wantCondition(v1alpha1.ConditionReady, "True Stopped")
		w.wantCondition(v1alpha1.ConditionSucceeded, "False Stopped")
		w.wantCondition(v1alpha1.ConditionStalled, "")
	})
	t.Run("None closes actions that wait for confirmation", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.Update.ConfirmationRequired = true })
		w.openFirstGroup("dev-01")
		w.openFirstGroup("dev-02")
		w.report("dev-01", action.Confirm, "")
		question := action.Newest(&w.targets["dev-02"].Status)
		w.stabilizationPeriod()
		w.edit(stop(v1alpha1.CancellationNone))
		if p := w.stabilizationPeriod(); !p.CancelOpenActions {
			t.Error("asks for no walk")
		}
		w.want(v1alpha1.RolloutStopping, "Finished")
		w.wantSays(w.waitingFor(), "stopped by spec.state; still to be canceled: 1 action without confirmation")
		action.Cancel(&w.targets["dev-02"].Status, question.ID, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, w.now)
		if p := w.stabilizationPeriod(); p.CancelOpenActions {
			t.Error("walks for ever")
		}
		w.want(v1alpha1.RolloutStopped, "Finished")
		if got := w.rollout.Status.Targets; got.InProgress != 1 || got.Canceled != 3 {
			t.Errorf("counts %+v", got)
		}
	})
	t.Run("None closes the question of a device on hold, too", func(t *testing.T) {
		w := running(t, 2, func(s *v1alpha1.RolloutSpec) { s.Update.ConfirmationRequired = true })
		w.openFirstGroup("dev-01")
		w.hold("dev-01", true)
		w.edit(stop(v1alpha1.CancellationNone))
		if p := w.stabilizationPeriod(); !p.CancelOpenActions {
			t.Error("asks for no walk")
		}
	})
	t.Run("Soft is over when all that have started were asked", func(t *testing.T) {
		w := running(t, 6, groupCount(2))
		w.openFirstGroup("dev-01")
		w.openFirstGroup("dev-02")
		w.edit(stop(""))
		if p := w.stabilizationPeriod(); !p.CancelOpenActions {
			t.Error("asks for no walk")
		}
		w.want(v1alpha1.RolloutStopping, "Finished Finished")
		if got := w.rollout.Status.Targets; got.InProgress != 2 || got.Canceled != 4 {
			t.Errorf("counts %+v", got)
		}
		w.walk(v1alpha1.CancellationSoft, v1alpha1.CauseStopped)
		if p := w.stabilizationPeriod(); p.CancelOpenActions {
			t.Error("walks for ever")
		}
		w.want(v1alpha1.RolloutStopped, "Finished Finished")
	})
	t.Run("a device that refuses the cancel has been asked", func(t *testing.T) {
		w := running(t, 2, nil)
		w.openFirstGroup("dev-01")
		w.openFirstGroup("dev-02")
		w.edit(stop(v1alpha1.CancellationSoft))
		w.walk(v1alpha1.CancellationSoft, v1alpha1.CauseStopped)
		w.report("dev-01", action.CancelRejected, "")
		w.report("dev-02", action.CancelAccepted, "")
		w.stabilizationPeriod()
		w.want(v1alpha1.RolloutStopped, "Finished")
		if w.bucket("dev-01") != counting.InProgress || w.bucket("dev-02") != counting.Canceled {
			t.Errorf("dev-01 %s, dev-02 %s", w.bucket("dev-01"), w.bucket("dev-02"))
		}
	})
	t.Run("raised to Force after the stop it walks again", func(t *testing.T) {
		w := running(t, 2, nil)
		w.openFirstGroup("dev-01")
		w.edit(stop(v1alpha1.CancellationNone))
		w.stabilizationPeriod()
		w.edit(stop(v1alpha1.CancellationForce))
		if p := w.stabilizationPeriod(); !p.CancelOpenActions {
			t.Error("asks for no walk")
		}
		w.want(v1alpha1.RolloutStopped, "Finished")
		w.walk(v1alpha1.CancellationForce, v1alpha1.CauseStopped)
		if p := w.stabilizationPeriod(); p.CancelOpenActions || w.bucket("dev-01") != counting.Canceled {
			t.Errorf("walk %v, dev-01 %s", p.CancelOpenActions, w.bucket("dev-01"))
		}
	})
	t.Run("a finished rollout cannot be stopped", func(t *testing.T) {
		w := running(t, 2, nil)
		w.succeed("dev-01", "dev-02")
		w.stabilizationPeriod()
		w.edit(stop(v1alpha1.CancellationForce))
		w.stabilizationPeriod()
		w.want(v1alpha1.RolloutFinished, "Finished")
		w.wantCondition(v1alpha1.ConditionSucceeded, "True Succeeded")
	})
	t.Run("a group in Error stays so", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(0) })
		w.fail("17", "dev-01")
		w.stabilizationPeriod()
		w.edit(stop(v1alpha1.CancellationSoft))
		w.stabilizationPeriod()
		w.want(v1alpha1.RolloutStopped, "Error Finished")
		w.wantCondition(v1alpha1.ConditionPaused, "False Stopped")
	})
}

// The empty table of the first seed, filled: what an invalidation does to a rollout of four targets
// in two groups.
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
				w.stabilizationPeriod()
				w.tick(time.Second)
			}
			switch tt.when {
			case "started", "paused":
				w.openFirstGroup("dev-01")
			case "finished":
				w.succeed("dev-01", "dev-02")
				w.stabilizationPeriod()
				w.succeed("dev-03", "dev-04")
			case "stopped before":
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
			}
			if tt.when == "paused" {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			}
			if tt.when != "created later" {
				w.stabilizationPeriod()
			}
			w.tick(time.Second)
			w.set.Invalidation, w.set.DeleteRollouts, w.set.InvalidatedAt = tt.cancellation, tt.deleteRollouts, w.now
			p := w.stabilizationPeriod()
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

func TestNoneLetsAStartedRolloutOpenItsOtherGroups(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now
	w.stabilizationPeriod()
	w.succeed("dev-01", "dev-02")
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
}

// The rollout's controller saw the set valid a moment too long.
func TestARolloutThatStartedAfterTheInvalidationOpensNothing(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.planner()
	w.planner()
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now.Add(-time.Millisecond)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
}

// An invalidation is known to the second, a start to the microsecond.
func TestARolloutThatStartedInTheSecondOfTheInvalidationGoesOn(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.now = w.now.Truncate(time.Second).Add(300 * time.Millisecond)
	w.planner()
	w.planner()
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now.Truncate(time.Second)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
}

func TestAStopByInvalidationOutlivesTheSet(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.openFirstGroup("dev-01")
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationSoft, w.now
	w.stabilizationPeriod()
	w.set = nil
	if p := w.stabilizationPeriod(); !p.CancelOpenActions {
		t.Error("the started device is forgotten")
	}
	w.want(v1alpha1.RolloutStopping, "Finished Finished")
	w.wantCondition(v1alpha1.ConditionInvalidated, "True DistributionSetInvalid")
	w.walk(v1alpha1.CancellationSoft, v1alpha1.CauseInvalidated)
	w.stabilizationPeriod()
	w.want(v1alpha1.RolloutStopped, "Finished Finished")

	// A person who has taken note says so by spec.state.
	w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	w.stabilizationPeriod()
	w.wantCondition(v1alpha1.ConditionStalled, "")
}
