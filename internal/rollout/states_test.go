// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/testing/states"
)

// rolloutStates are the situations of a rollout of four targets. Each starts before the first
// reconcile.
var rolloutStates = map[string]struct {
	spec func(*v1alpha1.RolloutSpec)
	then func(*world)
}{
	"waiting-for-its-set": {then: func(w *world) { w.set, w.rollout.CreationTimestamp = nil, metav1.NewTime(w.now) }, spec: stabilizing},
	"stabilizing":         {then: func(w *world) { w.rollout.CreationTimestamp = metav1.NewTime(w.now) }, spec: stabilizing},
	"planning": {spec: groupCount(2), then: func(w *world) {
		w.reconcile()
		w.groups = w.groups[:1]
	}},
	"planned":                 {spec: inState(v1alpha1.IntentPlanned)},
	"waiting-for-approval":    {spec: func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = true }},
	"waiting-for-start":       {spec: func(s *v1alpha1.RolloutSpec) { s.StartAt = at(epoch.Add(time.Hour)) }},
	"paused-before-the-start": {spec: inState(v1alpha1.IntentPaused)},
	"superseding":             {then: func(w *world) { w.olderRollouts = []string{"firmware-1"} }},

	"running": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.succeed("dev-01")
	}},
	"waiting-for-confirmations": {spec: func(s *v1alpha1.RolloutSpec) { s.Update.ConfirmationRequired = true }},
	"outside-the-maintenance-window": {spec: func(s *v1alpha1.RolloutSpec) {
		s.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 3600}
	}},
	"paused-by-spec": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.edit(inState(v1alpha1.IntentPaused))
	}},
	"paused-by-success-action": {spec: func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.SuccessAction = num(2), v1alpha1.SuccessActionPause
	}, then: func(w *world) {
		w.reconcileAll()
		w.succeed("dev-01", "dev-02")
	}},
	"paused-by-error-threshold": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.fail("17", "dev-01", "dev-02")
	}},
	"paused-by-error-budget": {spec: func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.ErrorThreshold, s.ErrorBudget = num(2), num(100), &v1alpha1.ErrorBudget{Count: num(0)}
	}, then: func(w *world) {
		w.reconcileAll()
		w.fail("17", "dev-01")
	}},
	"paused-by-a-group-without-results": {spec: canaryOf(50, v1alpha1.SuccessActionNextGroup), then: func(w *world) {
		w.reconcileAll()
		w.removes("dev-01", "dev-02")
	}},
	"resumed-after-errors": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.fail("17", "dev-01", "dev-02")
		w.reconcileAll()
		w.resume()
	}},

	"the-set-is-missing":   {then: func(w *world) { w.set = nil }},
	"the-set-is-not-ready": {then: func(w *world) { w.set.Deployable, w.set.NotDeployable = false, "spec.modules is empty" }},
	"the-set-has-changed": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.set.ContentHash = "another-hash"
	}},
	"the-set-was-invalidated-before-the-start": {spec: inState(v1alpha1.IntentPlanned), then: func(w *world) {
		w.reconcileAll()
		w.invalidate(v1alpha1.CancellationNone)
	}},
	"no-target-joins-an-invalidated-set": {spec: dynamic(1, 3), then: func(w *world) {
		w.reconcileAll()
		w.invalidate(v1alpha1.CancellationNone)
	}},
	"wrong-expression": {spec: func(s *v1alpha1.RolloutSpec) { s.TargetExpression = "target.colour" }},
	"no-target-is-selected": {spec: func(s *v1alpha1.RolloutSpec) {
		s.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "nowhere"}}
	}},
	"targets-are-left-over": {spec: func(s *v1alpha1.RolloutSpec) {
		s.Groups = []v1alpha1.Group{{Name: "canary", Percentage: num(50)}}
	}},
	"wrong-window": {spec: func(s *v1alpha1.RolloutSpec) {
		s.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 30 2 *", DurationSeconds: 3600}
	}},
	"advanced-to-an-unknown-group": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.tick(time.Second)
		w.edit(func(s *v1alpha1.RolloutSpec) { s.Advance = &v1alpha1.Advance{To: "group-9", At: *at(w.now)} })
	}},
	"the-order-is-ambiguous": {then: func(w *world) { w.addNeighbor("firmware-1", isStarted, "dev-01", "dev-02") }},
	"a-group-was-lost": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.groups = w.groups[:1]
	}},
	"forced-was-reverted": {spec: ofType(v1alpha1.UpdateTypeSoft), then: func(w *world) {
		w.reconcileAll()
		w.edit(ofType(v1alpha1.UpdateTypeForced))
		w.reconcileAll()
		w.edit(ofType(v1alpha1.UpdateTypeSoft))
	}},

	"stopping": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.startUpdate("dev-01")
		w.edit(inState(v1alpha1.IntentStopped))
	}},
	"stopped": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.edit(inState(v1alpha1.IntentStopped))
	}},
	"its-stop-was-reverted": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.edit(inState(v1alpha1.IntentStopped))
		w.reconcileAll()
		w.edit(inState(v1alpha1.IntentRunning))
	}},
	"stopping-after-an-invalidation": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.startUpdate("dev-01")
		w.invalidate(v1alpha1.CancellationSoft)
	}},
	"stopped-by-an-invalidation": {spec: groupCount(2), then: func(w *world) {
		w.reconcileAll()
		w.invalidate(v1alpha1.CancellationForce)
	}},

	"finished": {then: func(w *world) {
		w.reconcileAll()
		w.succeed("dev-01", "dev-02", "dev-03", "dev-04")
	}},
	"finished-with-some-failures": {then: func(w *world) {
		w.reconcileAll()
		w.fail("17", "dev-01")
		w.succeed("dev-02", "dev-03", "dev-04")
	}},
	"finished-with-errors": {then: func(w *world) {
		w.reconcileAll()
		w.fail("17", "dev-01", "dev-02", "dev-03")
		w.succeed("dev-04")
		w.reconcileAll()
		w.resume()
	}},
	"finished-without-a-success": {spec: func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) }, then: func(w *world) {
		w.reconcileAll()
		w.fail("17", "dev-01", "dev-02", "dev-03", "dev-04")
	}},
	"finished-as-superseded": {then: func(w *world) {
		w.reconcileAll()
		w.claims = []Overlap{{Name: "firmware-3", UID: "uid-3", OpenGroups: 1, Started: [][]byte{marked(0, 1, 2, 3)}, Open: [][]byte{marked(0, 1, 2, 3)}}}
	}},
	"finished-as-canceled": {then: func(w *world) {
		w.reconcileAll()
		for name := range w.targets {
			w.startUpdate(name)
			s := &w.targets[name].Status
			action.Cancel(s, action.Newest(s).ID, v1alpha1.CauseRequested, v1alpha1.CancellationForce, w.now)
		}
	}},
	"finished-as-skipped": {spec: func(s *v1alpha1.RolloutSpec) {
		s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(3600), v1alpha1.DeadlineActionSkip
	}, then: func(w *world) {
		w.reconcileAll()
		w.tick(2 * time.Hour)
	}},
	"finished-after-all-targets-were-deleted": {then: func(w *world) {
		w.reconcileAll()
		w.targets = map[string]*v1alpha1.Target{}
	}},
}

