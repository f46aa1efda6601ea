// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

var now = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// world is one target in the second of two groups of a running rollout; both groups are open.
type world struct {
	target *v1alpha1.Target
	r      *v1alpha1.Rollout
	groups []*v1alpha1.DeploymentGroup
	set    *offer.Set
	others []offer.Intent
}

func newWorld() *world {
	ago := metav1.NewMicroTime(now.Add(-time.Hour))
	opened := metav1.NewTime(now.Add(-time.Hour))
	w := &world{
		target: &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "dev", UID: "dev", Labels: map[string]string{"site": "north"}}},
		r:      &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "fw2", UID: "fw2"}},
		set:    &offer.Set{Name: "firmware-2", ContentHash: hash, Deployable: true, Modules: []*v1alpha1.SoftwareModule{{}}},
	}
	w.target.Status.NextActionID = 100
	w.r.Spec.Update.DistributionSet = "firmware-2"
	w.r.Spec.State = v1alpha1.IntentRunning
	w.r.Status = v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: &ago, Plan: &v1alpha1.PlanStatus{Hash: "h", ContentHash: hash, CreatedAt: &opened},
		Groups: []v1alpha1.GroupStatus{{Name: "canary", State: v1alpha1.GroupFinished, OpenedAt: &opened}, {Name: "rest", State: v1alpha1.GroupRunning, OpenedAt: &opened}}}
	for i, name := range []string{"canary", "rest"} {
		g := &v1alpha1.DeploymentGroup{Spec: v1alpha1.DeploymentGroupSpec{Rollout: "fw2", RolloutUID: "fw2", Group: name, Index: int32(i), PlanHash: "h"}}
		if name == "rest" {
			g.Spec.Targets = []v1alpha1.TargetName{"another", "dev"}
		}
		w.groups = append(w.groups, g)
	}
	return w
}

func (w *world) leave() { w.groups[1].Spec.Targets = []v1alpha1.TargetName{"another"} }

func (w *world) act(state v1alpha1.ActionState) *v1alpha1.Action {
	since := metav1.NewMicroTime(rollout.Since(w.r))
	w.target.Status.Actions = []v1alpha1.Action{{ID: 99, State: state, DistributionSet: "firmware-2", ContentHash: hash,
		Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "fw2", UID: "fw2", Group: "rest", Attempt: 1, Since: &since}}}
	return &w.target.Status.Actions[0]
}

// another is the wish of another rollout, of another set, that is newer.
func (w *world) another(name string) offer.Intent {
	since := metav1.NewMicroTime(now.Add(-time.Minute))
	return offer.Intent{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: name, UID: types.UID(name), Group: "all", Since: &since}, StartedAt: since.Time, OpenedAt: since.Time,
		Update: v1alpha1.Update{DistributionSet: "firmware-3"}, Set: &offer.Set{Name: "firmware-3", ContentHash: "e" + hash[1:], Deployable: true}}
}

func (w *world) explain() Explanation {
	ow := offer.World{Now: now, Target: w.target, Intents: w.others, Set: func(string) *offer.Set { return w.set }, Origin: func(v1alpha1.ActionSource) offer.Origin { return fleet.OriginOf(w.r) }}
	for _, g := range w.groups {
		for i, name := range g.Spec.Targets {
			if string(name) == "dev" {
				ow.Intents = append(ow.Intents, fleet.FromRollout(w.r, g, int32(i), w.set))
			}
		}
	}
	return Of(ow, w.r, w.groups, w.set)
}

