// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

// race is an API server and two rollout reconcilers that both act as leader. Their caches are
// synchronized explicitly.
type race struct {
	t       *testing.T
	store   client.WithWatch
	now     time.Time
	content string
	old     *racer
	new     *racer
}

type racer struct {
	*RolloutReconciler
	caches *fakes.Caches
	events *events.FakeRecorder
}

// newRace creates four targets and a rollout of them in two groups.
func newRace(t *testing.T) *race {
	b := indexedServer(t)
	built := build.At(dawn)
	module := built.SoftwareModule("os")
	set := built.DistributionSet("firmware-1", build.Locked(dawn, offer.ContentHash, module))
	two, zero := int32(2), int32(0)
	rollout := built.Rollout("r", "firmware-1")
	rollout.Spec.GroupCount, rollout.Spec.StabilizationSeconds, rollout.Spec.GroupOrder = &two, &zero, v1alpha1.GroupOrderName
	b = b.WithObjects(module, set, rollout)
	for i := range 4 {
		b = b.WithObjects(built.Target(fmt.Sprintf("dev-%d", i+1)))
	}
	w := &race{t: t, store: b.Build(), now: dawn.Add(time.Minute), content: set.Status.ContentHash}
	clock := func() time.Time { return w.now }
	w.old, w.new = newRacer(t, w.store, clock), newRacer(t, w.store, clock)
	w.sync()
	return w
}

// newRacer returns a rollout reconciler with caches of its own.
func newRacer(t testing.TB, store client.Client, clock func() time.Time) *racer {
	t.Helper()
	index := fleet.New()
	r := &racer{caches: fakes.NewCaches(), events: events.NewFakeRecorder(1000)}
	if err := index.Follow(t.Context(), r.caches); err != nil {
		t.Fatal(err)
	}
	r.RolloutReconciler = &RolloutReconciler{Client: store, Live: store, Index: index, Tallies: NewTallies(index), Events: r.events, Now: clock,
		Targets: targetstatus.NewStore(index, store, store, clock, 8)}
	return r
}

// sync synchronizes the caches of the reconciler.
func (r *racer) sync(t testing.TB, store client.Client) {
	t.Helper()
	if err := r.caches.Sync(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	for _, target := range r.Index.Targets(fleetNamespace) {
		r.Tallies.TargetChanged(client.ObjectKeyFromObject(target))
	}
}

// sync synchronizes both caches.
func (w *race) sync() {
	w.t.Helper()
	w.old.sync(w.t, w.store)
	w.new.sync(w.t, w.store)
}

func (w *race) rollout() *v1alpha1.Rollout {
	w.t.Helper()
	r := &v1alpha1.Rollout{}
	if err := w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "r"}, r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// groups returns the stored groups of the rollout, in their order.
func (w *race) groups() []v1alpha1.DeploymentGroup {
	w.t.Helper()
	var list v1alpha1.DeploymentGroupList
	if err := w.store.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.DeploymentGroup) int { return cmp.Compare(a.Spec.Index, b.Spec.Index) })
	return list.Items
}

// plan lets one racer reconcile the rollout in the state that was read, and returns the events.
func (w *race) plan(r *racer, seen *v1alpha1.Rollout) (ctrl.Result, []string) {
	w.t.Helper()
	result, err := r.Reconcile(w.t.Context(), seen.DeepCopy())
	if err != nil {
		w.t.Fatalf("a conflict must not be an error: %v", err)
	}
	var events []string
	for len(r.events.Events) > 0 {
		events = append(events, <-r.events.Events)
	}
	return result, events
}

