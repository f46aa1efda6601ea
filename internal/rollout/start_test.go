// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// TestNotStarted checks the state, the conditions and waitingFor of rollouts that cannot start.
func TestNotStarted(t *testing.T) {
	tests := map[string]struct {
		world            func(*world)
		wantState        v1alpha1.RolloutState
		wantReady        string
		wantReconciling  bool
		wantWaits        string
		wantRecheckAfter time.Duration
	}{
		"the set does not exist": {
			func(w *world) { w.set = nil },
			"Creating", "False ReferenceNotFound", false, "there is no DistributionSet firmware-2 in namespace fleet; create it, or correct the name", 0,
		},
		"the set is not ready": {
			func(w *world) { w.set.Deployable, w.set.NotDeployable = false, "module app is missing: create it" },
			"Creating", "False DistributionSetNotReady", false, "DistributionSet firmware-2 is not ready: module app is missing: create it", 0,
		},
		"the set is being locked": {
			func(w *world) {
				w.set.Deployable, w.set.Transient, w.set.NotDeployable = false, true, "it is being locked for its first use"
			},
			"Creating", "Unknown DistributionSetNotReady", true, "DistributionSet firmware-2 is not ready: it is being locked", 0,
		},
		"the set may still be applied": {
			func(w *world) { w.set, w.rollout.Spec.StabilizationSeconds = nil, num(30) },
			"Creating", "Unknown ReferenceNotFound", true, "there is no DistributionSet firmware-2", 29 * time.Second,
		},
		"the set was invalidated": {
			func(w *world) {
				w.set.Invalidation, w.set.InvalidationReason = v1alpha1.CancellationNone, "bricks the modem"
			},
			"Creating", "False DistributionSetInvalid", false, "was invalidated (bricks the modem) and cannot be assigned again: set spec.update.distributionSet to another set", 0,
		},
		"the maintenance window has an invalid hour": {
			func(w *world) { w.rollout.Spec.Update.MaintenanceWindow = withWindow("0 25 * * *", "UTC") },
			"Creating", "False InvalidSpec", false, `spec.update.maintenanceWindow.schedule "0 25 * * *" cannot be parsed`, 0,
		},
		"the maintenance window has an unknown time zone": {
			func(w *world) { w.rollout.Spec.Update.MaintenanceWindow = withWindow("0 2 * * *", "Europe/Atlantis") },
			"Creating", "False InvalidSpec", false, `spec.update.maintenanceWindow.timeZone "Europe/Atlantis" is unknown: give a name of the IANA database`, 0,
		},
		"the maintenance window never opens": {
			func(w *world) { w.rollout.Spec.Update.MaintenanceWindow = withWindow("0 2 30 2 *", "") },
			"Creating", "False InvalidSpec", false, `spec.update.maintenanceWindow.schedule "0 2 30 2 *" never matches: give a day that exists in the calendar`, 0,
		},
		"the expression is invalid": {
			func(w *world) { w.rollout.Spec.TargetExpression = "target.nmae ==" },
			"Creating", "False InvalidExpression", false, "spec.targetExpression", 0,
		},
		"no target is selected": {
			func(w *world) {
				w.rollout.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "nowhere"}}
			},
			"Creating", "False NoTargets", false, "none of the 4 targets of namespace fleet is selected", 0,
		},
		"the selection is still changing": {
			func(w *world) { w.rollout.Spec.StabilizationSeconds = num(30) },
			"Creating", "Unknown Stabilizing", true, "4 targets selected so far; the plan is made when the selected targets have not changed for 30 seconds", 29 * time.Second,
		},
		"no target is selected yet": {
			func(w *world) { w.rollout.Spec.StabilizationSeconds, w.targets = num(30), nil },
			"Creating", "Unknown Stabilizing", true, "0 targets selected so far", 29 * time.Second,
		},
		"the plan is not approved": {
			func(w *world) { w.rollout.Spec.ApprovalRequired = true },
			"WaitingForApproval", "True AwaitingApproval", false, "waiting for approval: to start, set spec.approval.planHash to sha256:", 0,
		},
		"the manager requires approval of all": {
			func(w *world) { w.requireApproval = true },
			"WaitingForApproval", "True AwaitingApproval", false, "waiting for approval", 0,
		},
		"another plan was approved": {
			func(w *world) {
				w.requireApproval = true
				w.rollout.Spec.Approval = &v1alpha1.Approval{PlanHash: "sha256:0000"}
			},
			"WaitingForApproval", "True AwaitingApproval", false, "spec.approval.planHash is sha256:0000 and approves another plan: to start this one, set it to sha256:", 0,
		},
		"spec.state is Planned": {
			func(w *world) { w.rollout.Spec.State = v1alpha1.IntentPlanned },
			"Ready", "True Planned", false, "the plan is ready: to start, set spec.state to Running", 0,
		},
		"paused before the start": {
			func(w *world) { w.rollout.Spec.State = v1alpha1.IntentPaused },
			"Ready", "True PausedBySpec", false, "paused before the start", 0,
		},
		"startAt is in the future": {
			func(w *world) { w.rollout.Spec.StartAt = at(w.now.Add(time.Hour)) },
			"Ready", "True WaitingForStart", false, "starts at 2026-03-01T11:00:01Z (spec.startAt)", time.Hour,
		},
		"the order is ambiguous": {
			func(w *world) { w.addNeighbor("older", isStarted, "dev-01", "dev-02") },
			"Ready", "False OrderAmbiguous", false, "shares 2 targets with rollout older, and it is not clear which of the two is newer: this one was created at 2026-03-01T10:00:00Z " +
				"and older at 2026-03-01T10:00:00Z, within a minute of each other; give each a spec.startAt of its own", 0,
		},
		"another rollout was created at the same time and starts first": {
			func(w *world) { w.addNeighbor("older", nil, "dev-01") },
			"Ready", "Unknown Stabilizing", true, "waiting, at most until 2026-03-01T10:01:00Z, for rollout older to start: it shares targets with this one and was created at 2026-03-01T10:00:00Z", 4 * time.Second,
		},
		"older rollouts have not given up shared targets": {
			func(w *world) { w.olderRollouts = []string{"older", "oldest"} },
			"Starting", "True Superseding", false, "waiting until older rollouts have given up the targets that they share with this one: older, oldest", 0,
		},
		"stopped before the start": {
			func(w *world) { w.rollout.Spec.State = v1alpha1.IntentStopped },
			"Stopped", "True Stopped", false, "", 0,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4, groupCount(2))
			tt.world(w)
			p := w.reconcileAll()
			if w.state() != tt.wantState {
				t.Errorf("state %s, want %s", w.state(), tt.wantState)
			}
			w.wantCondition(v1alpha1.ConditionReady, tt.wantReady)
			if got := w.condition(v1alpha1.ConditionReconciling) != ""; got != tt.wantReconciling {
				t.Errorf("Reconciling: %v, want %v", got, tt.wantReconciling)
			}
			if got := w.condition(v1alpha1.ConditionStalled) != ""; got != strings.HasPrefix(tt.wantReady, "False") {
				t.Errorf("Stalled: %v with Ready %s", got, tt.wantReady)
			}
			w.wantContains(w.waitingFor(), tt.wantWaits)
			if p.RecheckAfter != tt.wantRecheckAfter {
				t.Errorf("the next reconcile is after %s, want %s", p.RecheckAfter, tt.wantRecheckAfter)
			}
			if strings.Contains(w.states(), "Running") {
				t.Error("a group has opened")
			}
		})
	}
}