func TestOf(t *testing.T) {
	tests := map[string]struct {
		world func(*world)
		want  offer.Code
		says  string
	}{
		"it is offered":  {func(*world) {}, offer.CodeDeploy, "in group rest, Pending: rollout fw2 (group rest) offers firmware-2"},
		"it has started": {func(w *world) { w.act(v1alpha1.ActionInstalling) }, offer.CodeResume, "in group rest, InProgress: action 99 has started"},
		"it is asked to cancel": {func(w *world) {
			w.act(v1alpha1.ActionCanceling).Cancel = &v1alpha1.CancelStatus{Cause: v1alpha1.CauseStopped, Cancellation: v1alpha1.CancellationSoft}
		}, offer.CodeCancel, "InProgress: action 99 is to be canceled (Stopped)"},
		"it is asked to confirm": {func(w *world) { w.groups[1].Spec.Conditions.ConfirmationRequired = true }, offer.CodeConfirm, "needs confirmation"},
		"it is done":             {func(w *world) { w.act(v1alpha1.ActionFinished) }, offer.CodeDone, "Succeeded: rollout fw2 (group rest) was carried out as action 99"},
		"it failed":              {func(w *world) { w.act(v1alpha1.ActionError).StatusCode = "17" }, offer.CodeFailed, `Failed: action 99 of rollout fw2 (group rest) failed with code "17"`},
		"it waits for its next try": {func(w *world) {
			closed := metav1.NewTime(now.Add(-time.Minute))
			w.r.Spec.Update.Retries = &v1alpha1.Retries{Limit: 2}
			w.act(v1alpha1.ActionError).ClosedAt = &closed
		}, offer.CodeRetrying, "InProgress: action 99 of rollout fw2 (group rest) failed; the next attempt is at 2026-03-01T10:09:00Z"},
		"it was canceled": {func(w *world) { w.act(v1alpha1.ActionCanceled) }, offer.CodeCanceled, "Canceled: action 99"},
		"it has it already": {func(w *world) {
			w.target.Status.Installed = &v1alpha1.InstalledSet{ContentHash: hash}
		}, offer.CodeAlreadyThere, "firmware-2 is already installed"},
		"its group is not open": {func(w *world) {
			w.r.Status.Groups[1].OpenedAt, w.r.Status.Groups[1].State = nil, v1alpha1.GroupScheduled
			w.r.Status.WaitingFor = &v1alpha1.WaitingFor{Message: "group canary: 1 of 2 succeeded, waits for 90 percent"}
		}, offer.CodeGroupNotOpen, "Scheduled: the target's group of rollout fw2 has not opened: group canary: 1 of 2 succeeded"},
		"the rollout is paused by a person": {func(w *world) { w.r.Spec.State = v1alpha1.IntentPaused }, offer.CodePaused, "spec.state is Paused"},
		"the rollout is paused by its budget": {func(w *world) {
			w.r.Status.State, w.r.Status.PauseReason, w.r.Status.PauseMessage = v1alpha1.RolloutPaused, v1alpha1.PauseByErrorBudget, "7 of 100 failed"
		}, CodeBudgetExhausted, "7 of 100 failed"},
		"the rollout has finished":    {func(w *world) { w.r.Status.State = v1alpha1.RolloutFinished }, offer.CodeFinished, "rollout fw2 has finished"},
		"the rollout was stopped":     {func(w *world) { w.r.Spec.State = v1alpha1.IntentStopped }, offer.CodeStopped, "rollout fw2 was stopped"},
		"the rollout has not started": {func(w *world) { w.r.Status.StartedAt = nil }, offer.CodeNotStarted, "rollout fw2 has not started"},
		"the target is held":          {func(w *world) { w.target.Spec.Hold = true }, offer.CodeHold, "spec.hold"},
		"a newer rollout took it": {func(w *world) {
			w.groups[1].Status.Superseded = []byte{2}
			w.others = []offer.Intent{w.another("fw3")}
		}, offer.CodeSuperseded, "Canceled: the newer rollout fw3 (group all) replaces rollout fw2 (group rest)"},
		"a newer rollout took it and is gone": {func(w *world) {
			w.groups[1].Status.Superseded, w.groups[1].Status.SupersededBy = []byte{2}, []v1alpha1.SupersedingRollout{{Name: "fw3"}}
		}, offer.CodeSuperseded, "Canceled: the newer rollout fw3 took this target over from rollout fw2"},
		"one of several newer rollouts took it": {func(w *world) {
			w.groups[1].Status.Superseded, w.groups[1].Status.SupersededBy = []byte{2}, []v1alpha1.SupersedingRollout{{Name: "fw3"}, {Name: "fw4"}}
		}, offer.CodeSuperseded, "a newer rollout (one of fw3, fw4) took this target over"},
		"a newer rollout took it before the groups named any": {func(w *world) { w.groups[1].Status.Superseded = []byte{2} }, offer.CodeSuperseded, "a newer rollout took this target over"},
		"something else is at work": {func(w *world) {
			w.act(v1alpha1.ActionInstalling)
			older := metav1.NewMicroTime(now.Add(-2 * time.Hour))
			a := &w.target.Status.Actions[0]
			a.Source, a.DistributionSet, a.ContentHash = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "fw1", UID: "fw1", Since: &older}, "firmware-1", "f"+hash[1:]
		}, offer.CodeBusy, "Pending: rollout fw2 (group rest) waits until action 99 (firmware-1) has closed"},
		"a required step goes first": {func(w *world) {
			step := w.another("step")
			step.Set.RequiredMigrationStep = true
			older := metav1.NewMicroTime(now.Add(-2 * time.Hour))
			step.Source.Since = &older
			w.others = []offer.Intent{step}
		}, offer.CodeWaitingForStep, "Pending: rollout fw2 (group rest) waits for the required migration step firmware-3 of rollout step (group all)"},
		"it came too late": {func(w *world) {
			w.groups[1].Status.Expired, w.groups[1].Status.ExpiredAt = []byte{2}, []v1alpha1.ExpiredBatch{}
		}, offer.CodeDeadlinePassed, "Failed: this target did not start within startDeadlineSeconds"},
		"the set of what it does is gone": {func(w *world) {
			w.act(v1alpha1.ActionInstalling)
			w.set = nil
		}, offer.CodeSetGone, "InProgress: DistributionSet firmware-2 of action 99 is gone"},
		"its own assignment is newer": {func(w *world) {
			since := metav1.NewMicroTime(now.Add(-time.Minute))
			w.others = []offer.Intent{{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, UID: "dev", Since: &since}, Update: v1alpha1.Update{DistributionSet: "firmware-3"},
				Set: &offer.Set{Name: "firmware-3", ContentHash: "f" + hash[1:], Deployable: true}, OpenedAt: now}}
		}, offer.CodeSuperseded, "the newer spec.assignment replaces rollout fw2"},
		"it left the group in time": {func(w *world) { w.groups[1].Status.Skipped = []byte{2} }, offer.CodeSkipped, "Skipped: this target did not start within startDeadlineSeconds"},
		"the set is invalid":        {func(w *world) { w.set.Invalidation = v1alpha1.CancellationSoft }, offer.CodeSetInvalid, "is invalidated (Soft)"},
		"the set is gone":           {func(w *world) { w.set = nil }, offer.CodeSetNotFound, "DistributionSet firmware-2 does not exist"},
		"the set is incomplete":     {func(w *world) { w.set.Deployable, w.set.NotDeployable = false, "no modules" }, offer.CodeSetNotReady, "no modules"},
		"the set has other content": {func(w *world) { w.r.Status.Plan.ContentHash = "other" }, offer.CodeContentChanged, "no longer has the content"},
		"its type no longer fits":   {func(w *world) { w.target.Spec.Type, w.set.CompatibleTargetTypes = "meter", []string{"gateway"} }, offer.CodeIncompatible, `does not fit target type "meter"`},
		"the window is closed": {func(w *world) {
			w.r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 3600, TimeZone: "UTC"}
		}, offer.CodeWindowClosed, "it opens at 2026-03-02T02:00:00Z"},
		"Goshawk has not seen the target": {func(w *world) { w.target.Status.NextActionID = 0 }, offer.CodeNotReady, "has not reconciled this target yet"},

		"in no group: labels": {func(w *world) {
			w.leave()
			w.r.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "south"}}
		}, CodeSelector, "in no group: the target's labels do not match spec.targetSelector of rollout fw2"},
		"in no group: expression":                           {func(w *world) { w.leave(); w.r.Spec.TargetExpression = `target.type == "meter"` }, CodeExpression, `is not true for this target: target.type == "meter"`},
		"in no group: a selection that cannot be evaluated": {func(w *world) { w.leave(); w.r.Spec.TargetExpression = `target.tpye == "meter"` }, CodeInvalid, "rollout fw2: spec.targetExpression"},
		"in no group: type": {func(w *world) {
			w.leave()
			w.target.Spec.Type, w.set.CompatibleTargetTypes = "meter", []string{"gateway"}
		}, offer.CodeIncompatible, "does not fit"},
		"in no group: no set":     {func(w *world) { w.leave(); w.set = nil }, offer.CodeSetNotFound, "does not exist"},
		"in no group: no plan":    {func(w *world) { w.leave(); w.r.Status.Plan = nil }, CodeNotPlanned, "has no plan yet"},
		"in no group: later":      {func(w *world) { w.leave() }, CodeLaterThanPlan, "membership is frozen"},
		"in no group: it will be": {func(w *world) { w.leave(); w.r.Spec.Dynamic = &v1alpha1.Dynamic{} }, CodeJoinsLater, "joins its last group"},
		"in no group: it would be, but the rollout has finished": {func(w *world) {
			w.leave()
			w.r.Spec.Dynamic, w.r.Status.State = &v1alpha1.Dynamic{}, v1alpha1.RolloutFinished
		}, CodeGrowthEnded, "takes in nobody any more"},
		"in no group: it would be, but the set is invalid": {func(w *world) {
			w.leave()
			w.r.Spec.Dynamic, w.set.Invalidation = &v1alpha1.Dynamic{}, v1alpha1.CancellationNone
		}, offer.CodeSetInvalid, "nobody joins rollout fw2 any more"},
		"in no group: it would be, but the rollout is paused": {func(w *world) {
			w.leave()
			w.r.Spec.Dynamic, w.r.Status.State = &v1alpha1.Dynamic{}, v1alpha1.RolloutPaused
		}, offer.CodePaused, "nobody joins meanwhile"},
		"in no group: a newer rollout has it": {func(w *world) {
			w.leave()
			w.r.Spec.Dynamic = &v1alpha1.Dynamic{}
			since := metav1.NewMicroTime(now)
			w.target.Status.Actions = []v1alpha1.Action{{ID: 98, State: v1alpha1.ActionFinished, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "fw3", UID: "fw3", Since: &since}}}
		}, offer.CodeSuperseded, "a newer rollout has this target"},
		"in no group: a newer rollout has it and has not started": {func(w *world) {
			w.leave()
			w.r.Spec.Dynamic = &v1alpha1.Dynamic{}
			w.others = []offer.Intent{w.another("fw3")}
		}, offer.CodeSuperseded, "a newer rollout has this target"},
		"a newer auto-assignment has reached it": {func(w *world) {
			auto := w.another("auto")
			auto.Source.Kind, auto.Source.Group = v1alpha1.SourceAutoAssignment, ""
			w.others = []offer.Intent{auto}
		}, offer.CodeSuperseded, "in group rest, Canceled: the newer auto-assignment auto replaces rollout fw2"},
		"in no group: a duplicate": {func(w *world) {
			w.leave()
			w.target.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: "False", Reason: v1alpha1.ReasonDuplicate}}
		}, CodeDuplicate, "an older target has the same controllerID"},
	}
	reached := map[offer.Code]bool{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			tt.world(w)
			e := w.explain()
			reached[e.Reason.Code] = true
			if e.Reason.Code != tt.want || !strings.Contains(e.String(), tt.says) {
				t.Errorf("%s (%s)\nwant %s: %s", e, e.Reason.Code, tt.want, tt.says)
			}
		})
	}
	for _, code := range codesIn(t, "../offer/reasons.go", "../eligibility/code.go", "explain.go") {
		if why := notOfRollouts[code]; !reached[code] && why == "" {
			t.Errorf("no story is explained by %s", code)
		}
	}
}

// notOfRollouts are the codes that no target of a rollout has, and whose they are.
var notOfRollouts = map[offer.Code]string{
	offer.CodeAlreadyHad:    "auto-assignments offer a set once",
	offer.CodeStabilizing:   "assignments and auto-assignments wait for the rollouts of a rebuild",
	offer.CodeNothingWanted: "whom nothing reaches is in no group, and that says why",
}

// codesIn reads the codes from sources, so that a new one cannot be forgotten here.
func codesIn(t *testing.T, files ...string) []offer.Code {
	t.Helper()
	var codes []offer.Code
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Code") && len(spec.Values) == 1 {
				if value, ok := spec.Values[0].(*ast.BasicLit); ok {
					codes = append(codes, offer.Code(strings.Trim(value.Value, `"`)))
				}
			}
			return true
		})
	}
	if len(codes) < 30 {
		t.Fatalf("found only %d codes", len(codes))
	}
	return codes
}
