// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// states are all states of an open action.
var states = []v1alpha1.ActionState{v1alpha1.ActionWaitingForConfirmation, v1alpha1.ActionRetrieved, v1alpha1.ActionRunning, v1alpha1.ActionDownloading,
	v1alpha1.ActionDownloaded, v1alpha1.ActionInstalling, v1alpha1.ActionCanceling}

// invalidationWorld has a set, and objects that use it: a running rollout, an auto-assignment, an
// assignment, and a deleted rollout, each with a target in each state of an open action.
type invalidationWorld struct {
	set      *v1alpha1.DistributionSet
	module   *v1alpha1.SoftwareModule
	rollout  *v1alpha1.Rollout
	group    *v1alpha1.DeploymentGroup
	auto     *v1alpha1.AutoAssignment
	targets  []*v1alpha1.Target
	rollouts []*v1alpha1.Rollout
}

func newInvalidationWorld() *invalidationWorld {
	w := &invalidationWorld{module: built.SoftwareModule("os-1")}
	w.set = built.DistributionSet("firmware", build.Locked(noon.Add(-40*time.Hour), offer.ContentHash, w.module))
	started := noon.Add(-10 * time.Hour)
	w.rollout = built.Rollout("running", "firmware", func(r *v1alpha1.Rollout) { r.Spec.Update.ConfirmationRequired = true })
	w.group = built.DeploymentGroup(w.rollout, 0)
	w.auto = built.AutoAssignment("auto", "firmware", func(a *v1alpha1.AutoAssignment) {
		at := metav1.NewMicroTime(started.Add(time.Hour))
		a.Spec.Update.ConfirmationRequired = true
		a.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"source": "auto"}}
		a.Status.State, a.Status.StartedAt, a.Status.UID = v1alpha1.AutoAssignmentRunning, &at, a.UID
	})
	for _, source := range []string{"rollout", "auto", "assignment", "deleted"} {
		for _, state := range states {
			w.targets = append(w.targets, w.target(source, state))
		}
	}
	build.Running(started, w.set.Status.ContentHash, w.group)(w.rollout)
	w.rollouts = []*v1alpha1.Rollout{w.rollout}
	return w
}

// target returns a target with an open action in this state, from this source.
func (w *invalidationWorld) target(source string, state v1alpha1.ActionState) *v1alpha1.Target {
	since := metav1.NewMicroTime(noon.Add(-10 * time.Hour))
	return built.Target(fmt.Sprintf("%s-%s", source, state), func(t *v1alpha1.Target) {
		from := v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: source, UID: "gone", Attempt: 1, Since: &since}
		switch source {
		case "rollout":
			from.Name, from.UID, from.Group = w.rollout.Name, w.rollout.UID, w.group.Spec.Group
			build.Members(t.Name)(w.group)
		case "auto":
			t.Labels = map[string]string{"source": "auto"}
			since = metav1.NewMicroTime(noon.Add(-9 * time.Hour))
			from.Kind, from.Name, from.UID = v1alpha1.SourceAutoAssignment, w.auto.Name, w.auto.UID
		case "assignment":
			t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware", ConfirmationRequired: true}}
			t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "firmware", Since: &since}
			t.Status.UID = t.UID
			from.Kind, from.Name, from.UID = v1alpha1.SourceTarget, t.Name, t.UID
		}
		t.Status.NextActionID = 101
		at := metav1.NewTime(noon.Add(-time.Hour))
		t.Status.Actions = []v1alpha1.Action{build.Action(100, "firmware", state, func(a *v1alpha1.Action) {
			a.Source, a.ContentHash, a.StartedAt = from, w.set.Status.ContentHash, &at
			if state == v1alpha1.ActionCanceling {
				a.Cancel = &v1alpha1.CancelStatus{Cause: v1alpha1.CauseRequested, Cancellation: v1alpha1.CancellationSoft, From: v1alpha1.ActionDownloading, Causes: []v1alpha1.CancelCause{v1alpha1.CauseRequested}}
			}
		})}
	})
}

func (w *invalidationWorld) objects() []client.Object {
	all := []client.Object{w.module, w.set, w.group, w.auto}
	for _, r := range w.rollouts {
		all = append(all, r)
	}
	for _, t := range w.targets {
		all = append(all, t)
	}
	return all
}

func (w *invalidationWorld) preview(deleteRollouts bool) *Invalidation {
	p := NewInvalidationPreview(w.set, deleteRollouts, noon)
	p.AddAutoAssignment(w.auto)
	for _, r := range w.rollouts {
		p.AddRollout(r)
	}
	for _, t := range w.targets {
		p.AddTarget(t)
	}
	return p.Result()
}

