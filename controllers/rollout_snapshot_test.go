package controllers

import (
	"testing"

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
