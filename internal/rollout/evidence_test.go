// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// canaryOf returns an edit: a canary with a percentage of the targets, by name, and a second group.
func canaryOf(percent int32, action v1alpha1.SuccessAction) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) {
		s.Groups = []v1alpha1.Group{{Name: "canary", Percentage: &percent, SuccessAction: action}, {Name: "rest"}}
	}
}

func (w *world) removes(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if w.targets[name] == nil {
			w.t.Fatalf("there is no target %s", name)
		}
		delete(w.targets, name)
	}
	w.tick(time.Second)
	w.reconcileAll()
}

// recreates deletes a target and creates it again, under the same name.
func (w *world) recreates(name string) {
	w.t.Helper()
	delete(w.targets, name)
	w.tick(2 * time.Second)
	w.addTarget(name)
	w.targets[name].UID += "-again"
	w.targets[name].CreationTimestamp = metav1.NewTime(w.now)
	w.reconcileAll()
}

// TestAGroupThatLostItsResultsPauses: a group that was planned with members and has lost its
// results opens no group by itself, with any success action. Of ten targets, dev-01 to dev-04 are
// the canary.
func TestAGroupThatLostItsResultsPauses(t *testing.T) {
	canary := []string{"dev-01", "dev-02", "dev-03", "dev-04"}
	const running, paused = v1alpha1.RolloutRunning, v1alpha1.RolloutPaused
	for name, tt := range map[string]struct {
		edit   func(*v1alpha1.RolloutSpec)
		before func(*world) // before the start
		then   func(*world)
		state  v1alpha1.RolloutState
		groups string
		says   string
	}{
		"all members are removed before the start": {before: func(w *world) { w.removes(canary...) },
			state: paused, groups: "Finished Scheduled", says: "group canary: no result is left of 4 targets that were planned: 4 removed (as of the pause); group rest does not open"},
		"all members are removed while it is Running": {then: func(w *world) { w.removes(canary...) },
			state: paused, groups: "Finished Scheduled", says: "group canary: no result is left of 4 targets that were planned: 4 removed"},
		"all members are removed one by one": {then: func(w *world) {
			for _, name := range canary {
				w.removes(name)
			}
		}, state: paused, groups: "Finished Scheduled", says: "no result is left of 4 targets that were planned: 4 removed"},
		"all members are removed during a pause by spec": {then: func(w *world) {
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			w.reconcileAll()
			w.removes(canary...)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			w.reconcileAll()
		}, state: paused, groups: "Finished Scheduled", says: "no result is left"},
		"all members are removed during its successAction Pause": {edit: canaryOf(40, v1alpha1.SuccessActionPause), then: func(w *world) {
			w.succeed(canary...)
			w.reconcileAll()
			w.removes(canary...)
		}, state: paused, groups: "Finished Scheduled", says: "group canary: successAction Pause, 4 of 4 had succeeded (as of the pause); group rest does not open"},
		"successAction is Pause, and all members are removed": {edit: canaryOf(40, v1alpha1.SuccessActionPause), then: func(w *world) { w.removes(canary...) },
			state: paused, groups: "Finished Scheduled", says: "no result is left"},
		"all members are removed after its success": {then: func(w *world) {
			w.succeed(canary...)
			w.reconcileAll()
			w.removes(canary...)
		}, state: running, groups: "Finished Running"},
		"most members are removed": {then: func(w *world) {
			w.removes("dev-02", "dev-03", "dev-04")
			w.succeed("dev-01")
			w.reconcileAll()
		}, state: paused, groups: "Finished Scheduled", says: "group canary: 3 of 4 targets that were planned were removed; 1 of the others succeeded, 0 failed"},
		"half of the members are removed": {then: func(w *world) {
			w.removes("dev-03", "dev-04")
			w.succeed("dev-01", "dev-02")
			w.reconcileAll()
		}, state: running, groups: "Finished Running"},
		"a newer rollout takes over all members": {then: func(w *world) {
			w.claims = []Overlap{{Name: "newer", UID: "uid-y", Open: [][]byte{marked(0, 1, 2, 3)}}}
			w.reconcileAll()
		}, state: paused, groups: "Finished Scheduled", says: "no result is left of 4 targets that were planned: 4 taken over by a newer update"},
		"a newer rollout takes over all members of all groups": {then: func(w *world) {
			w.claims = []Overlap{{Name: "newer", UID: "uid-y", Started: [][]byte{marked(0, 1, 2, 3), marked(0, 1, 2, 3, 4, 5)}, Open: [][]byte{marked(0, 1, 2, 3), nil}}}
			w.reconcileAll()
		}, state: v1alpha1.RolloutFinished, groups: "Finished Finished"},
		"all members are skipped": {edit: func(s *v1alpha1.RolloutSpec) {
			canaryOf(40, "")(s)
			s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(60), v1alpha1.DeadlineActionSkip
		}, then: func(w *world) {
			w.tick(time.Hour)
			w.reconcileAll()
		}, state: paused, groups: "Finished Scheduled", says: "no result is left of 4 targets that were planned: 4 skipped"},
		"some are removed, some skipped, one is canceled": {edit: func(s *v1alpha1.RolloutSpec) {
			canaryOf(40, "")(s)
			s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(60), v1alpha1.DeadlineActionSkip
		}, then: func(w *world) {
			w.startUpdate("dev-04")
			w.targets["dev-04"].Spec.Cancel = &v1alpha1.CancelRequest{UpTo: w.targets["dev-04"].Status.NextActionID - 1, Cancellation: v1alpha1.CancellationForce}
			w.applyReport("dev-04")
			w.removes("dev-01", "dev-02")
			w.tick(time.Hour)
			w.reconcileAll()
		}, state: paused, groups: "Finished Scheduled", says: "2 removed, 1 canceled, 1 skipped"},
		"its members have other labels now": {then: func(w *world) {
			for _, name := range canary {
				w.targets[name].Labels = map[string]string{"site": "elsewhere"}
			}
			w.reconcileAll()
		}, state: running, groups: "Running Scheduled"},
		"its members are of another type now": {then: func(w *world) {
			set := *w.set
			set.CompatibleTargetTypes = []string{"gateway"}
			w.set = &set
			for _, name := range canary {
				w.targets[name].Spec.Type = "router"
			}
			w.reconcileAll()
		}, state: running, groups: "Running Scheduled"},
		"the members of later groups are removed, too": {then: func(w *world) {
			w.removes(append(canary, "dev-05", "dev-06", "dev-07", "dev-08", "dev-09", "dev-10")...)
		},
			state: v1alpha1.RolloutFinished, groups: "Finished Finished"},
		"all members are removed, and later targets would join": {edit: func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{GroupSize: num(5)} },
			then: func(w *world) {
				w.removes("dev-01", "dev-02", "dev-03", "dev-04", "dev-05", "dev-06", "dev-07", "dev-08", "dev-09", "dev-10")
			},
			state: paused, groups: "Finished Scheduled", says: "group group-1: no result is left of 10 targets that were planned: 10 removed"},
		"its successThreshold is 0": {edit: func(s *v1alpha1.RolloutSpec) { canaryOf(40, "")(s); s.SuccessThreshold = num(0) }, state: running, groups: "Running Running"},
		"spec.advance opens the next group": {then: func(w *world) {
			w.tick(time.Second)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.Advance = &v1alpha1.Advance{To: "rest", At: metav1.NewTime(w.now)} })
			w.reconcileAll()
			w.removes(canary...)
		}, state: running, groups: "Finished Running"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10, func(s *v1alpha1.RolloutSpec) {
				canaryOf(40, v1alpha1.SuccessActionNextGroup)(s)
				if tt.edit != nil {
					s.Groups = nil
					tt.edit(s)
				}
				s.State = v1alpha1.IntentPlanned
			})
			w.reconcileAll()
			if tt.before != nil {
				tt.before(w)
			}
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			w.reconcileAll()
			if tt.then != nil {
				w.tick(time.Second)
				tt.then(w)
			}
			w.want(tt.state, tt.groups)
			w.wantContains(w.rollout.Status.PauseMessage, tt.says)
			if w.rollout.Status.PauseReason != v1alpha1.PauseByWeakGroup {
				return
			}
			w.wantCondition(v1alpha1.ConditionStalled, "True GroupWithoutResults")
			w.wantContains(w.message(v1alpha1.ConditionStalled), "to continue, set spec.resumedAt to status.pausedAt or later")
			w.resume()
			w.reconcileAll()
			if got := w.states(); !strings.HasSuffix(got, " Running") {
				t.Errorf("after a resume the groups are %s: %s", got, w.waitingFor())
			}
		})
	}
}

