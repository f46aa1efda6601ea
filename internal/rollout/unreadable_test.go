// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// hide moves groups of a snapshot to Unreadable, as if they could not be decoded.
func hide(s Snapshot, names ...string) Snapshot {
	s.Unreadable = names
	s.Groups = s.Groups[:len(s.Groups)-len(names)]
	return s
}

// A group that cannot be decoded is not lost: no group opens, is planned or deleted. When it can be
// decoded again, the rollout continues as before.
func TestAGroupThatCannotBeDecodedStallsTheRollout(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.reconcileAll()
	before := w.rollout.DeepCopy()
	p := Next(hide(w.snapshot(), "r-group-2"))
	if p.Create != nil || p.Delete != nil || p.Supersede != nil || p.Mirror != nil {
		t.Errorf("the plan is %+v", p)
	}
	if diff := cmp.Diff(before.Status.Plan, p.Status.Plan); diff != "" {
		t.Errorf("there is a new plan:\n%s", diff)
	}
	w.rollout.Status = p.Status
	w.wantCondition(v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonGroupUnreadable)
	if !strings.Contains(w.message(v1alpha1.ConditionStalled), "r-group-2 cannot be decoded") {
		t.Errorf("the message is %q", w.message(v1alpha1.ConditionStalled))
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	if stopped := Next(hide(w.snapshot(), "r-group-2")); stopped.Status.State != v1alpha1.RolloutStopped {
		t.Errorf("a stop makes it %s", stopped.Status.State)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcileAll()
	if diff := cmp.Diff(before.Status.Groups, w.rollout.Status.Groups); diff != "" {
		t.Errorf("after it can be decoded again:\n%s", diff)
	}
}

// No plan is made while an object that cannot be decoded may be a group of an earlier plan.
func TestNoPlanIsMadeWhileAGroupCannotBeDecoded(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	s := w.snapshot()
	s.Unreadable = []string{"r-group-1"}
	if p := Next(s); p.Create != nil || p.Status.Plan != nil {
		t.Errorf("it plans %+v", p)
	}
}

// A new plan leaves out targets that cannot be decoded, so that they do not delay the others.
func TestANewPlanLeavesOutTargetsThatCannotBeDecoded(t *testing.T) {
	w := newWorld(t, 3, groupCount(1))
	w.targets["dev-02"].Unreadable = &v1alpha1.Unreadable{Fields: []string{"spec.assignment"}}
	w.reconcileAll()
	if n := w.rollout.Status.Plan.Targets; n != 2 {
		t.Errorf("%d targets are planned", n)
	}
	w.targets["dev-01"].Unreadable, w.targets["dev-03"].Unreadable = &v1alpha1.Unreadable{}, &v1alpha1.Unreadable{}
	w.reconcileAll()
	if n := w.rollout.Status.Plan.Targets; n != 2 {
		t.Errorf("%d targets are planned after members became undecodable", n)
	}
	_, _, none := grouping.Select(w.rollout, w.set, w.population(), nil)
	w.wantContains(none.Error(), "3 that cannot be decoded")
}

// A target that cannot be decoded is counted by its decoded part. No deadline applies to it, and a
// stop does not wait for it.
func TestATargetThatCannotBeDecodedDoesNotExpire(t *testing.T) {
	w := newWorld(t, 2, func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.Update.StartDeadlineSeconds = num(1), num(60)
	})
	w.reconcileAll()
	w.succeed("dev-01")
	w.targets["dev-01"].Unreadable = &v1alpha1.Unreadable{Fields: []string{"spec.cancel"}}
	w.targets["dev-02"].Unreadable = &v1alpha1.Unreadable{Fields: []string{"status.actions"}}
	w.tick(time.Hour)
	w.reconcileAll()
	if one, two := w.bucket("dev-01"), w.bucket("dev-02"); one != counting.Succeeded || two != counting.Pending {
		t.Errorf("they count as %s and %s", one, two)
	}
	w.targets["dev-02"].Unreadable = nil
	w.reconcileAll()
	if two := w.bucket("dev-02"); two != counting.Failed {
		t.Errorf("after it can be decoded, it counts as %s", two)
	}
}
