// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

var autoAssignmentsPage = &page{
	pattern: "GET /autoassignments", template: "autoassignments", nav: "Auto-assignments", key: "a", section: "/autoassignments",
	kinds: []Kind{AutoAssignments},
	load:  loadAutoAssignments,
}

var autoAssignmentPage = &page{
	pattern: "GET /autoassignments/{namespace}/{name}", template: "autoassignment", section: "/autoassignments",
	kinds: []Kind{AutoAssignments, Targets, Rollouts, DeploymentGroups, DistributionSets, SoftwareModules},
	load:  loadAutoAssignment,
}

// autoAssignmentStates are the states of auto-assignments.
var autoAssignmentStates = []string{
	string(v1alpha1.AutoAssignmentReady), string(v1alpha1.AutoAssignmentRunning), string(v1alpha1.AutoAssignmentPaused), string(v1alpha1.AutoAssignmentStopped),
}

// autoAssignmentsView is the list of auto-assignments.
type autoAssignmentsView struct {
	Namespaces, States []string
	AutoAssignments    []explain.AutoSummary
	Pager              pager
}

func loadAutoAssignments(r *request) (content, error) {
	state, err := r.oneOf("state", autoAssignmentStates...)
	if err != nil {
		return content{}, err
	}
	var found []explain.AutoSummary
	for _, namespace := range r.namespaces(AutoAssignments) {
		for _, a := range r.index.AutoAssignments(namespace) {
			s := explain.SummaryOfAuto(a)
			if (state == "" || string(s.State) == state) && matches(r.param("q"), s.Name, s.Update) {
				found = append(found, s)
			}
		}
	}
	v := autoAssignmentsView{Namespaces: r.allNamespaces(AutoAssignments), States: autoAssignmentStates}
	v.AutoAssignments, v.Pager, err = paginate(r, found)
	return content{Title: "Auto-assignments", Data: &v}, err
}

// autoAssignmentView is one auto-assignment.
type autoAssignmentView struct {
	explain.AutoDetail
	Object *v1alpha1.AutoAssignment
	// SetState is the state of its set; empty if the set is not shown or does not exist.
	SetState explain.SetState
	// Overlaps are the other sources that want its targets, if the viewer may see them.
	Overlaps []explain.OverlapPair
	// ShowsFailures is true if the viewer may see the targets.
	ShowsFailures bool
}

func loadAutoAssignment(r *request) (content, error) {
	namespace, name := r.path("namespace"), r.path("name")
	if err := r.require(AutoAssignments, namespace); err != nil {
		return content{}, err
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	a := r.index.AutoAssignment(key)
	if a == nil {
		return content{}, notFound(AutoAssignments, namespace, name)
	}
	uses := &explain.Uses{}
	v := autoAssignmentView{Object: a, ShowsFailures: r.sees(Targets, namespace)}
	if v.ShowsFailures {
		uses = r.roster.Uses()
	}
	v.AutoDetail = explain.AutoOf(a, uses, r.now)
	if set := r.index.DistributionSet(types.NamespacedName{Namespace: namespace, Name: v.Set}); set != nil && r.sees(DistributionSets, namespace) {
		v.SetState, _ = explain.SetStateOf(set)
	}
	if r.seesOverlaps(namespace) {
		overlaps, _, err := r.overlaps.of(namespace)
		if err != nil {
			return content{}, err
		}
		v.Overlaps = overlaps.With(v1alpha1.SourceAutoAssignment, name)
		v.Overlaps = v.Overlaps[:min(len(v.Overlaps), rowsPerPage)]
	}
	return content{Title: name, Data: &v}, nil
}
