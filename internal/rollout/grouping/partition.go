// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/query"
)

// Partition spreads the candidates, which are selected and compatible, over the groups that the
// spec asks for. The order of the candidates does not matter. Every candidate gets into exactly one
// group; otherwise the error is a *Problem.
func Partition(r *v1alpha1.Rollout, candidates []*v1alpha1.Target, inventories query.Inventories) ([]Group, error) {
	if n := wantedGroups(&r.Spec); n > v1alpha1.MaxGroups {
		return nil, &Problem{v1alpha1.ReasonTooManyGroups,
			fmt.Sprintf("the spec asks for %d groups and a rollout may have %d: lower spec.groupCount or shorten spec.groups", n, v1alpha1.MaxGroups)}
	}
	groups, err := spread(r, inPlanOrder(r, candidates), inventories)
	if err != nil {
		return nil, err
	}
	for i := range groups {
		if err := checkGroupSize(&groups[i]); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

func spread(r *v1alpha1.Rollout, ordered []*v1alpha1.Target, inventories query.Inventories) ([]Group, error) {
	if len(r.Spec.Groups) == 0 {
		return equalGroups(r, ordered), nil
	}
	return explicitGroups(r, ordered, inventories)
}

func wantedGroups(spec *v1alpha1.RolloutSpec) int {
	if len(spec.Groups) > 0 {
		return len(spec.Groups)
	}
	if spec.GroupCount != nil {
		return int(*spec.GroupCount)
	}
	return 1
}

// inPlanOrder sorts the candidates by name, or by a hash that is salted with the name of the
// rollout, so that the first devices differ from rollout to rollout.
func inPlanOrder(r *v1alpha1.Rollout, candidates []*v1alpha1.Target) []*v1alpha1.Target {
	if r.Spec.GroupOrder == v1alpha1.GroupOrderName {
		ordered := slices.Clone(candidates)
		slices.SortFunc(ordered, func(a, b *v1alpha1.Target) int { return cmp.Compare(a.Name, b.Name) })
		return ordered
	}
	type placed struct {
		place  uint64
		target *v1alpha1.Target
	}
	places := make([]placed, len(candidates))
	salted := append([]byte(r.Name), 0)
	for i, t := range candidates {
		sum := sha256.Sum256(append(salted[:len(r.Name)+1], t.Name...))
		places[i] = placed{binary.BigEndian.Uint64(sum[:]), t}
	}
	slices.SortFunc(places, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.target.Name, b.target.Name))
	})
	ordered := make([]*v1alpha1.Target, len(places))
	for i := range places {
		ordered[i] = places[i].target
	}
	return ordered
}

// equalGroups fills group-1 to group-n, each with its share of the targets that are left.
func equalGroups(r *v1alpha1.Rollout, ordered []*v1alpha1.Target) []Group {
	n := wantedGroups(&r.Spec)
	groups := make([]Group, n)
	for i := range groups {
		size := share(len(ordered), 1, n-i)
		groups[i] = Group{
			Name:       fmt.Sprintf("group-%d", i+1),
			Conditions: Conditions(&r.Spec, nil),
			Targets:    namesOf(ordered[:size]),
		}
		ordered = ordered[size:]
	}
	return groups
}

// share returns part/whole of n, rounded half up.
func share(n, part, whole int) int { return (2*n*part + whole) / (2 * whole) }

// explicitGroups fills spec.groups in their order, each from the targets that its selection matches
// and no earlier group took. Percentages of groups with the same selection add up: the group that
// brings them to 100 takes all targets that are left, so that rounding leaves none out.
func explicitGroups(r *v1alpha1.Rollout, ordered []*v1alpha1.Target, inventories query.Inventories) ([]Group, error) {
	p := pool{all: ordered, taken: make([]bool, len(ordered)), matching: map[string][]int{}}
	spent := map[string]int{}
	groups := make([]Group, len(r.Spec.Groups))
	for i := range r.Spec.Groups {
		g := &r.Spec.Groups[i]
		q, err := query.Compile(g.Selection, inventories)
		if err != nil {
			return nil, &Problem{v1alpha1.ReasonInvalidExpression, fmt.Sprintf("spec.groups[%d].%s", i, err)}
		}
		left, before, percentage := p.of(q), spent[q.String()], percentageOf(g)
		size := len(left)
		if before+percentage < 100 {
			size = share(len(left), percentage, 100-before)
		}
		spent[q.String()] += percentage
		groups[i] = Group{Name: g.Name, Conditions: Conditions(&r.Spec, g), Targets: p.take(left[:size])}
	}
	return groups, leftOver(p.rest(), len(ordered))
}

func percentageOf(g *v1alpha1.Group) int {
	if g.Percentage == nil {
		return 100
	}
	return int(*g.Percentage)
}

// pool holds the targets that groups are filled from. It stores which targets are taken and
// which match each selection, so that no target is evaluated twice for the same selection.
type pool struct {
	all      []*v1alpha1.Target
	taken    []bool
	matching map[string][]int
}

// of returns the places of the targets that match and are not taken.
func (p *pool) of(q *query.Query) []int {
	left, evaluated := p.matching[q.String()]
	if evaluated {
		left = slices.DeleteFunc(left, func(i int) bool { return p.taken[i] })
	} else {
		for i, t := range p.all {
			if !p.taken[i] && q.Matches(t) {
				left = append(left, i)
			}
		}
	}
	p.matching[q.String()] = left
	return left
}

// take marks the targets at these places as taken and returns their names.
func (p *pool) take(places []int) []string {
	names := make([]string, len(places))
	for n, i := range places {
		p.taken[i] = true
		names[n] = p.all[i].Name
	}
	return names
}

func (p *pool) rest() []string {
	var names []string
	for i, t := range p.all {
		if !p.taken[i] {
			names = append(names, t.Name)
		}
	}
	return names
}

// leftOver returns the problem that no group took these targets; nil if there are none.
func leftOver(rest []string, total int) error {
	if len(rest) == 0 {
		return nil
	}
	return &Problem{v1alpha1.ReasonTargetsLeftOver, fmt.Sprintf(
		"spec.groups take %d of %d targets and leave %d without a group (%s): let the percentages of groups with the same selection add up to 100, and end with a group that has neither percentage nor selection, which takes all that are left",
		total-len(rest), total, len(rest), examples(rest))}
}

// examples lists at most three of the names, in alphabetical order.
func examples(names []string) string {
	names = slices.Sorted(slices.Values(names))
	if len(names) <= 3 {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:3], ", ") + ", ..."
}

func namesOf(targets []*v1alpha1.Target) []string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.Name
	}
	return names
}

// checkGroupSize returns a problem if a group is larger than one DeploymentGroup may be.
func checkGroupSize(g *Group) error {
	bytes := 0
	for _, name := range g.Targets {
		bytes += len(name)
	}
	if len(g.Targets) <= v1alpha1.MaxGroupTargets && bytes <= v1alpha1.MaxGroupBytes {
		return nil
	}
	return &Problem{v1alpha1.ReasonGroupTooLarge, fmt.Sprintf(
		"group %s would have %d targets with %d KiB of names and may have %d targets and %d KiB: raise spec.groupCount, or give spec.groups more groups with lower percentages",
		g.Name, len(g.Targets), (bytes+1023)>>10, v1alpha1.MaxGroupTargets, v1alpha1.MaxGroupBytes>>10)}
}