func withWindow(schedule, zone string) *v1alpha1.MaintenanceWindow {
	return &v1alpha1.MaintenanceWindow{Schedule: schedule, TimeZone: zone, DurationSeconds: 3600}
}

func TestW05_TheRolloutStartsWhenTheCauseEnds(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	set := w.set
	w.set = nil
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "True ReferenceNotFound")
	w.set = set
	w.olderRollouts = []string{"older"}
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "")
	w.want(v1alpha1.RolloutStarting, "Scheduled Scheduled")
	w.olderRollouts = nil
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
}

func TestTheStartIsWrittenBeforeAnySideEffect(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	p := w.reconcile()
	if len(p.Create) != 2 || p.Status.Plan == nil || !p.Decided {
		t.Fatalf("the first reconcile makes the plan: %+v", p)
	}
	p = w.reconcile()
	if p.Status.State != v1alpha1.RolloutStarting || p.Status.StartedAt == nil || w.states() != "Scheduled Scheduled" {
		t.Fatalf("the second reconcile starts: %s, %s", p.Status.State, w.states())
	}
	p = w.reconcile()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	if got := p.Status.Groups[0].Pending; got != 2 {
		t.Errorf("the write that opens a group counts %d pending, want 2", got)
	}
}

func TestThePlanIsMadeOnce(t *testing.T) {
	planned := func(t *testing.T) *world {
		w := newWorld(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.State = num(2), v1alpha1.IntentPlanned })
		w.reconcileAll()
		return w
	}
	t.Run("targets that are created or deleted do not change it", func(t *testing.T) {
		w := planned(t)
		hash := w.planHash()
		w.addTarget("dev-99")
		delete(w.targets, "dev-01")
		w.reconcileAll()
		if w.planHash() != hash {
			t.Error("the plan changed")
		}
		if got := w.rollout.Status.Targets; got.Targets != 4 || got.Removed != 1 {
			t.Errorf("counts %+v", got)
		}
	})
	t.Run("an edit of the spec makes a new plan and withdraws the approval", func(t *testing.T) {
		w := planned(t)
		w.edit(func(s *v1alpha1.RolloutSpec) {
			s.ApprovalRequired, s.State = true, v1alpha1.IntentRunning
			s.Approval = &v1alpha1.Approval{PlanHash: w.planHash()}
			s.GroupCount = num(4)
		})
		w.reconcileAll()
		w.want(v1alpha1.RolloutWaitingForApproval, "Ready Ready Ready Ready")
		if len(w.groups) != 4 {
			t.Errorf("%d groups are left, want the 4 of the new plan", len(w.groups))
		}
		if last := w.log[len(w.log)-1]; !strings.Contains(last, "PlanChanged: spec changed (new group group-3; new group group-4; 3 targets in another group): planned 4 targets in 4 groups instead of 4 in 2") {
			t.Errorf("the last event is %s", last)
		}
		w.edit(func(s *v1alpha1.RolloutSpec) { s.Approval.PlanHash = w.planHash() })
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Scheduled Scheduled Scheduled")
	})
	t.Run("an edit of a threshold in the commit of the approval withdraws it", func(t *testing.T) {
		w := planned(t)
		w.edit(func(s *v1alpha1.RolloutSpec) { s.ErrorBudget = &v1alpha1.ErrorBudget{Count: num(2)} })
		w.reconcileAll()
		reviewed := w.planHash()
		w.edit(func(s *v1alpha1.RolloutSpec) {
			s.ApprovalRequired, s.State = true, v1alpha1.IntentRunning
			s.Approval = &v1alpha1.Approval{PlanHash: reviewed}
			s.ErrorBudget, s.MinimumReports = nil, 20000
		})
		w.reconcileAll()
		w.want(v1alpha1.RolloutWaitingForApproval, "Ready Ready")
	})
	t.Run("another content of the set makes a new plan", func(t *testing.T) {
		w := planned(t)
		hash := w.planHash()
		w.set.ContentHash = "other"
		w.reconcileAll()
		if w.planHash() == hash || w.rollout.Status.Plan.ContentHash != "other" {
			t.Errorf("plan %+v", w.rollout.Status.Plan)
		}
		if last := w.log[len(w.log)-1]; !strings.Contains(last, "the content of DistributionSet firmware-2 changed") {
			t.Errorf("the last event is %s", last)
		}
	})
	t.Run("after the start no new plan is made", func(t *testing.T) {
		w := running(t, 4, groupCount(2))
		hash := w.planHash()
		w.set.ContentHash = "other"
		w.reconcileAll()
		if w.planHash() != hash {
			t.Error("the plan changed")
		}
		w.wantCondition(v1alpha1.ConditionStalled, "True ContentChanged")
	})
}

