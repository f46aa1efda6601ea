// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// Uses says which targets run a set, have an open action or an assignment of it, and how the
// updates of auto-assignments failed. It is shared: do not change it.
type Uses struct {
	installed         map[content]*Installed
	started, assigned map[types.NamespacedName]int
	failures          map[types.UID]*Failures
}

// content identifies what a target runs: by its hash or, without one, by the name of the set.
type content struct{ namespace, hash, name string }

// Installed counts the targets that run a set.
type Installed struct {
	Targets int `json:"targets"`
	// Statuses has a count for each of UpdateStatuses, and Problems one for each of
	// fleetcounts.Problems, in their order. A target counts for each of its problems.
	Statuses [5]int                         `json:"statuses"`
	Problems [len(fleetcounts.Problems)]int `json:"problems"`
}

func (n *Installed) add(w *row) {
	n.Targets++
	if i := slices.Index(UpdateStatuses, fleetcounts.StatusOf(w.target)); i >= 0 {
		n.Statuses[i]++
	}
	for i := range n.Problems {
		if w.problems&(1<<i) != 0 {
			n.Problems[i]++
		}
	}
}

// Failures are the failed updates of one source, by kind of failure.
type Failures struct {
	// Kinds, the most frequent first, at most 20.
	Kinds []FailureKind `json:"kinds"`
	// Others is the number of targets with another kind of failure.
	Others int `json:"others,omitempty"`
}

// FailureKind counts targets that failed in the same way. Code and Message are empty if the devices
// reported neither.
type FailureKind struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Targets int    `json:"targets"`
	// Examples are the names of the first 3 targets.
	Examples []string `json:"examples"`
}

// maxFailureKinds is the number of kinds that are kept for one source: devices can report any text.
const maxFailureKinds = 20

// Uses returns the uses of all sets. It takes one pass over the targets after a change.
func (r *Roster) Uses() *Uses {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	if r.uses == nil {
		r.uses = usesOf(r.rows)
	}
	return r.uses
}

func usesOf(rows []row) *Uses {
	u := &Uses{installed: map[content]*Installed{}, started: map[types.NamespacedName]int{}, assigned: map[types.NamespacedName]int{}, failures: map[types.UID]*Failures{}}
	for i := range rows {
		t := rows[i].target
		if key := contentOf(t.Namespace, t.Status.Installed); key.hash != "" || key.name != "" {
			if u.installed[key] == nil {
				u.installed[key] = &Installed{}
			}
			u.installed[key].add(&rows[i])
		}
		if a := action.Open(&t.Status); a != nil && a.DistributionSet != "" {
			u.started[types.NamespacedName{Namespace: t.Namespace, Name: a.DistributionSet}]++
		}
		if a := t.Spec.Assignment; a != nil && a.DistributionSet != "" {
			u.assigned[types.NamespacedName{Namespace: t.Namespace, Name: a.DistributionSet}]++
		}
		u.noteFailures(t)
	}
	for _, f := range u.failures {
		slices.SortFunc(f.Kinds, func(a, b FailureKind) int {
			return cmp.Or(cmp.Compare(b.Targets, a.Targets), strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
		})
	}
	return u
}

func contentOf(namespace string, i *v1alpha1.InstalledSet) content {
	switch {
	case i == nil:
		return content{}
	case i.ContentHash != "":
		return content{namespace: namespace, hash: i.ContentHash}
	}
	return content{namespace: namespace, name: i.DistributionSet}
}

// noteFailures counts the newest action of each auto-assignment, if it failed.
func (u *Uses) noteFailures(t *v1alpha1.Target) {
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if a.Source.Kind != v1alpha1.SourceAutoAssignment || a.State != v1alpha1.ActionError || action.OfSource(&t.Status, a.Source.UID) != a {
			continue
		}
		f := u.failures[a.Source.UID]
		if f == nil {
			f = &Failures{}
			u.failures[a.Source.UID] = f
		}
		f.note(action.FailureOf(a), t.Name)
	}
}

func (f *Failures) note(kind action.Failure, target string) {
	i := slices.IndexFunc(f.Kinds, func(k FailureKind) bool { return k.Code == kind.Code && k.Message == kind.Message })
	if i < 0 {
		if len(f.Kinds) >= maxFailureKinds {
			f.Others++
			return
		}
		i = len(f.Kinds)
		f.Kinds = append(f.Kinds, FailureKind{Code: kind.Code, Message: kind.Message})
	}
	k := &f.Kinds[i]
	k.Targets++
	if len(k.Examples) < maxExamples {
		k.Examples = append(k.Examples, target)
	}
}

// Installed returns the counts of the targets that run the content of a set, as UseInstalled of a
// query selects them.
func (u *Uses) Installed(set *v1alpha1.DistributionSet) Installed {
	var sum Installed
	for _, key := range []content{{set.Namespace, set.Status.ContentHash, ""}, {set.Namespace, "", set.Name}} {
		n := u.installed[key]
		if n == nil || key.hash == "" && key.name == "" {
			continue
		}
		sum.Targets += n.Targets
		for i := range n.Statuses {
			sum.Statuses[i] += n.Statuses[i]
		}
		for i := range n.Problems {
			sum.Problems[i] += n.Problems[i]
		}
	}
	return sum
}

// Started returns the number of targets with an open action of a set.
func (u *Uses) Started(set types.NamespacedName) int { return u.started[set] }

// Assigned returns the number of targets whose own assignment names a set.
func (u *Uses) Assigned(set types.NamespacedName) int { return u.assigned[set] }

// FailuresOf returns the failures of an auto-assignment.
func (u *Uses) FailuresOf(a *v1alpha1.AutoAssignment) Failures {
	if f := u.failures[a.Identity()]; f != nil {
		return *f
	}
	return Failures{Kinds: []FailureKind{}}
}
