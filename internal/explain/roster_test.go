// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

// rosterOf returns an index of the objects with a roster that follows it.
func rosterOf(t testing.TB, objects ...client.Object) (*fleet.Index, *Roster) {
	t.Helper()
	x, err := fleet.Of(objects)
	if err != nil {
		t.Fatal(err)
	}
	return x, NewRoster(x)
}

// put changes an object of the index, and notes it as a watch does.
func put(t testing.TB, x *fleet.Index, r *Roster, o client.Object) {
	t.Helper()
	var old client.Object
	if is, ok := o.(*v1alpha1.Target); ok {
		if was := x.Target(keyOf(is)); was != nil {
			old = was
		}
	}
	if err := x.Put(o); err != nil {
		t.Fatal(err)
	}
	r.Note(old, o)
}

func within[T client.Object](namespace string, o T) T {
	o.SetNamespace(namespace)
	return o
}

func runs(name, hash string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Status.UpdateStatus = v1alpha1.UpdateStatusInSync
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: name, ContentHash: hash}
	}
}

func isFalse(kind string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: "Test"})
	}
}

func assigns(set string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: set}}
	}
}

func status(s v1alpha1.UpdateStatus) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) { t.Status.UpdateStatus = s }
}

func namesOf(p TargetPage) string {
	var names []string
	for i := range p.Targets {
		names = append(names, p.Targets[i].Namespace+"/"+p.Targets[i].Name)
	}
	return strings.Join(names, " ")
}

func rosterWorld() []client.Object {
	set := built.DistributionSet("firmware", func(s *v1alpha1.DistributionSet) { s.Status.ContentHash = "aaaa" })
	return []client.Object{
		within("b", set), within("b", built.DistributionSet("same-content", func(s *v1alpha1.DistributionSet) { s.Status.ContentHash = "aaaa" })),
		within("a", built.DistributionSet("firmware", func(s *v1alpha1.DistributionSet) { s.Status.ContentHash = "bbbb" })),
		within("b", built.Target("one", runs("firmware", "aaaa"), func(t *v1alpha1.Target) {
			t.Spec.Name, t.Spec.ControllerID, t.Labels = "Pump in Hall 7", "SERIAL-0815", map[string]string{"site": "berlin"}
		})),
		within("b", built.Target("two", runs("same-content", "aaaa"), isFalse(v1alpha1.ConditionOnline))),
		within("b", built.Target("old", runs("firmware", "cccc"), isFalse(v1alpha1.ConditionConsistent), status(v1alpha1.UpdateStatusError))),
		within("b", built.Target("new", status(v1alpha1.UpdateStatusRegistered), func(t *v1alpha1.Target) {
			t.Spec.Hold, t.Spec.Type, t.Status.Address = true, "Gateway", "192.0.2.7"
			t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware"}}
		})),
		within("a", built.Target("one", runs("firmware", "bbbb"), func(t *v1alpha1.Target) {
			t.Status.UpdateStatus = v1alpha1.UpdateStatusPending
			t.Status.Actions = []v1alpha1.Action{{ID: 7, DistributionSet: "firmware", State: v1alpha1.ActionDownloading}}
		})),
		within("a", built.Target("gone", runs("deleted", ""))),
	}
}

