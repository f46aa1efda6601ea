// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// TestNewerRolloutTakesOverTargets: a newer rollout supersedes an older one for common targets, and
// waits for a required migration step.
func TestNewerRolloutTakesOverTargets(t *testing.T) {
	for name, tt := range map[string]struct {
		set        string
		wantClaims int
		wantJoin   string
	}{
		"a release that may be skipped": {"fw", 1, ""},
		"a required migration step":     {"step", 0, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			w.put(w.built().DistributionSet("step", func(s *v1alpha1.DistributionSet) { s.Spec.RequiredMigrationStep = true }))
			w.target("a", "field")
			w.target("b", "field")
			older := w.rollout("older", 0, true, "a")
			older.Spec.Update.DistributionSet = tt.set
			newer := w.rollout("newer", 10, false, "a", "b")
			newer.Status.State, newer.Status.Groups[0].State = v1alpha1.RolloutStarting, v1alpha1.GroupScheduled
			none := func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) counting.Tally { return counting.Tally{} }
			if overlaps := w.snapshot(older, none).Overlaps; len(overlaps) != tt.wantClaims {
				t.Errorf("overlaps of the older one are %+v", overlaps)
			}
			if holding := w.snapshot(newer, none).OlderRollouts; len(holding) != tt.wantClaims {
				t.Errorf("the newer one waits until %v have given up", holding)
			}
			w.want(older, 10, tt.wantJoin)
		})
	}
}

// TestSharedTargetsOfNeighbors checks which targets a rollout that is about to start shares with
// another one: by the groups of the other's plan or, while that is not known, by its selection.
func TestSharedTargetsOfNeighbors(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(other *v1alpha1.Rollout)
		want []byte
	}{
		"its plan has the first":             {func(*v1alpha1.Rollout) {}, marked(0)},
		"no plan, and it selects all":        {withoutPlan(nil), marked(0, 1)},
		"groups of its plan are missing":     {func(r *v1alpha1.Rollout) { r.Status.Plan.Hash = "another" }, marked(0, 1)},
		"no plan, and it selects by labels":  {withoutPlan(selects("lab", "")), marked()},
		"no plan, and it selects one by CEL": {withoutPlan(selects("", "target.name == 'b'")), marked(1)},
		"no plan, and it selects none":       {withoutPlan(selects("field", "target.name == 'z'")), marked()},
		"its expression is invalid":          {withoutPlan(selects("", "target.nmae ==")), marked()},
		"no plan and no set":                 {withoutPlan(func(r *v1alpha1.Rollout) { r.Spec.Update.DistributionSet = "missing" }), marked(0, 1)},
		"no plan, and its set does not fit":  {withoutPlan(func(r *v1alpha1.Rollout) { r.Spec.Update.DistributionSet = "routers" }), marked()},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			w.put(w.built().DistributionSet("routers", compatibleWith("router")))
			for _, name := range []string{"a", "b"} {
				w.target(name, "field").Spec.Type = "gateway"
			}
			self, other := w.rollout("self", 0, false, "a", "b"), w.rollout("other", 0, false, "a")
			for _, r := range []*v1alpha1.Rollout{self, other} {
				r.Status.StartedAt, r.Status.State = nil, v1alpha1.RolloutReady
			}
			tt.edit(other)
			s := w.snapshot(self, func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) counting.Tally { return counting.Tally{} })
			if len(s.Neighbors) != 1 || s.Neighbors[0].Rollout.Name != "other" {
				t.Fatalf("neighbors are %+v", s.Neighbors)
			}
			if got := s.Neighbors[0].Shared(); len(got) != 1 || !bytes.Equal(got[0], tt.want) {
				t.Errorf("shares %08b, want %08b", got, tt.want)
			}
		})
	}
}

// marked returns a bitmap over two members, or nil if none is marked.
func marked(members ...int) []byte {
	var bits []byte
	for _, i := range members {
		bits = bitmap.Set(bits, i, 2)
	}
	return bits
}

func withoutPlan(edit func(*v1alpha1.Rollout)) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		r.Status.Plan, r.Status.Groups = nil, nil
		if edit != nil {
			edit(r)
		}
	}
}

func selects(ring, expression string) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		r.Spec.TargetExpression, r.Spec.TargetSelector = expression, nil
		if ring != "" {
			r.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": v1alpha1.LabelValue(ring)}}
		}
	}
}
