// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func assignment(set string, at *metav1.Time) *v1alpha1.Assignment {
	return &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: set}, AssignedAt: at}
}

// TestReconcileSetsObservedGenerationOnAllConditions: a condition that a device set under an
// earlier spec is still true after an edit, and `kubectl wait --for=condition=Consistent` must
// return.
func TestReconcileSetsObservedGenerationOnAllConditions(t *testing.T) {
	target := built.Target("dev", func(t *v1alpha1.Target) { t.Generation = 2 })
	target.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	r := &TargetReconciler{Index: fleet.New()}
	if err := r.plan(offer.World{Now: noon, Target: target}, &target.Status); err != nil {
		t.Fatal(err)
	}
	for _, c := range target.Status.Conditions {
		if c.ObservedGeneration != 2 {
			t.Errorf("%s has observedGeneration %d, want 2", c.Type, c.ObservedGeneration)
		}
	}
}

// TestAnAssignmentWaitsForItsTime: the condition of an assignment shows the time until which it
// waits, and the target is reconciled at that time.
func TestAnAssignmentWaitsForItsTime(t *testing.T) {
	at := metav1.NewTime(noon.Add(time.Hour))
	target := built.Target("dev", func(t *v1alpha1.Target) { t.Spec.Assignment = assignment("fw", &at) })
	c := offer.Assigned(offer.World{Now: noon, Target: target})
	if got, want := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message), "True WaitingForStart: fw is assigned as of 2026-03-01T13:00:00Z (spec.assignment.assignedAt) and waits until then"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r := &TargetReconciler{Index: fleet.New(), Now: func() time.Time { return noon }}
	if got := r.recheck(target); got != time.Hour {
		t.Errorf("it is requeued after %s", got)
	}
}

// TestTargetRecheck: a target is reconciled at the next deadline of its open action, independent of
// the offer to the device.
func TestTargetRecheck(t *testing.T) {
	moment := func(d time.Duration) *metav1.Time { at := metav1.NewTime(noon.Add(d)); return &at }
	tenMinutes, anHour := int32(600), int32(3600)
	running := func(edit func(*v1alpha1.Action)) *v1alpha1.Target {
		a := build.Action(99, "fw", v1alpha1.ActionDownloading, func(a *v1alpha1.Action) {
			a.ContentHash, a.StartedAt = "content", moment(-time.Minute)
			a.Update = v1alpha1.ActionUpdate{ProgressDeadlineSeconds: &tenMinutes, CancelDeadlineSeconds: &anHour}
		}, edit)
		return built.Target("dev", func(t *v1alpha1.Target) { t.Status.Actions = []v1alpha1.Action{a} })
	}
	for name, tt := range map[string]struct {
		target *v1alpha1.Target
		want   time.Duration
	}{
		"never, without an open action": {&v1alpha1.Target{}, 0},
		"at the progress deadline, for an action of a deleted set": {running(func(a *v1alpha1.Action) {
			a.Cancel = &v1alpha1.CancelStatus{Cause: v1alpha1.CauseSetGone, Causes: []v1alpha1.CancelCause{v1alpha1.CauseSetGone}, RequestedAt: moment(0), Answer: v1alpha1.AnswerRejected}
		}), 9 * time.Minute},
		"at the cancel deadline": {running(func(a *v1alpha1.Action) {
			a.State, a.Cancel = v1alpha1.ActionCanceling, &v1alpha1.CancelStatus{Cause: v1alpha1.CauseSetGone, RequestedAt: moment(-time.Minute)}
		}), 59 * time.Minute},
		"never, without deadlines": {running(func(a *v1alpha1.Action) { a.Update = v1alpha1.ActionUpdate{} }), 0},
		"at the end of the wait for newer rollouts after a rebuild": {&v1alpha1.Target{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *moment(-time.Second)},
			Spec:       v1alpha1.TargetSpec{Assignment: assignment("fw", moment(-time.Hour))},
			Status: v1alpha1.TargetStatus{NextActionID: 100, Assignment: &v1alpha1.SeenAssignment{
				DistributionSet: "fw", AssignedAt: moment(-time.Hour), Since: &metav1.MicroTime{Time: noon.Add(-time.Hour)}}},
		}, 4 * time.Second},
		"in a second, when the time has passed": {running(func(a *v1alpha1.Action) { a.StartedAt = moment(-time.Hour) }), time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			r := &TargetReconciler{Index: fleet.New(), Now: func() time.Time { return noon }}
			if got := r.recheck(tt.target); got != tt.want {
				t.Errorf("it is requeued after %s, want %s", got, tt.want)
			}
		})
	}
}