// bothReconcile lets both racers reconcile the same state, the faster one first, and reports
// whether the state changed. The slower one must change nothing.
func (w *race) bothReconcile(faster, slower *racer) (events []string, moved bool) {
	w.t.Helper()
	stale, before := w.rollout(), w.groups()
	_, events = w.plan(faster, stale)
	won, groups := w.rollout(), w.groups()
	if won.ResourceVersion == stale.ResourceVersion {
		return events, !equality.Semantic.DeepEqual(before, groups)
	}
	result, lost := w.plan(slower, stale)
	if result.RequeueAfter != conflictRetryDelay {
		w.t.Errorf("the slower one requeues after %s, want %s", result.RequeueAfter, conflictRetryDelay)
	}
	if len(lost) > 0 {
		w.t.Errorf("the slower one recorded events %q", lost)
	}
	if !equality.Semantic.DeepEqual(won, w.rollout()) || !equality.Semantic.DeepEqual(groups, w.groups()) {
		w.t.Errorf("the slower one changed the status:\n%+v\n%+v", won.Status, w.rollout().Status)
	}
	return events, true
}

// run lets both racers reconcile, with each of them faster in turn, until the state does not
// change.
func (w *race) run() (events []string) {
	w.t.Helper()
	for lap := range 20 {
		faster, slower := w.old, w.new
		if lap%2 == 1 {
			faster, slower = slower, faster
		}
		said, moved := w.bothReconcile(faster, slower)
		events = append(events, said...)
		w.now = w.now.Add(2 * time.Second)
		w.sync()
		if !moved {
			return events
		}
	}
	w.t.Fatalf("the rollout does not stop changing: %+v", w.rollout().Status)
	return nil
}

// succeed lets each target of an open group install its offer.
func (w *race) succeed(group v1alpha1.DeploymentGroup) {
	w.t.Helper()
	w.start(group, action.Download, action.Succeed)
}

// start lets each target of an open group start its offer, and report.
func (w *race) start(group v1alpha1.DeploymentGroup, reports ...action.Event) {
	w.t.Helper()
	r := w.rollout()
	for _, name := range group.Spec.Targets {
		t := &v1alpha1.Target{}
		if err := w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: string(name)}, t); err != nil {
			w.t.Fatal(err)
		}
		since := *r.Status.StartedAt
		a := action.Create(&t.Status, action.Creation{
			Source:          v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID, Group: group.Spec.Group, Attempt: 1, Since: &since},
			DistributionSet: "firmware-1", ContentHash: w.content, Now: w.now,
		})
		for _, e := range reports {
			action.Apply(&t.Status, action.Report{ID: a.ID, Event: e, Now: w.now})
		}
		if err := w.store.Status().Update(w.t.Context(), t); err != nil {
			w.t.Fatal(err)
		}
	}
	w.sync()
}

// TestW10_TwoLeadersOpenAGroupOnce: each step of a rollout is made by one of two leaders with the
// same state. The other one gets a conflict and reconciles again.
func TestW10_TwoLeadersOpenAGroupOnce(t *testing.T) {
	w := newRace(t)
	events := w.run()
	groups := w.groups()
	if len(groups) != 2 || w.rollout().Status.Groups[0].State != v1alpha1.GroupRunning || w.rollout().Status.Groups[1].State != v1alpha1.GroupScheduled {
		t.Fatalf("%d groups; the status is %+v", len(groups), w.rollout().Status)
	}
	for _, g := range groups {
		w.succeed(g)
		events = append(events, w.run()...)
	}
	if got := w.rollout().Status; got.State != v1alpha1.RolloutFinished || got.Targets.Succeeded != 4 {
		t.Errorf("the rollout ends %s with %+v", got.State, got.Targets)
	}
	opened := map[string]int{}
	for _, event := range events {
		for _, g := range groups {
			if strings.HasPrefix(event, "Normal GroupOpened") && strings.Contains(event, g.Spec.Group) {
				opened[g.Spec.Group]++
			}
		}
	}
	for _, g := range groups {
		if opened[g.Spec.Group] != 1 {
			t.Errorf("group %s was opened %d times: %q", g.Spec.Group, opened[g.Spec.Group], events)
		}
	}
}
