// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

var rolloutsPage = &page{
	pattern: "GET /rollouts", template: "rollouts", nav: "Rollouts", key: "r", section: "/rollouts",
	kinds: []Kind{Rollouts},
	load:  loadRollouts,
}

// rolloutsView is the list of rollouts.
type rolloutsView struct {
	Rollouts []explain.Status
	Pager    pager
}

func loadRollouts(r *request) (content, error) {
	state, err := r.oneOf("state", rolloutStates...)
	if err != nil {
		return content{}, err
	}
	var found []*v1alpha1.Rollout
	for _, namespace := range r.namespaces(Rollouts) {
		for _, o := range r.index.Rollouts(namespace) {
			if (state == "" || string(o.Status.State) == state) && matches(r.param("q"), o.Name, o.Spec.Update.DistributionSet) {
				found = append(found, o)
			}
		}
	}
	v := rolloutsView{}
	shown, pager, err := paginate(r, found)
	if err != nil {
		return content{}, err
	}
	v.Pager = pager
	for _, o := range shown {
		v.Rollouts = append(v.Rollouts, explain.StatusOf(explain.StatusWorld{Rollout: o, Now: r.now}))
	}
	return content{Title: "Rollouts", Data: v}, nil
}