// invalidate sets the invalidation, as it is once the controllers have seen it.
func (w *invalidationWorld) invalidate(c v1alpha1.Cancellation, deleteRollouts bool) {
	at := metav1.NewTime(noon)
	w.set = w.set.DeepCopy()
	w.set.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: c, DeleteRollouts: deleteRollouts}
	w.set.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: c, ObservedAt: &at, Recorded: w.set.Spec.Invalidation}
}

// TestInvalidationPreviewIsTheResultForActions compares the preview with what the device API and
// the controllers do to each action: package offer applies what is pending.
func TestInvalidationPreviewIsTheResultForActions(t *testing.T) {
	for _, kind := range cancellation.Types {
		w := newInvalidationWorld()
		want := map[string]int32{}
		preview := w.preview(false)
		for _, row := range preview.Rows {
			if row.order >= orderActions && row.order < orderInstalled {
				want[row.What+": "+row.Effect(kind)] += row.Count
			}
		}
		w.invalidate(kind, false)
		x, err := fleet.Of(w.objects())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int32{}
		for _, target := range w.targets {
			before := action.Open(&target.Status)
			status, _ := offer.ApplyPending(x.World(target, noon.Add(time.Second)))
			stage, _ := stageOf(before)
			got["actions "+stage+": "+effectSeen(before, action.ByID(status, before.ID))]++
		}
		for row, n := range want {
			if got[row] != n {
				t.Errorf("%s: the preview has %d %s, and the result is %d", kind, n, row, got[row])
			}
		}
		for row, n := range got {
			if want[row] == 0 {
				t.Errorf("%s: the result has %d %s, and the preview none", kind, n, row)
			}
		}
		if affected := preview.Devices.Connected + preview.Devices.Polling; int(affected) != len(w.targets)-4 {
			t.Errorf("%d devices have started, of %d with 4 that wait for a confirmation", affected, len(w.targets))
		}
	}
}

// effectSeen returns the effect on an action by its state before and after.
func effectSeen(before, after *v1alpha1.Action) string {
	isAsked := after.Cancel != nil && after.Cancel.Cause == v1alpha1.CauseInvalidated && after.State == v1alpha1.ActionCanceling
	switch {
	case !before.State.HasStarted() && after.State == v1alpha1.ActionCanceled:
		return canceled
	case after.State == v1alpha1.ActionCanceled:
		return cancellation.Close.String()
	case isAsked:
		return cancellation.Ask.String()
	case before.State == v1alpha1.ActionCanceling:
		return noChange
	}
	return goOn
}

// TestInvalidationPreviewIsTheResultForRollouts compares the preview with the next plan of each
// rollout, in every state.
func TestInvalidationPreviewIsTheResultForRollouts(t *testing.T) {
	paused := metav1.NewMicroTime(noon.Add(-time.Hour))
	edits := map[v1alpha1.RolloutState]func(*v1alpha1.Rollout){
		v1alpha1.RolloutCreating:           func(r *v1alpha1.Rollout) { r.Status = v1alpha1.RolloutStatus{} },
		v1alpha1.RolloutReady:              func(r *v1alpha1.Rollout) { r.Status.StartedAt, r.Status.Groups[0].OpenedAt = nil, nil },
		v1alpha1.RolloutWaitingForApproval: func(r *v1alpha1.Rollout) { r.Status.StartedAt, r.Status.Groups[0].OpenedAt = nil, nil },
		v1alpha1.RolloutStarting:           func(r *v1alpha1.Rollout) { r.Status.Groups[0].OpenedAt = nil },
		v1alpha1.RolloutRunning:            func(*v1alpha1.Rollout) {},
		v1alpha1.RolloutPaused: func(r *v1alpha1.Rollout) {
			r.Status.PausedAt, r.Status.PauseReason = &paused, v1alpha1.PauseByErrorThreshold
		},
		v1alpha1.RolloutStopping: func(r *v1alpha1.Rollout) {
			r.Spec.State = v1alpha1.IntentStopped
		},
		v1alpha1.RolloutStopped:  func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped },
		v1alpha1.RolloutFinished: func(*v1alpha1.Rollout) {},
	}
	for state, edit := range edits {
		hasPlan := state != v1alpha1.RolloutCreating // without a plan no device has an action, and every stop is at once
		for _, kind := range cancellation.Types {
			for _, deletes := range []bool{false, true} {
				w := newInvalidationWorld()
				member := w.target("rollout", v1alpha1.ActionDownloading)
				w.targets, w.group.Spec.Targets = nil, []v1alpha1.TargetName{v1alpha1.TargetName(member.Name)}
				edit(w.rollout)
				w.rollout.Status.State = state
				preview := w.preview(deletes)
				row := preview.Rollouts[0]
				want := (&InvalidationRow{None: row.None, Soft: row.Soft, Force: row.Force}).Effect(kind)

				w.invalidate(kind, deletes && kind == v1alpha1.CancellationForce)
				plan := rollout.Next(rollout.Snapshot{Now: noon.Add(time.Second), Rollout: w.rollout, Set: offer.SetOf(w.set, []*v1alpha1.SoftwareModule{w.module}),
					Population: func() []*v1alpha1.Target { return nil },
					Groups:     []rollout.Group{{Object: w.group, Members: func() []*v1alpha1.Target { return []*v1alpha1.Target{member} }}}})
				got := effectOfPlan(w.rollout, &plan)
				if !hasPlan && got == cancellation.StopAtOnce.String() && want == cancellation.Stop.String() {
					got = want
				}
				if got != want {
					t.Errorf("%s, %s, deleteRollouts %t: the preview says %q, and the result is %q (%s)", state, kind, deletes, want, got, plan.Status.State)
				}
			}
		}
	}
}

