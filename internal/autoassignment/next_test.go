// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package autoassignment

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

var now = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// world returns a running AutoAssignment of a set that can be deployed.
func world() Snapshot {
	a := &v1alpha1.AutoAssignment{ObjectMeta: metav1.ObjectMeta{Name: "gateways", Namespace: "fleet", Generation: 3}}
	a.Spec.Update.DistributionSet = "firmware-2"
	return Snapshot{Now: now, AutoAssignment: a, Set: &eligibility.Set{Name: "firmware-2", Deployable: true}, Counts: v1alpha1.AutoAssignmentTargets{Matched: 12, Started: 1, Succeeded: 7, Failed: 2}}
}

func TestNext(t *testing.T) {
	tests := map[string]struct {
		world       func(*Snapshot)
		wantState   v1alpha1.AutoAssignmentState
		wantReady   string
		wantSays    string
		wantRecheck time.Duration
	}{
		"it runs": {
			func(*Snapshot) {}, "Running", "True Running", "offering firmware-2 to 12 matching targets and to future ones; 7 installed it, 2 failed", 0},
		"it removes software": {
			func(s *Snapshot) {
				s.AutoAssignment.Spec.Update = v1alpha1.Update{Remove: []v1alpha1.SoftwareReference{{Group: "g", Name: "app", Version: "1"}, {Group: "g", Name: "lib", Version: "1"}}}
				s.Set = eligibility.SetOfRemoval("fleet", &s.AutoAssignment.Spec.Update, nil)
			}, "Running", "True Running", "offering removal of app 1 and 1 more to 12 matching targets and to future ones; 7 succeeded, 2 failed", 0},
		"it removes software, and its earlier set was invalidated": {
			func(s *Snapshot) {
				s.AutoAssignment.Spec.Update = v1alpha1.Update{Remove: []v1alpha1.SoftwareReference{{Group: "g", Name: "app", Version: "1"}}}
				s.Set = eligibility.SetOfRemoval("fleet", &s.AutoAssignment.Spec.Update, nil)
				meta.SetStatusCondition(&s.AutoAssignment.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionInvalidated, Status: "True", Reason: "DistributionSetInvalid"})
			}, "Stopped", "False DistributionSetInvalid", "its DistributionSet was invalidated", 0},
		"its set does not exist": {
			func(s *Snapshot) { s.Set = nil }, "Ready", "False ReferenceNotFound", "create it, or name another one in spec.update.distributionSet", 0},
		"its set may still be applied": {
			func(s *Snapshot) {
				s.Set, s.AutoAssignment.CreationTimestamp = nil, metav1.NewTime(now.Add(-2*time.Second))
			}, "Ready", "False ReferenceNotFound", "create it", 3 * time.Second},
		"its set is being locked": {
			func(s *Snapshot) {
				s.Set.Deployable, s.Set.Transient, s.Set.NotDeployable = false, true, "it is being locked"
			}, "Ready", "False DistributionSetNotReady", "being locked", 0},
		"its set is not complete": {
			func(s *Snapshot) { s.Set.Deployable, s.Set.NotDeployable = false, "it has no modules" }, "Ready", "False DistributionSetNotReady", "it has no modules", 0},
		"its expression does not compile": {
			func(s *Snapshot) { s.SelectionError = "spec.targetExpression, line 1: no such field" }, "Ready", "False InvalidExpression", "spec.targetExpression", 0},
		"its window never opens": {
			func(s *Snapshot) {
				s.AutoAssignment.CreationTimestamp = metav1.NewTime(now.Add(-2 * time.Second))
				s.AutoAssignment.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 30 2 *", DurationSeconds: 3600}
			}, "Ready", "False InvalidSpec", `spec.update.maintenanceWindow.schedule "0 2 30 2 *" never matches`, 0},
		"it has a window": {
			func(s *Snapshot) {
				s.AutoAssignment.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 3600, TimeZone: "Europe/Berlin"}
			}, "Running", "True Running", `2 failed; devices start only in the maintenance window "0 2 * * *" (Europe/Berlin, 1h0m0s)`, 0},
		"its startAt is in the future": {
			func(s *Snapshot) {
				at := metav1.NewTime(now.Add(time.Hour))
				s.AutoAssignment.Spec.StartAt = &at
			}, "Ready", "True WaitingForStart", "waiting for spec.startAt (2026-03-01T11:00:00Z)", time.Hour},
		"it is paused": {
			func(s *Snapshot) { s.AutoAssignment.Spec.State = v1alpha1.AutoAssignmentIntentPaused }, "Paused", "True PausedBySpec", "set it to Running to continue", 0},
		"its set is invalidated with None": {
			func(s *Snapshot) { s.Set.Invalidation = v1alpha1.CancellationNone }, "Stopped", "False DistributionSetInvalid", "cannot run again: create another AutoAssignment", 0},
		"it was stopped, and a set of that name is valid again": {
			func(s *Snapshot) {
				s.AutoAssignment.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionInvalidated, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}}
			}, "Stopped", "False DistributionSetInvalid", "cannot run again", 0},
		"an invalidation stops it also while it is paused": {
			func(s *Snapshot) {
				s.AutoAssignment.Spec.State, s.Set.Invalidation = v1alpha1.AutoAssignmentIntentPaused, v1alpha1.CancellationForce
			}, "Stopped", "False DistributionSetInvalid", "was invalidated (Force)", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := world()
			tt.world(&s)
			p := Next(s)
			ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
			if p.Status.State != tt.wantState || string(ready.Status)+" "+ready.Reason != tt.wantReady {
				t.Errorf("%s, Ready %s %s; want %s, Ready %s", p.Status.State, ready.Status, ready.Reason, tt.wantState, tt.wantReady)
			}
			if !strings.Contains(ready.Message, tt.wantSays) {
				t.Errorf("%q does not contain %q", ready.Message, tt.wantSays)
			}
			if stalled := meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled); stalled != (strings.HasPrefix(tt.wantReady, "False") && !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReconciling)) {
				t.Errorf("Stalled: %v", stalled)
			}
			if reconciling := meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReconciling); reconciling != strings.Contains(name, "still be applied") && !strings.Contains(name, "being locked") {
				t.Errorf("Reconciling: %v", reconciling)
			}
			if p.RecheckAfter != tt.wantRecheck {
				t.Errorf("recheck after %s, want %s", p.RecheckAfter, tt.wantRecheck)
			}
			if (p.Status.StartedAt != nil) != (tt.wantState == v1alpha1.AutoAssignmentRunning) {
				t.Errorf("startedAt is %v", p.Status.StartedAt)
			}
			s.AutoAssignment.Status = p.Status
			s.Now = now.Add(time.Minute)
			if again := Next(s); tt.wantRecheck == 0 && (!cmp.Equal(again.Status, p.Status) || len(again.Events) > 0) {
				t.Errorf("a second reconcile changes the status: %s", cmp.Diff(p.Status, again.Status))
			}
		})
	}
}

