// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestMembership: the intents that reach a target follow the groups when they are created, grow and
// are deleted.
func TestMembership(t *testing.T) {
	f := newFleet(t)
	sw := built.SoftwareModule("linux")
	fw := set("fw", sw)
	one, two := group("r", 0, "a", "b"), group("r", 1, "c")
	r := running("r", fw, one, two)
	reaches := func(when, name string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, f.reach(name)); diff != "" {
			t.Errorf("%s, intents of %s (-want +got):\n%s", when, name, diff)
		}
	}

	f.put(one, two)
	reaches("without its rollout", "a")
	f.put(sw, fw, r)
	reaches("with its rollout", "a", "r/group-1")
	reaches("with its rollout", "c", "r/group-2")
	reaches("with its rollout", "d")

	grown := two.DeepCopy()
	grown.Spec.Targets = append(grown.Spec.Targets, "d")
	f.put(grown)
	reaches("after the group has grown", "d", "r/group-2")
	reaches("after the group has grown", "c", "r/group-2")
	if got := f.Memberships(fleetKey("d")); len(got) != 1 || got[0].Position != 1 || got[0].Group != grown {
		t.Errorf("the new member has the wrong place: %+v", got)
	}

	marked := one.DeepCopy()
	marked.Status.Superseded = []byte{1}
	f.put(marked)
	if in := f.For(built.Target("a"), noon)[0]; !in.Superseded {
		t.Error("a member's bits are not those of the newest group")
	}

	again := running("r", fw, one, two)
	again.UID = "uid-r-again"
	f.remove(r)
	f.put(again)
	reaches("after the rollout was restored with a status without UID", "a", "r/group-1")
	if groups := f.GroupsOf(again); len(groups) != 2 || groups[0].Spec.Index != 0 {
		t.Errorf("the restored rollout has the groups %v", groups)
	}
	again = again.DeepCopy()
	again.Status.UID = "uid-r"
	f.put(again)
	reaches("after the rollout was restored with its status", "a", "r/group-1")
	if in := f.For(built.Target("a"), noon)[0]; in.Source.UID != "uid-r" {
		t.Errorf("its actions are of %s", in.Source.UID)
	}
	again = again.DeepCopy()
	again.Status.UID = "uid-r-again"
	f.put(again)
	reaches("after the rollout was created again and has made the same plan", "a")
	if groups := f.GroupsOf(again); len(groups) != 0 {
		t.Errorf("it has the groups %v", groups)
	}
	if groups := f.Groups("uid-r"); len(groups) != 2 || groups[0].Spec.Index != 0 {
		t.Errorf("the groups of the old rollout are %v", groups)
	}

	replaced := group("r", 0, "b")
	replaced.UID, replaced.Spec.RolloutUID = "uid-other", "uid-r-again"
	f.put(replaced)
	reaches("after the group was created again", "a")
	reaches("after the group was created again", "b", "r/group-1")

	otherPlan := again.DeepCopy()
	otherPlan.Status.Plan.Hash = "other"
	f.put(otherPlan)
	reaches("while the groups are of another plan", "b")
	otherPlan = otherPlan.DeepCopy()
	otherPlan.Status.Plan = nil
	f.put(otherPlan)
	reaches("while there is no plan", "b")

	f.remove(replaced)
	f.remove(grown)
	if len(f.members)+len(f.byUID)+len(f.groups) != 0 {
		t.Errorf("left over: %v %v %v", f.members, f.byUID, f.groups)
	}
}

// TestMembershipsAreSorted: memberships are sorted by the group's name, independent of the order of
// creation.
func TestMembershipsAreSorted(t *testing.T) {
	f := newFleet(t)
	fw := set("fw")
	for _, name := range []string{"c", "a", "b"} {
		g := group(name, 0, "dev")
		f.put(g, running(name, fw, g))
	}
	if diff := cmp.Diff([]string{"a/group-1", "b/group-1", "c/group-1"}, f.reach("dev")); diff != "" {
		t.Error(diff)
	}
	if got := f.Rollouts("fleet"); len(got) != 3 || got[0].Name != "a" || got[2].Name != "c" || len(f.Rollouts("other")) != 0 {
		t.Errorf("rollouts are %v", got)
	}
}

