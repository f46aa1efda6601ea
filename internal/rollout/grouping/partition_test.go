// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// planTargets returns n targets dev-0000 and so on. label, if given, returns the labels of target
// i.
func planTargets(n int, label func(i int) map[string]string) []*v1alpha1.Target {
	targets := make([]*v1alpha1.Target, n)
	for i := range targets {
		targets[i] = &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("dev-%04d", i), Namespace: "factory"}}
		if label != nil {
			targets[i].Labels = label(i)
		}
	}
	return targets
}

func planRollout(spec v1alpha1.RolloutSpec) *v1alpha1.Rollout {
	spec.Update.DistributionSet = "fw-2"
	return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "fw-2", Namespace: "factory", UID: "uid-1"}, Spec: spec}
}

func inEqualGroups(n int32) v1alpha1.RolloutSpec { return v1alpha1.RolloutSpec{GroupCount: &n} }

// labelled returns a selection of targets with this label.
func labelled(key, value string) v1alpha1.Selection {
	return v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(value)}}}
}

// shareGroup returns an explicit group; percent 0 means no percentage.
func shareGroup(name string, percent int32, sel v1alpha1.Selection) v1alpha1.Group {
	g := v1alpha1.Group{Name: name, Selection: sel}
	if percent > 0 {
		g.Percentage = &percent
	}
	return g
}

func sizesOf(groups []Group) []int {
	sizes := make([]int, len(groups))
	for i, g := range groups {
		sizes[i] = len(g.Targets)
	}
	return sizes
}

func plannedNames(groups []Group) [][]string {
	members := make([][]string, len(groups))
	for i, g := range groups {
		members[i] = g.Targets
	}
	return members
}

// checkEachTargetOnce fails unless every target is in exactly one group.
func checkEachTargetOnce(t testing.TB, groups []Group, targets []*v1alpha1.Target) {
	t.Helper()
	seen := map[string]int{}
	for _, g := range groups {
		for _, name := range g.Targets {
			seen[name]++
		}
	}
	for _, target := range targets {
		if seen[target.Name] != 1 {
			t.Fatalf("%s is in %d groups", target.Name, seen[target.Name])
		}
	}
	if len(seen) != len(targets) {
		t.Fatalf("the plan has %d members and there are %d targets", len(seen), len(targets))
	}
}

func TestEqualGroups(t *testing.T) {
	for name, c := range map[string]struct {
		targets int
		groups  int32
		want    []int
	}{
		"9 in 4":   {9, 4, []int{2, 2, 3, 2}},
		"8 in 4":   {8, 4, []int{2, 2, 2, 2}},
		"3 in 5":   {3, 5, []int{1, 1, 0, 1, 0}},
		"50 in 5":  {50, 5, []int{10, 10, 10, 10, 10}},
		"10 in 5":  {10, 5, []int{2, 2, 2, 2, 2}},
		"10 in 3":  {10, 3, []int{3, 4, 3}},
		"100 in 7": {100, 7, []int{14, 14, 14, 15, 14, 15, 14}},
		"1 in 1":   {1, 1, []int{1}},
		"1 in 3":   {1, 3, []int{0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			targets := planTargets(c.targets, nil)
			groups, err := Partition(planRollout(inEqualGroups(c.groups)), targets, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, sizesOf(groups)); diff != "" {
				t.Errorf("sizes (-want +got):\n%s", diff)
			}
			checkEachTargetOnce(t, groups, targets)
			if last := groups[len(groups)-1].Name; last != fmt.Sprintf("group-%d", c.groups) {
				t.Errorf("the name of the last group is %s", last)
			}
		})
	}
}

