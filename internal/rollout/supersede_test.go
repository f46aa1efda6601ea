// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// marked returns a bitmap over four members.
func marked(places ...int) []byte {
	var out []byte
	for _, i := range places {
		out = bitmap.Set(out, i, 4)
	}
	return out
}

func TestANewerRolloutTakesTargetsThatHaveNotStarted(t *testing.T) {
	w := running(t, 8, groupCount(2))
	w.startUpdate("dev-02")
	w.reconcileAll()

	// The newer rollout starts: it shares dev-01, dev-02 of the open group and dev-05, dev-06 of
	// the other.
	w.claims = []Overlap{{Name: "newer", UID: "uid-y", Started: [][]byte{marked(0, 1), marked(0, 1)}}}
	p := w.reconcile()
	if len(p.Supersede) != 1 || p.Supersede[0].Object.Spec.Group != "group-2" {
		t.Fatalf("writes %d groups, want only the one that has not opened", len(p.Supersede))
	}
	if by := p.Supersede[0].Status.SupersededBy; len(by) != 1 || by[0].Name != "newer" || by[0].UID != "uid-y" {
		t.Errorf("superseded by %+v", by)
	}
	if got := p.Status.Groups[1]; got.Canceled != 2 || got.Scheduled != 2 {
		t.Errorf("the same reconcile counts %+v", got.Counts)
	}
	w.reconcileAll()
	if w.bucket("dev-01") != counting.Pending {
		t.Errorf("dev-01 is %s before the newer group opens", w.bucket("dev-01"))
	}

	// Its group opens.
	w.claims[0].Open, w.claims[0].OpenGroups = [][]byte{marked(0, 1), nil}, 1
	w.reconcileAll()
	if w.bucket("dev-01") != counting.Canceled || w.bucket("dev-02") != counting.InProgress {
		t.Errorf("dev-01 %s, dev-02 %s", w.bucket("dev-01"), w.bucket("dev-02"))
	}
	// This is final, also if the newer rollout is deleted.
	w.claims = nil
	if p := w.reconcileAll(); len(p.Supersede) > 0 {
		t.Error("there are writes without a change")
	}
	if w.bucket("dev-01") != counting.Canceled || w.bucket("dev-05") != counting.Canceled {
		t.Errorf("dev-01 %s, dev-05 %s", w.bucket("dev-01"), w.bucket("dev-05"))
	}
}

// A member that was taken over is not in the denominator of the error condition, but in that of the
// success condition.
func TestSupersededMembersAreNotInTheDenominatorOfErrors(t *testing.T) {
	w := running(t, 8, groupCount(2))
	w.fail("17", "dev-01")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	w.claims = []Overlap{{Name: "newer", UID: "uid-y", Open: [][]byte{marked(1, 2, 3)}}}
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Scheduled")
	w.wantContains(w.rollout.Status.PauseMessage, "group group-1 went into Error when 1 of 1 had failed")
}

func TestAGroupWhoseMembersWereAllTakenOverPausesTheRollout(t *testing.T) {
	w := running(t, 8, groupCount(2))
	w.claims = []Overlap{{Name: "newer", UID: "uid-y", Open: [][]byte{marked(0, 1, 2, 3)}}}
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Finished Scheduled")
	w.wantContains(w.rollout.Status.PauseMessage, "group group-1: no result is left of 4 targets that were planned: 4 taken over by a newer update")
	if got := w.rollout.Status.Groups[0].Canceled; got != 4 {
		t.Errorf("%d canceled, want 4", got)
	}
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
}

func TestOnlyAStartedRolloutGivesUpTargets(t *testing.T) {
	w := newWorld(t, 4, func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPlanned })
	w.reconcileAll()
	w.claims = []Overlap{{Name: "newer", UID: "uid-y", Started: [][]byte{marked(0)}}}
	w.reconcileAll()
	if w.bucket("dev-01") != counting.Scheduled {
		t.Errorf("dev-01 is %s", w.bucket("dev-01"))
	}
}

func TestTheListOfNewerRolloutsIsLimited(t *testing.T) {
	w := running(t, 4, nil)
	newer := func(i int) Overlap {
		return Overlap{Name: "newer", UID: fmt.Sprint("uid-", i), OpenGroups: 1, Open: [][]byte{marked(0)}}
	}
	for i := range maxSupersededBy + 1 {
		w.claims = append(w.claims, newer(i))
	}
	w.reconcileAll() // with 101 newer rollouts the list must not change for ever
	if n := len(w.groups[0].Status.SupersededBy); n != maxSupersededBy {
		t.Fatalf("%d named", n)
	}
	w.claims = w.claims[50:]
	w.reconcileAll()
	named := w.groups[0].Status.SupersededBy
	if len(named) != maxSupersededBy || named[0].UID != "uid-1" || named[maxSupersededBy-1].UID != "uid-100" {
		t.Errorf("%d named, from %s to %s", len(named), named[0].UID, named[len(named)-1].UID)
	}
}
