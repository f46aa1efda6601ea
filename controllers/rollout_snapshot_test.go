package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// A newer rollout takes over what an older one has, and waits for a required migration step.
func TestWhatANewerRolloutTakesOver(t *testing.T) {
	for name, tt := range map[string]struct {
		set        string
		wantClaims int
		wantJoin   string
	}{
		"from a release that may be skipped": {"fw", 1, ""},
		"nothing from a migration step":      {"step", 0, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			w.put(&v1alpha1.DistributionSet{ObjectMeta: w.meta("step"), Spec: v1alpha1.DistributionSetSpec{RequiredMigrationStep: true}})
			w.target("a", "field")
			w.target("b", "field")
			older := w.rollout("older", 0, true, "a")
			older.Spec.Update.DistributionSet = tt.set
			newer := w.rollout("newer", 10, false, "a", "b")
			newer.Status.State, newer.Status.Groups[0].State = v1alpha1.RolloutStarting, v1alpha1.GroupScheduled
			none := func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) rollout.Tally { return rollout.Tally{} }
			if claims := w.snapshot(older, none).Claims; len(claims) != tt.wantClaims {
				t.Errorf("claims on the older one are %+v", claims)
			}
			if unsettled := w.snapshot(newer, none).Unsettled; len(unsettled) != tt.wantClaims {
				t.Errorf("the newer one waits until %v have given up", unsettled)
			}
			w.want(older, 10, tt.wantJoin)
		})
	}
}

// A rollout that was found ambiguous does not start only because the other one is planning anew: what they share is not known until that is done.
func TestAmbiguousUntilTheOtherPlanIsKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		edit          func(first *v1alpha1.Rollout)
		wantAmbiguous string
		wantUndecided string
	}{
		"they share a target":            {func(*v1alpha1.Rollout) {}, "first", ""},
		"its plan was thrown away":       {func(r *v1alpha1.Rollout) { r.Status.Plan, r.Status.Groups = nil, nil }, "first", ""},
		"groups of its plan are to come": {func(r *v1alpha1.Rollout) { r.Status.Plan.Hash = "another" }, "first", ""},
		"it cannot be planned": {func(r *v1alpha1.Rollout) {
			r.Status = v1alpha1.RolloutStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}}}
		}, "", "first"},
		"it is planned only": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			first, second := w.rollout("first", 0, false, "a"), w.rollout("second", 0, false, "a")
			for _, r := range []*v1alpha1.Rollout{first, second} {
				r.Status.StartedAt, r.Status.State = nil, v1alpha1.RolloutReady
			}
			second.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonOrderAmbiguous}}
			tt.edit(first)
			s := w.snapshot(second, func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) rollout.Tally { return rollout.Tally{} })
			if s.Ambiguous != tt.wantAmbiguous || s.Undecided != tt.wantUndecided {
				t.Errorf("ambiguous to %q, undecided about %q; want %q and %q", s.Ambiguous, s.Undecided, tt.wantAmbiguous, tt.wantUndecided)
			}
		})
	}
}
