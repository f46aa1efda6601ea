// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetcounts

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var built = build.At(time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC))

// with adds a condition to a target.
func with(kind string, status metav1.ConditionStatus) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: kind, Status: status})
	}
}

func installed(set, hash string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: set, ContentHash: hash}
	}
}

func TestProblemsOfATarget(t *testing.T) {
	tests := map[string]struct {
		edit func(*v1alpha1.Target)
		want []Problem
	}{
		"a new target": {func(*v1alpha1.Target) {}, nil},
		"a healthy target": {func(t *v1alpha1.Target) {
			with("Online", "True")(t)
			with("Consistent", "True")(t)
			with("Ready", "True")(t)
		}, nil},
		"a target whose state is not known": {func(t *v1alpha1.Target) { with("Online", "Unknown")(t); with("Consistent", "Unknown")(t) }, nil},
		"a device that is silent":           {with("Online", "False"), []Problem{Silent}},
		"a target that is inconsistent":     {with("Consistent", "False"), []Problem{Inconsistent}},
		"a target that is not ready":        {with("Ready", "False"), []Problem{NotReady}},
		"a target with spec.hold":           {func(t *v1alpha1.Target) { t.Spec.Hold = true }, []Problem{Held}},
		"a target that cannot be decoded":   {func(t *v1alpha1.Target) { t.Unreadable = &v1alpha1.Unreadable{} }, []Problem{Unreadable}},
		"a device that waits for confirmation": {func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{{ID: 1, State: v1alpha1.ActionWaitingForConfirmation}}
		}, []Problem{WaitingForConfirmation}},
		"several problems": {func(t *v1alpha1.Target) {
			with("Online", "False")(t)
			with("Consistent", "False")(t)
			t.Spec.Hold = true
		}, []Problem{Inconsistent, Silent, Held}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []Problem
			target := built.Target("a", tc.edit)
			for _, p := range Problems {
				if Has(target, p) {
					got = append(got, p)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if Has(built.Target("a"), "unknown") {
		t.Error("a target has a problem that does not exist")
	}
}

func TestInstalledNamesTheSet(t *testing.T) {
	for want, edit := range map[string]func(*v1alpha1.Target){
		"":             func(*v1alpha1.Target) {},
		"firmware-1":   installed("firmware-1", "0123456789abcdef"),
		"0123456789ab": installed("", "0123456789abcdef"),
		"0123":         installed("", "0123"),
	} {
		if got := Installed(built.Target("a", edit)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func sumOf(c *Counter) *Counts {
	sum := NewCounts()
	for _, namespace := range c.Namespaces() {
		c.AddTo(sum, namespace)
	}
	return sum
}

func TestCountsOfANamespace(t *testing.T) {
	other := built.Target("elsewhere", with("Online", "False"))
	other.Namespace = "other"
	c := counterOf[client.Object](
		built.Target("a", installed("one", ""), func(t *v1alpha1.Target) { t.Status.UpdateStatus = v1alpha1.UpdateStatusInSync }),
		built.Target("b", installed("one", ""), with("Online", "False"), func(t *v1alpha1.Target) { t.Status.UpdateStatus = v1alpha1.UpdateStatusError }),
		built.Target("c"),
		built.Rollout("r", "one"),
		built.DistributionSet("one", func(s *v1alpha1.DistributionSet) {
			s.Status.Conditions = []metav1.Condition{{Type: "Stalled", Status: "True", Reason: "Incomplete"}}
		}),
		other,
	)
	want := &Counts{
		Objects: 5,
		Targets: Tally{Targets: 3, Statuses: map[v1alpha1.UpdateStatus]int{"InSync": 1, "Error": 1, "Unknown": 1}, Problems: map[Problem]int{Silent: 1}},
		Sets: map[string]*Tally{
			"one": {Targets: 2, Statuses: map[v1alpha1.UpdateStatus]int{"InSync": 1, "Error": 1}, Problems: map[Problem]int{Silent: 1}},
			"":    {Targets: 1, Statuses: map[v1alpha1.UpdateStatus]int{"Unknown": 1}},
		},
		Rollouts: map[v1alpha1.RolloutState]int{"Creating": 1},
		Stalled:  map[Stalled]int{{"DistributionSet", "Incomplete"}: 1},
	}
	got := NewCounts()
	c.AddTo(got, build.Namespace)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("namespace (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{build.Namespace, "other"}, c.Namespaces()); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	if all := sumOf(c); all.Targets.Targets != 4 || all.Targets.Problems[Silent] != 2 {
		t.Errorf("sum of the namespaces: %+v", all.Targets)
	}
}

// Counts that follow changes are those of the objects that are left. Without objects no namespace
// and no set is left.
func TestCountsFollowChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	random1 := func(name string) *v1alpha1.Target {
		target := built.Target(name, installed(pick("", "one", "two"), ""), with("Online", metav1.ConditionStatus(pick("True", "False"))))
		target.Status.UpdateStatus = v1alpha1.UpdateStatus(pick("", "InSync", "Error", "Pending"))
		target.Spec.Hold = random.IntN(3) == 0
		target.Namespace = pick("a", "b")
		return target
	}
	c, present := New(), map[string]*v1alpha1.Target{}
	for i := range 500 {
		name := fmt.Sprint("target-", random.IntN(20))
		target := random1(name)
		name = target.Namespace + "/" + name
		switch old := present[name]; {
		case old == nil:
			c.Changed(nil, target)
			present[name] = target
		case i%3 == 0:
			c.Changed(old, nil)
			delete(present, name)
		default:
			c.Changed(old, target)
			present[name] = target
		}
	}
	var left []*v1alpha1.Target
	for _, target := range present {
		left = append(left, target)
	}
	if diff := cmp.Diff(sumOf(counterOf(left...)), sumOf(c)); diff != "" {
		t.Errorf("(-counted at once +followed):\n%s", diff)
	}
	for _, target := range left {
		c.Changed(target, nil)
	}
	if names := c.Namespaces(); len(names) != 0 {
		t.Errorf("namespaces without objects: %v", names)
	}
}

func TestSetThatNoTargetRunsAnyMoreIsNotCounted(t *testing.T) {
	before, after := built.Target("a", installed("one", "")), built.Target("a", installed("two", ""))
	c := counterOf(before, built.Target("b", installed("two", "")))
	c.Changed(before, after)
	if sets := sumOf(c).Sets; len(sets) != 1 || sets["two"] == nil || sets["two"].Targets != 2 {
		t.Errorf("sets: %v", sets)
	}
}

// A change of a target of a fleet of 100 000 costs about a microsecond, and the sum of a namespace
// depends on its sets only.
func BenchmarkCounter(b *testing.B) {
	c := New()
	targets := make([]*v1alpha1.Target, 100_000)
	for i := range targets {
		targets[i] = built.Target(fmt.Sprint("target-", i), installed(fmt.Sprint("set-", i%20), ""), with("Online", "True"), with("Consistent", "True"), with("Ready", "True"))
		c.Changed(nil, targets[i])
	}
	b.Run("change", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			t := targets[i%len(targets)]
			c.Changed(t, targets[(i+20)%len(targets)])
		}
	})
	b.Run("sum", func(b *testing.B) {
		for b.Loop() {
			sumOf(c)
		}
	})
	b.Run("all at once", func(b *testing.B) {
		for b.Loop() {
			counterOf(targets...)
		}
	})
}

// counterOf returns a counter of these objects.
func counterOf[T client.Object](objects ...T) *Counter {
	c := New()
	for _, o := range objects {
		c.Changed(nil, o)
	}
	return c
}