func TestPauseDoesNotChangeStartedAt(t *testing.T) {
	s := world()
	s.AutoAssignment.Status = Next(s).Status
	started := s.AutoAssignment.Status.StartedAt
	s.Now, s.AutoAssignment.Spec.State = now.Add(time.Hour), v1alpha1.AutoAssignmentIntentPaused
	s.AutoAssignment.Status = Next(s).Status
	s.Now, s.AutoAssignment.Spec.State = now.Add(2*time.Hour), v1alpha1.AutoAssignmentIntentRunning
	if got := Next(s).Status.StartedAt; !got.Equal(started) {
		t.Errorf("startedAt is %s, want %s: a pause is not a new start", got, started)
	}
}

func TestOverlapCondition(t *testing.T) {
	s := world()
	s.Overlaps = map[string]int32{"meters": 3, "others": 0, "all": 12}
	c := meta.FindStatusCondition(Next(s).Status.Conditions, v1alpha1.ConditionOverlapping)
	if c == nil || !strings.Contains(c.Message, "all (12), meters (3);") {
		t.Fatalf("condition is %+v", c)
	}
	s.AutoAssignment.Status = Next(s).Status
	s.Overlaps = map[string]int32{"meters": 0}
	if c := meta.FindStatusCondition(Next(s).Status.Conditions, v1alpha1.ConditionOverlapping); c != nil {
		t.Errorf("the message is still %q", c.Message)
	}
}

// TestADeletedSetStopsUntilItIsRestored: if its set is deleted, an AutoAssignment is stopped until
// the set is created again. If the set was invalidated, it stays stopped, also after the deletion
// of the set.
func TestADeletedSetStopsUntilItIsRestored(t *testing.T) {
	s := world()
	reconcile := func() string {
		p := Next(s)
		s.AutoAssignment.Status = p.Status
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		return string(p.Status.State) + " " + ready.Reason
	}
	if got := reconcile(); got != "Running Running" {
		t.Fatalf("it is %s", got)
	}
	set := s.Set
	s.Set = nil
	if got := reconcile(); got != "Stopped ReferenceNotFound" {
		t.Errorf("without its set it is %s", got)
	}
	if meta.FindStatusCondition(s.AutoAssignment.Status.Conditions, v1alpha1.ConditionInvalidated) != nil {
		t.Error("a deleted set is taken for an invalid one")
	}
	s.Set = set
	if got := reconcile(); got != "Running Running" {
		t.Errorf("with its set restored it is %s", got)
	}
	set.Invalidation = v1alpha1.CancellationSoft
	reconcile()
	s.Set = nil
	if got := reconcile(); got != "Stopped DistributionSetInvalid" {
		t.Errorf("once the invalid set is deleted it is %s", got)
	}
}