func TestQueriesOfTargets(t *testing.T) {
	_, r := rosterOf(t, rosterWorld()...)
	berlin := labels.SelectorFromSet(labels.Set{"site": "berlin"})
	for name, tt := range map[string]struct {
		query TargetQuery
		want  string
		of    int
	}{
		"all targets":   {TargetQuery{}, "a/gone a/one b/new b/old b/one b/two", 6},
		"one namespace": {TargetQuery{Namespaces: []string{"a"}}, "a/gone a/one", 2},
		"no namespace":  {TargetQuery{Namespaces: []string{}}, "", 0},
		"a set by its content, whatever its name":        {TargetQuery{Namespaces: []string{"b"}, Set: "firmware", Use: UseInstalled}, "b/one b/two", 4},
		"a set in every namespace":                       {TargetQuery{Set: "firmware", Use: UseInstalled}, "a/one b/one b/two", 6},
		"a set by the name under which it was installed": {TargetQuery{Set: "firmware"}, "a/one b/old b/one", 6},
		"targets that run an unknown set":                {TargetQuery{Set: NoSet}, "b/new", 6},
		"two statuses":                                   {TargetQuery{Statuses: []v1alpha1.UpdateStatus{v1alpha1.UpdateStatusError, v1alpha1.UpdateStatusRegistered}}, "b/new b/old", 6},
		"a set that was deleted":                         {TargetQuery{Set: "deleted", Use: UseInstalled}, "a/gone", 6},
		"targets with an open action of a set":           {TargetQuery{Set: "firmware", Use: UseStarted}, "a/one", 6},
		"targets with an assignment of a set":            {TargetQuery{Set: "firmware", Use: UseAssigned}, "b/new", 6},
		"a status":                                       {TargetQuery{Statuses: []v1alpha1.UpdateStatus{v1alpha1.UpdateStatusError}}, "b/old", 6},
		"silent targets":                                 {TargetQuery{Problems: []fleetcounts.Problem{fleetcounts.Silent}}, "b/two", 6},
		"inconsistent targets":                           {TargetQuery{Problems: []fleetcounts.Problem{fleetcounts.Inconsistent}}, "b/old", 6},
		"held targets":                                   {TargetQuery{Problems: []fleetcounts.Problem{fleetcounts.Held}}, "b/new", 6},
		"held and silent targets":                        {TargetQuery{Problems: []fleetcounts.Problem{fleetcounts.Held, fleetcounts.Silent}}, "", 6},
		"labels":                                         {TargetQuery{Labels: berlin}, "b/one", 6},
		"a part of the name":                             {TargetQuery{Text: "ON"}, "a/gone a/one b/one", 6},
		"a part of the controllerID":                     {TargetQuery{Text: "serial-08"}, "b/one", 6},
		"a part of the name for people":                  {TargetQuery{Text: " hall 7 "}, "b/one", 6},
		"a part of the address":                          {TargetQuery{Text: "192.0.2."}, "b/new", 6},
		"a part of the type":                             {TargetQuery{Text: "gate"}, "b/new", 6},
		"a text without a match":                         {TargetQuery{Text: "<script>"}, "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.Page(&tt.query, 1, 50)
			if got := namesOf(p); got != tt.want || p.Total != len(p.Targets) || p.Of != tt.of {
				t.Errorf("targets %q, want %q; %d of %d", got, tt.want, p.Total, p.Of)
			}
		})
	}
}

func TestPagesOfTargets(t *testing.T) {
	var objects []client.Object
	for i := range 101 {
		objects = append(objects, built.Target(fmt.Sprintf("dev-%03d", i)))
	}
	_, r := rosterOf(t, objects...)
	for _, tt := range []struct {
		page        int
		first, last string
	}{{-1, "dev-000", "dev-049"}, {1, "dev-000", "dev-049"}, {2, "dev-050", "dev-099"}, {3, "dev-100", "dev-100"}, {1 << 40, "dev-100", "dev-100"}} {
		p := r.Page(&TargetQuery{}, tt.page, 50)
		if p.Total != 101 || p.Targets[0].Name != tt.first || p.Targets[len(p.Targets)-1].Name != tt.last {
			t.Errorf("page %d: %d targets, from %s to %s", tt.page, p.Total, p.Targets[0].Name, p.Targets[len(p.Targets)-1].Name)
		}
	}
}

