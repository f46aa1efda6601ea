// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

var (
	removalUpdate = v1alpha1.Update{Remove: []v1alpha1.SoftwareReference{
		{Group: "acme", Name: "app", Version: "1.2", Type: "software"}, {Group: "acme", Name: "lib", Version: "3", Type: "software"},
	}}
	hasSoftware = inventory{{Group: "acme", Name: "lib", Version: "3"}, {Group: "acme", Name: "os", Version: "1"}}
	hasNone     = inventory{{Group: "acme", Name: "app", Version: "1.3"}}
	reportsNone = inventory{}
)

// says applies a status of SoftwareUpdatable about entries of a removal, as name:version.
func (w *world) says(name, status string, entries ...string) {
	w.t.Helper()
	e, known := action.FromSoftwareUpdatable(status)
	if !known {
		w.t.Fatalf("unknown status %s", status)
	}
	s := &w.targets[name].Status
	r := action.Report{ID: action.Newest(s).ID, Event: e, Stage: status, ModuleCount: 2, Now: w.now}
	for _, entry := range entries {
		r.Modules = append(r.Modules, "acme:"+entry)
	}
	action.Apply(s, r)
}

func removesSoftware(edits ...func(*v1alpha1.RolloutSpec)) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) {
		s.Update = *removalUpdate.DeepCopy()
		for _, edit := range edits {
			edit(s)
		}
	}
}

// TestPackageIsRemovedFromAFleet: one device has the software, one has none of it, one uses DDI,
// and one removes only a part.
func TestPackageIsRemovedFromAFleet(t *testing.T) {
	w := newWorld(t, 5, removesSoftware(func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(50) }))
	w.inventories["dev-01"], w.inventories["dev-02"] = hasSoftware, hasNone
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	if got := w.rollout.Status.Update; got != "removal of app 1.2 and 1 more" {
		t.Errorf("status.update is %q", got)
	}
	if w.bucket("dev-02") != counting.Succeeded || w.isOffered("dev-02") {
		t.Errorf("dev-02, which has none of the software: %s, offered %t", w.bucket("dev-02"), w.isOffered("dev-02"))
	}
	w.wantContains(w.reasonFor("dev-02").Message, "has none of the software")
	w.wantContains(strings.Join(w.log, "\n"), "1 of them have none of the software")

	for _, name := range []string{"dev-01", "dev-03", "dev-04", "dev-05"} {
		w.startUpdate(name)
	}
	w.says("dev-01", "REMOVED", "app:1.2")
	w.says("dev-01", "REMOVED", "lib:3")
	w.says("dev-03", "FINISHED_REJECTED", "lib:3") // fail fast: the failed entry comes after the rest
	w.says("dev-03", "FINISHED_ERROR", "app:1.2")
	action.CloseAsRefused(&w.targets["dev-04"].Status, action.Newest(&w.targets["dev-04"].Status).ID, v1alpha1.CodeRemoveNotSupported, "DDI", w.now)
	w.says("dev-05", "REMOVING", "app:1.2", "lib:3")
	w.reconcileAll()
	if c := w.rollout.Status.Targets; c.Succeeded != 2 || c.Failed != 2 || c.InProgress != 1 {
		t.Errorf("the counts are %+v", *c)
	}
	w.says("dev-05", "FINISHED_SUCCESS", "app:1.2", "lib:3")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
	var codes []string
	for _, f := range w.rollout.Status.Failures {
		codes = append(codes, f.StatusCode)
	}
	if !slices.Contains(codes, v1alpha1.CodeRemoveNotSupported) {
		t.Errorf("the failures are %+v", w.rollout.Status.Failures)
	}
	if t1 := w.targets["dev-01"]; t1.Status.Installed != nil || t1.Status.UpdateStatus != v1alpha1.UpdateStatusRegistered {
		t.Errorf("a removal changed what is installed: %+v, %s", t1.Status.Installed, t1.Status.UpdateStatus)
	}
}

func TestFailedRemovalsPauseTheRollout(t *testing.T) {
	w := running(t, 4, removesSoftware(func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(2), num(20) }))
	w.startUpdate("dev-01")
	action.CloseAsRefused(&w.targets["dev-01"].Status, action.Newest(&w.targets["dev-01"].Status).ID, v1alpha1.CodeRemoveNotSupported, "DDI cannot remove", w.now)
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Scheduled")
	w.wantContains(w.rollout.Status.PauseMessage, "RemoveNotSupported")
}

