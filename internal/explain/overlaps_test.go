// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// overlapWorld has three sets and the targets dev-0 to dev-9.
type overlapWorld struct {
	sets    map[string]*v1alpha1.DistributionSet
	objects []client.Object
}

func newOverlapWorld(targets int) *overlapWorld {
	w := &overlapWorld{sets: map[string]*v1alpha1.DistributionSet{}}
	for _, name := range []string{"firmware-1", "firmware-2", "firmware-3"} {
		m := built.SoftwareModule("os-" + name)
		w.sets[name] = built.DistributionSet(name, build.Locked(noon.Add(-50*time.Hour), offer.ContentHash, m))
		w.objects = append(w.objects, m, w.sets[name])
	}
	for i := range targets {
		w.objects = append(w.objects, built.Target(fmt.Sprintf("dev-%d", i), func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"half": fmt.Sprint(i * 2 / targets)}
		}))
	}
	return w
}

// rollout adds a rollout of a set to the first targets, which started so many hours ago.
func (w *overlapWorld) rollout(name, set string, targets int, hours float64, edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	r := built.Rollout(name, set)
	var names []string
	for i := range targets {
		names = append(names, fmt.Sprintf("dev-%d", i))
	}
	g := built.DeploymentGroup(r, 0, build.Members(names...))
	build.Running(noon.Add(-time.Duration(hours*float64(time.Hour))), w.sets[set].Status.ContentHash, g)(r)
	for _, edit := range edits {
		edit(r)
	}
	w.objects = append(w.objects, r, g)
	return r
}

// auto adds an auto-assignment of a set to half of the targets, which started so many hours ago.
func (w *overlapWorld) auto(name, set, half string, hours int) *v1alpha1.AutoAssignment {
	a := built.AutoAssignment(name, set, func(a *v1alpha1.AutoAssignment) {
		at := metav1.NewMicroTime(noon.Add(-time.Duration(hours) * time.Hour))
		a.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"half": v1alpha1.LabelValue(half)}}
		a.Status.State, a.Status.StartedAt = v1alpha1.AutoAssignmentRunning, &at
	})
	w.objects = append(w.objects, a)
	return a
}

func (w *overlapWorld) overlaps(t testing.TB) *Overlaps {
	t.Helper()
	x, err := fleet.Of(w.objects)
	if err != nil {
		t.Fatal(err)
	}
	o, err := OverlapsOf(x, build.Namespace, noon)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func linesOf(o *Overlaps) []string {
	var out []string
	for _, p := range o.Pairs {
		out = append(out, fmt.Sprintf("%d: %s", p.Targets, p.Outcome))
	}
	return out
}

func TestOverlaps(t *testing.T) {
	queued := func(r *v1alpha1.Rollout) { r.Spec.Update.Superseding = v1alpha1.SupersedingQueue }
	paused := func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Status.State = v1alpha1.IntentPaused, v1alpha1.RolloutPaused
	}
	tests := map[string]struct {
		arrange func(w *overlapWorld)
		want    []string
		why     string // of the first pair
	}{
		"nothing":     {func(*overlapWorld) {}, nil, ""},
		"one rollout": {func(w *overlapWorld) { w.rollout("one", "firmware-1", 10, 9) }, nil, ""},
		"a rollout whose targets were deleted": {func(w *overlapWorld) {
			w.rollout("one", "firmware-1", 10, 9)
			w.objects = slices.DeleteFunc(w.objects, func(o client.Object) bool { _, is := o.(*v1alpha1.Target); return is })
		}, nil, ""},
		"the newer rollout replaces the older one": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1)
		}, []string{"4: Rollout new wins on all shared targets."}, "the newer rollout new (group group-1) replaces rollout old (group group-1)"},
		"a paused rollout counts as if it went on": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1, paused)
		}, []string{"4: Rollout new wins on all shared targets."}, "the newer rollout new (group group-1) replaces rollout old (group group-1)"},
		"a queued rollout brings its update beside the other": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1, queued)
		}, []string{"4: All shared targets get both updates, one after the other."}, ""},
		"two rollouts of the same set": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-1", 4, 1)
		}, nil, ""},
		"a rollout that waits for a person": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1, func(r *v1alpha1.Rollout) {
				r.Status.State, r.Status.StartedAt = v1alpha1.RolloutWaitingForApproval, nil
			})
		}, []string{"4: Rollout new wins on all shared targets."}, "the newer rollout new (group group-1) replaces rollout old (group group-1)"},
		"a stopped rollout is left out": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopped })
		}, nil, ""},
		"a finished rollout is left out": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished })
			w.rollout("new", "firmware-2", 4, 1)
		}, nil, ""},
		"a rollout and an auto-assignment": {func(w *overlapWorld) {
			w.rollout("all", "firmware-1", 10, 9)
			w.auto("half", "firmware-2", "0", 1)
		}, []string{"5: Auto-assignment half wins on all shared targets."}, "the newer auto-assignment half replaces rollout all (group group-1)"},
		"a stopped auto-assignment is left out": {func(w *overlapWorld) {
			w.rollout("all", "firmware-1", 10, 9)
			w.auto("half", "firmware-2", "0", 1).Status.State = v1alpha1.AutoAssignmentStopped
		}, nil, ""},
		"an assignment of one target": {func(w *overlapWorld) {
			w.rollout("all", "firmware-1", 10, 9)
			for _, o := range w.objects {
				if t, ok := o.(*v1alpha1.Target); ok && t.Name == "dev-3" {
					t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware-3"}}
					t.Status.Assignment = offer.NoteAssignment(t.Spec.Assignment, nil, noon)
				}
			}
		}, []string{"1: The assignment of the target wins on all shared targets."}, "the newer spec.assignment replaces rollout all (group group-1)"},
		"targets that run the newer set": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1)
			for _, o := range w.objects {
				if t, ok := o.(*v1alpha1.Target); ok {
					t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "firmware-2", ContentHash: w.sets["firmware-2"].Status.ContentHash}
				}
			}
		}, []string{"4: Neither changes anything on all shared targets: they have had their update, or never get it."}, "firmware-2 is already installed"},
		"three sources": {func(w *overlapWorld) {
			w.rollout("old", "firmware-1", 10, 9)
			w.rollout("new", "firmware-2", 4, 1)
			w.auto("half", "firmware-3", "0", 5)
		}, []string{
			"5: Auto-assignment half wins on all shared targets.",
			"4: Rollout new wins on all shared targets.", "4: Rollout new wins on all shared targets.",
		}, "the newer auto-assignment half replaces rollout old (group group-1)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newOverlapWorld(10)
			tt.arrange(w)
			o := w.overlaps(t)
			if got := linesOf(o); !slices.Equal(got, tt.want) {
				t.Errorf("overlaps:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if len(o.Pairs) > 0 && o.Pairs[0].Why != tt.why {
				t.Errorf("why %q, want %q", o.Pairs[0].Why, tt.why)
			}
			for _, p := range o.Pairs {
				if len(p.Examples) == 0 || len(p.Examples) > 3 {
					t.Errorf("examples %v", p.Examples)
				}
			}
		})
	}
}