// effectOfPlan returns the effect on a rollout by its next plan, in the words of the preview. One
// device has an open action: a stop waits for it, and a stop at once does not.
func effectOfPlan(before *v1alpha1.Rollout, plan *rollout.Plan) string {
	was, is := before.Status.State, plan.Status.State
	switch {
	case plan.DeleteSelf:
		return deletedEffect
	case is == was && (was.IsOver() || was == v1alpha1.RolloutStopping):
		return noChange
	case is == v1alpha1.RolloutStopped:
		return cancellation.StopAtOnce.String()
	case is == v1alpha1.RolloutStopping:
		return cancellation.Stop.String()
	case before.Status.StartedAt == nil && is == v1alpha1.RolloutCreating:
		return refused
	}
	return goOn
}

// TestInvalidationPreviewIsTheResultForAutoAssignments compares the preview with the next plan.
func TestInvalidationPreviewIsTheResultForAutoAssignments(t *testing.T) {
	for _, kind := range cancellation.Types {
		w := newInvalidationWorld()
		preview := w.preview(false)
		w.invalidate(kind, false)
		plan := autoassignment.Next(autoassignment.Snapshot{Now: noon, AutoAssignment: w.auto, Set: offer.SetOf(w.set, []*v1alpha1.SoftwareModule{w.module})})
		if stops := preview.Total(kind, "auto-assignments", cancellation.Stop.String()); stops != 1 || plan.Status.State != v1alpha1.AutoAssignmentStopped {
			t.Errorf("%s: the preview stops %d auto-assignments, and its state is %s", kind, stops, plan.Status.State)
		}
	}
}

// An object that cannot be decoded may use any set, and is not changed before it is corrected.
func TestInvalidationPreviewNamesObjectsThatCannotBeDecoded(t *testing.T) {
	broken := &v1alpha1.Unreadable{Message: "m"}
	p := NewInvalidationPreview(built.DistributionSet("firmware"), false, noon)
	p.AddAutoAssignment(built.AutoAssignment("auto", "other", func(a *v1alpha1.AutoAssignment) { a.Unreadable = broken }))
	p.AddRollout(built.Rollout("rollout", "", func(r *v1alpha1.Rollout) { r.Unreadable = broken }))
	p.AddTarget(built.Target("target", func(t *v1alpha1.Target) { t.Unreadable = broken }))
	got := ""
	for _, row := range p.Result().Rows {
		got += fmt.Sprintln(row.What, row.Count, row.None, row.Soft, row.Force, row.Examples)
	}
	want := "auto-assignments that cannot be decoded, of any set 1 held until corrected held until corrected held until corrected [auto]\n" +
		"rollouts that cannot be decoded, of any set 1 held until corrected held until corrected held until corrected [rollout]\n" +
		"targets that cannot be decoded, of any set 1 held until corrected held until corrected held until corrected [target]\n"
	if got != want {
		t.Errorf("the rows are\n%s, want\n%s", got, want)
	}
}

// TestInvalidationRightsOfEachType: the rights are those of the policy.
func TestInvalidationRightsOfEachType(t *testing.T) {
	got := ""
	for _, kind := range newInvalidationWorld().preview(true).Types {
		got += fmt.Sprintf("%s %t: %v\n", kind.Cancellation, kind.DeleteRollouts, kind.Rights)
	}
	set := operation.Right{Verb: "patch", Resource: "distributionsets", Name: "firmware"}
	want := fmt.Sprintf("None false: [%s]\nSoft false: [%[1]s update targets.goshawk.dev update rollouts.goshawk.dev]\n"+
		"Force true: [%[1]s update targets.goshawk.dev update rollouts.goshawk.dev delete rollouts.goshawk.dev]\n", set)
	if got != want {
		t.Errorf("the rights are\n%s, want\n%s", got, want)
	}
}
