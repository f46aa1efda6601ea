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
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// aFleetAtWork returns a world with a locked set and n devices that have started its installation.
func aFleetAtWork(t *testing.T, n int) *setWorld {
	t.Helper()
	w := newSetWorld(t, aModule("linux", "os"), aSet("fw", "linux"), aSet("other", "linux"), built.Rollout("r1", "fw"))
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
	w.recordedEvents()
	return w
}

func TestInvalidationIsAppliedPageByPage(t *testing.T) {
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
			t.Errorf("reconcile %d asked %d devices to cancel, want %d", plan+1, got, want)
		}
		if want > 0 && (result.RequeueAfter <= 0 || result.RequeueAfter > time.Second) {
			t.Errorf("reconcile %d requeues after %s", plan+1, result.RequeueAfter)
		}
	}
	if got := w.count("status DistributionSet") - statuses; w.now.Sub(started) > time.Second || got > 1 {
		t.Errorf("progress was written %d times within %s; want only the end", got, w.now.Sub(started))
	}
	i := w.set("fw").Status.Invalidation
	if i.FinishedAt == nil || !cmp.Equal(i.Actions, &v1alpha1.InvalidatedActions{Total: fleetSize, Canceling: fleetSize}) {
		t.Errorf("after the last page: finished %v, actions %+v", i.FinishedAt, i.Actions)
	}
	want := []string{
		"Warning Invalidated cancellation Soft, affects 1 rollout and 0 auto-assignments; its open actions are processed next, see status.invalidation.actions: the set was invalidated by spec.invalidation (Soft) and cannot become valid again (bricks the modem); create another DistributionSet",
		"Warning InvalidationFinished 450 open actions processed: 0 canceled, 450 waiting for their devices to confirm the cancellation, 0 continuing or ended with a result; see status.invalidation.actions for the current numbers",
	}
	if diff := cmp.Diff(want, w.recordedEvents()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	// A third of the devices cancel, a third refuse, and some of these finish. A few finish before
	// they see the cancellation. The rest does not respond.
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
		t.Errorf("after the responses: %+v", got)
	}

	w.device("dev-000", func(s *v1alpha1.TargetStatus) { s.Actions = nil }) // its history was pruned
	w.sync()
	w.now = w.now.Add(time.Second)
	w.run()
	if got := w.set("fw").Status.Invalidation.Actions; got.Canceled != 150 || got.Total != 450 {
		t.Errorf("after the history of a device was pruned: %+v", got)
	}
}

func TestForcedInvalidationClosesActionsAtOnce(t *testing.T) {
	w := aFleetAtWork(t, 5)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.run()
	for n := range 5 {
		s := w.target(fmt.Sprintf("dev-%03d", n)).Status
		if action.Open(&s) != nil || action.PendingCancel(&s) == nil || action.IsConsistent(&s) {
			t.Errorf("device %d: open %v, cancel pending %v, consistent %v", n, action.Open(&s), action.PendingCancel(&s), action.IsConsistent(&s))
		}
	}
	if got := w.set("fw").Status.Invalidation.Actions; !cmp.Equal(got, &v1alpha1.InvalidatedActions{Total: 5, Canceled: 5}) {
		t.Errorf("actions %+v", got)
	}
	if got := w.set("fw").Status.Targets; got.Started != 0 {
		t.Errorf("%d devices still have an open action", got.Started)
	}
}

func TestForcedInvalidationDoesNotWaitForAnEarlierCancel(t *testing.T) {
	w := aFleetAtWork(t, 2)
	w.device("dev-001", func(s *v1alpha1.TargetStatus) {
		action.Cancel(s, action.Open(s).ID, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, w.now)
	})
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.run()
	status := w.target("dev-001").Status
	if a := action.Open(&status); a != nil {
		t.Errorf("the action of a device that was asked before is still %s", a.State)
	}
}

func TestInvalidationWithNoneDoesNotCancel(t *testing.T) {
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
	if got := w.recordedEvents(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning Invalidated cancellation None, affects 1 rollout and 0 auto-assignments:") {
		t.Errorf("events %v", got)
	}
}

func TestInvalidationIsAppliedToActionsThatStartLater(t *testing.T) {
	w := aFleetAtWork(t, 2)
	w.edit("fw", invalidated(v1alpha1.CancellationSoft))
	w.run()
	finished := w.set("fw").Status.Invalidation.FinishedAt
	w.create(w.aDeviceAtWork("late", "fw"))
	w.now = w.now.Add(time.Minute)
	w.run()
	status := w.target("late").Status
	if a := action.Open(&status); a.State != v1alpha1.ActionCanceling || !isCanceledByInvalidation(a) {
		t.Errorf("the action that started later is %s", a.State)
	}
	i := w.set("fw").Status.Invalidation
	if !i.FinishedAt.Equal(finished) || i.Actions.Total != 3 {
		t.Errorf("finished %v (was %v), actions %+v", i.FinishedAt, finished, i.Actions)
	}
}