// TestInventoryDecidesWhatIsToDo changes the inventory of a device before and after its group
// opens.
func TestInventoryDecidesWhatIsToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after inventory
		reinstall     bool
		bucket        counting.Bucket
		offered       bool
	}{
		"no inventory":                                 {nil, nil, false, counting.Pending, true},
		"an empty inventory":                           {reportsNone, reportsNone, false, counting.Succeeded, false},
		"another version":                              {hasNone, hasNone, false, counting.Succeeded, false},
		"one of two entries":                           {hasSoftware, hasSoftware, false, counting.Pending, true},
		"none, and reinstall":                          {hasNone, hasNone, true, counting.Pending, true},
		"removed by hand after the group opened":       {hasSoftware, hasNone, false, counting.Succeeded, false},
		"reported after the group opened":              {nil, hasNone, false, counting.Succeeded, false},
		"installed by hand after the group opened":     {hasNone, hasSoftware, false, counting.Succeeded, false}, // had none when the group opened
		"the inventory is lost after the group opened": {hasNone, nil, false, counting.Succeeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, removesSoftware(func(s *v1alpha1.RolloutSpec) { s.Update.Reinstall = tt.reinstall }))
			w.inventories["dev-01"] = tt.before
			w.reconcileAll()
			w.inventories["dev-01"] = tt.after
			w.reconcileAll()
			if w.bucket("dev-01") != tt.bucket || w.isOffered("dev-01") != tt.offered {
				t.Errorf("%s, offered %t; want %s, %t", w.bucket("dev-01"), w.isOffered("dev-01"), tt.bucket, tt.offered)
			}
		})
	}
}

func TestRetriesOfARemoval(t *testing.T) {
	w := running(t, 2, removesSoftware(func(s *v1alpha1.RolloutSpec) {
		s.Update.Retries = &v1alpha1.Retries{Limit: 2, BackoffSeconds: num(60)}
	}))
	for range 2 {
		w.startUpdate("dev-01")
		w.says("dev-01", "FINISHED_ERROR")
		w.reconcileAll()
		if b := w.bucket("dev-01"); b != counting.InProgress {
			t.Fatalf("after a failure it is %s", b)
		}
		w.tick(time.Minute)
	}
	w.inventories["dev-01"] = hasNone // removed by hand: no further attempt is needed
	w.reconcileAll()
	if w.bucket("dev-01") != counting.Succeeded || w.isOffered("dev-01") {
		t.Errorf("%s, offered %t", w.bucket("dev-01"), w.isOffered("dev-01"))
	}
}

// TestRemovalInTheOrderOfUpdates: a removal takes its place in the order like an installation.
func TestRemovalInTheOrderOfUpdates(t *testing.T) {
	t.Run("a newer rollout of a set replaces it", func(t *testing.T) {
		w := running(t, 2, removesSoftware())
		w.startUpdate("dev-01")
		w.addNewerRollout("newer", "firmware-3", "dev-01", "dev-02")
		w.openNewerRollouts()
		w.reconcileAll()
		if w.bucket("dev-02") != counting.Canceled || w.isOffered("dev-02") {
			t.Errorf("dev-02 is %s, offered %t", w.bucket("dev-02"), w.isOffered("dev-02"))
		}
		w.applyReport("dev-01")
		if a := action.Open(&w.targets["dev-01"].Status); a == nil || a.State != v1alpha1.ActionCanceling || a.Cancel.Cause != v1alpha1.CauseSuperseded {
			t.Fatalf("the removal is %+v", a)
		}
		w.says("dev-01", "FINISHED_CANCELED", "app:1.2", "lib:3")
		w.reconcileAll()
		if b := w.bucket("dev-01"); b != counting.Canceled {
			t.Errorf("dev-01 is %s", b)
		}
	})
	t.Run("the target's own assignment of the same removal brings it", func(t *testing.T) {
		w := running(t, 1, removesSoftware())
		w.targets["dev-01"].Spec.Assignment = &v1alpha1.Assignment{Update: *removalUpdate.DeepCopy()}
		slices.Reverse(w.targets["dev-01"].Spec.Assignment.Remove) // in another order it is the same
		w.lookAt("dev-01")
		w.reconcileAll()
		if b := w.bucket("dev-01"); b != counting.Pending {
			t.Errorf("it is %s, want Pending: the assignment brings the same", b)
		}
		o := w.offer("dev-01")
		if o.Intent == nil || o.Intent.Source.Kind != v1alpha1.SourceTarget {
			t.Fatalf("the offer is %+v", o)
		}
		w.take("dev-01", o)
		w.says("dev-01", "REMOVED")
		if got := w.assigned("dev-01"); got.Reason != string(eligibility.CodeDone) {
			t.Errorf("the condition is %+v", got)
		}
	})
	t.Run("another removal replaces it", func(t *testing.T) {
		w := running(t, 1, removesSoftware())
		w.targets["dev-01"].Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{Remove: removalUpdate.Remove[:1]}}
		w.lookAt("dev-01")
		w.reconcileAll()
		if b := w.bucket("dev-01"); b != counting.Canceled {
			t.Errorf("it is %s, want Canceled", b)
		}
	})
	t.Run("an open removal is adopted by a newer assignment of the same", func(t *testing.T) {
		w := running(t, 1, removesSoftware())
		w.startUpdate("dev-01")
		w.tick(time.Second)
		w.targets["dev-01"].Spec.Assignment = &v1alpha1.Assignment{Update: *removalUpdate.DeepCopy()}
		w.lookAt("dev-01")
		a := action.Open(&w.targets["dev-01"].Status)
		if a == nil || a.Source.Kind != v1alpha1.SourceTarget || a.Removal == "" || a.DistributionSet != "" || len(a.Remove) != 2 {
			t.Errorf("the action is %+v", a)
		}
	})
}

