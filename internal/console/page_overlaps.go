// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/internal/explain"
)

var overlapsPage = &page{
	pattern: "GET /overlaps", template: "overlaps", nav: "Overlaps", key: "o", section: "/overlaps",
	kinds: overlapKinds,
	load:  loadOverlaps,
}

// overlapKinds are the kinds that overlaps are computed from.
var overlapKinds = []Kind{Rollouts, AutoAssignments, Targets, DeploymentGroups, DistributionSets, SoftwareModules}

// overlapsView is the list of sources of updates that want the same targets.
type overlapsView struct {
	Namespaces []string
	Pairs      []explain.OverlapPair
	Pager      pager
	// At is when the oldest of them were computed, if that was not now.
	At time.Time
	// NotPlanned are the rollouts without a plan, by namespace and name.
	NotPlanned []namespacedName
}

type namespacedName struct{ Namespace, Name string }

func loadOverlaps(r *request) (content, error) {
	v := overlapsView{Namespaces: r.allNamespaces(Rollouts)}
	var pairs []explain.OverlapPair
	for _, namespace := range r.namespaces(Rollouts) {
		if !r.seesOverlaps(namespace) {
			continue // the page says so
		}
		overlaps, at, err := r.overlaps.of(namespace)
		if err != nil {
			return content{}, err
		}
		if at.Before(r.now) && (v.At.IsZero() || at.Before(v.At)) {
			v.At = at
		}
		for _, name := range overlaps.NotPlanned {
			v.NotPlanned = append(v.NotPlanned, namespacedName{namespace, name})
		}
		for _, p := range overlaps.Pairs {
			if matches(r.param("q"), p.First.Name, p.Second.Name, p.First.Update, p.Second.Update) {
				pairs = append(pairs, p)
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b explain.OverlapPair) int { return b.Targets - a.Targets })
	v.NotPlanned = v.NotPlanned[:min(len(v.NotPlanned), rowsPerPage)]
	var err error
	v.Pairs, v.Pager, err = paginate(r, pairs)
	return content{Title: "Overlaps", Data: &v}, err
}

// seesOverlaps reports whether the viewer may see everything that the overlaps of a namespace are
// computed from.
func (r *request) seesOverlaps(namespace string) bool {
	for _, kind := range overlapKinds {
		if !r.sees(kind, namespace) {
			return false
		}
	}
	return true
}
