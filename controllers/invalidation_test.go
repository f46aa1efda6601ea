// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// aFleetAtWork is a locked set and n devices that have started it.
func aFleetAtWork(t *testing.T, n int) *setWorld {
	t.Helper()
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), aSet("other", "linux"), aRollout("r1", "fw"))
	w.run()
	for i := range n {
		target := w.aDeviceAtWork(fmt.Sprintf("dev-%03d", i), "fw")
		target.Namespace, target.UID, target.Generation = fleetNamespace, types.UID(target.Name), 1
		if err := w.store.Create(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	w.sync()
	w.now = w.now.Add(time.Minute)
	w.run()
	if got := w.set("fw").Status.Targets.Started; int(got) != n {
		t.Fatalf("%d devices have started, want %d", got, n)
	}
	w.heard()
	return w
}

func TestInvalidationWalksTheFleetPageByPage(t *testing.T) {
	const fleetSize = 450
	w := aFleetAtWork(t, fleetSize)
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	if got := w.count("status Target"); got != 0 {
		t.Errorf("%d targets were written before the invalidation was recorded", got)
	}

	started, statuses := w.now, w.count("status DistributionSet")
	for plan, want := range []int{200, 200, 50, 0} {
		before := w.count("status Target")
		w.now = w.now.Add(10 * time.Millisecond)
		result, err := w.plan("fw")
		if err != nil {
			t.Fatal(err)
		}
		if got := w.count("status Target") - before; got != want {
			t.Errorf("look %d told %d devices, want %d", plan+1, got, want)
		}
		if want > 0 && (result.RequeueAfter <= 0 || result.RequeueAfter > time.Second) {
			t.Errorf("look %d wants the next one in %s", plan+1, result.RequeueAfter)
		}
	}
	if got := w.count("status DistributionSet") - statuses; w.now.Sub(started) > time.Second || got > 1 {
		t.Errorf("%d writes of progress within %s; want the end alone", got, w.now.Sub(started))
	}
	i := w.set("fw").Status.Invalidation
	if i.FinishedAt == nil || !cmp.Equal(i.Actions, &v1alpha1.InvalidatedActions{Total: fleetSize, Canceling: fleetSize}) {
		t.Errorf("after the walk: finished %v, actions %+v", i.FinishedAt, i.Actions)
	}
	want := []string{
		"Warning Invalidated Soft, with 1 rollout and 0 auto-assignments of the set at this moment; its open actions are told next, and status.invalidation.actions counts them: spec.invalidation (Soft) took the set out of circulation for good (bricks the modem); create another DistributionSet",
		"Warning InvalidationFinished 450 open actions had been met when all of them were told: 0 had been canceled, 450 were canceling, 0 went on or had ended with a result; status.invalidation.actions has the present numbers",
	}
	if diff := cmp.Diff(want, w.heard()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	// A third of the devices cancel, a third refuse, of these some finish what they do; a few
	// finish before they have heard; the rest are silent.
	for n := range fleetSize {
		w.device(fmt.Sprintf("dev-%03d", n), func(s *v1alpha1.TargetStatus) {
			id, say := action.Open(s).ID, func(id int32, e action.Event) { action.Apply(s, action.Report{ID: id, Event: e, Now: w.now}) }
			switch {
			case n%3 == 0:
				say(id, action.CancelAccepted)
			case n%3 == 1:
				say(id, action.CancelRejected)
				if n%2 == 0 {
					say(id, action.Succeed)
				}
			case n < 30:
				say(id, action.Succeed)
			}
		})
	}
	before := w.count("status Target")
	w.sync()
	w.now = w.now.Add(time.Second)
	w.run()
	if got := w.count("status Target") - before; got != 0 {
		t.Errorf("%d devices were asked again", got)
	}
	if got := w.set("fw").Status.Invalidation.Actions; !cmp.Equal(got, &v1alpha1.InvalidatedActions{Total: 450, Canceling: 140, Canceled: 150, Refused: 160}) {
		t.Errorf("after the answers: %+v", got)
	}

	w.device("dev-000", func(s *v1alpha1.TargetStatus) { s.Actions = nil }) // its history has become too long
	w.sync()
	w.now = w.now.Add(time.Second)
	w.run()
	if got := w.set("fw").Status.Invalidation.Actions; got.Canceled != 150 || got.Total != 450 {
		t.Errorf("after a device's history was shortened: %+v", got)
	}
}

func TestInvalidationByForceClosesAtOnce(t *testing.T) {
	w := aFleetAtWork(t, 5)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.run()
	for n := range 5 {
		s := w.target(fmt.Sprintf("dev-%03d", n)).Status
		if action.Open(&s) != nil || action.PendingCancel(&s) == nil || action.IsConsistent(&s) {
			t.Errorf("device %d: open %v, cancel on offer %v, consistent %v", n, action.Open(&s), action.PendingCancel(&s), action.IsConsistent(&s))
		}
	}
	if got := w.set("fw").Status.Invalidation.Actions; !cmp.Equal(got, &v1alpha1.InvalidatedActions{Total: 5, Canceled: 5}) {
		t.Errorf("actions %+v", got)
	}
	if got := w.set("fw").Status.Targets; got.Started != 0 {
		t.Errorf("%d devices are still at it", got.Started)
	}
}

func TestInvalidationByForceDoesNotWaitForAnOlderCancel(t *testing.T) {
	w := aFleetAtWork(t, 2)
	w.device("dev-001", func(s *v1alpha1.TargetStatus) {
		action.Cancel(s, action.Open(s).ID, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, w.now)
	})
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.run()
	status := w.target("dev-001").Status
	if a := action.Open(&status); a != nil {
		t.Errorf("a device that was asked before is still %s", a.State)
	}
}

func TestInvalidationWithNoneLeavesDevicesAlone(t *testing.T) {
	w := aFleetAtWork(t, 5)
	w.edit("fw", invalidated(v1alpha1.CancellationNone))
	w.run()
	if got := w.count("status Target"); got != 0 {
		t.Errorf("%d targets were written", got)
	}
	i := w.set("fw").Status.Invalidation
	if i.FinishedAt == nil || i.Actions != nil || i.Rollouts != 1 {
		t.Errorf("invalidation %+v", i)
	}
	if got := w.heard(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning Invalidated None, with 1 rollout and 0 auto-assignments of the set at this moment:") {
		t.Errorf("events %v", got)
	}
}

func TestInvalidationMeetsLatecomers(t *testing.T) {
	w := aFleetAtWork(t, 2)
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	w.run()
	finished := w.set("fw").Status.Invalidation.FinishedAt
	w.create(w.aDeviceAtWork("late", "fw"))
	w.now = w.now.Add(time.Minute)
	w.run()
	status := w.target("late").Status
	if a := action.Open(&status); a.State != v1alpha1.ActionCanceling || !heardOfInvalidation(a) {
		t.Errorf("the latecomer is %s", a.State)
	}
	i := w.set("fw").Status.Invalidation
	if !i.FinishedAt.Equal(finished) || i.Actions.Total != 3 {
		t.Errorf("finished %v (was %v), actions %+v", i.FinishedAt, finished, i.Actions)
	}
}

func TestInvalidationOutlivesItsSet(t *testing.T) {
	w := aFleetAtWork(t, 3)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.remove(&v1alpha1.DistributionSet{}, "fw") // nobody has been told yet
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	w.create(aSet("fw", "linux"))
	w.run()
	for n := range 3 {
		s := w.target(fmt.Sprintf("dev-%03d", n)).Status
		if action.Open(&s) != nil {
			t.Errorf("device %d goes on with what the duplicate's invalidation entry forbids", n)
		}
	}
	if got := w.set("fw").Status.Invalidation; got.FinishedAt == nil || got.Actions.Canceled != 3 {
		t.Errorf("invalidation %+v, %+v", got, got.Actions)
	}
}

func TestInvalidationIsNotHeldUpByTargetsThatCannotBeWritten(t *testing.T) {
	const fleetSize, broken = 450, 200 // the first page is all broken
	w := aFleetAtWork(t, fleetSize)
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	w.sets.Targets.Client = refusing{w.api, errBroken, func(name string) bool { return name < fmt.Sprintf("dev-%03d", broken) }}
	for range 5 {
		if _, err := w.plan("fw"); err != nil && !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
	}
	if got := w.sets.counts.of(request("fw").NamespacedName); got.canceling != fleetSize-broken {
		t.Errorf("%d devices were told, want %d", got.canceling, fleetSize-broken)
	}
	if w.set("fw").Status.Invalidation.FinishedAt != nil {
		t.Error("the walk has finished with devices left")
	}
	w.sets.Targets.Client = w.api
	w.run()
	if got := w.set("fw").Status.Invalidation; got.FinishedAt == nil || got.Actions.Canceling != fleetSize {
		t.Errorf("with the targets fixed: %+v, %+v", got, got.Actions)
	}
}

func TestInvalidationPassesOverTargetsThatAreGone(t *testing.T) {
	w := aFleetAtWork(t, 3)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "targets"}, "dev-001")
	w.sets.Targets.Client = refusing{w.api, gone, func(name string) bool { return name == "dev-001" }}
	if result, err := w.plan("fw"); err != nil || result.RequeueAfter <= 0 {
		t.Errorf("a target that is gone, and still in the cache, answers %v, %v", result, err)
	}
	w.remove(&v1alpha1.Target{}, "dev-001")
	w.run()
	if got := w.set("fw").Status.Invalidation; got.FinishedAt == nil || !cmp.Equal(got.Actions, &v1alpha1.InvalidatedActions{Total: 3, Canceled: 2}) {
		t.Errorf("invalidation %+v, %+v", got, got.Actions)
	}
}