// The controller crashed after it had created groups and before it wrote the status that names
// them.
func TestW25_APartlyCreatedPlanIsCompletedOrDeleted(t *testing.T) {
	t.Run("the same plan uses the created groups", func(t *testing.T) {
		w := newWorld(t, 4, groupCount(2))
		p := Next(w.snapshot())
		w.apply(Plan{Create: p.Create[:1]})
		p = w.reconcile()
		if len(p.Create) != 1 || len(p.Delete) != 0 {
			t.Errorf("creates %d, deletes %d", len(p.Create), len(p.Delete))
		}
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	})
	t.Run("another plan deletes them", func(t *testing.T) {
		w := newWorld(t, 4, groupCount(2))
		p := Next(w.snapshot())
		w.apply(Plan{Create: p.Create})
		w.addTarget("dev-99")
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Scheduled")
		if len(w.groups) != 2 || w.rollout.Status.Targets.Targets != 5 {
			t.Errorf("%d groups over %d targets", len(w.groups), w.rollout.Status.Targets.Targets)
		}
	})
	t.Run("groups that are not in the cache yet delay the start", func(t *testing.T) {
		w := newWorld(t, 4, groupCount(2))
		w.reconcile()
		hidden := w.groups
		w.groups = hidden[:1]
		p := w.reconcileAll()
		w.wantCondition(v1alpha1.ConditionReconciling, "True Planning")
		if p.RecheckAfter == 0 {
			t.Error("RecheckAfter is 0")
		}
		w.groups = hidden
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	})
}

