// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Overlaps are the rollouts, auto-assignments and assignments of a namespace that want different
// updates on the same targets, if every rollout starts and opens all its groups, and paused ones go
// on. Those that have ended are left out.
type Overlaps struct {
	Namespace string `json:"namespace"`
	// Pairs that share targets, those that share most first.
	Pairs []OverlapPair `json:"pairs"`
	// NotPlanned are the names of rollouts that have no plan yet: their targets are not known.
	NotPlanned []string `json:"notPlanned,omitempty"`
}

// OverlapPair is what two sources of updates share.
type OverlapPair struct {
	Namespace string `json:"namespace"`
	// First is the source that wins on more of the shared targets.
	First  OverlapSource `json:"first"`
	Second OverlapSource `json:"second"`
	// Targets is the number of shared targets. On FirstOnly of them only the first source brings its
	// update from now on, on SecondOnly only the second one, on Both both do, one after the other, and
	// on the rest neither does: they have had their update, or never get it.
	Targets    int `json:"targets"`
	FirstOnly  int `json:"firstOnly"`
	SecondOnly int `json:"secondOnly"`
	Both       int `json:"both"`
	// Outcome says which of them wins, and Why gives the reason, for the first of Examples.
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
	// Examples are the names of up to 3 shared targets.
	Examples []string `json:"examples"`
}

// Neither is the number of shared targets on which neither source brings its update.
func (p *OverlapPair) Neither() int { return p.Targets - p.FirstOnly - p.SecondOnly - p.Both }

// OverlapSource is a rollout, an auto-assignment, or all assignments of single targets.
type OverlapSource struct {
	Kind v1alpha1.SourceKind `json:"kind"`
	// Name is empty for assignments of targets.
	Name   string `json:"name,omitempty"`
	Update string `json:"update,omitempty"`
	// State of the object.
	State string `json:"state,omitempty"`
}

// Words returns the kind of the source with its name.
func (s *OverlapSource) Words() string {
	if s.Kind == v1alpha1.SourceTarget {
		return "the assignment of the target"
	}
	return (&Source{Kind: s.Kind, Name: s.Name}).Words()
}

// OverlapsOf returns the overlaps of a namespace. It looks at every target of the namespace, and
// computes the offer for those that several sources reach.
func OverlapsOf(x *fleet.Index, namespace string, now time.Time) (*Overlaps, error) {
	out := &Overlaps{Namespace: namespace, Pairs: []OverlapPair{}}
	for _, r := range x.Rollouts(namespace) {
		if r.Status.Plan == nil && isLive(r) {
			out.NotPlanned = append(out.NotPlanned, r.Name)
		}
	}
	shared := sharedTargets(x, namespace)
	if len(shared) == 0 {
		return out, nil
	}
	s := &simulation{World: World{Namespace: namespace, Now: now}, index: x}
	for _, set := range x.DistributionSets(namespace) {
		s.content = append(s.content, set)
	}
	for _, m := range x.Modules(namespace) {
		s.content = append(s.content, m)
	}
	all, opened, at, err := s.outcomesOf(shared)
	if err != nil {
		return nil, err
	}
	for first := range all {
		for second := range all[first].overlaps {
			wins, loses := all[first].overlaps[second].Wins, all[first].overlaps[second].Loses
			isFirst := wins > loses || wins == loses && comparePair(first, second) < 0
			if isFirst && !hasEnded(x, namespace, first) && !hasEnded(x, namespace, second) {
				out.Pairs = append(out.Pairs, pairOf(all, opened, x, namespace, first, second, at))
			}
		}
	}
	slices.SortFunc(out.Pairs, func(a, b OverlapPair) int {
		return cmp.Or(cmp.Compare(b.Targets, a.Targets), compareSources(&a.First, &b.First), compareSources(&a.Second, &b.Second))
	})
	return out, nil
}

func comparePair(a, b source) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
}

func compareSources(a, b *OverlapSource) int {
	return comparePair(source{a.Kind, a.Name}, source{b.Kind, b.Name})
}

func isLive(r *v1alpha1.Rollout) bool {
	return !rollout.IsOver(r) && !rollout.IsStopped(r) && r.DeletionTimestamp.IsZero() && r.Unreadable == nil
}

