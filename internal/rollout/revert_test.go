// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// stopWith returns a commit of a stop; the empty cancellation is the default.
func stopWith(c v1alpha1.Cancellation) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { s.State, s.StopCancellation = v1alpha1.IntentStopped, c }
}

// inState returns a commit of another state.
func inState(state v1alpha1.RolloutIntent) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { s.State = state }
}

// A revert has no effect on a recorded stop: the rollout stays stopped with the same cancellation,
// and the condition says what to commit.
func TestRevertOfAStopHasNoEffect(t *testing.T) {
	for name, story := range map[string]struct {
		stop, revert func(*v1alpha1.RolloutSpec)
		recorded     v1alpha1.Cancellation // of status.stop
		says         string                // message of the condition Stalled; empty: not Stalled
	}{
		"the stop is reverted":                   {stopWith(""), inState(v1alpha1.IntentRunning), "Soft", "a stop cannot be taken back; set spec.state to Stopped"},
		"the field is removed":                   {stopWith("Force"), inState(""), "Force", "set spec.state to Stopped and spec.stopCancellation to Force again"},
		"the stop becomes a pause":               {stopWith("None"), inState(v1alpha1.IntentPaused), "None", "spec.state Paused has no effect"},
		"the stop becomes a plan":                {stopWith("Force"), inState(v1alpha1.IntentPlanned), "Force", "spec.state Planned has no effect"},
		"it is lowered":                          {stopWith("Force"), stopWith("None"), "Force", "spec.stopCancellation None has no effect: the rollout was stopped with Force; set spec.stopCancellation to Force again"},
		"it is lowered to the default":           {stopWith("Force"), stopWith(""), "Force", "spec.stopCancellation Soft has no effect"},
		"it is raised":                           {stopWith("None"), stopWith("Force"), "Force", ""},
		"it is raised, but the stop is reverted": {stopWith("None"), func(s *v1alpha1.RolloutSpec) { s.State, s.StopCancellation = v1alpha1.IntentRunning, "Force" }, "None", "spec.state Running has no effect"},
		"the default is set":                     {stopWith(""), stopWith("Soft"), "Soft", ""},
		"another field is changed":               {stopWith("Soft"), func(s *v1alpha1.RolloutSpec) { s.MinimumReports = 7 }, "Soft", ""},
		"deletionCancellation is changed":        {stopWith("Soft"), func(s *v1alpha1.RolloutSpec) { s.DeletionCancellation = "Force" }, "Soft", ""},
	} {
		for when, prepare := range map[string]func(t *testing.T) *world{
			"while it runs":    func(t *testing.T) *world { return running(t, 6, groupCount(2)) },
			"before its start": func(t *testing.T) *world { return newWorld(t, 6, inState(v1alpha1.IntentPlanned)) },
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				w := prepare(t)
				w.reconcileAll()
				w.edit(story.stop)
				w.reconcileAll()
				groups := w.states()
				w.wantCondition(v1alpha1.ConditionReady, "True Stopped")
				w.edit(story.revert)
				events := 0
				for range 5 {
					w.tick(time.Minute)
					for _, e := range w.reconcile().Events {
						if events++; e.Reason != v1alpha1.ReasonStopIsFinal || e.Type != warning {
							t.Errorf("the events are %+v", e)
						}
					}
				}
				w.want(v1alpha1.RolloutStopped, groups)
				if got := w.rollout.Status.Stop; got == nil || got.Cancellation != story.recorded {
					t.Errorf("recorded is %+v, want %s", got, story.recorded)
				}
				w.wantCondition(v1alpha1.ConditionSucceeded, "False Stopped")
				w.wantCondition(v1alpha1.ConditionPaused, "False "+map[bool]string{true: "Stopped", false: "StopIsFinal"}[story.says == ""])
				if isRunning(w.rollout) || CanStart(w.rollout, w.set, w.now) || AcceptsTargets(w.rollout, w.now) || !IsStopped(w.rollout) {
					t.Error("the rules treat it as running")
				}
				if story.says == "" {
					if events != 0 {
						t.Errorf("%d events about an accepted commit", events)
					}
					w.wantCondition(v1alpha1.ConditionReady, "True Stopped")
					w.wantCondition(v1alpha1.ConditionStalled, "")
					return
				}
				w.wantCondition(v1alpha1.ConditionReady, "False StopIsFinal")
				w.wantCondition(v1alpha1.ConditionStalled, "True StopIsFinal")
				w.wantContains(w.message(v1alpha1.ConditionStalled), story.says)
				if events != 1 {
					t.Errorf("%d events, want 1", events)
				}
				w.edit(stopWith(story.recorded))
				w.reconcileAll()
				w.wantCondition(v1alpha1.ConditionReady, "True Stopped")
				w.wantCondition(v1alpha1.ConditionStalled, "")
			})
		}
	}
}