// TestAPlanWarnsOfEmptyGroups: an event and a condition list groups that were planned empty.
func TestAPlanWarnsOfEmptyGroups(t *testing.T) {
	for name, tt := range map[string]struct {
		targets int
		edit    func(*v1alpha1.RolloutSpec)
		want    string
	}{
		"no group is empty":        {9, canaryOf(50, ""), ""},
		"a small percentage":       {9, canaryOf(5, v1alpha1.SuccessActionPause), "group canary is empty: 5 percent of 9 targets"},
		"more groups than targets": {3, groupCount(5), "group group-3 is empty: 3 targets in 5 groups; group group-5 is empty: 3 targets in 5 groups"},
		"many are empty":           {1, groupCount(9), "group group-1 is empty: 1 target in 9 groups; group group-2 is empty: 1 target in 9 groups; group group-3 is empty: 1 target in 9 groups; and 5 groups more"},
		"a selection without targets": {4, func(s *v1alpha1.RolloutSpec) {
			s.Groups = []v1alpha1.Group{{Name: "lab", Selection: v1alpha1.Selection{TargetExpression: "false"}}, {Name: "few", Percentage: num(1), Selection: v1alpha1.Selection{TargetExpression: "true"}}, {Name: "rest"}, {Name: "more"}}
		}, "group lab is empty: its selection matches no target that is left; group few is empty: 1 percent of the targets that its selection matches; group more is empty: no target is left for it"},
		"no targets at all": {0, func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{} }, "group group-1 is empty: no target is selected"},
	} {
		t.Run(name, func(t *testing.T) {
			for gate, edit := range map[string]func(*v1alpha1.RolloutSpec){
				"approval": func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = true },
				"other approval": func(s *v1alpha1.RolloutSpec) {
					s.ApprovalRequired, s.Approval = true, &v1alpha1.Approval{PlanHash: "sha256:0"}
				},
				"Planned": func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPlanned },
				"Paused":  func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused },
				"startAt": func(s *v1alpha1.RolloutSpec) { s.StartAt = at(epoch.Add(time.Hour)) },
			} {
				w := newWorld(t, tt.targets, func(s *v1alpha1.RolloutSpec) { tt.edit(s); edit(s) })
				w.reconcileAll()
				got := ""
				if _, warning, ok := strings.Cut(w.message(v1alpha1.ConditionReady), "; warning: "); ok {
					got = warning
				}
				if got != tt.want {
					t.Errorf("%s: the plan warns %q, want %q", gate, got, tt.want)
				}
				want := fmt.Sprintf("Warning GroupEmpty: %s; an empty group passes and checks nothing", tt.want)
				if log := strings.Join(w.log, "\n"); (tt.want != "") != strings.Contains(log, want) || tt.want == "" && strings.Contains(log, "GroupEmpty") {
					t.Errorf("%s: the events are\n%s", gate, log)
				}
			}
		})
	}
}