func TestRolloutWithoutPlanIsNamed(t *testing.T) {
	w := newOverlapWorld(3)
	w.rollout("one", "firmware-1", 3, 9)
	w.objects = append(w.objects, built.Rollout("later", "firmware-2"), built.Rollout("stopped", "firmware-2", func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopped }))
	if o := w.overlaps(t); !slices.Equal(o.NotPlanned, []string{"later"}) {
		t.Errorf("rollouts without a plan: %v", o.NotPlanned)
	}
}

// TestOverlapsAreThoseOfThePlan compares the overlap of two sources with that of a plan of the same
// objects.
func TestOverlapsAreThoseOfThePlan(t *testing.T) {
	for name, arrange := range map[string]func(w *overlapWorld){
		"a newer rollout":  func(w *overlapWorld) { w.rollout("one", "firmware-2", 4, 1) },
		"an older rollout": func(w *overlapWorld) { w.rollout("one", "firmware-2", 4, 100) },
		"a queued rollout": func(w *overlapWorld) {
			w.rollout("one", "firmware-3", 7, 3, func(r *v1alpha1.Rollout) { r.Spec.Update.Superseding = v1alpha1.SupersedingQueue })
		},
		"an auto-assignment": func(w *overlapWorld) { w.auto("half", "firmware-3", "1", 5) },
		"held targets": func(w *overlapWorld) {
			w.rollout("one", "firmware-2", 4, 1)
			for _, o := range w.objects {
				if t, ok := o.(*v1alpha1.Target); ok {
					t.Spec.Hold = true
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOverlapWorld(10)
			w.rollout("base", "firmware-1", 10, 9)
			arrange(w)
			plan, err := MakePlanOfAll(World{Namespace: build.Namespace, Now: noon, Objects: w.objects})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(plan.Rollouts, func(r RolloutPlan) bool { return r.Name == "base" })
			pairs, of := w.overlaps(t).Pairs, plan.Rollouts[i].Overlaps
			if len(pairs) != 1 || len(of) != 1 {
				t.Fatalf("overlaps %+v, in the plan %+v", pairs, of)
			}
			p, o := pairs[0], of[0]
			if p.Second.Name == "base" {
				o.Wins, o.Loses = o.Loses, o.Wins
			}
			if o.Targets != p.Targets || o.Wins != p.FirstOnly || o.Loses != p.SecondOnly || o.Both != p.Both {
				t.Errorf("%+v, in the plan %+v", p, of[0])
			}
		})
	}
}

func BenchmarkOverlaps(b *testing.B) {
	w := newOverlapWorld(100_000)
	w.rollout("all", "firmware-1", 100_000, 9)
	w.rollout("some", "firmware-2", 10_000, 1)
	w.auto("half", "firmware-3", "0", 5)
	x, err := fleet.Of(w.objects)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		o, err := OverlapsOf(x, build.Namespace, noon)
		if err != nil || len(o.Pairs) != 3 {
			b.Fatal(err, linesOf(o))
		}
	}
}
