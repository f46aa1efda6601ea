// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"slices"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// removing makes an assignment remove software of the group "g", given by its names.
func removing(names ...string) edit {
	return func(a *v1alpha1.Assignment) {
		a.DistributionSet = ""
		for _, name := range names {
			a.Remove = append(a.Remove, v1alpha1.SoftwareReference{Group: "g", Name: name, Version: "1"})
		}
	}
}

// TestAssignedRemoval checks the condition for the states of an assignment that removes software.
func TestAssignedRemoval(t *testing.T) {
	assigned := assigns("", removing("app", "lib"))
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"it was not fetched":        {[]step{assigned}, "True WaitingForDevice: removal of app 1 and 1 more has not been fetched: it waits for the next poll of the device"},
		"the device has fetched it": {[]step{assigned, takes}, "True Progressing: the device has fetched removal of app 1 and 1 more as action 100 and has not reported yet"},
		"the device removes":        {[]step{assigned, takes, reports(action.Remove)}, "True Progressing: the device is at work on the removal of app 1 and 1 more (action 100): it removes software"},
		"it was carried out, and a set is installed": {[]step{set("fw"), reportsInstalled("fw"), assigned, takes, reports(action.Removed)},
			"True Done: spec.assignment was carried out as action 100; to remove the software once more, give spec.assignment.assignedAt the present time"},
		"another action is open": {[]step{set("fw"), assigned, takes, set("other"), rollout("r", 12, "other")}, "True Progressing: the device has fetched removal of app 1 and 1 more as action 100 and has not reported yet"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, c.steps...)
			got := ""
			if cond := Assigned(s.world()); cond != nil {
				got = string(cond.Status) + " " + cond.Reason + ": " + cond.Message
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestRemovalAsANewAssignment: another order of the list is the same assignment, another list or a
// set is a new one.
func TestRemovalAsANewAssignment(t *testing.T) {
	first := v1alpha1.Assignment{}
	removing("app", "lib")(&first)
	seen := NoteAssignment(&first, nil, noon)
	turned, shorter := *first.DeepCopy(), *first.DeepCopy()
	slices.Reverse(turned.Remove)
	shorter.Remove = shorter.Remove[:1]
	ofSet := v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "fw"}}
	for name, tt := range map[string]struct {
		wanted *v1alpha1.Assignment
		same   bool
	}{
		"the same": {&first, true}, "another order": {&turned, true}, "a shorter list": {&shorter, false}, "a set": {&ofSet, false},
	} {
		if got := NoteAssignment(tt.wanted, seen, noon.Add(time.Hour)); (got == seen) != tt.same {
			t.Errorf("%s: noted as %+v", name, got)
		}
	}
	if seen.DistributionSet != "" || len(seen.Removal) != 64 {
		t.Errorf("it is noted as %+v", seen)
	}
}

// TestOpenRemoval: the action of a removal needs no set and is offered until it is closed, also
// after its source was changed, and it is replaced by a newer update.
func TestOpenRemoval(t *testing.T) {
	s := newStory(t, assigns("", removing("app", "lib")), takes)
	o := s.offer()
	if o.Kind != Deploy || o.Action == nil || !o.Set.Removes() || len(o.Set.Remove) != 2 || o.Set.ContentHash != o.Action.ContentHash {
		t.Fatalf("the offer is %+v", o)
	}
	if a := o.Action; a.Removal != "removal of app 1 and 1 more" || a.DistributionSet != "" || a.ContentHash != eligibility.RemovalHash(o.Set.Remove) {
		t.Errorf("the action is %+v", a)
	}
	later(time.Minute)(s)
	set("fw")(s)
	assigns("fw")(s)
	if o = s.offer(); o.Kind != Cancel || o.Action.Cancel.Cause != v1alpha1.CauseSuperseded {
		t.Errorf("after the assignment of a set the offer is %+v", o)
	}
	reports(action.CancelRejected)(s)
	if o = s.offer(); o.Kind != Deploy || !o.Set.Removes() {
		t.Errorf("after the device refused the offer is %+v", o)
	}
	reports(action.Succeed)(s)
	if o = s.offer(); o.Kind != Deploy || o.Intent == nil || o.Intent.Update.DistributionSet != "fw" {
		t.Errorf("after the removal the offer is %+v", o)
	}
}