// A group that was planned empty finishes at once, also with successAction Pause.
func TestAGroupThatWasPlannedEmptyFinishes(t *testing.T) {
	w := running(t, 9, canaryOf(5, v1alpha1.SuccessActionPause))
	w.want(v1alpha1.RolloutRunning, "Finished Running")
}

// TestRemovedFailuresStayCounted: a counted failure stays counted when its Target is deleted, or
// deleted and created again. The rollout has 8 targets in 2 groups and an errorThreshold of 50
// percent.
func TestRemovedFailuresStayCounted(t *testing.T) {
	const running, paused = v1alpha1.RolloutRunning, v1alpha1.RolloutPaused
	budget := func(s *v1alpha1.RolloutSpec) {
		s.ErrorThreshold, s.ErrorBudget = num(100), &v1alpha1.ErrorBudget{Count: num(2)}
	}
	for name, tt := range map[string]struct {
		edit    func(*v1alpha1.RolloutSpec)
		then    func(*world)
		state   v1alpha1.RolloutState
		says    string
		counted int32
	}{
		"failed targets are removed": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.removes("dev-01", "dev-02")
		}, state: running, counted: 2},
		"failed targets are removed, and another one fails": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.removes("dev-01", "dev-02")
			w.fail("17", "dev-03")
			w.reconcileAll()
		}, state: paused, says: "group group-1 went into Error when 3 of 4 had failed (2 of them removed since), more than errorThreshold 50 percent", counted: 3},
		"each failed target is removed before the next one fails": {then: func(w *world) {
			for _, name := range []string{"dev-01", "dev-02"} {
				w.fail("17", name)
				w.reconcileAll()
				w.removes(name)
			}
			w.fail("17", "dev-03")
			w.reconcileAll()
		}, state: paused, says: "3 of 4 had failed (2 of them removed since)", counted: 3},
		"a target that did not fail is removed, and the share of failures rises": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.removes("dev-03")
		}, state: paused, says: "group group-1 went into Error when 2 of 3 had failed, more than errorThreshold 50 percent", counted: 2},
		"the budget": {edit: budget, then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.removes("dev-01", "dev-02")
			w.fail("18", "dev-03")
			w.reconcileAll()
		}, state: paused, says: "3 of 8 targets of the rollout had failed (2 of them removed since), more than errorBudget count 2", counted: 3},
		"a failed target is created again": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.recreates("dev-01")
			w.fail("17", "dev-03")
			w.reconcileAll()
		}, state: paused, says: "3 of 4 had failed (1 of them removed since)", counted: 3},
		"a failed target is created again and fails again": {then: func(w *world) {
			w.fail("17", "dev-01")
			w.reconcileAll()
			w.recreates("dev-01")
			w.fail("17", "dev-01")
			w.reconcileAll()
		}, state: running, counted: 1},
		"a failed target is created again and succeeds": {then: func(w *world) {
			w.fail("17", "dev-01")
			w.reconcileAll()
			w.recreates("dev-01")
			w.succeed("dev-01")
			w.reconcileAll()
		}, state: running},
		"after a resume they do not count": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02", "dev-03")
			w.reconcileAll()
			w.removes("dev-01")
			w.resume()
			w.reconcileAll()
		}, state: running},
		"a target that failed before a resume is removed after it": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02", "dev-03")
			w.reconcileAll()
			w.resume()
			w.reconcileAll()
			w.removes("dev-01", "dev-02")
		}, state: running},
		"after a retry they count": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.removes("dev-01")
			w.tick(time.Second)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
			w.reconcileAll()
		}, state: running, counted: 1},
		"a removal and a retry in one commit": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.tick(time.Second)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
			w.removes("dev-01", "dev-02")
			w.fail("17", "dev-03")
			w.reconcileAll()
		}, state: paused, says: "3 of 4 had failed (2 of them removed since)", counted: 3},
		"a retried target does not count as removed": {then: func(w *world) {
			w.fail("17", "dev-01", "dev-02")
			w.reconcileAll()
			w.tick(time.Second)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
			w.reconcileAll()
			w.removes("dev-04")
		}, state: running},
		"targets that have not started are removed": {then: func(w *world) {
			w.fail("17", "dev-01")
			w.reconcileAll()
			w.removes("dev-04")
		}, state: running, counted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 8, func(s *v1alpha1.RolloutSpec) {
				groupCount(2)(s)
				s.SuccessThreshold = num(100)
				if tt.edit != nil {
					tt.edit(s)
				}
			})
			w.reconcileAll()
			w.tick(time.Second)
			tt.then(w)
			if w.state() != tt.state {
				t.Errorf("it is %s: %s", w.state(), w.waitingFor())
			}
			w.wantContains(w.rollout.Status.PauseMessage, tt.says)
			if got := w.rollout.Status.Groups[0].CountedFailures; got != tt.counted {
				t.Errorf("%d failures count, want %d", got, tt.counted)
			}
		})
	}
}

// A reconcile with an outdated cache does not lose counted failures, and counts none twice.
func TestAnOutdatedCacheChangesNoCountedFailures(t *testing.T) {
	w := running(t, 8, groupCount(2))
	w.fail("17", "dev-01", "dev-02")
	w.reconcileAll()
	fresh := w.targets["dev-02"].DeepCopy()
	w.targets["dev-02"].Status.Actions = nil
	w.reconcileAll()
	w.targets["dev-02"] = fresh
	w.reconcileAll()
	if got := w.rollout.Status.Groups[0].CountedFailures; got != 2 || w.state() != v1alpha1.RolloutRunning {
		t.Errorf("%d failures count, and it is %s", got, w.state())
	}
}