// TestRefusedAssignmentIsReportedBeforeAWrongCancel: an assignment that has to be fixed is
// reported, also if spec.cancel names an unknown action.
func TestRefusedAssignmentIsReportedBeforeAWrongCancel(t *testing.T) {
	const wrongCancel = "spec.cancel.upTo is 500, but this target was never given an id above 99, so it is ignored: copy the id from status.actions"
	for name, tt := range map[string]struct {
		set  *eligibility.Set
		want string
	}{
		"its set is missing": {nil, "False ReferenceNotFound: DistributionSet fw does not exist: create it, or name another in spec.assignment; besides, " + wrongCancel},
		"it is offered":      {&eligibility.Set{Name: "fw", ContentHash: "content", Deployable: true}, "False UnknownCancelID: " + wrongCancel},
	} {
		t.Run(name, func(t *testing.T) {
			target := built.Target("dev", func(t *v1alpha1.Target) {
				t.Spec.Assignment, t.Spec.Cancel = assignment("fw", nil), &v1alpha1.CancelRequest{UpTo: 500}
			})
			c := offer.Assigned(offer.World{Now: noon, Target: target, Intents: []*eligibility.Intent{ofAssignment(target, tt.set)}})
			if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// ofAssignment returns the intent of a target's own assignment, which is an hour old.
func ofAssignment(t *v1alpha1.Target, set *eligibility.Set) *eligibility.Intent {
	since := metav1.NewMicroTime(noon.Add(-time.Hour))
	return &eligibility.Intent{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Since: &since}, Update: t.Spec.Assignment.Update,
		Set: set, StartedAt: since.Time, OpenedAt: since.Time}
}

func TestCancelOfAFutureActionIsIgnoredAndReported(t *testing.T) {
	target := built.Target("dev", func(t *v1alpha1.Target) {
		t.Spec.Cancel, t.Status.NextActionID = &v1alpha1.CancelRequest{UpTo: 101}, 101
	})
	if c := offer.Assigned(offer.World{Now: noon, Target: target}); c == nil || c.Reason != v1alpha1.ReasonUnknownCancelID {
		t.Errorf("condition is %+v", c)
	}
	target.Spec.Cancel.UpTo = 100
	if c := offer.Assigned(offer.World{Now: noon, Target: target}); c != nil {
		t.Errorf("a cancel of a known action needs no message: %+v", c)
	}
}

// TestTargetPredicate: a report of a device may complete its assignment. Without an assignment,
// reports do not enqueue the target.
func TestTargetPredicate(t *testing.T) {
	for name, tt := range map[string]struct {
		edit             func(*v1alpha1.Target)
		bare, isAssigned bool
	}{
		"its spec is edited":  {func(t *v1alpha1.Target) { t.Generation = 2 }, true, true},
		"it has other labels": {func(t *v1alpha1.Target) { t.Labels = map[string]string{"ring": "lab"} }, true, true},
		"it starts": {func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{{ID: 100, State: v1alpha1.ActionRetrieved}}
		}, false, true},
		"it reports its installed set": {func(t *v1alpha1.Target) { t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "fw"} }, false, true},
		"its lastSeen changes":         {func(t *v1alpha1.Target) { t.Status.LastSeen = &metav1.Time{Time: noon} }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, assigned := range []bool{false, true} {
				old, want := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: v1alpha1.TargetStatus{ObservedGeneration: 1}}, tt.bare
				if assigned {
					old.Spec.Assignment, want = assignment("fw", nil), tt.isAssigned
				}
				now := old.DeepCopy()
				tt.edit(now)
				if got := targetPredicate.Update(event.UpdateEvent{ObjectOld: old, ObjectNew: now}); got != want {
					t.Errorf("with an assignment (%t): enqueued %t, want %t", assigned, got, want)
				}
			}
		})
	}
}