// TestPlanOfARemoval: what is removed is part of the plan hash, its order is not part of the
// content.
func TestPlanOfARemoval(t *testing.T) {
	plan := func(edit func(*v1alpha1.RolloutSpec)) v1alpha1.PlanStatus {
		w := newWorld(t, 3, removesSoftware(func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = true }, edit))
		w.reconcileAll()
		if w.rollout.Status.Plan == nil {
			t.Fatalf("no plan: %s", w.waitingFor())
		}
		return *w.rollout.Status.Plan
	}
	one := plan(func(*v1alpha1.RolloutSpec) {})
	other := plan(func(s *v1alpha1.RolloutSpec) { s.Update.Remove[1].Version = "4" })
	turned := plan(func(s *v1alpha1.RolloutSpec) { slices.Reverse(s.Update.Remove) })
	if one.Hash == other.Hash || one.ContentHash == other.ContentHash {
		t.Error("another version has the same plan")
	}
	if one.ContentHash != turned.ContentHash {
		t.Error("another order of the list is another content")
	}
}

func TestRemovalIsStopped(t *testing.T) {
	w := running(t, 3, removesSoftware())
	w.startUpdate("dev-01")
	w.says("dev-01", "REMOVING", "app:1.2")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
	w.reconcileAll()
	w.applyReport("dev-01")
	if a := action.Open(&w.targets["dev-01"].Status); a == nil || a.State != v1alpha1.ActionCanceling {
		t.Fatalf("the removal is not asked to cancel: %+v", a)
	}
	w.says("dev-01", "CANCEL_REJECTED")
	w.says("dev-01", "REMOVED", "app:1.2")
	w.says("dev-01", "FINISHED_SUCCESS", "app:1.2", "lib:3")
	w.reconcileAll()
	w.want(v1alpha1.RolloutStopped, w.states())
	if w.bucket("dev-01") != counting.Succeeded || w.bucket("dev-02") != counting.Canceled {
		t.Errorf("dev-01 is %s, dev-02 is %s", w.bucket("dev-01"), w.bucket("dev-02"))
	}
}

// TestTargetJoinsARemoval: a target that appears later and has none of the software counts as done.
func TestTargetJoinsARemoval(t *testing.T) {
	w := running(t, 2, removesSoftware(func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{} }))
	w.startUpdate("dev-01")
	w.says("dev-01", "REMOVED")
	w.startUpdate("dev-02")
	w.says("dev-02", "REMOVED")
	w.reconcileAll()
	w.addTarget("dev-03")
	w.addTarget("dev-04")
	w.inventories["dev-03"], w.inventories["dev-04"] = hasNone, hasSoftware
	w.reconcileAll()
	w.reconcileAll()
	if w.bucket("dev-03") != counting.Succeeded || w.bucket("dev-04") != counting.Pending {
		t.Errorf("dev-03 is %s, dev-04 is %s", w.bucket("dev-03"), w.bucket("dev-04"))
	}
}

// TestSecondRemovalOfTheSame: a manifest that is created again without startAt does not remove what
// was installed after the first removal.
func TestSecondRemovalOfTheSame(t *testing.T) {
	w := newWorld(t, 1, removesSoftware())
	s := &w.targets["dev-01"].Status
	earlier := metav1.NewMicroTime(epoch.Add(-2 * time.Hour))
	for i, set := range []string{"", "firmware-3"} {
		c := action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "old", UID: "old", Since: &earlier}, DistributionSet: set, ContentHash: "hash-of-" + set, Now: epoch.Add(time.Duration(i-3) * time.Hour)}
		if set == "" {
			c.Remove, c.ContentHash = removalUpdate.Remove, eligibility.RemovalHash(removalUpdate.Remove)
		}
		a := action.Create(s, c)
		action.Apply(s, action.Report{ID: a.ID, Event: action.Succeed, ModuleCount: 2, Now: c.Now})
	}
	w.reconcileAll()
	w.wantCondition(v1alpha1.ConditionStalled, "True OrderAmbiguous")
	w.wantContains(w.message(v1alpha1.ConditionStalled), "had, or may have had, the content of the removal of app 1.2 and 1 more before")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.StartAt = at(w.now) })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
}
