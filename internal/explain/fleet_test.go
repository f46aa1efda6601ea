// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	statefiles "github.com/goshawk-dev/goshawk/internal/testing/states"
)

const root = "../.."

// statesOf returns an object of a kind in each of its states, by the name of the state.
func statesOf[T any](t testing.TB, kind string) map[string]*T {
	t.Helper()
	files, err := os.ReadDir(statefiles.Folder(root, kind) + "/testdata")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*T{}
	for _, f := range files {
		state := strings.TrimSuffix(f.Name(), ".yaml")
		text, err := os.ReadFile(statefiles.File(root, kind, state))
		if err != nil {
			t.Fatal(err)
		}
		o := new(T)
		if err := yaml.Unmarshal(text, o); err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		found[state] = o
	}
	return found
}

// Every state that a rollout can have says whether a person has to do something, and what. A state
// that is not in the table goes on by itself or has ended.
func TestTaskOfARolloutInEachState(t *testing.T) {
	const correct = "Correct the rollout"
	type task struct{ action, role string }
	want := map[string]task{
		"a-group-cannot-be-decoded":                {correct, ""},
		"a-group-was-lost":                         {correct, ""},
		"advanced-to-an-unknown-group":             {correct, ""},
		"no-target-is-selected":                    {correct, ""},
		"targets-are-left-over":                    {correct, ""},
		"the-order-is-ambiguous":                   {correct, ""},
		"the-set-has-changed":                      {correct, ""},
		"the-set-is-missing":                       {correct, ""},
		"the-set-is-not-ready":                     {correct, ""},
		"the-set-was-invalidated-before-the-start": {correct, ""},
		"wrong-expression":                         {correct, ""},
		"wrong-window":                             {correct, ""},
		"paused-by-a-group-without-results":        {"Check the failures, then resume or stop", "goshawk-approver"},
		"paused-by-error-budget":                   {"Check the failures, then resume or stop", "goshawk-approver"},
		"paused-by-error-threshold":                {"Check the failures, then resume or stop", "goshawk-approver"},
		"paused-by-success-action":                 {"Check the group, then resume", "goshawk-approver"},
		"paused-by-spec":                           {"Resume the rollout when it should continue", "goshawk-editor"},
		"paused-before-the-start":                  {"Start the rollout when it should start", "goshawk-editor"},
		"planned":                                  {"Start the rollout when it should start", "goshawk-editor"},
		"waiting-for-approval":                     {"Review the plan, then approve it", "goshawk-approver"},
	}
	got := map[string]task{}
	for state, r := range statesOf[v1alpha1.Rollout](t, "Rollout") {
		task1 := taskOfRollout(r, noon)
		if task1 == nil {
			continue
		}
		if task1.Message == "" || task1.Since.IsZero() {
			t.Errorf("%s: a task without a message or a time: %+v", state, task1)
		}
		got[state] = task{task1.Action, task1.Role}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(task{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTaskOfARolloutThatCannotBeDecoded(t *testing.T) {
	r := statesOf[v1alpha1.Rollout](t, "Rollout")["running"]
	r.Unreadable = &v1alpha1.Unreadable{Message: "spec.update is a number"}
	task := taskOfRollout(r, noon)
	if task == nil || task.Urgency != UrgencyCorrection || !strings.Contains(task.Message, "spec.update is a number") {
		t.Errorf("%+v", task)
	}
}

// An approval that the controllers have not seen is no task any more.
func TestDecisionThatWasMadeIsNoTask(t *testing.T) {
	r := statesOf[v1alpha1.Rollout](t, "Rollout")["waiting-for-approval"]
	r.Spec.Approval = &v1alpha1.Approval{PlanHash: r.Status.Plan.Hash}
	if task := taskOfRollout(r, noon); task != nil {
		t.Errorf("%+v", task)
	}
}

func TestTasksOfOtherObjects(t *testing.T) {
	invalid := func(states map[string]client.Object) map[string]string {
		found := map[string]string{}
		for state, o := range states {
			if task := taskOfObject(o, nil); task != nil {
				found[state] = task.Action
				if task.Urgency != UrgencyCorrection || task.Message == "" || task.Since.IsZero() {
					t.Errorf("%s: %+v", state, task)
				}
			}
		}
		return found
	}
	set, module, auto := "Correct the distribution set", "Correct the software module", "Correct the auto-assignment"
	for kind, tc := range map[string]struct{ got, want map[string]string }{
		"sets": {invalid(asObjects(statesOf[v1alpha1.DistributionSet](t, "DistributionSet"))), map[string]string{
			"a-duplicate": set, "a-mandatory-type-is-missing": set, "a-module-has-another-type": set, "a-module-is-missing": set, "a-module-is-not-ready": set,
			"its-invalidation-was-reverted": set, "the-content-has-changed": set, "without-modules": set,
		}},
		"modules": {invalid(asObjects(statesOf[v1alpha1.SoftwareModule](t, "SoftwareModule"))), map[string]string{"a-duplicate": module}},
		"auto-assignments": {invalid(asObjects(statesOf[v1alpha1.AutoAssignment](t, "AutoAssignment"))), map[string]string{
			"an-invalidated-set-was-deleted": auto, "the-set-is-missing": auto, "the-set-is-not-ready": auto, "the-set-was-deleted": auto, "the-set-was-invalidated": auto, "wrong-expression": auto, "wrong-window": auto,
		}},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	broken := taskOfObject(build.Named.SoftwareModule("m"), &v1alpha1.Unreadable{Message: "spec.version is a list"})
	if broken == nil || !strings.Contains(broken.Message, "spec.version is a list") {
		t.Errorf("a module that cannot be decoded: %+v", broken)
	}
}

// An auto-assignment that an invalidation has stopped did what it should. One that is created
// afterwards can never run.
func TestAutoAssignmentsOfAnInvalidSet(t *testing.T) {
	stopped := func(edit func(*v1alpha1.AutoAssignment)) *v1alpha1.AutoAssignment {
		a := statesOf[v1alpha1.AutoAssignment](t, "AutoAssignment")["the-set-was-invalidated"].DeepCopy()
		edit(a)
		return a
	}
	created := func(at time.Time) func(*v1alpha1.AutoAssignment) {
		return func(a *v1alpha1.AutoAssignment) {
			a.CreationTimestamp, a.Status.StartedAt = metav1.NewTime(at), nil
		}
	}
	set := func(at time.Time, a *v1alpha1.AutoAssignment) *v1alpha1.DistributionSet {
		s, observed := build.Named.DistributionSet(a.Spec.Update.DistributionSet), metav1.NewTime(at)
		s.Namespace, s.Status.Invalidation = a.Namespace, &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationForce, ObservedAt: &observed}
		return s
	}
	asIs := func(*v1alpha1.AutoAssignment) {}
	for name, tc := range map[string]struct {
		auto   *v1alpha1.AutoAssignment
		hasSet bool
		want   int
	}{
		"it was running":                     {stopped(asIs), true, 0},
		"it had not started":                 {stopped(created(noon.Add(-time.Hour))), true, 0},
		"it was created in the same second":  {stopped(created(noon)), true, 0},
		"it was created afterwards":          {stopped(created(noon.Add(time.Hour))), true, 1},
		"it was running, the set is deleted": {stopped(asIs), false, 0},
		"it never ran, the set is deleted":   {stopped(created(noon.Add(-time.Hour))), false, 1},
		"it cannot be decoded":               {stopped(func(a *v1alpha1.AutoAssignment) { a.Unreadable = &v1alpha1.Unreadable{Message: "spec.state is a list"} }), true, 1},
	} {
		world := []client.Object{tc.auto}
		if tc.hasSet {
			world = append(world, set(noon, tc.auto))
		}
		if f := FleetOf(fleetWorld(t, world...)); f.AllTasks != tc.want {
			t.Errorf("%s: the tasks are %+v", name, f.Tasks)
		}
	}
}

func asObjects[T any, P interface {
	*T
	client.Object
}](states map[string]P) map[string]client.Object {
	objects := map[string]client.Object{}
	for state, o := range states {
		objects[state] = o
	}
	return objects
}

func TestRolloutsThatNeedAPersonAreFirst(t *testing.T) {
	all := statesOf[v1alpha1.Rollout](t, "Rollout")
	later := func(state string, by time.Duration, edit func(*v1alpha1.Rollout, time.Duration)) *v1alpha1.Rollout {
		r := all[state].DeepCopy()
		r.Name = state + "-later"
		edit(r, by)
		return r
	}
	started := func(r *v1alpha1.Rollout, by time.Duration) {
		r.Status.StartedAt = &metav1.MicroTime{Time: r.Status.StartedAt.Add(by)}
	}
	rollouts := []*v1alpha1.Rollout{
		all["finished"], all["running"], all["wrong-window"], all["waiting-for-approval"], all["paused-by-error-budget"],
		later("finished", time.Hour, func(r *v1alpha1.Rollout, by time.Duration) {
			r.Status.FinishedAt = &metav1.MicroTime{Time: r.Status.FinishedAt.Add(by)}
		}),
		later("running", time.Hour, started),
		later("paused-by-error-budget", time.Hour, func(r *v1alpha1.Rollout, by time.Duration) {
			r.Status.PausedAt = &metav1.MicroTime{Time: r.Status.PausedAt.Add(by)}
		}),
	}
	for state, r := range all {
		r.Name = state
	}
	SortByUrgency(rollouts)
	var got []string
	for _, r := range rollouts {
		got = append(got, r.Name)
	}
	want := []string{"paused-by-error-budget", "paused-by-error-budget-later", "waiting-for-approval", "wrong-window", "running-later", "running", "finished-later", "finished"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// fleetWorld returns the world of these objects, with all its namespaces.
func fleetWorld(t testing.TB, objects ...client.Object) FleetWorld {
	t.Helper()
	x, err := fleet.Of(objects)
	if err != nil {
		t.Fatal(err)
	}
	counts := fleetcounts.New()
	for _, o := range objects {
		counts.Changed(nil, o)
	}
	all := counts.Namespaces()
	return FleetWorld{Index: x, Counts: counts, Targets: all, Rollouts: all, Sets: all, Modules: all, AutoAssignments: all, Now: noon, MaxTasks: 50, MaxSets: 10, MaxRollouts: 5}
}

func TestFleet(t *testing.T) {
	running, approval, finished := statesOf[v1alpha1.Rollout](t, "Rollout")["running"], statesOf[v1alpha1.Rollout](t, "Rollout")["waiting-for-approval"], statesOf[v1alpha1.Rollout](t, "Rollout")["finished"]
	running.Name, approval.Name, finished.Name = "runs", "asks", "done"
	objects := build.At(noon)
	runs := func(set string, status v1alpha1.UpdateStatus) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			t.Status.UpdateStatus, t.Status.Installed = status, &v1alpha1.InstalledSet{DistributionSet: set}
		}
	}
	inconsistent := func(t *v1alpha1.Target) {
		t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse}}
	}
	w := fleetWorld(t, running, approval, finished,
		objects.Target("a", runs("firmware-2", v1alpha1.UpdateStatusInSync)),
		objects.Target("b", runs("firmware-2", v1alpha1.UpdateStatusPending)),
		objects.Target("c", runs("firmware-1", v1alpha1.UpdateStatusError), inconsistent),
		objects.Target("d"),
		objects.DistributionSet("firmware-1", func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft}
		}),
	)
	f := FleetOf(w)
	if f.Targets.Targets != 4 || f.Rollouts != 3 || f.AllRunning != 1 || len(f.Ended) != 1 {
		t.Errorf("%d targets, %d rollouts, %d running, %d ended", f.Targets.Targets, f.Rollouts, f.AllRunning, len(f.Ended))
	}
	var sets, tasks []string
	for _, s := range f.Sets {
		sets = append(sets, fmt.Sprintf("%s/%s %q %d invalidated=%v", s.Namespace, s.Name, s.Release, s.Targets, s.Invalidated))
	}
	if diff := cmp.Diff([]string{`fleet/firmware-2 "" 2 invalidated=false`, `fleet/ "" 1 invalidated=false`, `fleet/firmware-1 "firmware firmware-1" 1 invalidated=true`}, sets); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
	for _, task := range f.Tasks {
		tasks = append(tasks, fmt.Sprintf("%s %s/%s %d: %s", task.Kind, task.Namespace, task.Name, task.Count, task.Action))
	}
	if diff := cmp.Diff([]string{"Rollout fleet/asks 0: Review the plan, then approve it", "Target fleet/ 1: Check what runs on the devices"}, tasks); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}

	w.Targets, w.Sets = nil, nil // a viewer who may see the rollouts only
	if f := FleetOf(w); f.Targets.Targets != 0 || len(f.Sets) != 0 || f.AllTasks != 1 || f.AllRunning != 1 {
		t.Errorf("a viewer who may see rollouts only: %+v", f)
	}
	w.Targets, w.Rollouts = []string{"fleet"}, nil // one who may see targets only
	if f := FleetOf(w); f.Targets.Targets != 4 || f.Rollouts != 0 || f.AllTasks != 1 || f.Sets[2].Release != "" {
		t.Errorf("a viewer who may see targets only: %+v", f)
	}
}