// TestChangesThatAffectAssignments: changes of other objects change the message about a target's
// assignment. A target without an assignment is not enqueued.
func TestChangesThatAffectAssignments(t *testing.T) {
	rollouts := func(edit func(old, now *v1alpha1.Rollout)) func(w *joinWorld) (old, now client.Object) {
		return func(w *joinWorld) (client.Object, client.Object) {
			now := w.rollout("r", 0, false, "member", "bare")
			now.Status.Groups[0].OpenedAt = &metav1.Time{Time: startOfJoins}
			old := now.DeepCopy()
			edit(old, now)
			return old, now
		}
	}
	groups := func(edit func(g *v1alpha1.DeploymentGroup)) func(w *joinWorld) (old, now client.Object) {
		return func(w *joinWorld) (client.Object, client.Object) {
			r := w.rollout("r", 0, false, "member", "bare")
			old := w.Index.Groups(r.UID)[0]
			now := old.DeepCopy()
			edit(now)
			return old, now
		}
	}
	autos := func(edit func(old, now *v1alpha1.AutoAssignment)) func(w *joinWorld) (old, now client.Object) {
		return func(w *joinWorld) (client.Object, client.Object) {
			now := w.built().AutoAssignment("auto", "fw")
			old := now.DeepCopy()
			edit(old, now)
			return old, now
		}
	}
	for name, tt := range map[string]struct {
		change func(w *joinWorld) (old, now client.Object)
		want   string
	}{
		"a rollout opens their group":               {rollouts(func(old, _ *v1alpha1.Rollout) { old.Status.Groups[0].OpenedAt = nil }), "member"},
		"a rollout starts":                          {rollouts(func(old, _ *v1alpha1.Rollout) { old.Status.StartedAt = nil }), "member"},
		"a rollout is stopped by spec":              {rollouts(func(_, now *v1alpha1.Rollout) { now.Spec.State = v1alpha1.IntentStopped }), "member"},
		"a rollout was stopped":                     {rollouts(func(_, now *v1alpha1.Rollout) { now.Status.State = v1alpha1.RolloutStopped }), "member"},
		"a rollout is removed":                      {rollouts(func(_, now *v1alpha1.Rollout) { now.DeletionTimestamp = &metav1.Time{Time: startOfJoins} }), "member"},
		"a rollout no longer supersedes":            {rollouts(func(_, now *v1alpha1.Rollout) { now.Spec.Update.Superseding = v1alpha1.SupersedingQueue }), "member"},
		"the counters of a rollout change":          {rollouts(func(_, now *v1alpha1.Rollout) { now.Status.Targets = &v1alpha1.Counts{Targets: 2} }), ""},
		"a rollout skips late targets":              {groups(func(g *v1alpha1.DeploymentGroup) { g.Status.Skipped = []byte{1} }), "member"},
		"a target joins a group":                    {groups(func(g *v1alpha1.DeploymentGroup) { g.Spec.Targets = append(g.Spec.Targets, "late") }), "member"},
		"a group is reconciled":                     {groups(func(g *v1alpha1.DeploymentGroup) { g.Status.ObservedGeneration = 2 }), ""},
		"an auto-assignment runs":                   {autos(func(_, now *v1alpha1.AutoAssignment) { now.Status.State = v1alpha1.AutoAssignmentRunning }), "another lab member"},
		"the counters of an auto-assignment change": {autos(func(_, now *v1alpha1.AutoAssignment) { now.Status.Targets = &v1alpha1.AutoAssignmentTargets{} }), ""},
		"an auto-assignment was deleted": {func(w *joinWorld) (client.Object, client.Object) {
			return w.built().AutoAssignment("auto", "fw"), nil
		}, "another lab member"},
		"their set is reconciled": {func(w *joinWorld) (client.Object, client.Object) {
			return nil, w.built().DistributionSet("own")
		}, "another lab member"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			b := indexedServer(t)
			for name, ring := range map[string]string{"member": "field", "another": "field", "lab": "lab", "bare": "field"} {
				target := w.target(name, ring)
				if target.ResourceVersion = ""; name != "bare" {
					target.Spec.Assignment = assignment("own", nil)
				}
				b = b.WithObjects(target.DeepCopy())
			}
			r := &TargetReconciler{Client: b.Build(), Index: w.Index, Now: w.Now}
			got := namesOf(r.affectedTargets(tt.change(w)))
			slices.Sort(got)
			if words := strings.Join(slices.Compact(got), " "); words != tt.want {
				t.Errorf("enqueued are %q, want %q", words, tt.want)
			}
		})
	}
}

// TestAssignmentWhoseTimeHasJustComeIsRequeued: assignedAt may pass between the check of the
// assignment and the computation of the requeue delay.
func TestAssignmentWhoseTimeHasJustComeIsRequeued(t *testing.T) {
	at := metav1.NewTime(noon)
	target := built.Target("dev", func(t *v1alpha1.Target) { t.Spec.Assignment = assignment("fw", &at) })
	for name, tt := range map[string]struct {
		now  time.Time
		want time.Time
	}{
		"it is in the future": {noon.Add(-time.Minute), noon},
		"it is now":           {noon, noon},
		"it has passed":       {noon.Add(time.Second), noon.Add(time.Second)},
	} {
		if got := offer.AssignedUntil(offer.World{Now: tt.now, Target: target}); !got.Equal(tt.want) {
			t.Errorf("%s: requeued at %s, want %s", name, got, tt.want)
		}
	}
	target.Status.Assignment = offer.NoteAssignment(target.Spec.Assignment, target.Status.Assignment, noon)
	if got := offer.AssignedUntil(offer.World{Now: noon, Target: target}); !got.IsZero() {
		t.Errorf("after it was recorded, it is requeued at %s", got)
	}
}