// TestRosterFollowsChanges compares a roster that follows random changes with a new one.
func TestRosterFollowsChanges(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	x, r := rosterOf(t, rosterWorld()...)
	queries := []TargetQuery{{}, {Namespaces: []string{"b"}}, {Set: "firmware"}, {Statuses: []v1alpha1.UpdateStatus{v1alpha1.UpdateStatusError}}, {Problems: []fleetcounts.Problem{fleetcounts.Silent}}, {Text: "e"}, {Problems: []fleetcounts.Problem{fleetcounts.Held}}}
	for step := range 300 {
		name, namespace := fmt.Sprintf("dev-%d", random.Intn(90)), []string{"a", "b", "c"}[random.Intn(3)]
		edits := []func(*v1alpha1.Target){runs("firmware", "aaaa"), assigns("firmware"), isFalse(v1alpha1.ConditionOnline), status(v1alpha1.UpdateStatusError), func(t *v1alpha1.Target) { t.Spec.Hold = true }}
		put(t, x, r, within(namespace, built.Target(name, edits[random.Intn(5)], edits[random.Intn(5)])))
		if random.Intn(4) > 0 {
			continue // several changes before the next question
		}
		fresh := NewRoster(x)
		for i := range queries {
			page := 1 + random.Intn(4)
			got, want := r.Page(&queries[i], page, 20), fresh.Page(&queries[i], page, 20)
			if namesOf(got) != namesOf(want) || got.Total != want.Total || got.Of != want.Of {
				t.Fatalf("step %d, query %d: %d of %d targets %q, want %d of %d %q", step, i, got.Total, got.Of, namesOf(got), want.Total, want.Of, namesOf(want))
			}
		}
		if got, want := r.Uses(), fresh.Uses(); !reflect.DeepEqual(got, want) {
			t.Fatalf("step %d: uses %+v, want %+v", step, got, want)
		}
	}
}

// TestRosterFollowsCaches: targets appear, change, disappear and are created again while the roster
// follows an index that follows caches.
func TestRosterFollowsCaches(t *testing.T) {
	caches, x := fakes.NewCaches(), fleet.New()
	if err := x.Follow(t.Context(), caches); err != nil {
		t.Fatal(err)
	}
	r := NewRoster(x)
	x.Watch(r.Note)
	i := slices.IndexFunc(caches.Informers(), func(i *fakes.Informer) bool { _, is := i.Object.(*v1alpha1.Target); return is })
	for step, targets := range []string{"", "b", "a b c", "a c", "a b c d", "", "d"} {
		var objects []runtime.Object
		for _, name := range strings.Fields(targets) {
			objects = append(objects, built.Target(name, func(t *v1alpha1.Target) { t.Spec.Hold, t.ResourceVersion = step%2 == 0, fmt.Sprint(step) }))
		}
		caches.Informers()[i].Replace(objects)
		var names []string
		for _, s := range r.Page(&TargetQuery{}, 1, 50).Targets {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != targets {
			t.Errorf("step %d: targets %q, want %q", step, got, targets)
		}
		want := 0
		if step%2 == 0 {
			want = len(objects)
		}
		if got := r.Page(&TargetQuery{Problems: []fleetcounts.Problem{fleetcounts.Held}}, 1, 50); got.Total != want || got.Of != len(objects) {
			t.Errorf("step %d: %d of %d targets are held, want %d of %d", step, got.Total, got.Of, want, len(objects))
		}
	}
}

func TestRosterKeepsABoundedNumberOfQueries(t *testing.T) {
	_, r := rosterOf(t, rosterWorld()...)
	for i := range 3 * maxQueries {
		r.Page(&TargetQuery{Text: fmt.Sprint(i)}, 1, 50)
		r.Page(&TargetQuery{Text: "kept"}, 1, 50)
	}
	if len(r.queries) > maxQueries {
		t.Errorf("%d queries are kept, want at most %d", len(r.queries), maxQueries)
	}
	if q := (TargetQuery{Text: "kept"}); r.queries[keyOfQuery(&q, nil)] == nil {
		t.Error("the query that is used most was dropped")
	}
}

func TestRosterIsSafeForConcurrentUse(t *testing.T) {
	x, r := rosterOf(t, rosterWorld()...)
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range 50 {
				q := TargetQuery{Text: fmt.Sprint(i % 5)}
				r.Page(&q, i, 50)
				r.Uses()
				r.Note(nil, x.Target(types.NamespacedName{Namespace: "a", Name: "one"}))
				one := x.Target(types.NamespacedName{Namespace: "b", Name: "one"})
				r.Note(one, one)
			}
			_ = worker
		})
	}
	wait.Wait()
	if p := r.Page(&TargetQuery{}, 1, 50); p.Total != 6 {
		t.Errorf("%d targets", p.Total)
	}
}