// TestW24_EqualGroupsDifferByAtMostOne: from 200 groups on hawkBit's percentages, kept in floating
// point, make one group far too large and leave the last ones empty.
func TestW24_EqualGroupsDifferByAtMostOne(t *testing.T) {
	for _, c := range []struct{ targets, groups int }{{100_499, 500}, {40_000, 200}, {20_001, 499}} {
		t.Run(fmt.Sprintf("%d targets in %d groups", c.targets, c.groups), func(t *testing.T) {
			groups, err := Partition(planRollout(inEqualGroups(int32(c.groups))), planTargets(c.targets, nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, size := range sizesOf(groups) {
				if floor := c.targets / c.groups; size != floor && size != floor+1 {
					t.Errorf("group %d has %d targets, want %d or %d", i+1, size, floor, floor+1)
				}
			}
		})
	}
}

func TestExplicitGroups(t *testing.T) {
	everybody := v1alpha1.Selection{}
	tenAreA := func(i int) map[string]string {
		if i%3 == 0 {
			return map[string]string{"filter": "A"}
		}
		return nil
	}
	for name, c := range map[string]struct {
		targets int
		groups  []v1alpha1.Group
		want    []int
	}{
		"a selection first, then 20 and 80 percent of the others": {30,
			[]v1alpha1.Group{shareGroup("a", 100, labelled("filter", "A")), shareGroup("b", 20, everybody), shareGroup("c", 80, everybody)}, []int{10, 4, 16}},
		"percentages are of all matching targets, not of the rest": {100,
			[]v1alpha1.Group{shareGroup("a", 10, everybody), shareGroup("b", 30, everybody), shareGroup("c", 60, everybody)}, []int{10, 30, 60}},
		"33, 33, 34 of 10": {10,
			[]v1alpha1.Group{shareGroup("a", 33, everybody), shareGroup("b", 33, everybody), shareGroup("c", 34, everybody)}, []int{3, 3, 4}},
		"half rounds up": {5,
			[]v1alpha1.Group{shareGroup("a", 50, everybody), shareGroup("b", 50, everybody)}, []int{3, 2}},
		"a group without a percentage takes all that are left": {10,
			[]v1alpha1.Group{shareGroup("canary", 5, everybody), shareGroup("rest", 0, everybody)}, []int{1, 9}},
		"percentages above 100 take all that are left": {10,
			[]v1alpha1.Group{shareGroup("a", 60, everybody), shareGroup("b", 60, everybody), shareGroup("c", 60, everybody)}, []int{6, 4, 0}},
		"each selection has percentages of its own": {30,
			[]v1alpha1.Group{
				shareGroup("a", 50, labelled("filter", "A")), shareGroup("b", 25, everybody),
				shareGroup("c", 50, labelled("filter", "A")), shareGroup("d", 75, everybody),
			}, []int{5, 6, 5, 14}},
		"a group may stay empty": {30,
			[]v1alpha1.Group{shareGroup("none", 100, labelled("filter", "Z")), shareGroup("rest", 0, everybody)}, []int{0, 30}},
		"an empty selector and none are the same selection": {10,
			[]v1alpha1.Group{shareGroup("a", 50, v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{}}), shareGroup("b", 50, everybody)}, []int{5, 5}},
		"an expression": {30,
			[]v1alpha1.Group{shareGroup("a", 0, v1alpha1.Selection{TargetExpression: `target.name < "dev-0007"`}), shareGroup("b", 0, everybody)}, []int{7, 23}},
	} {
		t.Run(name, func(t *testing.T) {
			targets := planTargets(c.targets, tenAreA)
			groups, err := Partition(planRollout(v1alpha1.RolloutSpec{GroupOrder: v1alpha1.GroupOrderName, Groups: c.groups}), targets, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, sizesOf(groups)); diff != "" {
				t.Errorf("sizes (-want +got):\n%s", diff)
			}
			checkEachTargetOnce(t, groups, targets)
		})
	}
}

// TestW12_TheOrderDoesNotChange: another order would make existing approvals invalid.
func TestW12_TheOrderDoesNotChange(t *testing.T) {
	three := int32(3)
	for name, c := range map[string]struct {
		order   v1alpha1.GroupOrder
		rollout string
		want    [][]string
	}{
		"by name":                     {v1alpha1.GroupOrderName, "fw-2", [][]string{{"dev-0000", "dev-0001"}, {"dev-0002", "dev-0003"}, {"dev-0004", "dev-0005"}}},
		"by hash":                     {v1alpha1.GroupOrderHash, "fw-2", [][]string{{"dev-0002", "dev-0001"}, {"dev-0004", "dev-0005"}, {"dev-0003", "dev-0000"}}},
		"by hash, the default":        {"", "fw-2", [][]string{{"dev-0002", "dev-0001"}, {"dev-0004", "dev-0005"}, {"dev-0003", "dev-0000"}}},
		"by hash, of another rollout": {v1alpha1.GroupOrderHash, "fw-3", [][]string{{"dev-0002", "dev-0001"}, {"dev-0003", "dev-0005"}, {"dev-0000", "dev-0004"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := planRollout(v1alpha1.RolloutSpec{GroupCount: &three, GroupOrder: c.order})
			r.Name = c.rollout
			targets := planTargets(6, nil)
			slices.Reverse(targets)
			groups, err := Partition(r, targets, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, plannedNames(groups)); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNeighborsAreSpread: devices of one batch have consecutive names, and are spread evenly over
// groups.
func TestNeighborsAreSpread(t *testing.T) {
	groups, err := Partition(planRollout(inEqualGroups(10)), planTargets(10_000, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	perBatch := map[string]int{}
	for _, name := range groups[0].Targets {
		perBatch[name[:len("dev-0")]]++
	}
	for batch, n := range perBatch {
		if n < 70 || n > 130 {
			t.Errorf("%d of the 1000 targets %s... are in the first of ten groups, want about 100", n, batch)
		}
	}
}

func TestNeitherGroupCountNorGroupsIsOneGroup(t *testing.T) {
	groups, err := Partition(planRollout(v1alpha1.RolloutSpec{GroupOrder: v1alpha1.GroupOrderName}), planTargets(3, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Group{{
		Name:       "group-1",
		Conditions: v1alpha1.GroupConditions{SuccessThreshold: 50, SuccessAction: "NextGroup", ErrorThreshold: 50, ErrorAction: "Pause"},
		Targets:    []string{"dev-0000", "dev-0001", "dev-0002"},
	}}
	if diff := cmp.Diff(want, groups); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConditionsAreInheritedOneByOne(t *testing.T) {
	zero, seventy, ten, no := int32(0), int32(70), int32(10), false
	spec := v1alpha1.RolloutSpec{
		Update:           v1alpha1.Update{ConfirmationRequired: true},
		SuccessThreshold: &seventy, SuccessAction: v1alpha1.SuccessActionPause, ErrorThreshold: &ten,
		Groups: []v1alpha1.Group{
			{Name: "a"},
			{Name: "b", SuccessThreshold: &zero},
			{Name: "c", SuccessAction: v1alpha1.SuccessActionNextGroup},
			{Name: "d", ErrorThreshold: &zero},
			{Name: "e", ConfirmationRequired: &no},
		},
	}
	groups, err := Partition(planRollout(spec), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inherited := v1alpha1.GroupConditions{SuccessThreshold: 70, SuccessAction: "Pause", ErrorThreshold: 10, ErrorAction: "Pause", ConfirmationRequired: true}
	b, c, d, e := inherited, inherited, inherited, inherited
	b.SuccessThreshold, c.SuccessAction, d.ErrorThreshold, e.ConfirmationRequired = 0, "NextGroup", 0, false
	for i, want := range []v1alpha1.GroupConditions{inherited, b, c, d, e} {
		if diff := cmp.Diff(want, groups[i].Conditions); diff != "" {
			t.Errorf("group %s (-want +got):\n%s", groups[i].Name, diff)
		}
	}
}

func TestW17_PartitionReturnsProblems(t *testing.T) {
	everybody := v1alpha1.Selection{}
	longNames := planTargets(3000, nil)
	for _, target := range longNames {
		target.Name += strings.Repeat("x", 241)
	}
	for name, c := range map[string]struct {
		spec    v1alpha1.RolloutSpec
		targets []*v1alpha1.Target
		want    Problem
	}{
		"percentages that do not add up to 100": {
			v1alpha1.RolloutSpec{GroupOrder: v1alpha1.GroupOrderName, Groups: []v1alpha1.Group{shareGroup("a", 20, everybody), shareGroup("b", 40, everybody)}}, planTargets(30, nil),
			Problem{v1alpha1.ReasonTargetsLeftOver, "spec.groups take 18 of 30 targets and leave 12 without a group (dev-0018, dev-0019, dev-0020, ...): let the percentages of groups with the same selection add up to 100, and end with a group that has neither percentage nor selection, which takes all that are left"}},
		"selections that leave targets over": {
			v1alpha1.RolloutSpec{Groups: []v1alpha1.Group{shareGroup("a", 0, v1alpha1.Selection{TargetExpression: `target.name != "dev-0001"`})}}, planTargets(3, nil),
			Problem{v1alpha1.ReasonTargetsLeftOver, "spec.groups take 2 of 3 targets and leave 1 without a group (dev-0001): let the percentages of groups with the same selection add up to 100, and end with a group that has neither percentage nor selection, which takes all that are left"}},
		"an invalid expression of a group": {
			v1alpha1.RolloutSpec{Groups: []v1alpha1.Group{shareGroup("a", 10, everybody), shareGroup("b", 0, v1alpha1.Selection{TargetExpression: "target.type"})}}, planTargets(3, nil),
			Problem{v1alpha1.ReasonInvalidExpression, `spec.groups[1].targetExpression: the result is a string, but must be true or false: compare it with a value, as in target.type == "gateway"`}},
		"an invalid selector of a group": {
			v1alpha1.RolloutSpec{Groups: []v1alpha1.Group{{Name: "a", Selection: v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{
				MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "site", Operator: "In"}}}}}}}, planTargets(3, nil),
			Problem{v1alpha1.ReasonInvalidExpression, `spec.groups[0].targetSelector.matchExpressions[0]: operator In needs values: add values, or use Exists or DoesNotExist`}},
		"501 groups": {inEqualGroups(501), planTargets(3, nil),
			Problem{v1alpha1.ReasonTooManyGroups, "the spec asks for 501 groups and a rollout may have 500: lower spec.groupCount or shorten spec.groups"}},
		"20001 targets in one group": {v1alpha1.RolloutSpec{}, planTargets(20_001, nil),
			Problem{v1alpha1.ReasonGroupTooLarge, "group group-1 would have 20001 targets with 167 KiB of names and may have 20000 targets and 700 KiB: raise spec.groupCount, or give spec.groups more groups with lower percentages"}},
		"names with more bytes than allowed": {v1alpha1.RolloutSpec{}, longNames,
			Problem{v1alpha1.ReasonGroupTooLarge, "group group-1 would have 3000 targets with 730 KiB of names and may have 20000 targets and 700 KiB: raise spec.groupCount, or give spec.groups more groups with lower percentages"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Partition(planRollout(c.spec), c.targets, nil)
			var got *Problem
			if !errors.As(err, &got) {
				t.Fatalf("error is %v, want a *Problem", err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestExplicitGroupsFollowTheFormula compares random groups with the formula as hawkBit documents
// it, in rational numbers: rest% = min(100, p*100/(100-S)), size = round half up(rest% * pool /
// 100).
func TestExplicitGroupsFollowTheFormula(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			targets := planTargets(random.IntN(200), func(int) map[string]string {
				return map[string]string{"ring": string(rune('a' + random.IntN(3)))}
			})
			var groups []v1alpha1.Group
			for i := range 1 + random.IntN(8) {
				g := shareGroup(fmt.Sprintf("g%d", i), int32(random.IntN(60)), v1alpha1.Selection{})
				if ring := random.IntN(5); ring < 3 {
					g.Selection = labelled("ring", string(rune('a'+ring)))
				}
				groups = append(groups, g)
			}
			groups = append(groups, shareGroup("rest", 0, v1alpha1.Selection{}))
			planned, err := Partition(planRollout(v1alpha1.RolloutSpec{Groups: groups}), targets, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkEachTargetOnce(t, planned, targets)
			if diff := cmp.Diff(sizesByFormula(groups, planned, targets), sizesOf(planned)); diff != "" {
				t.Errorf("sizes (-formula +got):\n%s", diff)
			}
		})
	}
}

// sizesByFormula computes each size from the groups before it.
func sizesByFormula(groups []v1alpha1.Group, planned []Group, targets []*v1alpha1.Target) []int {
	ring := func(g v1alpha1.Group) string {
		if g.TargetSelector == nil {
			return ""
		}
		return string(g.TargetSelector.MatchLabels["ring"])
	}
	taken := map[string]bool{}
	var sizes []int
	for i, g := range groups {
		spent := int64(0)
		for _, earlier := range groups[:i] {
			if ring(earlier) == ring(g) {
				spent += int64(percentageOf(&earlier))
			}
		}
		pool := int64(0)
		for _, t := range targets {
			if !taken[t.Name] && (ring(g) == "" || ring(g) == t.Labels["ring"]) {
				pool++
			}
		}
		sizes = append(sizes, sizeByFormula(int64(percentageOf(&g)), spent, pool))
		for _, name := range planned[i].Targets {
			taken[name] = true
		}
	}
	return sizes
}

func sizeByFormula(percent, spent, pool int64) int {
	rest := big.NewRat(100, 1)
	if 100-spent > 1 {
		if r := big.NewRat(percent*100, 100-spent); r.Cmp(rest) < 0 {
			rest = r
		}
	}
	exact := rest.Mul(rest, big.NewRat(pool, 100))
	exact.Add(exact, big.NewRat(1, 2))
	return int(new(big.Int).Div(exact.Num(), exact.Denom()).Int64())
}

func FuzzPartition(f *testing.F) {
	f.Add(uint16(9), uint16(4), uint64(1), false, []byte(nil))
	f.Add(uint16(3), uint16(5), uint64(2), true, []byte(nil))
	f.Add(uint16(30), uint16(0), uint64(3), false, []byte{100, 20, 80})
	f.Add(uint16(100), uint16(0), uint64(4), true, []byte{33, 33, 34})
	f.Add(uint16(7), uint16(0), uint64(5), false, []byte{10, 233, 90, 0})
	f.Fuzz(func(t *testing.T, targets, groupCount uint16, seed uint64, byName bool, percentages []byte) {
		spec := v1alpha1.RolloutSpec{}
		if byName {
			spec.GroupOrder = v1alpha1.GroupOrderName
		}
		count := 1 + int32(groupCount)%v1alpha1.MaxGroups
		spec.GroupCount = &count
		if len(percentages) > 0 {
			spec.GroupCount, spec.Groups = nil, fuzzedGroups(percentages)
		}
		fleet := planTargets(int(targets)%2000, func(i int) map[string]string { return map[string]string{"ring": fmt.Sprint(i % 3)} })
		r := planRollout(spec)
		groups, err := Partition(r, fleet, nil)
		shuffled := slices.Clone(fleet)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again, errAgain := Partition(r, shuffled, nil)
		if diff := cmp.Diff(groups, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("another order of the same targets gives another plan: %v, %v\n%s", err, errAgain, diff)
		}
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Reason != v1alpha1.ReasonTargetsLeftOver || len(spec.Groups) == 0 {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		checkEachTargetOnce(t, groups, fleet)
		if sizes := sizesOf(groups); len(spec.Groups) == 0 && slices.Max(sizes)-slices.Min(sizes) > 1 {
			t.Fatalf("equal groups of sizes %v", sizes)
		}
	})
}

// fuzzedGroups makes a group from each byte: a percentage, which is absent for 0, and a label
// selection for large bytes.
func fuzzedGroups(percentages []byte) []v1alpha1.Group {
	var groups []v1alpha1.Group
	for i, b := range percentages[:min(len(percentages), v1alpha1.MaxGroups)] {
		g := shareGroup(fmt.Sprintf("g%d", i), int32(b%101), v1alpha1.Selection{})
		if b > 200 {
			g.Selection = labelled("ring", fmt.Sprint(b%4))
		}
		groups = append(groups, g)
	}
	return groups
}