func ofType(u v1alpha1.UpdateType) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { s.Update.Type = u }
}

func stabilizing(s *v1alpha1.RolloutSpec) { s.StabilizationSeconds = num(60) }

// groupState returns the name of a group's state in the files.
func groupState(g *v1alpha1.DeploymentGroup) string {
	if g.Status.State == v1alpha1.GroupError {
		return "with-errors"
	}
	return strings.ToLower(cmp.Or(string(g.Status.State), "created"))
}

// TestRolloutsInEveryState compares the status of rollouts in every state, and of their groups,
// with the files of config/argocd.
func TestRolloutsInEveryState(t *testing.T) {
	rollouts, groups := map[string]*v1alpha1.Rollout{}, map[string]*v1alpha1.DeploymentGroup{}
	for _, state := range slices.Sorted(maps.Keys(rolloutStates)) {
		t.Run(state, func(t *testing.T) {
			story := rolloutStates[state]
			w := newWorld(t, 4, story.spec)
			w.rollout.Name = "firmware-2"
			if story.then != nil {
				story.then(w)
			}
			w.reconcileAll()
			rollouts[state] = w.rollout
			for _, g := range w.groups {
				if state == "a-group-was-lost" {
					continue
				}
				groups[groupState(g)] = g
			}
		})
	}
	w := newWorld(t, 4, groupCount(2))
	w.rollout.Name = "firmware-2"
	w.reconcileAll()
	w.rollout.Status = Next(hide(w.snapshot(), "firmware-2-group-2")).Status
	rollouts["a-group-cannot-be-decoded"] = w.rollout
	states.Check(t, "../..", *update, rollouts)
	states.CheckEvents(t, "../..", *update, rollouts["running"])
	states.Check(t, "../..", *update, groups)
	states.CheckEvents(t, "../..", *update, groups["running"])
}