func TestUsesOfASet(t *testing.T) {
	_, r := rosterOf(t, rosterWorld()...)
	u := r.Uses()
	for _, tt := range []struct {
		namespace, set    string
		started, assigned int
	}{{"b", "firmware", 0, 1}, {"b", "same-content", 0, 0}, {"a", "firmware", 1, 0}} {
		key := types.NamespacedName{Namespace: tt.namespace, Name: tt.set}
		if u.Started(key) != tt.started || u.Assigned(key) != tt.assigned {
			t.Errorf("set %s: %d started, %d assigned", key, u.Started(key), u.Assigned(key))
		}
	}
}

// TestFailuresOfAnAutoAssignment: only the newest action of the auto-assignment counts, and the
// number of kinds is bounded whatever the devices report.
func TestFailuresOfAnAutoAssignment(t *testing.T) {
	auto := built.AutoAssignment("auto", "firmware")
	act := func(id int32, uid types.UID, state v1alpha1.ActionState, code string) v1alpha1.Action {
		return v1alpha1.Action{ID: id, State: state, StatusCode: code, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, UID: uid}}
	}
	has := func(name string, actions ...v1alpha1.Action) client.Object {
		return built.Target(name, func(t *v1alpha1.Target) { t.Status.Actions = actions })
	}
	objects := []client.Object{
		auto, has("failed-1", act(1, auto.UID, v1alpha1.ActionError, "E7")), has("failed-2", act(1, auto.UID, v1alpha1.ActionError, "E7")),
		has("tried-again", act(1, auto.UID, v1alpha1.ActionError, "E7"), act(2, auto.UID, v1alpha1.ActionFinished, "")),
		has("failed-in-another", act(1, "another", v1alpha1.ActionError, "E7")),
		has("failed-later-in-another", act(1, auto.UID, v1alpha1.ActionError, "E8"), act(2, "another", v1alpha1.ActionError, "E9")),
	}
	for i := range 2 * maxFailureKinds {
		objects = append(objects, has(fmt.Sprintf("random-%02d", i), act(1, auto.UID, v1alpha1.ActionError, fmt.Sprint("random ", i))))
	}
	_, r := rosterOf(t, objects...)
	f := r.Uses().FailuresOf(auto)
	if len(f.Kinds) != maxFailureKinds || f.Others != maxFailureKinds+2 {
		t.Errorf("%d kinds and %d others", len(f.Kinds), f.Others)
	}
	if k := f.Kinds[0]; k.Code != "E7" || k.Targets != 2 || !slices.Equal(k.Examples, []string{"failed-1", "failed-2"}) {
		t.Errorf("the most frequent kind: %+v", k)
	}
	if f := r.Uses().FailuresOf(built.AutoAssignment("other", "firmware")); len(f.Kinds) != 0 {
		t.Errorf("failures of an auto-assignment without actions: %+v", f)
	}
}

func BenchmarkRoster(b *testing.B) {
	var objects []client.Object
	for i := range 100_000 {
		objects = append(objects, built.Target(fmt.Sprintf("dev-%06d", i), runs(fmt.Sprintf("firmware-%d", i%20), fmt.Sprintf("hash-%d", i%20)), func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"ring": fmt.Sprint(i % 10)}
			for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionOnline, v1alpha1.ConditionConsistent} {
				t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Test"})
			}
		}))
	}
	x, r := rosterOf(b, objects...)
	one := x.Target(types.NamespacedName{Namespace: built.Target("dev-050000").Namespace, Name: "dev-050000"})
	query := TargetQuery{Text: "dev-09", Statuses: []v1alpha1.UpdateStatus{v1alpha1.UpdateStatusInSync}}
	r.Page(&query, 1, 50)
	for name, f := range map[string]func(i int){
		"ReadAll": func(int) { NewRoster(x).Page(&TargetQuery{}, 1, 50) },
		"PageAfterACreation": func(i int) {
			put(b, x, r, built.Target(fmt.Sprint("new-", i)))
			r.Page(&query, 100, 50)
		},
		"PageAfterOneChange": func(int) { r.Note(one, one); r.Page(&query, 100, 50) },
		"NewQuery":           func(i int) { r.Page(&TargetQuery{Text: fmt.Sprint("dev-09", i)}, 1, 50) },
		"Uses":               func(int) { r.Note(one, one); r.Uses() },
	} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				f(i)
			}
		})
	}
}