// TestDevice: the oldest of several targets with a controllerID is served, and after its deletion
// the next oldest.
func TestDevice(t *testing.T) {
	as := func(id string, age time.Duration) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			t.Spec.ControllerID, t.CreationTimestamp = id, metav1.NewTime(noon.Add(-age))
		}
	}
	f := newFleet(t)
	serves := func(id, want string) {
		t.Helper()
		got := ""
		if found := f.Device("fleet", id); found != nil {
			got = found.Name
		}
		if got != want {
			t.Errorf("device %s is served as %q, want %q", id, got, want)
		}
	}
	young, old, duplicate := built.Target("young", as("ABC", time.Hour)), built.Target("old", as("ABC", 2*time.Hour)), built.Target("duplicate", as("ABC", time.Hour))
	serves("ABC", "")
	f.put(young)
	serves("ABC", "young")
	f.put(duplicate, old)
	serves("ABC", "old")
	if diff := cmp.Diff([]string{"old", "duplicate", "young"}, f.NamesWithControllerID("fleet", "ABC")); diff != "" {
		t.Error(diff)
	}
	f.put(old.DeepCopy(), built.Target("plain"))
	serves("ABC", "old")
	serves("plain", "plain")
	serves("young", "")

	again := built.Target("old", as("ABC", 0))
	again.UID = "uid-old-again"
	f.put(again)
	serves("ABC", "duplicate")
	f.remove(duplicate)
	serves("ABC", "young")

	renamed := built.Target("plain", as("XYZ", 0))
	f.put(renamed)
	serves("plain", "")
	serves("XYZ", "plain")

	must(t, f.store.Delete(young)) // the store changes before the handler is called
	serves("ABC", "old")
	must(t, f.store.Add(built.Target("old", as("other", 0))))
	serves("ABC", "")
	must(t, f.store.Add(again))
	f.setTarget(young, nil)
	f.remove(again)
	f.remove(renamed)
	if len(f.devices) != 0 {
		t.Errorf("left over: %v", f.devices)
	}
	if f.Device("other", "ABC") != nil {
		t.Error("a device is served in another namespace")
	}
}

// TestFacts: the facts follow the set and its modules, in whatever order they are created.
func TestFacts(t *testing.T) {
	f := newFleet(t)
	linux, app := built.SoftwareModule("linux"), built.SoftwareModule("app")
	linux.Spec.Rollback, app.Spec.Rollback = v1alpha1.RollbackSupported, v1alpha1.RollbackSupported
	fw := set("fw", linux, app)
	is := func(when string, want eligibility.Set) {
		t.Helper()
		got := f.Set(fleetKey("fw"))
		if got == nil {
			t.Fatalf("%s, there is no such set", when)
		}
		brief := eligibility.Set{Deployable: got.Deployable, NotDeployable: got.NotDeployable, Changed: got.Changed, Rollback: got.Rollback, Invalidation: got.Invalidation}
		if diff := cmp.Diff(want, brief); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	missing := func(name string, i int) eligibility.Set {
		return eligibility.Set{NotDeployable: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) does not exist", name, i), Changed: true, Rollback: v1alpha1.RollbackNone}
	}
	whole := eligibility.Set{Deployable: true, Rollback: v1alpha1.RollbackSupported}

	f.put(fw)
	is("before its modules exist", missing("linux", 0))
	f.put(linux)
	is("when one exists", missing("app", 1))
	f.put(app)
	is("when both exist", whole)
	if got := f.Set(fleetKey("fw")).Modules; len(got) != 2 || got[0] != linux || got[1] != app {
		t.Errorf("modules are not in the order of the set: %v", got)
	}

	changed := app.DeepCopy()
	changed.Spec.Version = "2"
	f.put(changed)
	is("when a module has another content", eligibility.Set{NotDeployable: "its content has changed since it was locked", Changed: true, Rollback: v1alpha1.RollbackSupported})
	f.put(app)
	f.remove(linux)
	is("when a module is deleted", missing("linux", 0))
	plain := linux.DeepCopy()
	plain.Spec.Rollback = v1alpha1.RollbackNone
	f.put(plain)
	is("when it is created again without rollback", eligibility.Set{Deployable: true, Rollback: v1alpha1.RollbackNone})
	f.put(linux)

	for name, c := range map[string]struct {
		edit func(*v1alpha1.DistributionSet)
		want eligibility.Set
	}{
		"not reconciled": {func(s *v1alpha1.DistributionSet) { s.Status.Conditions = nil }, eligibility.Set{NotDeployable: "it has not been reconciled yet"}},
		"not Ready": {func(s *v1alpha1.DistributionSet) {
			s.Status.Conditions[0].Status, s.Status.Conditions[0].Message = metav1.ConditionFalse, "it is a duplicate"
		}, eligibility.Set{NotDeployable: "it is a duplicate"}},
		"not locked":    {func(s *v1alpha1.DistributionSet) { s.Status.Locked = false }, eligibility.Set{NotDeployable: "it is being locked for its first use"}},
		"being deleted": {func(s *v1alpha1.DistributionSet) { s.DeletionTimestamp = &metav1.Time{Time: noon} }, eligibility.Set{NotDeployable: "it is being deleted"}},
		"invalidated":   {func(s *v1alpha1.DistributionSet) { s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: "Soft"} }, eligibility.Set{Deployable: true, Invalidation: "Soft"}},
		"by an invalidation entry": {func(s *v1alpha1.DistributionSet) {
			s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: "Force"}
		}, eligibility.Set{Deployable: true, Invalidation: "Force"}},
		"its recorded invalidation was reverted": {func(s *v1alpha1.DistributionSet) {
			s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: "Force", Recorded: &v1alpha1.Invalidation{Cancellation: "Force", DeleteRollouts: true, Reason: "bricks"}}
		}, eligibility.Set{Deployable: true, Invalidation: "Force"}},
		"its recorded invalidation was lowered": {func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: "None"}
			s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: "Force", Recorded: &v1alpha1.Invalidation{Cancellation: "Force"}}
		}, eligibility.Set{Deployable: true, Invalidation: "Force"}},
		"by an invalidation entry without a cancellation": {func(s *v1alpha1.DistributionSet) { s.Status.Invalidation = &v1alpha1.InvalidationStatus{} }, eligibility.Set{Deployable: true, Invalidation: "None"}},
	} {
		edited := fw.DeepCopy()
		c.edit(edited)
		c.want.Rollback = v1alpha1.RollbackSupported
		f.put(edited)
		is(name, c.want)
	}

	f.remove(fw)
	if f.Set(fleetKey("fw")) != nil {
		t.Error("a deleted set is still known")
	}
	f.put(app.DeepCopy())
	if f.Set(fleetKey("fw")) != nil {
		t.Error("a module restored a deleted set")
	}
}

