// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// Hit is an object that a search has found.
type Hit struct {
	Namespace, Name string
	// About is what else is known about the object, such as its version.
	About string
	// rank is lower for what a person means more probably.
	rank int
}

// Found are the objects of one kind that a search has found, the best ones first.
type Found struct {
	Hits []Hit
	// Total is the number of all that match.
	Total int
	// worst is the last hit that is kept. nil: there are few.
	worst *Hit
}

// SearchScope reports which namespaces of each kind are searched.
type SearchScope struct {
	Rollouts, Sets, Modules, Targets, AutoAssignments func(namespace string) bool
}

// SearchResult has what a search has found.
type SearchResult struct {
	Rollouts, Sets, Modules, Targets, AutoAssignments Found
}

// Total returns the number of all objects that match.
func (r *SearchResult) Total() int {
	return r.Rollouts.Total + r.Sets.Total + r.Modules.Total + r.Targets.Total + r.AutoAssignments.Total
}

// Search returns the objects whose name contains the text in any case, at most limit of each kind.
// Targets are also found by controllerID, sets and modules by the name and the version of their
// software, rollouts and auto-assignments by their set. A text NAMESPACE/NAME finds names in one
// namespace.
func Search(x *fleet.Index, searched string, in SearchScope, limit int) SearchResult {
	s := search{limit: limit}
	if namespace, name, ok := strings.Cut(searched, "/"); ok {
		s.namespace, s.text = namespace, strings.ToLower(name)
	} else {
		s.text = strings.ToLower(searched)
	}
	var r SearchResult
	for _, o := range x.AllRollouts() {
		s.add(&r.Rollouts, in.Rollouts, o.Namespace, o.Name, o.Spec.Update.DistributionSet)
	}
	for _, o := range x.AllSets() {
		s.add(&r.Sets, in.Sets, o.Namespace, o.Name, joined(o.Spec.Name, o.Spec.Version))
	}
	for _, o := range x.AllModules() {
		s.add(&r.Modules, in.Modules, o.Namespace, o.Name, joined(o.Spec.Name, o.Spec.Version))
	}
	for _, o := range x.AllTargets() {
		about := o.ControllerID()
		if about == o.Name {
			about = ""
		}
		s.add(&r.Targets, in.Targets, o.Namespace, o.Name, about)
	}
	for _, o := range x.AllAutoAssignments() {
		s.add(&r.AutoAssignments, in.AutoAssignments, o.Namespace, o.Name, o.Spec.Update.DistributionSet)
	}
	for _, f := range []*Found{&r.Rollouts, &r.Sets, &r.Modules, &r.Targets, &r.AutoAssignments} {
		s.sort(f)
	}
	return r
}

func joined(name, version string) string { return strings.TrimSpace(name + " " + version) }

// search is a search that is running.
type search struct {
	// namespace is empty for all namespaces. text is in lower case.
	namespace, text string
	limit           int
}

// add adds an object if it matches.
func (s *search) add(f *Found, searched func(namespace string) bool, namespace, name, about string) {
	rank := s.rank(name, about)
	if rank < 0 || s.namespace != "" && s.namespace != namespace || !searched(namespace) {
		return
	}
	f.Total++
	hit := Hit{Namespace: namespace, Name: name, About: about, rank: rank}
	if f.worst != nil && compareHits(hit, *f.worst) >= 0 {
		return
	}
	f.Hits = append(f.Hits, hit)
	if len(f.Hits) >= 16*s.limit {
		s.sort(f)
	}
}

// rank returns how well an object matches, lower is better, or a negative number if it does not.
func (s *search) rank(name, about string) int {
	about = strings.ToLower(about)
	switch {
	case name == s.text, about == s.text && about != "":
		return 0
	case strings.HasPrefix(name, s.text):
		return 1
	case strings.Contains(name, s.text):
		return 2
	case strings.Contains(about, s.text):
		return 3
	}
	return -1
}

// sort keeps the best hits.
func (s *search) sort(f *Found) {
	slices.SortFunc(f.Hits, compareHits)
	if len(f.Hits) > s.limit {
		f.Hits = f.Hits[:s.limit]
		f.worst = new(f.Hits[s.limit-1])
	}
}

func compareHits(a, b Hit) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
}
