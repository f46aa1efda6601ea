// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

var (
	planNoon   = time.Date(2026, time.May, 4, 12, 0, 0, 0, time.UTC)
	fittingSet = &eligibility.Set{Name: "fw-2", ContentHash: "c0ffee", CompatibleTargetTypes: []string{"gateway", "router"}}
)

// mixedTargets returns a target for each reason to be selected or not.
func mixedTargets() []*v1alpha1.Target {
	target := func(name string, change func(*v1alpha1.Target)) *v1alpha1.Target {
		t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"site": "ulm"}}}
		t.CreationTimestamp = metav1.NewTime(planNoon.Add(-time.Hour))
		change(t)
		return t
	}
	ready := func(status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason}}
	}
	return []*v1alpha1.Target{
		target("deleted", func(t *v1alpha1.Target) { t.DeletionTimestamp = &metav1.Time{Time: planNoon} }),
		target("elsewhere", func(t *v1alpha1.Target) { t.Labels["site"] = "bonn" }),
		target("fitting", func(t *v1alpha1.Target) { t.Spec.Type = "router" }),
		target("held", func(t *v1alpha1.Target) { t.Spec.Hold = true }),
		target("ready", func(t *v1alpha1.Target) { t.Status.Conditions = ready(metav1.ConditionTrue, v1alpha1.ReasonReady) }),
		target("duplicate", func(t *v1alpha1.Target) { t.Status.Conditions = ready(metav1.ConditionFalse, v1alpha1.ReasonDuplicate) }),
		target("unfit", func(t *v1alpha1.Target) { t.Spec.Type = "camera" }),
		target("unready", func(t *v1alpha1.Target) { t.Status.Conditions = ready(metav1.ConditionFalse, "TokenMissing") }),
		target("untyped", func(*v1alpha1.Target) {}),
	}
}