// A device is asked to cancel with the cancellation of the stop, also if the stop is reverted
// before it was applied to all open actions.
func TestRevertWhileTheStopIsCarriedOut(t *testing.T) {
	w := running(t, 4, nil)
	w.startUpdate("dev-01")
	w.edit(stopWith("Force"))
	w.reconcile()
	w.edit(inState(v1alpha1.IntentRunning))
	if p := w.reconcileAll(); !p.CancelOpenActions {
		t.Error("CancelOpenActions is false after the revert")
	}
	w.want(v1alpha1.RolloutStopping, "Finished")
	w.wantCondition(v1alpha1.ConditionReady, "False StopIsFinal")
	w.cancelOpenActions(v1alpha1.CancellationForce, v1alpha1.CauseStopped)
	w.reconcileAll()
	w.want(v1alpha1.RolloutStopped, "Finished")
	w.wantContains(w.message(v1alpha1.ConditionSucceeded), "stopped by spec.state")
}

// A stop of a rollout that an invalidation had stopped ends the condition Stalled. Its revert is a
// revert of a stop.
func TestRevertOfAStopAfterAnInvalidation(t *testing.T) {
	w := running(t, 4, nil)
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationSoft, w.now
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
	if w.rollout.Status.Stop != nil {
		t.Errorf("an invalidation is recorded as a stop by spec: %+v", w.rollout.Status.Stop)
	}
	w.edit(stopWith("Force"))
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "")
	w.edit(inState(v1alpha1.IntentRunning))
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "True StopIsFinal")
	w.want(v1alpha1.RolloutStopped, "Finished")
}

// A stop that is committed after the rollout finished has no effect, and neither has its revert.
func TestStopOfAFinishedRolloutIsNotRecorded(t *testing.T) {
	w := running(t, 2, nil)
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	for _, commit := range []func(*v1alpha1.RolloutSpec){stopWith("Force"), inState(v1alpha1.IntentRunning)} {
		w.edit(commit)
		w.reconcileAll()
		w.want(v1alpha1.RolloutFinished, "Finished")
		w.wantCondition(v1alpha1.ConditionReady, "True Succeeded")
	}
	if w.rollout.Status.Stop != nil {
		t.Errorf("recorded is %+v", w.rollout.Status.Stop)
	}
}

// No rollout waits for one that was stopped before its start, also if its spec.state is Running
// again.
func TestAStoppedRolloutIsNotWaitedFor(t *testing.T) {
	now := epoch.Add(time.Hour)
	newer := &v1alpha1.Rollout{}
	newer.CreationTimestamp, newer.Spec.State = metav1.NewTime(now), v1alpha1.IntentRunning
	set := &eligibility.Set{Deployable: true}
	if !CanStart(newer, set, now) {
		t.Error("CanStart is false for a rollout that may start")
	}
	newer.Status.Stop = &v1alpha1.StopStatus{Cancellation: v1alpha1.CancellationSoft}
	if CanStart(newer, set, now) {
		t.Error("CanStart is true for a stopped rollout")
	}
}

// A raise from Soft to Forced after the start is final. Its revert has no effect, does not pause
// the rollout, and is reported until the end.
func TestRevertOfForcedHasNoEffect(t *testing.T) {
	kind := func(u v1alpha1.UpdateType) func(*v1alpha1.RolloutSpec) {
		return func(s *v1alpha1.RolloutSpec) { s.Update.Type = u }
	}
	w := running(t, 2, kind(v1alpha1.UpdateTypeSoft))
	w.edit(kind(v1alpha1.UpdateTypeForced))
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionReady, "True Progressing")
	w.edit(kind(v1alpha1.UpdateTypeSoft))
	w.reconcileAll()
	if got := UpdateOf(w.rollout).Type; got != v1alpha1.UpdateTypeForced {
		t.Errorf("the update type is %s", got)
	}
	w.wantCondition(v1alpha1.ConditionStalled, "True ForcedIsFinal")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	w.wantCondition(v1alpha1.ConditionReady, "True Succeeded")

	other := running(t, 2, kind(v1alpha1.UpdateTypeForced))
	other.reconcileAll()
	if got := other.rollout.Status.UpdateType; got != "" {
		t.Errorf("a rollout that started with Forced records %q and accepts Soft", got)
	}
}