func TestListsOfAFleetAreLimited(t *testing.T) {
	var all []client.Object
	running := statesOf[v1alpha1.Rollout](t, "Rollout")["running"]
	paused := statesOf[v1alpha1.Rollout](t, "Rollout")["paused-by-error-budget"]
	for i := range 30 {
		r, p := running.DeepCopy(), paused.DeepCopy()
		r.Name, p.Name = fmt.Sprint("r", i), fmt.Sprint("p", i)
		target := build.At(noon).Target(fmt.Sprint("t", i), func(t *v1alpha1.Target) {
			t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: fmt.Sprint("set-", i)}
		})
		all = append(all, r, p, target)
	}
	w := fleetWorld(t, all...)
	w.MaxTasks = 20
	f := FleetOf(w)
	if len(f.Tasks) != 20 || f.AllTasks != 30 || len(f.Running) != 5 || f.AllRunning != 30 || len(f.Sets) != 10 || f.MoreSets != 20 || f.MoreTargets != 20 {
		t.Errorf("%d of %d tasks, %d of %d rollouts, %d sets and %d more with %d targets", len(f.Tasks), f.AllTasks, len(f.Running), f.AllRunning, len(f.Sets), f.MoreSets, f.MoreTargets)
	}
}

// The overview of 100 000 targets costs as much as that of few: it reads counts.
func BenchmarkFleet(b *testing.B) {
	running := statesOf[v1alpha1.Rollout](b, "Rollout")["running"]
	for _, targets := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(targets), func(b *testing.B) {
			var all []client.Object
			for i := range targets {
				all = append(all, build.At(noon).Target(fmt.Sprint("t", i), func(t *v1alpha1.Target) {
					t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: fmt.Sprint("set-", i%20)}
				}))
			}
			for i := range 50 {
				r := running.DeepCopy()
				r.Name = fmt.Sprint("r", i)
				all = append(all, r)
			}
			w := fleetWorld(b, all...)
			for b.Loop() {
				FleetOf(w)
			}
		})
	}
}