func TestALostGroupStallsTheRolloutAndIsNotReplaced(t *testing.T) {
	w := running(t, 6, groupCount(3))
	hash, lost := w.planHash(), w.groups[1]
	w.groups = slices.Delete(slices.Clone(w.groups), 1, 2)
	w.succeed("dev-01", "dev-02")
	p := w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled Scheduled")
	w.wantCondition(v1alpha1.ConditionStalled, "True GroupLost")
	w.wantContains(w.message(v1alpha1.ConditionStalled), "the DeploymentGroup of group group-2 was deleted, so its list of targets is lost: delete and re-create the Rollout")
	if len(p.Create) > 0 || w.planHash() != hash {
		t.Error("the group was replaced")
	}
	if got := w.rollout.Status.Targets; got.Succeeded != 2 || got.Scheduled != 4 || got.Targets != 6 {
		t.Errorf("counts %+v", got)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Running Scheduled Scheduled")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.groups = append(w.groups, lost)
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "")
	w.want(v1alpha1.RolloutRunning, "Finished Running Scheduled")
}

func TestAStartedRolloutOpensNoGroupWithoutItsSet(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.succeed("dev-01", "dev-02")
	set := w.set
	w.set = nil
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Scheduled")
	w.wantCondition(v1alpha1.ConditionStalled, "True ReferenceNotFound")
	w.set = &eligibility.Set{Name: set.Name, ContentHash: set.ContentHash, Deployable: true}
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
}

// A plan whose group was deleted before the start could not be reviewed and never start, so the
// rollout is Stalled before an approval or a start.
func TestAGroupThatIsLostBeforeTheStartStallsTheRollout(t *testing.T) {
	for name, edit := range map[string]func(*v1alpha1.RolloutSpec){
		"awaiting approval": func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ApprovalRequired = num(2), true },
		"planned":           func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.State = num(2), v1alpha1.IntentPlanned },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4, edit)
			w.reconcileAll()
			hash := w.planHash()
			w.groups = w.groups[:1]
			for range 2 {
				p := w.reconcileAll()
				w.wantCondition(v1alpha1.ConditionStalled, "True GroupLost")
				if len(p.Create) > 0 || w.planHash() != hash {
					t.Error("the group was replaced")
				}
			}
		})
	}
}

// A rollout whose status was deleted after its start makes no new plan, which might have other
// targets.
func TestADeletedStatusCausesNoNewPlan(t *testing.T) {
	w := running(t, 4, groupCount(2))
	w.rollout.Status = v1alpha1.RolloutStatus{ObservedGeneration: -1}
	p := w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "True GroupLost")
	if len(w.groups) != 2 || len(p.Create)+len(p.Delete) > 0 {
		t.Errorf("%d groups are left", len(w.groups))
	}
}

// An edit of a condition withdraws the approval, and the event names the condition with both
// values.
func TestEditOfAConditionWithdrawsTheApproval(t *testing.T) {
	w := newWorld(t, 4, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ApprovalRequired = num(2), true })
	w.reconcileAll()
	w.edit(func(s *v1alpha1.RolloutSpec) {
		s.Approval, s.State = &v1alpha1.Approval{PlanHash: w.planHash()}, v1alpha1.IntentPlanned
	})
	w.reconcileAll()
	w.want(v1alpha1.RolloutReady, "Ready Ready")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold, s.State = num(100), v1alpha1.IntentRunning })
	w.reconcileAll()
	w.want(v1alpha1.RolloutWaitingForApproval, "Ready Ready")
	w.wantContains(w.log[len(w.log)-1], "spec changed (group group-1: errorThreshold 100 instead of 50; group group-2: errorThreshold 100 instead of 50)")
}
