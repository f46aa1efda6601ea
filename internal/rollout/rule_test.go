// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

func TestRuleOfAStoppedRolloutDiffers(t *testing.T) {
	w := running(t, 2, func(s *v1alpha1.RolloutSpec) {
		s.Update.Retries = &v1alpha1.Retries{Limit: 1, StatusCodes: []string{"17"}}
	})
	rule := RuleOf(w.rollout, w.set, 0, counting.AutoAssignments{})
	if same := RuleOf(w.rollout.DeepCopy(), w.set, 0, counting.AutoAssignments{}); !rule.Equal(&same) {
		t.Error("a rule differs from itself")
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	w.reconcileAll()
	if stopped := RuleOf(w.rollout, w.set, 0, counting.AutoAssignments{}); rule.Equal(&stopped) {
		t.Error("the rules of a stopped and of a running rollout are equal")
	}
}