// hasEnded reports whether a source offers nothing any more.
func hasEnded(x *fleet.Index, namespace string, s source) bool {
	if s.kind != v1alpha1.SourceAutoAssignment {
		return false
	}
	a := x.AutoAssignment(types.NamespacedName{Namespace: namespace, Name: s.name})
	return a == nil || a.Status.State == v1alpha1.AutoAssignmentStopped || !a.DeletionTimestamp.IsZero()
}

// sharedTargets returns the targets that several sources reach, sorted by name.
func sharedTargets(x *fleet.Index, namespace string) []*v1alpha1.Target {
	var shared []*v1alpha1.Target
	for _, t := range x.Targets(namespace) {
		n := len(x.Selecting(t))
		if t.Spec.Assignment != nil {
			n++
		}
		for _, m := range x.Memberships(keyOf(t)) {
			r := x.Rollout(types.NamespacedName{Namespace: namespace, Name: m.Group.Spec.Rollout})
			if r != nil && isLive(r) && grouping.BelongsTo(m.Group, r) {
				n++
			}
		}
		if n > 1 {
			shared = append(shared, t)
		}
	}
	return shared
}

// pairOf returns what two sources share, of which the first one wins on more targets.
func pairOf(all outcomes, opened, x *fleet.Index, namespace string, first, second source, at time.Time) OverlapPair {
	o := all[first].overlaps[second]
	p := OverlapPair{
		Namespace: namespace, First: overlapSource(x, namespace, first), Second: overlapSource(x, namespace, second),
		Targets: o.Targets, FirstOnly: o.Wins, SecondOnly: o.Loses, Both: o.Both, Examples: o.Examples,
	}
	if lost := all[second].losses[first]; len(lost) > 0 {
		p.Examples = lost
	}
	p.Outcome, p.Why = overlapWords(&p), whyOverlap(opened, &p, at)
	return p
}

func overlapSource(x *fleet.Index, namespace string, s source) OverlapSource {
	key, out := types.NamespacedName{Namespace: namespace, Name: s.name}, OverlapSource{Kind: s.kind, Name: s.name}
	switch s.kind {
	case v1alpha1.SourceRollout:
		if r := x.Rollout(key); r != nil {
			out.Update, out.State = r.Spec.Update.Subject(), string(cmp.Or(r.Status.State, v1alpha1.RolloutCreating))
		}
	case v1alpha1.SourceAutoAssignment:
		if a := x.AutoAssignment(key); a != nil {
			out.Update, out.State = a.Spec.Update.Subject(), string(cmp.Or(a.Status.State, v1alpha1.AutoAssignmentReady))
		}
	case v1alpha1.SourceTarget:
	}
	return out
}

// overlapWords says which of two sources wins.
func overlapWords(p *OverlapPair) string {
	all := func(n int) string {
		if n == p.Targets {
			return "all shared targets"
		}
		return text.Count(n, "target")
	}
	var parts []string
	if p.FirstOnly > 0 {
		parts = append(parts, fmt.Sprintf("%s wins on %s", p.First.Words(), all(p.FirstOnly)))
	}
	if p.SecondOnly > 0 {
		parts = append(parts, fmt.Sprintf("%s wins on %s", p.Second.Words(), all(p.SecondOnly)))
	}
	if p.Both > 0 {
		parts = append(parts, fmt.Sprintf("%s get both updates, one after the other", all(p.Both)))
	}
	if n := p.Neither(); n > 0 {
		parts = append(parts, fmt.Sprintf("%s get neither any more: they have had their update, or never get it", all(n)))
	}
	outcome := strings.Join(parts, "; ")
	return strings.ToUpper(outcome[:1]) + outcome[1:] + "."
}

// whyOverlap returns the reason of the outcome on the first example: why the source that does not
// win there brings nothing or waits.
func whyOverlap(opened *fleet.Index, p *OverlapPair, at time.Time) string {
	if len(p.Examples) == 0 {
		return ""
	}
	t := opened.Target(types.NamespacedName{Namespace: p.Namespace, Name: p.Examples[0]})
	if t == nil {
		return ""
	}
	reason := ""
	for _, v := range offer.Judge(opened.World(t, at)) {
		s := sourceFor(&v)
		if s != (source{p.First.Kind, p.First.Name}) && s != (source{p.Second.Kind, p.Second.Name}) {
			continue
		}
		if is, _ := gets(&v); v.Reason.Message != "" && (!is || reason == "") {
			reason = v.Reason.Message
			if !is {
				break
			}
		}
	}
	return reason
}
