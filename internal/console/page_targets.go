// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

var targetsPage = &page{
	pattern: "GET /targets", template: "targets", nav: "Targets", key: "t", section: "/targets",
	kinds: []Kind{Targets},
	load:  loadTargets,
}

var targetPage = &page{
	pattern: "GET /targets/{namespace}/{name}", template: "target", section: "/targets",
	kinds: []Kind{Targets, Rollouts, DeploymentGroups, AutoAssignments, DistributionSets, SoftwareModules, Inventories},
	load:  loadTarget,
}

// targetsView is a list of targets.
type targetsView struct {
	Namespaces []string
	Statuses   []choice
	Problems   []choice
	Targets    []explain.TargetState
	Pager      pager
	// Of is the number of targets without the filter.
	Of int
	// IsFiltered is true if there is a filter other than the namespace.
	IsFiltered bool
	// Uses are the ways in which targets use the set of the filter.
	Uses []choice
}

// choice is a value of a filter.
type choice struct {
	Value, Words string
	Chosen       bool
}

// maxFilter is the maximum length of a text of the filter.
const maxFilter = 512

func loadTargets(r *request) (content, error) {
	q, v, err := r.targetQuery()
	if err != nil {
		return content{}, err
	}
	q.Namespaces = append([]string{}, r.namespaces(Targets)...)
	p := r.roster.Page(&q, r.pageNumber(), rowsPerPage)
	v.Targets, v.Of = p.Targets, p.Of
	v.Pager, err = r.pager(p.Total)
	return content{Title: "Targets", Data: &v}, err
}

// pageNumber returns the number of the page of the query; pager reports an invalid one.
func (r *request) pageNumber() int {
	n, err := strconv.Atoi(r.param("page"))
	if err != nil {
		return 1
	}
	return n
}

// targetQuery returns the filter of the query.
func (r *request) targetQuery() (explain.TargetQuery, targetsView, error) {
	q := explain.TargetQuery{Set: r.param("set"), Use: explain.Use(r.param("use")), Text: r.param("q")}
	v := targetsView{Namespaces: r.allNamespaces(Targets)}
	for _, name := range []string{"q", "set", "label"} {
		if len(r.param(name)) > maxFilter {
			return q, v, badRequest("%s has more than %d characters.", name, maxFilter)
		}
	}
	if _, err := r.oneOf("use", string(explain.UseInstalled), string(explain.UseStarted), string(explain.UseAssigned)); err != nil {
		return q, v, err
	}
	v.Uses = []choice{{string(explain.UseNamed), "runs", q.Use == explain.UseNamed}, {string(explain.UseInstalled), "runs the content of", q.Use == explain.UseInstalled},
		{string(explain.UseStarted), "is getting", q.Use == explain.UseStarted}, {string(explain.UseAssigned), "is assigned", q.Use == explain.UseAssigned}}
	if l := r.param("label"); l != "" {
		selector, err := labels.Parse(l)
		if err != nil {
			return q, v, badRequest("label is %q, which is no label selector such as site=berlin,hardware!=v1: %v.", l, err)
		}
		q.Labels = selector
	}
	states := slices.DeleteFunc(r.url.Query()["state"], func(s string) bool { return s == "" })
	for _, status := range explain.UpdateStatuses {
		chosen := slices.Contains(states, string(status))
		v.Statuses = append(v.Statuses, choice{string(status), string(status), chosen})
		if chosen {
			q.Statuses = append(q.Statuses, status)
		}
	}
	for _, problem := range fleetcounts.Problems {
		chosen := slices.Contains(states, string(problem))
		v.Problems = append(v.Problems, choice{string(problem), problemWords[problem].name, chosen})
		if chosen {
			q.Problems = append(q.Problems, problem)
		}
	}
	known := slices.Concat(namesOf(explain.UpdateStatuses), namesOf(fleetcounts.Problems[:]))
	for _, s := range states {
		if !slices.Contains(known, s) {
			return q, v, badRequest("state is %q; it must be one of %s.", s, strings.Join(known, ", "))
		}
	}
	v.IsFiltered = len(states) > 0 || q.Set != "" || q.Text != "" || q.Labels != nil
	return q, v, nil
}

// targetView is one target.
type targetView struct {
	explain.TargetDetail
	Object   *v1alpha1.Target
	Problems []Badge
	// Peers is what sets the target apart from its peers. nil: it has none.
	Peers    *explain.PeerComparison
	PeersAre string
	// ShowsOffer is true if the viewer may see everything that an offer depends on.
	ShowsOffer bool
	// ShowsInventory is true if the viewer may see the inventory.
	ShowsInventory bool
}

// GetsNothing reports whether the device gets nothing if it asks now.
func (v *targetView) GetsNothing() bool { return v.Now.Kind == offer.Nothing }

// ShowsNext reports whether the next update is another one than the one that the device waits for.
func (v *targetView) ShowsNext() bool {
	return v.Next != nil && !(v.GetsNothing() && v.Now.Source != nil && *v.Now.Source == v.Next.Source)
}

// maxPeers is the number of targets with which a target is compared.
const maxPeers = 200

func loadTarget(r *request) (content, error) {
	namespace, name := r.path("namespace"), r.path("name")
	if err := r.require(Targets, namespace); err != nil {
		return content{}, err
	}
	t := r.index.Target(types.NamespacedName{Namespace: namespace, Name: name})
	if t == nil {
		return content{}, notFound(Targets, namespace, name)
	}
	v := targetView{Object: t, ShowsOffer: true, ShowsInventory: r.sees(Inventories, namespace), PeersAre: explain.PeersWords(t)}
	for _, kind := range []Kind{Rollouts, DeploymentGroups, AutoAssignments, DistributionSets, SoftwareModules} {
		v.ShowsOffer = v.ShowsOffer && r.sees(kind, namespace)
	}
	v.TargetDetail = explain.TargetOf(r.index, t, v.ShowsInventory, r.now)
	for _, problem := range fleetcounts.Problems {
		if fleetcounts.Has(t, problem) {
			v.Problems = append(v.Problems, badgeOf(problemWords[problem].name, problemWords[problem].tone))
		}
	}
	self := explain.Compared{Target: t}
	peers := r.roster.Peers(t, maxPeers)
	if v.ShowsInventory {
		self.Inventory = r.index.InventoryObject(types.NamespacedName{Namespace: namespace, Name: name})
	} else {
		for i := range peers {
			peers[i].Inventory = nil
		}
	}
	if len(peers) > 0 {
		c := explain.CompareWithPeers(self, peers)
		v.Peers = &c
	}
	return content{Title: name, Data: &v}, nil
}