func TestInvalidationCounts(t *testing.T) {
	asked := func(state v1alpha1.ActionState, causes ...v1alpha1.CancelCause) *v1alpha1.Action {
		a := &v1alpha1.Action{State: state}
		if len(causes) > 0 {
			a.Cancel = &v1alpha1.CancelStatus{Cause: causes[len(causes)-1], Causes: causes}
		}
		return a
	}
	for name, tc := range map[string]struct {
		action *v1alpha1.Action
		want   actionCounts
	}{
		"at work, not asked":                     {asked(v1alpha1.ActionRunning), actionCounts{open: 1, pending: 1}},
		"at work, refused something else":        {asked(v1alpha1.ActionRunning, v1alpha1.CauseSuperseded), actionCounts{open: 1, pending: 1}},
		"at work, refused this and then another": {asked(v1alpha1.ActionRunning, v1alpha1.CauseInvalidated, v1alpha1.CauseSuperseded), actionCounts{open: 1, refused: 1}},
		"canceling":                              {asked(v1alpha1.ActionCanceling, v1alpha1.CauseInvalidated), actionCounts{open: 1, canceling: 1}},
		"canceling for another cause already":    {asked(v1alpha1.ActionCanceling, v1alpha1.CauseStopped), actionCounts{open: 1, canceling: 1}},
		"canceled":                               {asked(v1alpha1.ActionCanceled, v1alpha1.CauseInvalidated), actionCounts{canceled: 1}},
		"canceled for another cause":             {asked(v1alpha1.ActionCanceled, v1alpha1.CauseStopped), actionCounts{}},
		"finished in spite of it":                {asked(v1alpha1.ActionFinished, v1alpha1.CauseInvalidated), actionCounts{refused: 1}},
		"failed in spite of it":                  {asked(v1alpha1.ActionError, v1alpha1.CauseInvalidated), actionCounts{refused: 1}},
		"finished long ago":                      {asked(v1alpha1.ActionFinished), actionCounts{}},
	} {
		if got := countOf(tc.action); got != tc.want {
			t.Errorf("%s counts as %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestInvalidationCountsFollowEveryChange(t *testing.T) {
	busy := &v1alpha1.Target{Status: v1alpha1.TargetStatus{
		Installed: &v1alpha1.InstalledSet{ContentHash: "old"},
		Actions:   []v1alpha1.Action{{ID: 1, DistributionSet: "fw", State: v1alpha1.ActionRunning}},
	}}
	busy.Namespace = fleetNamespace
	done := busy.DeepCopy()
	done.Status.Installed.ContentHash = "new"
	done.Status.Actions[0].State = v1alpha1.ActionFinished
	var c setCounts
	steps := []struct {
		old, now           *v1alpha1.Target
		sets, hashes       []string
		open, oldOn, newOn int32
	}{
		{nil, busy, []string{"fw"}, []string{"old"}, 1, 1, 0},
		{busy, busy, nil, nil, 1, 1, 0}, // a resync
		{busy, done, []string{"fw"}, []string{"new", "old"}, 0, 0, 1},
		{done, nil, nil, []string{"new"}, 0, 0, 0},
	}
	for i, s := range steps {
		sets, hashes := c.observe(s.old, s.now)
		if !slices.Equal(sets, s.sets) || !slices.Equal(hashes, s.hashes) {
			t.Errorf("step %d wakes sets %v and contents %v, want %v and %v", i, sets, hashes, s.sets, s.hashes)
		}
		got := []int32{c.of(request("fw").NamespacedName).open, c.running(fleetNamespace, "old"), c.running(fleetNamespace, "new")}
		if want := []int32{s.open, s.oldOn, s.newOn}; !slices.Equal(got, want) {
			t.Errorf("step %d counts %v, want %v", i, got, want)
		}
	}
	if len(c.actions)+len(c.installed) != 0 {
		t.Errorf("an empty fleet leaves %v and %v behind", c.actions, c.installed)
	}
}

func TestInvalidationPagesGoRound(t *testing.T) {
	var names []string
	for n := range 450 {
		names = append(names, fmt.Sprintf("dev-%03d", n))
	}
	var r pageCursor
	told := map[string]int{}
	for range 9 { // four rounds, with another walk between
		r.next(request("between").NamespacedName, names)
		page := r.next(request("fw").NamespacedName, names)
		if len(page) != invalidationPage {
			t.Fatalf("a page of %d", len(page))
		}
		for _, name := range page {
			told[name]++
		}
	}
	for _, name := range names {
		if told[name] != 4 {
			t.Errorf("%s was told %d times in four rounds", name, told[name])
		}
	}
	if got := r.next(request("other").NamespacedName, names[:3]); !slices.Equal(got, names[:3]) {
		t.Errorf("a small walk has the page %v", got)
	}
}
