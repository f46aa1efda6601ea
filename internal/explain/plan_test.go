// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// randomManifests returns a namespace with targets, and manifests of two sets and some rollouts.
func randomManifests(random *rand.Rand) World {
	w := World{Namespace: "fleet", Now: noon, RequireApproval: random.IntN(5) == 0}
	for i := range 1 + random.IntN(40) {
		w.Objects = append(w.Objects, built.Target(fmt.Sprintf("dev-%02d", i), func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"ring": fmt.Sprint(random.IntN(3))}
			t.Spec.Type, t.Spec.Hold = pick(random, "", "gateway", "sensor"), random.IntN(8) == 0
		}))
	}
	w.Manifests = commit()
	if random.IntN(3) == 0 {
		w.Manifests[1].(*v1alpha1.DistributionSet).Spec.CompatibleTargetTypes = []string{"gateway"}
	}
	for i := range 1 + random.IntN(3) {
		w.Manifests = append(w.Manifests, withRollout(fmt.Sprintf("r%d", i), pick(random, "firmware-2-1", "firmware-2-2"), func(r *v1alpha1.Rollout) {
			if random.IntN(2) == 0 {
				startAt(noon.Add(time.Duration(random.IntN(48)-24)*time.Hour + time.Duration(i)*time.Minute))(r)
			}
			if random.IntN(2) == 0 {
				r.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": pick[v1alpha1.LabelValue](random, "0", "1", "7")}}
			}
			r.Spec.State = pick(random, v1alpha1.IntentRunning, v1alpha1.IntentRunning, v1alpha1.IntentPlanned, v1alpha1.IntentPaused)
			r.Spec.ApprovalRequired, r.Spec.StabilizationSeconds = random.IntN(4) == 0, new(int32(random.IntN(30)))
			switch random.IntN(3) {
			case 0:
				r.Spec.GroupCount = new(1 + random.Int32N(6))
			case 1:
				r.Spec.Groups = []v1alpha1.Group{{Name: "a", Percentage: new(1 + random.Int32N(100))}, {Name: "b"}}
			}
		}))
	}
	return w
}

// TestPlanIsThatOfTheGrouping compares each plan with one that package grouping makes directly, and
// checks that the result does not depend on the order of objects and manifests.
func TestPlanIsThatOfTheGrouping(t *testing.T) {
	planned := 0
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		w := randomManifests(random)
		plan, err := MakePlan(w)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plan.Rollouts {
			groups, want, problem := planDirectly(w, p.Name)
			switch {
			case problem != nil && p.Hash != "":
				t.Errorf("seed %d: rollout %s has a plan, want %v", seed, p.Name, problem)
			case problem != nil:
				if len(p.Warnings) == 0 {
					t.Errorf("seed %d: rollout %s has no warning, want %v", seed, p.Name, problem)
				}
				continue
			case p.Hash != want.Hash || p.Targets != int(want.Targets):
				t.Errorf("seed %d: rollout %s has plan %s of %d targets, want %s of %d", seed, p.Name, p.Hash, p.Targets, want.Hash, want.Targets)
			}
			planned++
			for i, g := range p.Groups {
				if diff := cmp.Diff(groups[i].Spec.Targets, g.Targets); diff != "" {
					t.Errorf("seed %d: group %s of rollout %s (-want +got):\n%s", seed, g.Name, p.Name, diff)
				}
			}
			if o := p.Outcome; o.Gets+o.AlreadyThere+o.Superseded+never(o) != p.Targets {
				t.Errorf("seed %d: rollout %s has %d targets and the outcome %+v", seed, p.Name, p.Targets, *o)
			}
		}
		random.Shuffle(len(w.Objects), func(i, j int) { w.Objects[i], w.Objects[j] = w.Objects[j], w.Objects[i] })
		random.Shuffle(len(w.Manifests), func(i, j int) { w.Manifests[i], w.Manifests[j] = w.Manifests[j], w.Manifests[i] })
		again, err := MakePlan(w)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(encoded(t, plan), encoded(t, again)); diff != "" {
			t.Fatalf("seed %d: another order gives another plan:\n%s", seed, diff)
		}
		if d := DiffPlans(plan, again); !d.IsEmpty() {
			t.Fatalf("seed %d: a plan differs from itself: %+v", seed, d)
		}
	}
	if planned < 300 {
		t.Errorf("only %d rollouts were planned, want at least 300", planned)
	}
}

func never(o *PlanOutcome) int {
	n := 0
	for _, c := range o.Never {
		n += c.Targets
	}
	return n
}

func encoded(t *testing.T, plan *Plan) string {
	t.Helper()
	text, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// planDirectly makes the plan of a rollout of the manifests with package grouping.
func planDirectly(w World, name string) ([]*v1alpha1.DeploymentGroup, v1alpha1.PlanStatus, error) {
	var targets []*v1alpha1.Target
	var r *v1alpha1.Rollout
	sets, modules := map[string]*v1alpha1.DistributionSet{}, []*v1alpha1.SoftwareModule{}
	for _, o := range slices.Concat(w.Objects, w.Manifests) {
		switch o := o.(type) {
		case *v1alpha1.Target:
			targets = append(targets, o)
		case *v1alpha1.DistributionSet:
			sets[o.Name] = o
		case *v1alpha1.SoftwareModule:
			modules = append(modules, o)
		case *v1alpha1.Rollout:
			if o.Name == name {
				r = o.DeepCopy()
			}
		}
	}
	r.CreationTimestamp, r.UID = metav1.NewTime(w.Now), types.UID("any")
	set := sets[r.Spec.Update.DistributionSet]
	facts := &eligibility.Set{Name: set.Name, ContentHash: offer.ContentHash(set, modules), CompatibleTargetTypes: set.Spec.CompatibleTargetTypes}
	return grouping.MakePlan(r, facts, targets, nil, w.Now)
}

// TestPlanOfARolloutThatHasStarted: the groups are frozen, also if a target was created since.
func TestPlanOfARolloutThatHasStarted(t *testing.T) {
	w := World{Namespace: "fleet", Now: noon, Objects: []client.Object{built.Target("dev-1"), built.Target("dev-2")}, Manifests: commit(withRollout("firmware-2-1", "firmware-2-1"))}
	s, err := simulate(w)
	if err != nil {
		t.Fatal(err)
	}
	later := World{Namespace: "fleet", Now: noon.Add(time.Hour), Manifests: w.Manifests}
	r := s.index.Rollout(client.ObjectKey{Namespace: "fleet", Name: "firmware-2-1"})
	if r.Status.StartedAt == nil {
		t.Fatalf("the rollout has not started: %+v", r.Status)
	}
	later.Objects = append(later.Objects, r, built.Target("dev-1"), built.Target("dev-2"), built.Target("dev-3"))
	for _, g := range s.index.GroupsOf(r) {
		later.Objects = append(later.Objects, g)
	}
	plan, err := MakePlan(later)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.Rollouts[0]
	if !p.HasStarted || p.Change != Unchanged || p.Hash != r.Status.Plan.Hash || p.Targets != 2 {
		t.Errorf("the plan is %+v, want that of the start, %s", p, r.Status.Plan.Hash)
	}
}