// TestChangedSetIsAsNewAsTheChange: a change of the set or of the selection is recorded with its
// time. The first set and selection count from the start.
func TestChangedSetIsAsNewAsTheChange(t *testing.T) {
	s := world()
	reconcile := func() v1alpha1.AutoAssignmentStatus {
		s.AutoAssignment.Status = Next(s).Status
		return s.AutoAssignment.Status
	}
	if got := reconcile(); got.Offering.DistributionSet != "firmware-2" || got.Offering.Since != nil || got.Selecting.Since != nil {
		t.Errorf("at first it has %+v, %+v", got.Offering, got.Selecting)
	}
	s.Now = now.Add(time.Hour)
	s.AutoAssignment.Spec.Update.DistributionSet = "firmware-3"
	if got := reconcile(); got.Offering.DistributionSet != "firmware-3" || got.Offering.Since == nil || !got.Offering.Since.Time.Equal(s.Now) || got.Selecting.Since != nil {
		t.Errorf("with another set it has %+v, %+v", got.Offering, got.Selecting)
	}
	s.Now = now.Add(2 * time.Hour)
	s.AutoAssignment.Spec.TargetExpression = "true"
	if got := reconcile(); !got.Offering.Since.Time.Equal(now.Add(time.Hour)) || got.Selecting.Since == nil || !got.Selecting.Since.Time.Equal(s.Now) {
		t.Errorf("with another selection it has %+v, %+v", got.Offering, got.Selecting)
	}
	s = world()
	s.AutoAssignment.Spec.State = v1alpha1.AutoAssignmentIntentPaused
	if got := reconcile(); got.Offering != nil || got.Selecting != nil {
		t.Errorf("before its start it has %+v, %+v", got.Offering, got.Selecting)
	}
}

// TestTheEventOfTheStartHasNoCounts: an event is never updated, and at the start all counts are
// zero.
func TestTheEventOfTheStartHasNoCounts(t *testing.T) {
	s := world()
	s.Counts = v1alpha1.AutoAssignmentTargets{Matched: 31, Succeeded: 29, Failed: 28}
	p := Next(s)
	if len(p.Events) != 1 {
		t.Fatalf("events are %+v", p.Events)
	}
	ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	for _, n := range []string{"31", "29", "28"} {
		if strings.Contains(p.Events[0].Message, n) || !strings.Contains(ready.Message, n) {
			t.Errorf("the number %s must be in the condition %q and not in the event %q", n, ready.Message, p.Events[0].Message)
		}
	}
}

// TestChangeOfARemoval: another list is another offer with a place of its own, another order is
// not.
func TestChangeOfARemoval(t *testing.T) {
	s := world()
	remove := func(names ...string) {
		s.AutoAssignment.Spec.Update = v1alpha1.Update{}
		for _, name := range names {
			s.AutoAssignment.Spec.Update.Remove = append(s.AutoAssignment.Spec.Update.Remove, v1alpha1.SoftwareReference{Group: "g", Name: name, Version: "1"})
		}
		s.Set = eligibility.SetOfRemoval("fleet", &s.AutoAssignment.Spec.Update, nil)
		s.AutoAssignment.Status = Next(s).Status
	}
	remove("a", "b")
	first := *s.AutoAssignment.Status.Offering
	if first.Removal == "" || first.DistributionSet != "" || first.Since != nil || s.AutoAssignment.Status.Update != "removal of a 1 and 1 more" {
		t.Errorf("offering is %+v of %q", first, s.AutoAssignment.Status.Update)
	}
	s.Now = now.Add(time.Hour)
	if remove("b", "a"); *s.AutoAssignment.Status.Offering != first {
		t.Errorf("in another order offering is %+v", s.AutoAssignment.Status.Offering)
	}
	if remove("a"); s.AutoAssignment.Status.Offering.Since == nil || !s.AutoAssignment.Status.Offering.Since.Time.Equal(s.Now) {
		t.Errorf("with another list offering is %+v", s.AutoAssignment.Status.Offering)
	}
}
