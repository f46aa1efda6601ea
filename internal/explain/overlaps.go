// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Overlaps are the rollouts, auto-assignments and assignments of a namespace that want different
// updates on the same targets. Those that have ended are left out.
type Overlaps struct {
	Namespace string `json:"namespace"`
	// Pairs that share targets, those that share most first.
	Pairs []OverlapPair `json:"pairs"`
	// NotPlanned are the names of rollouts that have no plan yet: their targets are not known.
	NotPlanned []string `json:"notPlanned,omitempty"`
}

// OverlapPair is what two sources of updates share, and which of the two wins if both have started,
// opened all their groups and are not paused. Other sources do not count.
type OverlapPair struct {
	Namespace string `json:"namespace"`
	// First is the source that wins on more of the shared targets.
	First  OverlapSource `json:"first"`
	Second OverlapSource `json:"second"`
	// Targets is the number of shared targets. On FirstOnly of them only the first source brings
	// its update from now on, on SecondOnly only the second one, and on Both both do, one after the
	// other. On the rest neither does: the target has had the update, or never gets it.
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
	opened, at, err := s.opened(shared)
	if err != nil {
		return nil, err
	}
	for key, count := range countPairs(opened, shared, at) {
		out.Pairs = append(out.Pairs, pairOf(opened, x, namespace, key, count, at))
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

// sourcePair are two sources, in the order of comparePair.
type sourcePair struct{ first, second source }

// pairCount counts the targets that two sources share. examples has targets on which the first, the
// second, both or neither bring their update.
type pairCount struct {
	targets, first, second, both int
	examples                     [4][]string
}

// Places of examples.
const (
	byFirst = iota
	bySecond
	byBoth
	byNeither
)

// countPairs compares the sources that reach a target two by two.
func countPairs(opened *fleet.Index, targets []*v1alpha1.Target, at time.Time) map[sourcePair]*pairCount {
	parts := make([]map[sourcePair]*pairCount, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	for i := range parts {
		from, to := len(targets)*i/len(parts), len(targets)*(i+1)/len(parts)
		wait.Go(func() {
			parts[i] = map[sourcePair]*pairCount{}
			for _, t := range targets[from:to] {
				comparePairs(parts[i], opened.World(t, at))
			}
		})
	}
	wait.Wait()
	for _, part := range parts[1:] {
		for key, count := range part {
			if parts[0][key] == nil {
				parts[0][key] = &pairCount{}
			}
			parts[0][key].merge(count)
		}
	}
	return parts[0]
}

func (c *pairCount) merge(other *pairCount) {
	c.targets, c.first, c.second, c.both = c.targets+other.targets, c.first+other.first, c.second+other.second, c.both+other.both
	for i := range c.examples {
		c.examples[i] = firstNames(c.examples[i], other.examples[i])
	}
}

// comparePairs adds the pairs of intents of one target.
func comparePairs(counts map[sourcePair]*pairCount, w offer.World) {
	intents := slices.DeleteFunc(slices.Clone(w.Intents), func(in *eligibility.Intent) bool {
		return in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Stopped
	})
	for i, a := range intents {
		for _, b := range intents[i+1:] {
			if eligibility.IsSameSubject(&a.Update, &b.Update) {
				continue
			}
			w.Intents = []*eligibility.Intent{a, b}
			key := sourcePair{sourceOfIntent(a), sourceOfIntent(b)}
			if comparePair(key.first, key.second) > 0 {
				key = sourcePair{key.second, key.first}
			}
			if counts[key] == nil {
				counts[key] = &pairCount{}
			}
			counts[key].add(key, w)
		}
	}
}

func (c *pairCount) add(key sourcePair, w offer.World) {
	c.targets++
	first, second := false, false
	for _, v := range offer.Rank(w) {
		is, _ := gets(&v)
		first = first || is && sourceFor(&v) == key.first
		second = second || is && sourceFor(&v) == key.second
	}
	place := byNeither
	switch {
	case first && second:
		c.both++
		place = byBoth
	case first:
		c.first++
		place = byFirst
	case second:
		c.second++
		place = bySecond
	}
	if len(c.examples[place]) < maxExamples {
		c.examples[place] = append(c.examples[place], w.Target.Name)
	}
}

func sourceOfIntent(in *eligibility.Intent) source {
	return sourceFor(&offer.Verdict{Intent: in})
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

// pairOf returns what two sources share.
func pairOf(opened, x *fleet.Index, namespace string, key sourcePair, c *pairCount, at time.Time) OverlapPair {
	if c.second > c.first {
		key = sourcePair{key.second, key.first}
		c = &pairCount{c.targets, c.second, c.first, c.both, [4][]string{c.examples[bySecond], c.examples[byFirst], c.examples[byBoth], c.examples[byNeither]}}
	}
	p := OverlapPair{
		Namespace: namespace, First: overlapSource(x, namespace, key.first), Second: overlapSource(x, namespace, key.second),
		Targets: c.targets, FirstOnly: c.first, SecondOnly: c.second, Both: c.both,
	}
	for _, place := range []int{byFirst, byBoth, bySecond, byNeither} {
		if p.Examples = c.examples[place]; len(p.Examples) > 0 {
			break
		}
	}
	p.Outcome, p.Why = overlapWords(&p), whyOverlap(opened, &p, key, at)
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
	if n := p.Targets - p.FirstOnly - p.SecondOnly - p.Both; n > 0 {
		parts = append(parts, fmt.Sprintf("neither changes anything on %s: they have had their update, or never get it", all(n)))
	}
	outcome := strings.Join(parts, "; ")
	return strings.ToUpper(outcome[:1]) + outcome[1:] + "."
}

// whyOverlap returns the reason of the outcome on the first example: why the source that does not
// win there brings nothing or waits.
func whyOverlap(opened *fleet.Index, p *OverlapPair, key sourcePair, at time.Time) string {
	t := opened.Target(types.NamespacedName{Namespace: p.Namespace, Name: p.Examples[0]})
	w := opened.World(t, at)
	w.Intents = slices.DeleteFunc(w.Intents, func(in *eligibility.Intent) bool {
		s := sourceOfIntent(in)
		return s != key.first && s != key.second
	})
	reason := ""
	for _, v := range offer.Judge(w) {
		is, _ := gets(&v)
		if v.Reason.Message != "" && (!is || reason == "") {
			reason = v.Reason.Message
		}
		if !is {
			break
		}
	}
	return reason
}

// With returns the pairs that a source is one of.
func (o *Overlaps) With(kind v1alpha1.SourceKind, name string) []OverlapPair {
	var pairs []OverlapPair
	for _, p := range o.Pairs {
		for _, s := range []OverlapSource{p.First, p.Second} {
			if s.Kind == kind && s.Name == name {
				pairs = append(pairs, p)
			}
		}
	}
	return pairs
}
