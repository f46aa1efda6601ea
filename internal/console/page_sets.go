// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

var setsPage = &page{
	pattern: "GET /sets", template: "sets", nav: "Sets", key: "s", section: "/sets",
	kinds: []Kind{DistributionSets, Targets, Rollouts, AutoAssignments},
	load:  loadSets,
}

var setPage = &page{
	pattern: "GET /sets/{namespace}/{name}", template: "set", section: "/sets",
	kinds: []Kind{DistributionSets, SoftwareModules, Targets, Rollouts, AutoAssignments},
	load:  loadSet,
}

// setsView is the list of sets.
type setsView struct {
	Namespaces []string
	States     []explain.SetState
	Sets       []explain.SetSummary
	Pager      pager
}

func loadSets(r *request) (content, error) {
	state, err := r.oneOf("state", namesOf(explain.SetStates)...)
	if err != nil {
		return content{}, err
	}
	var found []*v1alpha1.DistributionSet
	for _, namespace := range r.namespaces(DistributionSets) {
		for _, set := range r.index.DistributionSets(namespace) {
			if is, _ := explain.SetStateOf(set); (state == "" || string(is) == state) && matches(r.param("q"), set.Name, set.Spec.Name+" "+set.Spec.Version, set.Spec.Type) {
				found = append(found, set)
			}
		}
	}
	explain.SortSets(found)
	v := setsView{Namespaces: r.allNamespaces(DistributionSets), States: explain.SetStates}
	shown, pager, err := paginate(r, found)
	if err != nil {
		return content{}, err
	}
	v.Pager = pager
	users := map[string]map[string]*explain.SetUsers{}
	for _, set := range shown {
		if users[set.Namespace] == nil {
			users[set.Namespace] = r.usersOfSets(set.Namespace)
		}
		v.Sets = append(v.Sets, explain.SummaryOfSet(set, users[set.Namespace][set.Name], r.uses(set.Namespace)))
	}
	return content{Title: "Sets", Data: &v}, nil
}

// usersOfSets returns what uses the sets of a namespace, as far as the viewer may see it.
func (r *request) usersOfSets(namespace string) map[string]*explain.SetUsers {
	var rollouts []*v1alpha1.Rollout
	var autos []*v1alpha1.AutoAssignment
	if r.sees(Rollouts, namespace) {
		rollouts = r.index.Rollouts(namespace)
	}
	if r.sees(AutoAssignments, namespace) {
		autos = r.index.AutoAssignments(namespace)
	}
	return explain.UsersOfSets(rollouts, autos)
}

// uses returns what the targets of a namespace use; nothing, if the viewer may not see them.
func (r *request) uses(namespace string) *explain.Uses {
	if !r.sees(Targets, namespace) {
		return &explain.Uses{}
	}
	return r.roster.Uses()
}

func namesOf[T ~string](values []T) []string {
	var names []string
	for _, v := range values {
		names = append(names, string(v))
	}
	return names
}

// setView is one set.
type setView struct {
	explain.SetDetail
	Object *v1alpha1.DistributionSet
	// Statuses and Problems count the targets that run the set.
	Statuses, Problems []targetCount
	// ShowsTargets is true if the viewer may see the targets.
	ShowsTargets    bool
	Rollouts        []explain.Status
	MoreRollouts    int
	AutoAssignments []explain.AutoSummary
	MoreAutos       int
}

// targetCount is a number of targets in a state, with the list of them.
type targetCount struct {
	Badge   Badge
	Targets int
	Path    string
}

// maxUsers is the number of rollouts, and of auto-assignments, on the page of a set.
const maxUsers = 25

func loadSet(r *request) (content, error) {
	namespace, name := r.path("namespace"), r.path("name")
	if err := r.require(DistributionSets, namespace); err != nil {
		return content{}, err
	}
	set := r.index.DistributionSet(types.NamespacedName{Namespace: namespace, Name: name})
	if set == nil {
		return content{}, notFound(DistributionSets, namespace, name)
	}
	users := r.usersOfSets(namespace)[name]
	v := setView{SetDetail: explain.SetOf(r.index, set, users, r.uses(namespace)), Object: set, ShowsTargets: r.sees(Targets, namespace)}
	if !r.sees(SoftwareModules, namespace) {
		v.Modules = nil
	}
	list := targetsOfSet(namespace, name, explain.UseInstalled)
	for i, status := range explain.UpdateStatuses {
		v.Statuses = append(v.Statuses, targetCount{badgeOf(status), v.Runs.Statuses[i], list + "&state=" + string(status)})
	}
	for i, problem := range fleetcounts.Problems {
		if n := v.Runs.Problems[i]; n > 0 {
			v.Problems = append(v.Problems, targetCount{badgeOf(problemWords[problem].name, problemWords[problem].tone), n, list + "&state=" + string(problem)})
		}
	}
	if users != nil {
		rollouts := slices.Clone(users.Rollouts)
		explain.SortByUrgency(rollouts)
		v.MoreRollouts, v.MoreAutos = max(0, len(rollouts)-maxUsers), max(0, len(users.AutoAssignments)-maxUsers)
		for _, o := range rollouts[:len(rollouts)-v.MoreRollouts] {
			v.Rollouts = append(v.Rollouts, explain.StatusOf(explain.StatusWorld{Rollout: o, Now: r.now}))
		}
		for _, a := range users.AutoAssignments[:len(users.AutoAssignments)-v.MoreAutos] {
			v.AutoAssignments = append(v.AutoAssignments, explain.SummaryOfAuto(a))
		}
	}
	return content{Title: name, Data: &v}, nil
}

// targetsOfSet returns the path of the list of the targets that use a set.
func targetsOfSet(namespace, set string, use explain.Use) string {
	return fmt.Sprintf("/targets?namespace=%s&set=%s&use=%s", namespace, set, use)
}
