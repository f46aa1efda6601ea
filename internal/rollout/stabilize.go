// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// GitOps tools apply manifests in any order, so a plan is made only when the matching targets have
// not changed for stabilizationSeconds. That is the case when nothing has changed that selects
// targets, and also when the plan would have been the same all the time, although devices reported
// new attributes.

// patience is how much longer than stabilizationSeconds the plan waits if the matching targets keep
// changing: one device that changes all the time must not delay the update of all others.
const patience = 10 * time.Minute

// isStable reports whether the matching targets have not changed for long enough, or patience is
// over.
func (l *planner) isStable(population []*v1alpha1.Target) bool {
	selected, since, err := grouping.Select(l.Rollout, l.Set, population, l.Inventories)
	if err != nil && !grouping.IsNoTargets(err) || l.isQuiet(since) {
		return true
	}
	s := l.trackStabilization(l.fingerprint(selected, err))
	last := s.Started.Add(patience + l.stabilizationPeriod())
	if l.isQuiet(s.Since.Time) || !l.Now.Before(last) {
		return true
	}
	end := earliest(since.Add(l.stabilizationPeriod()), s.Since.Add(l.stabilizationPeriod()), last)
	l.reconcile(v1alpha1.ReasonStabilizing, end, "%s selected so far; the plan is made when the selected targets have not changed for %s", targets(len(selected)), text.Count(int(l.stabilizationPeriod().Seconds()), "second"))
	return false
}

func (l *planner) isQuiet(since time.Time) bool {
	return !l.Now.Before(since.Add(l.stabilizationPeriod()))
}

// stabilizationPeriod returns how long the matching targets must not have changed.
func (l *planner) stabilizationPeriod() time.Duration {
	if l.spec.StabilizationSeconds == nil {
		return 5 * time.Second
	}
	return time.Duration(*l.spec.StabilizationSeconds) * time.Second
}

// fingerprint returns a hash of the plan that would be made of these targets, or of the problem.
func (l *planner) fingerprint(selected []*v1alpha1.Target, problem error) string {
	if problem == nil {
		planned, err := grouping.Partition(l.Rollout, selected, l.Inventories)
		if err == nil {
			return grouping.PlanHash(l.Set.ContentHash, grouping.SpecHash(l.Rollout), planned)
		}
		problem = err
	}
	return grouping.PlanHash(problem.Error(), grouping.SpecHash(l.Rollout), nil)
}

// trackStabilization records since when the plan would be this one, and when the present period of
// changes started. A change after stabilizationPeriod without changes starts a new period.
func (l *planner) trackStabilization(plan string) *v1alpha1.Stabilizing {
	s := l.status.Stabilizing
	switch now := *micro(l.Now); {
	case s == nil:
		s = &v1alpha1.Stabilizing{Plan: plan, Since: now, Started: now}
	case s.Plan == plan:
	case l.isQuiet(s.Since.Time):
		s = &v1alpha1.Stabilizing{Plan: plan, Since: now, Started: now}
	default:
		s = &v1alpha1.Stabilizing{Plan: plan, Since: now, Started: s.Started}
	}
	l.status.Stabilizing = s
	return s
}

func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
