// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/url"
	"slices"

	"github.com/goshawk-dev/goshawk/internal/explain"
)

// hitsShown is the number of objects of one kind that a search shows.
const hitsShown = 10

var searchPage = &page{
	pattern: "GET /search", template: "search", section: "/search", still: true,
	kinds: []Kind{Rollouts, DistributionSets, SoftwareModules, Targets, AutoAssignments}, anyKind: true,
	load: loadSearch,
}

// searchView is what a search has found.
type searchView struct {
	Searched string
	Kinds    []foundKind
}

// foundKind is what a search has found of a kind.
type foundKind struct {
	Kind    Kind
	Heading string
	explain.Found
	// All is the list of all of them. Empty: all are shown, or there is no such list.
	All string
}

func loadSearch(r *request) (content, error) {
	v := searchView{Searched: r.param("q")}
	if v.Searched == "" {
		return content{Title: "Search", Data: v}, nil
	}
	in := func(kind Kind) func(string) bool {
		seen := r.namespaces(kind)
		return func(namespace string) bool {
			_, found := slices.BinarySearch(seen, namespace)
			return found
		}
	}
	found := explain.Search(r.index, v.Searched, explain.SearchScope{
		Rollouts: in(Rollouts), Sets: in(DistributionSets), Modules: in(SoftwareModules), Targets: in(Targets), AutoAssignments: in(AutoAssignments),
	}, hitsShown)
	for _, k := range []foundKind{
		{Kind: Rollouts, Heading: "Rollouts", Found: found.Rollouts},
		{Kind: DistributionSets, Heading: "Distribution sets", Found: found.Sets},
		{Kind: SoftwareModules, Heading: "Software modules", Found: found.Modules},
		{Kind: Targets, Heading: "Targets", Found: found.Targets},
		{Kind: AutoAssignments, Heading: "Auto-assignments", Found: found.AutoAssignments},
	} {
		if k.Total == 1 && found.Total() == 1 && k.Kind != SoftwareModules {
			return content{}, &redirect{path: objectPath(k.Kind, k.Hits[0].Namespace, k.Hits[0].Name)}
		}
		if k.Total > len(k.Hits) && k.Kind != SoftwareModules {
			k.All = withParam(&url.URL{Path: listPath(k.Kind)}, "q", v.Searched)
		}
		if k.Total > 0 {
			v.Kinds = append(v.Kinds, k)
		}
	}
	return content{Title: "Search: " + v.Searched, Data: v}, nil
}