// TestSetOfVersion: the oldest valid set is returned, and an invalidated one only if there is no
// other.
func TestSetOfVersion(t *testing.T) {
	f := newFleet(t)
	aged := func(name string, age time.Duration) *v1alpha1.DistributionSet {
		s := set(name)
		s.Spec.Name, s.Spec.Version, s.CreationTimestamp = "release", "1", metav1.NewTime(noon.Add(-age))
		return s
	}
	oldest, middle, youngest := aged("oldest", 3*time.Hour), aged("middle", 2*time.Hour), aged("youngest", time.Hour)
	oldest.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationNone}
	for _, c := range []struct {
		put  *v1alpha1.DistributionSet
		want string
	}{{oldest, "oldest"}, {youngest, "youngest"}, {middle, "middle"}} {
		f.put(c.put)
		if got := f.SetOfVersion("fleet", "release", "1"); got == nil || got.Name != c.want {
			t.Errorf("with %s, got %v, want %s", c.put.Name, got, c.want)
		}
	}
	if f.SetOfVersion("fleet", "release", "2") != nil || f.SetOfVersion("other", "release", "1") != nil {
		t.Error("found a set that does not exist")
	}
}

// TestTogether reads and writes concurrently. Run it with -race.
func TestTogether(t *testing.T) {
	f := newFleet(t)
	sw := built.SoftwareModule("linux")
	fw := set("fw", sw)
	members := []string{"a", "b", "c", "d"}
	var work sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("r%d", i)
		work.Go(func() {
			for round := range 100 {
				g := group(name, 0, members[:1+round%4]...)
				r := running(name, fw, g)
				r.UID = types.UID(fmt.Sprintf("uid-%s", name))
				f.setGroup(nil, g)
				f.setRollout(nil, r)
				f.setSet(nil, fw)
				f.setModule(nil, sw)
				f.setTarget(nil, built.Target(members[i]))
				must(t, f.store.Add(built.Target(members[i])))
				f.setGroup(g, nil)
				f.setRollout(r, nil)
				f.setModule(sw, nil)
				f.setTarget(built.Target(members[i]), nil)
			}
		})
		work.Go(func() {
			for range 300 {
				w := f.World(built.Target(members[i]), noon)
				offer.For(w)
				w.Origin(v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: name})
				f.Device("fleet", members[i])
				f.Memberships(fleetKey(members[i]))
				f.Groups(types.UID("uid-" + name))
				f.SetOfVersion("fleet", "fw", "1")
				f.Rollouts("fleet")
				f.Targets("fleet")
			}
		})
	}
	work.Wait()
	if len(f.members)+len(f.groups)+len(f.rollouts)+len(f.devices)+len(f.byUID) != 0 {
		t.Errorf("left over: %v %v %v %v", f.members, f.groups, f.rollouts, f.devices)
	}
}

func TestNamespacesFollowTheirObjects(t *testing.T) {
	in := func(namespace, name string) *v1alpha1.Target {
		target := built.Target(name)
		target.Namespace = namespace
		return target
	}
	lone := in("b", "x")
	x, err := Of([]client.Object{in("c", "x"), in("a", "x"), lone, lone.DeepCopy(), in("a", "y"), built.Rollout("r", "set", func(r *v1alpha1.Rollout) { r.Namespace = "d" })})
	if err != nil {
		t.Fatal(err)
	}
	wants := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, x.Namespaces()); diff != "" {
			t.Errorf("namespaces (-want +got):\n%s", diff)
		}
	}
	wants("a", "b", "c", "d")
	x.count(lone, nil)
	x.count(in("a", "y"), nil)
	x.count(lone, lone)
	x.count(nil, &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: "e"}})
	wants("a", "c", "d")
}
