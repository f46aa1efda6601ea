// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// checkOffers compares, for every member of the plan, the bucket in which it is counted with the
// bucket that follows from its offer.
func (s *player) checkOffers() {
	s.t.Helper()
	for _, g := range s.groups {
		if g.Spec.PlanHash != s.planHash() || int(g.Spec.Index) >= len(s.rollout.Status.Groups) {
			continue
		}
		for _, name := range g.Spec.Targets {
			s.checkOffer(g, string(name))
		}
	}
}

func (s *player) checkOffer(g *v1alpha1.DeploymentGroup, name string) {
	s.t.Helper()
	if s.targets[name] == nil {
		return
	}
	state := s.rollout.Status.Groups[g.Spec.Index].State
	for _, v := range offer.Judge(s.offerWorld(name)) {
		if v.Intent.Source.UID != s.rollout.UID {
			continue
		}
		if counted, offered := s.bucket(name), counting.BucketOf(&v.Result, isOpen(state)); counted != offered {
			s.t.Errorf("%s in group %s (%s) is counted as %s, but its offer means %s: %s %s", name, g.Spec.Group, state, counted, offered, v.Reason.Code, v.Reason.Message)
		}
		if counted := s.bucket(name); v.Reason.IsZero() && state == v1alpha1.GroupRunning && counted.IsClosed() {
			s.t.Errorf("%s in group %s may start, but is counted as %s", name, g.Spec.Group, counted)
		}
	}
}