func TestSelect(t *testing.T) {
	inUlm := labelled("site", "ulm")
	free := v1alpha1.Selection{TargetExpression: "!target.hold"}
	both := inUlm
	both.TargetExpression = free.TargetExpression
	for name, c := range map[string]struct {
		sel  v1alpha1.Selection
		want []string
	}{
		"no selection: all that fit, are not being deleted and are no duplicates": {v1alpha1.Selection{}, []string{"elsewhere", "fitting", "held", "ready", "unready", "untyped"}},
		"by label":                {inUlm, []string{"fitting", "held", "ready", "unready", "untyped"}},
		"by expression":           {free, []string{"elsewhere", "fitting", "ready", "unready", "untyped"}},
		"by label and expression": {both, []string{"fitting", "ready", "unready", "untyped"}},
	} {
		t.Run(name, func(t *testing.T) {
			selected, _, err := Select(planRollout(v1alpha1.RolloutSpec{Selection: c.sel}), fittingSet, mixedTargets(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, namesOf(selected)); diff != "" {
				t.Errorf("selected (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectReturnsQuietSince(t *testing.T) {
	at := func(minutes int) time.Time { return planNoon.Add(time.Duration(minutes) * time.Minute) }
	target := func(created, changed int, site string) *v1alpha1.Target {
		t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: site, Labels: map[string]string{"site": site}, CreationTimestamp: metav1.NewTime(at(created))}}
		if changed != 0 {
			moment := metav1.NewMicroTime(at(changed))
			t.Status.SelectionChangedAt = &moment
		}
		return t
	}
	for name, c := range map[string]struct {
		targets []*v1alpha1.Target
		want    int
	}{
		"the rollout was created last":                {[]*v1alpha1.Target{target(-9, 0, "ulm")}, 0},
		"a target was created later":                  {[]*v1alpha1.Target{target(-9, 0, "ulm"), target(3, 0, "ulm")}, 3},
		"a label changed later":                       {[]*v1alpha1.Target{target(-9, 5, "ulm"), target(3, 0, "ulm")}, 5},
		"a target that is not selected has no effect": {[]*v1alpha1.Target{target(-9, 0, "ulm"), target(7, 8, "bonn")}, 0},
		"an old change counts less than the creation": {[]*v1alpha1.Target{target(4, 2, "ulm")}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			r := planRollout(v1alpha1.RolloutSpec{Selection: labelled("site", "ulm")})
			r.CreationTimestamp = metav1.NewTime(planNoon)
			_, quietSince, err := Select(r, fittingSet, c.targets, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := at(c.want); !quietSince.Equal(want) {
				t.Errorf("quiet since %s, want %s", quietSince, want)
			}
		})
	}
}

func TestSelectSaysWhyNoTargetIsSelected(t *testing.T) {
	rome := labelled("site", "rome")
	noneHolds := v1alpha1.Selection{TargetExpression: `target.type == "submarine"`}
	for name, c := range map[string]struct {
		sel        v1alpha1.Selection
		population []*v1alpha1.Target
		want       Problem
	}{
		"an empty namespace": {rome, nil, Problem{v1alpha1.ReasonNoTargets, "namespace factory has no targets: create Targets, or let the devices register"}},
		"by selector": {rome, mixedTargets(), Problem{v1alpha1.ReasonNoTargets,
			"none of the 9 targets of namespace factory is selected: 7 not matched by spec.targetSelector, 1 with the controllerID of an older target, 1 being deleted; widen the selection, or label the targets"}},
		"by expression and type": {noneHolds, mixedTargets(), Problem{v1alpha1.ReasonNoTargets,
			"none of the 9 targets of namespace factory is selected: 6 not matched by spec.targetExpression, 1 of a type that is not in compatibleTargetTypes of DistributionSet fw-2 (gateway, router), 1 with the controllerID of an older target, 1 being deleted; widen the selection, or label the targets"}},
		"an invalid expression": {v1alpha1.Selection{TargetExpression: "target.hold &&"}, mixedTargets(), Problem{v1alpha1.ReasonInvalidExpression,
			`spec.targetExpression, line 1, column 15: Syntax error: mismatched input '<EOF>': write it as in target.attributes["hw"] == "B" && !target.inconsistent`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := planRollout(v1alpha1.RolloutSpec{Selection: c.sel})
			r.CreationTimestamp = metav1.NewTime(planNoon)
			_, quietSince, err := Select(r, fittingSet, c.population, nil)
			var got *Problem
			if !errors.As(err, &got) {
				t.Fatalf("error is %v, want a *Problem", err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !quietSince.Equal(planNoon) {
				t.Errorf("quiet since %s, want the rollout's creation", quietSince)
			}
		})
	}
}

func TestMakePlan(t *testing.T) {
	two := int32(2)
	r := planRollout(v1alpha1.RolloutSpec{GroupCount: &two, GroupOrder: v1alpha1.GroupOrderName})
	r.Labels = map[string]string{"argocd.argoproj.io/instance": "fleet"}
	r.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "fleet:goshawk.dev/Rollout:factory/fw-2"}
	groups, status, err := MakePlan(r, fittingSet, planTargets(3, nil), nil, planNoon)
	if err != nil {
		t.Fatal(err)
	}
	at := metav1.NewTime(planNoon)
	wantStatus := v1alpha1.PlanStatus{Hash: status.Hash, ContentHash: "c0ffee", SpecHash: SpecHash(r), CreatedAt: &at, Targets: 3, Groups: 2}
	if diff := cmp.Diff(wantStatus, status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	planned, err := Partition(r, planTargets(3, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := PlanHash("c0ffee", status.SpecHash, planned); status.Hash != want {
		t.Errorf("hash is %s, want %s", status.Hash, want)
	}
	yes := true
	want := &v1alpha1.DeploymentGroup{
		ObjectMeta: metav1.ObjectMeta{
			Name: groups[1].Name, Namespace: "factory",
			Labels:          map[string]string{"goshawk.dev/rollout": "fw-2", "app.kubernetes.io/managed-by": "goshawk"},
			Annotations:     map[string]string{"argocd.argoproj.io/ignore-resource-updates": "true"},
			Finalizers:      []string{"goshawk.dev/deploymentgroup"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "goshawk.dev/v1alpha1", Kind: "Rollout", Name: "fw-2", UID: "uid-1", Controller: &yes, BlockOwnerDeletion: &yes}},
		},
		Spec: v1alpha1.DeploymentGroupSpec{
			Rollout: "fw-2", RolloutUID: "uid-1", Group: "group-2", Index: 1, PlanHash: status.Hash,
			Conditions: v1alpha1.GroupConditions{SuccessThreshold: 50, SuccessAction: "NextGroup", ErrorThreshold: 50, ErrorAction: "Pause"},
			Targets:    []v1alpha1.TargetName{"dev-0002"},
		},
	}
	if diff := cmp.Diff(want, groups[1]); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
	if openFirstGroup, _, _ := strings.Cut(groups[1].Name, "-group-2-"); openFirstGroup != "fw-2" || len(groups[1].Name) != len("fw-2-group-2-")+10 {
		t.Errorf("name is %s, want fw-2-group-2- and ten digits", groups[1].Name)
	}
}

func TestNamesOfGroupsAreValidAndUnique(t *testing.T) {
	for name, rollout := range map[string]string{
		"short":                     "a",
		"with dots":                 "fw-2.1.0",
		"the longest name":          strings.Repeat("r", 253),
		"cut at a dot and a hyphen": strings.Repeat("r", 62) + "." + strings.Repeat("r", 137) + "-" + strings.Repeat("r", 52),
	} {
		t.Run(name, func(t *testing.T) {
			r := planRollout(v1alpha1.RolloutSpec{})
			r.Name = rollout
			g := Group{Name: strings.Repeat("g", 40)}
			object := NewDeploymentGroup(r, "sha256:1", 0, g)
			if faults := validation.IsDNS1123Subdomain(object.Name); len(faults) > 0 {
				t.Errorf("%s: %s", object.Name, faults)
			}
			if faults := validation.IsValidLabelValue(object.Labels[v1alpha1.RolloutLabel]); len(faults) > 0 {
				t.Errorf("%s: %s", object.Labels[v1alpha1.RolloutLabel], faults)
			}
			reborn := r.DeepCopy()
			reborn.UID = "uid-2"
			for what, other := range map[string]*v1alpha1.DeploymentGroup{
				"another plan":         NewDeploymentGroup(r, "sha256:2", 0, g),
				"a rollout re-created": NewDeploymentGroup(reborn, "sha256:1", 0, g),
			} {
				if other.Name == object.Name {
					t.Errorf("%s has groups of the same name", what)
				}
			}
		})
	}
}

func TestMakePlanReturnsProblems(t *testing.T) {
	r := planRollout(v1alpha1.RolloutSpec{Groups: []v1alpha1.Group{shareGroup("canary", 5, v1alpha1.Selection{})}})
	for want, population := range map[string][]*v1alpha1.Target{
		v1alpha1.ReasonNoTargets:       nil,
		v1alpha1.ReasonTargetsLeftOver: planTargets(100, nil),
	} {
		groups, status, err := MakePlan(r, fittingSet, population, nil, planNoon)
		var p *Problem
		if !errors.As(err, &p) || p.Reason != want {
			t.Errorf("error is %v, want %s", err, want)
		}
		if groups != nil || status != (v1alpha1.PlanStatus{}) {
			t.Errorf("there is an incomplete plan: %d groups, %+v", len(groups), status)
		}
	}
}

// BenchmarkPlan100000Targets500Groups makes a plan without an API server.
func BenchmarkPlan100000Targets500Groups(b *testing.B) {
	targets := planTargets(100_000, func(i int) map[string]string { return map[string]string{"site": "ulm", "serial": fmt.Sprint(i)} })
	for _, t := range targets {
		t.Status.Attributes = map[string]v1alpha1.AttributeValue{"hw": "B"}
		t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	}
	byLabel, byExpression, explicit := inEqualGroups(500), inEqualGroups(500), v1alpha1.RolloutSpec{}
	byLabel.Selection = labelled("site", "ulm")
	byExpression.TargetExpression = `target.attributes["hw"] == "B" && !target.inconsistent`
	for i := range 100 {
		explicit.Groups = append(explicit.Groups, shareGroup(fmt.Sprintf("g%d", i), 1, labelled("site", "ulm")))
	}
	for name, spec := range map[string]v1alpha1.RolloutSpec{"label": byLabel, "expression": byExpression, "100 explicit groups": explicit} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, status, err := MakePlan(planRollout(spec), fittingSet, targets, nil, planNoon); err != nil || status.Targets != 100_000 {
					b.Fatal(status, err)
				}
			}
		})
	}
}