func TestInvalidationContinuesAfterTheSetIsRecreated(t *testing.T) {
	w := aFleetAtWork(t, 3)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	w.remove(&v1alpha1.DistributionSet{}, "fw") // no device was asked to cancel yet
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	w.create(aSet("fw", "linux"))
	w.run()
	for n := range 3 {
		s := w.target(fmt.Sprintf("dev-%03d", n)).Status
		if action.Open(&s) != nil {
			t.Errorf("device %d continues an action of an invalidated set", n)
		}
	}
	if got := w.set("fw").Status.Invalidation; got.FinishedAt == nil || got.Actions.Canceled != 3 {
		t.Errorf("invalidation %+v, %+v", got, got.Actions)
	}
}

func TestInvalidationContinuesPastTargetsThatCannotBeWritten(t *testing.T) {
	const fleetSize, broken = 450, 200 // no target of the first page can be written
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
		t.Errorf("%d devices were asked to cancel, want %d", got.canceling, fleetSize-broken)
	}
	if w.set("fw").Status.Invalidation.FinishedAt != nil {
		t.Error("the invalidation has finished although targets are left")
	}
	w.sets.Targets.Client = w.api
	w.run()
	if got := w.set("fw").Status.Invalidation; got.FinishedAt == nil || got.Actions.Canceling != fleetSize {
		t.Errorf("after the targets were fixed: %+v, %+v", got, got.Actions)
	}
}

func TestInvalidationSkipsDeletedTargets(t *testing.T) {
	w := aFleetAtWork(t, 3)
	w.edit("fw", invalidated(v1alpha1.CancellationForce))
	if _, err := w.plan("fw"); err != nil {
		t.Fatal(err)
	}
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "targets"}, "dev-001")
	w.sets.Targets.Client = refusing{w.api, gone, func(name string) bool { return name == "dev-001" }}
	if result, err := w.plan("fw"); err != nil || result.RequeueAfter <= 0 {
		t.Errorf("with a deleted target in the cache, the result is %v, %v", result, err)
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
		"running, not asked":                     {asked(v1alpha1.ActionRunning), actionCounts{open: 1, pending: 1}},
		"running, refused another cancel":        {asked(v1alpha1.ActionRunning, v1alpha1.CauseSuperseded), actionCounts{open: 1, pending: 1}},
		"running, refused this and then another": {asked(v1alpha1.ActionRunning, v1alpha1.CauseInvalidated, v1alpha1.CauseSuperseded), actionCounts{open: 1, refused: 1}},
		"canceling":                              {asked(v1alpha1.ActionCanceling, v1alpha1.CauseInvalidated), actionCounts{open: 1, canceling: 1}},
		"canceling for another cause already":    {asked(v1alpha1.ActionCanceling, v1alpha1.CauseStopped), actionCounts{open: 1, canceling: 1}},
		"canceled":                               {asked(v1alpha1.ActionCanceled, v1alpha1.CauseInvalidated), actionCounts{canceled: 1}},
		"canceled for another cause":             {asked(v1alpha1.ActionCanceled, v1alpha1.CauseStopped), actionCounts{}},
		"finished although canceled":             {asked(v1alpha1.ActionFinished, v1alpha1.CauseInvalidated), actionCounts{refused: 1}},
		"failed although canceled":               {asked(v1alpha1.ActionError, v1alpha1.CauseInvalidated), actionCounts{refused: 1}},
		"finished long ago":                      {asked(v1alpha1.ActionFinished), actionCounts{}},
	} {
		if got := countsOfAction(tc.action); got != tc.want {
			t.Errorf("%s counts as %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestInvalidationCountsFollowEveryChange(t *testing.T) {
	busy := built.Target("busy", func(t *v1alpha1.Target) {
		t.Status.Installed = &v1alpha1.InstalledSet{ContentHash: "old"}
		t.Status.Actions = []v1alpha1.Action{build.Action(1, "fw", v1alpha1.ActionRunning)}
	})
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
			t.Errorf("step %d enqueues sets %v and contents %v, want %v and %v", i, sets, hashes, s.sets, s.hashes)
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

func TestPageCursorStartsAgainAfterTheLastName(t *testing.T) {
	var names []string
	for n := range 450 {
		names = append(names, fmt.Sprintf("dev-%03d", n))
	}
	var r pageCursor
	pages := map[string]int{}
	for range 9 { // four rounds, with pages of another object in between
		r.next(request("between").NamespacedName, names)
		page := r.next(request("fw").NamespacedName, names)
		if len(page) != invalidationPage {
			t.Fatalf("a page of %d", len(page))
		}
		for _, name := range page {
			pages[name]++
		}
	}
	for _, name := range names {
		if pages[name] != 4 {
			t.Errorf("%s was in %d pages in four rounds", name, pages[name])
		}
	}
	if got := r.next(request("other").NamespacedName, names[:3]); !slices.Equal(got, names[:3]) {
		t.Errorf("the page of a short list is %v", got)
	}
}
