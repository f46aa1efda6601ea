// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// TestOutcome checks the condition Succeeded of a rollout of four targets.
func TestOutcome(t *testing.T) {
	supersede := func(places ...int) func(*world) {
		return func(w *world) {
			w.claims = []Overlap{{Name: "newer", UID: "uid-n", OpenGroups: 1, Started: [][]byte{marked(places...)}, Open: [][]byte{marked(places...)}}}
		}
	}
	cancel := func(names ...string) func(*world) {
		return func(w *world) {
			for _, name := range names {
				w.startUpdate(name)
				s := &w.targets[name].Status
				action.Cancel(s, action.Newest(s).ID, v1alpha1.CauseRequested, v1alpha1.CancellationForce, w.now)
			}
		}
	}
	fail := func(names ...string) func(*world) {
		return func(w *world) { w.fail("17", names...) }
	}
	remove := func(names ...string) func(*world) {
		return func(w *world) {
			for _, name := range names {
				delete(w.targets, name)
			}
		}
	}
	late := func(w *world) { w.tick(2 * time.Hour) }
	skips := func(s *v1alpha1.RolloutSpec) {
		s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(3600), v1alpha1.DeadlineActionSkip
	}
	assign := func(w *world) {
		for _, name := range []string{"dev-01", "dev-02", "dev-03", "dev-04"} {
			w.assign(name, "firmware-3", "")
			w.lookAt(name)
		}
	}
	auto := func(w *world) { w.addAuto("firmware-3", "") }
	for name, tt := range map[string]struct {
		spec   func(*v1alpha1.RolloutSpec)
		events []func(*world)
		want   string
		says   string
	}{
		"all succeeded":                       {nil, []func(*world){func(w *world) { w.succeed("dev-01", "dev-02", "dev-03", "dev-04") }}, "True Succeeded", "4 of 4 targets succeeded, 0 failed"},
		"all were superseded":                 {nil, []func(*world){supersede(0, 1, 2, 3)}, "False Superseded", "none of 4 targets succeeded: 4 superseded by newer updates (rollout newer)"},
		"some were superseded":                {nil, []func(*world){func(w *world) { w.succeed("dev-01") }, supersede(1, 2, 3)}, "True Succeeded", "1 of 4 targets succeeded, 0 failed, 3 superseded by newer updates (rollout newer)"},
		"all have a newer assignment":         {nil, []func(*world){assign}, "False Superseded", "4 superseded by newer updates (spec.assignment of the target)"},
		"an auto-assignment took all over":    {nil, []func(*world){auto}, "False Superseded", "4 superseded by newer updates (an auto-assignment)"},
		"a newer auto-assignment has started": {nil, []func(*world){auto, func(w *world) { w.take("dev-01", w.offer("dev-01")) }}, "False Superseded", "(an auto-assignment, auto-assignment auto-0)"},
		"people canceled all":                 {nil, []func(*world){cancel("dev-01", "dev-02", "dev-03", "dev-04")}, "False Canceled", "none of 4 targets succeeded: 4 canceled"},
		"people canceled most":                {nil, []func(*world){cancel("dev-01", "dev-02", "dev-03"), supersede(3)}, "False Canceled", "1 superseded by newer updates (rollout newer), 3 canceled"},
		"none started in time":                {skips, []func(*world){late}, "False Skipped", "none of 4 targets succeeded: 4 skipped, because they did not start in time"},
		"some started in time":                {skips, []func(*world){func(w *world) { w.succeed("dev-04") }, late}, "True Succeeded", "1 of 4 targets succeeded, 0 failed, 3 skipped"},
		"all were deleted":                    {nil, []func(*world){remove("dev-01", "dev-02", "dev-03", "dev-04")}, "False NoTargets", "none of 4 targets succeeded: all were deleted before the rollout finished"},
		"some were deleted, others succeed":   {nil, []func(*world){remove("dev-01"), func(w *world) { w.succeed("dev-02", "dev-03", "dev-04") }}, "True Succeeded", "3 of 3 targets succeeded, 0 failed, 1 deleted"},
		"some were deleted, others replaced":  {nil, []func(*world){remove("dev-01"), supersede(1, 2, 3)}, "False Superseded", "none of 3 targets succeeded: 3 superseded by newer updates (rollout newer), 1 deleted"},
		"one failed, the others superseded": {func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) },
			[]func(*world){fail("dev-01"), supersede(1, 2, 3)}, "False Superseded", "none of 4 targets succeeded: 1 failed, 3 superseded by newer updates (rollout newer)"},
		"most failed, the others superseded": {func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) },
			[]func(*world){fail("dev-01", "dev-02", "dev-03"), supersede(3)}, "False Failed", "none of 4 targets succeeded: 3 failed, 1 superseded"},
		"all failed, as errorThreshold allows": {func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) },
			[]func(*world){fail("dev-01", "dev-02", "dev-03", "dev-04")}, "False Failed", "none of 4 targets succeeded: 4 failed"},
		"some failed, as errorThreshold allows": {func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) },
			[]func(*world){fail("dev-01", "dev-02", "dev-03"), func(w *world) { w.succeed("dev-04") }}, "True Succeeded", "1 of 4 targets succeeded, 3 failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := running(t, 4, tt.spec)
			for _, e := range tt.events {
				e(w)
			}
			w.reconcileAll()
			w.want(v1alpha1.RolloutFinished, "Finished")
			check := func() {
				t.Helper()
				w.wantCondition(v1alpha1.ConditionSucceeded, tt.want)
				w.wantContains(w.message(v1alpha1.ConditionSucceeded), tt.says)
				w.wantCondition(v1alpha1.ConditionReady, "True "+meta.FindStatusCondition(w.rollout.Status.Conditions, v1alpha1.ConditionSucceeded).Reason)
				w.wantContains(w.message(v1alpha1.ConditionReady), tt.says)
				w.wantCondition(v1alpha1.ConditionStalled, "")
			}
			check()
			// Later changes of targets do not change it.
			w.claims, w.autos, w.targets = nil, nil, map[string]*v1alpha1.Target{}
			w.tick(time.Hour)
			w.reconcileAll()
			check()
		})
	}
}

// A dynamic rollout whose growth ends before a target has appeared has succeeded.
func TestOutcomeWithoutTargets(t *testing.T) {
	w := newWorld(t, 0, func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{Until: at(epoch.Add(time.Hour))} })
	w.reconcileAll()
	w.tick(2 * time.Hour)
	w.reconcileAll()
	if w.state() != v1alpha1.RolloutFinished {
		t.Fatalf("is %s: %s", w.state(), w.waitingFor())
	}
	w.wantCondition(v1alpha1.ConditionSucceeded, "True Succeeded")
	w.wantContains(w.message(v1alpha1.ConditionSucceeded), "there was no target to update")
}

// After a retry of a rollout without a success the condition is evaluated again.
func TestOutcomeAfterARetry(t *testing.T) {
	w := running(t, 1, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) })
	w.fail("17", "dev-01")
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionSucceeded, "False Failed")
	w.tick(2 * time.Second)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: *at(w.now)} })
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionSucceeded, "Unknown Progressing")
	w.succeed("dev-01")
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionSucceeded, "True Succeeded")
}
