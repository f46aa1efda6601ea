// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

// joinWorld is a namespace in an index, which tests fill explicitly.
type joinWorld struct {
	*RolloutReconciler
	t       *testing.T
	caches  *fakes.Caches
	objects map[string][]runtime.Object
	version int
}

var startOfJoins = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func newJoinWorld(t *testing.T) *joinWorld {
	w := &joinWorld{t: t, caches: fakes.NewCaches(), objects: map[string][]runtime.Object{}}
	index := fleet.New()
	if err := index.Follow(t.Context(), w.caches); err != nil {
		t.Fatal(err)
	}
	w.RolloutReconciler = &RolloutReconciler{Index: index, Tallies: NewTallies(index), Now: func() time.Time { return startOfJoins.Add(time.Hour) }}
	w.put(w.built().DistributionSet("fw", compatibleWith("gateway")))
	return w
}

// built builds objects with the metadata of this world.
func (w *joinWorld) built() build.Objects { return w.meta }

func compatibleWith(types ...string) func(*v1alpha1.DistributionSet) {
	return func(s *v1alpha1.DistributionSet) { s.Spec.CompatibleTargetTypes = types }
}

func (w *joinWorld) meta(name string) metav1.ObjectMeta {
	w.version++
	return metav1.ObjectMeta{Namespace: "fleet", Name: name, UID: types.UID("uid-" + name), ResourceVersion: fmt.Sprint(w.version)}
}

// put adds an object to the cache.
func (w *joinWorld) put(o runtime.Object) {
	kind := fmt.Sprintf("%T", o)
	w.objects[kind] = append(w.objects[kind], o)
	w.show(kind)
}

func (w *joinWorld) show(kind string) {
	for _, i := range w.caches.Informers() {
		if fmt.Sprintf("%T", i.Object) == kind {
			i.Replace(w.objects[kind])
		}
	}
}

// drop removes the newest object of a kind from the cache.
func (w *joinWorld) drop(o runtime.Object) {
	kind := fmt.Sprintf("%T", o)
	w.objects[kind] = w.objects[kind][:len(w.objects[kind])-1]
	w.show(kind)
}

func (w *joinWorld) target(name, ring string) *v1alpha1.Target {
	target := w.built().Target(name)
	target.Labels = map[string]string{"ring": ring}
	w.put(target)
	return target
}

// rollout returns a rollout that started the given number of minutes after ten, with the members in
// one group.
func (w *joinWorld) rollout(name string, minutes int, dynamic bool, members ...string) *v1alpha1.Rollout {
	started := metav1.NewMicroTime(startOfJoins.Add(time.Duration(minutes) * time.Minute))
	r := w.built().Rollout(name, "fw")
	r.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": "field"}}
	r.Status = v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: &started, Plan: &v1alpha1.PlanStatus{Hash: build.PlanHash},
		Groups: []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupRunning}}}
	if dynamic {
		r.Spec.Dynamic = &v1alpha1.Dynamic{}
	}
	w.put(r)
	w.put(w.built().DeploymentGroup(r, 0, build.Members(members...)))
	return r
}

func (w *joinWorld) want(r *v1alpha1.Rollout, n int, want string) {
	w.t.Helper()
	var got []string
	for _, t := range w.targetsToJoin(r, n) {
		got = append(got, t.Name)
	}
	if strings.Join(got, " ") != want {
		w.t.Errorf("%v may join %s, want %q", got, r.Name, want)
	}
}

// TestJoinCandidatesAreUpdatedTargetByTarget: all targets are checked once; after that, only a
// target that changes is checked.
func TestJoinCandidatesAreUpdatedTargetByTarget(t *testing.T) {
	w := newJoinWorld(t)
	for name, ring := range map[string]string{"d": "field", "a": "field", "b": "lab", "c": "field"} {
		w.target(name, ring)
	}
	r := w.rollout("r", 0, true, "c")
	w.want(r, 10, "a d")
	w.want(r, 1, "a")
	added := w.target("e", "field")
	if !w.joinCandidates.consider(r, w.Index, added, true) || w.joinCandidates.consider(r, w.Index, added, true) {
		t.Error("a new target must enqueue the rollout, once")
	}
	if w.joinCandidates.consider(r, w.Index, w.target("f", "lab"), true) {
		t.Error("a target that is not selected enqueues the rollout")
	}
	w.want(r, 10, "a d e")
	otherType := w.target("g", "field")
	otherType.Spec.Type = "otherType"
	w.joinCandidates.consider(r, w.Index, otherType, true)
	w.want(r, 10, "a d e")
	w.put(w.built().DeploymentGroup(r, 1, build.Members("a", "e")))
	w.want(r, 10, "d")
}

// TestNewerRolloutBlocksJoinCandidates: targets that a newer rollout has, or is about to add,
// cannot join an older one. After the newer rollout is deleted, they are checked again.
func TestNewerRolloutBlocksJoinCandidates(t *testing.T) {
	for name, tt := range map[string]struct {
		minutes int
		dynamic bool
		edit    func(*v1alpha1.Rollout)
		want    string
	}{
		"it has one of the targets":            {10, false, nil, "b c"},
		"it is dynamic, and takes all targets": {10, true, nil, ""},
		"it no longer grows": {10, true, func(r *v1alpha1.Rollout) {
			until := metav1.NewTime(startOfJoins)
			r.Spec.Dynamic.Until = &until
		}, "b c"},
		"it has finished":    {10, false, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }, "b c"},
		"it has not started": {10, true, func(r *v1alpha1.Rollout) { r.Status.StartedAt = nil }, "a b c"},
		"it is queued":       {10, true, func(r *v1alpha1.Rollout) { r.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, "a b c"},
		"it is older":        {-10, true, nil, "a b c"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			for _, name := range []string{"a", "b", "c"} {
				w.target(name, "field")
			}
			r := w.rollout("r", 0, true)
			other := w.rollout("other", tt.minutes, tt.dynamic, "a")
			if tt.edit != nil {
				tt.edit(other)
			}
			w.want(r, 10, tt.want)
			if tt.want != "a b c" && w.joinCandidates.consider(r, w.Index, w.Index.Target(types.NamespacedName{Namespace: "fleet", Name: "a"}), false) {
				t.Error("a report of a blocked target enqueues the rollout")
			}
			w.drop(other)
			w.joinCandidates.reconsider("fleet")
			w.want(r, 10, "a b c")
		})
	}
}
