// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestAutoCountsFollowTheSelection: an AutoAssignment is counted again when the index sees a change
// of it, of its set, or of the target types that the set fits, without waiting for a change of a
// target.
func TestAutoCountsFollowTheSelection(t *testing.T) {
	w := newJoinWorld(t)
	w.target("gw-1", "field")
	w.target("gw-2", "field")
	typed := w.built().Target("meter-1", func(t *v1alpha1.Target) { t.Spec.Type = "meter" })
	typed.Labels = map[string]string{"ring": "field"}
	w.put(typed)
	a := w.built().AutoAssignment("auto", "later")
	a.Generation = 1
	a.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": "field"}}
	counts := NewAutoCounts(w.Index)
	matches := func(when string, want int32) {
		t.Helper()
		if got, _ := counts.of(a); got.Matched != want {
			t.Errorf("%s: %d matched, want %d", when, got.Matched, want)
		}
	}
	matches("the index has not seen the auto-assignment", 0)
	w.put(a)
	matches("the set has not been applied", 0)
	set := w.built().DistributionSet("later", compatibleWith("gateway"))
	w.put(set)
	matches("the set is there", 2)
	w.drop(set)
	wider := set.DeepCopy()
	wider.ResourceVersion, wider.Generation, wider.Spec.CompatibleTargetTypes = "1000", 2, nil
	w.put(wider)
	matches("the set fits all types", 3)
}
