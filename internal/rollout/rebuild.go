// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"iter"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
)

// When a cluster is rebuilt from Git, all objects are created at once, in any order and without
// history. An update that is old by its own time must not reach a device before the newer rollouts
// that were applied together with it have started: they show that the device has already left the
// old version. docs/decisions/order.md has the reasons.

// Candidate is a rollout of the namespace that has not started.
type Candidate struct {
	Rollout *v1alpha1.Rollout
	// Set of the neighbor; nil if it does not exist.
	Set *eligibility.Set
	// Query is its selection.
	Query *query.Query
}

// WaitForRebuild returns why an update that is older than the object it comes from waits for newer
// rollouts that were created together with that object, for a minute at most. The reason is empty
// if there is nothing to wait for. what names the object in the message. nil candidates: there are
// none.
func WaitForRebuild(t *v1alpha1.Target, what string, in *eligibility.Intent, candidates iter.Seq[Candidate], now time.Time) eligibility.Reason {
	since, created := in.OpenedAt, in.CreatedAt
	end := created.Add(eligibility.AppliedTogether)
	if in.IsUnplaced {
		if in.Set != nil && in.Set.IsThere(t) {
			return eligibility.Reason{}
		}
		return waitForRunningSet(t, what, created, candidates)
	}
	if !since.Before(created) || !now.Before(end) {
		return eligibility.Reason{}
	}
	if soon := created.Add(arrives); now.Before(soon) {
		return eligibility.Reason{Code: eligibility.CodeStabilizing, Until: soon, Message: fmt.Sprintf(
			"%s is older than its object (cluster rebuilt from Git?): waiting until %s for newer rollouts to be applied", what, formatTime(soon))}
	}
	if startingBeside(t, created, now, candidates, func(r *v1alpha1.Rollout) bool { return isNewerAtStart(r, since, now) }) != "" {
		return eligibility.Reason{Code: eligibility.CodeStabilizing, Until: end, Message: fmt.Sprintf(
			"%s is older than rollouts that were created together with it (cluster rebuilt from Git?): waiting for them to start, at most until %s", what, formatTime(end))}
	}
	return eligibility.Reason{}
}

// waitForRunningSet returns why an update without a place in the order waits at a target that runs,
// by its own report, the set of a rollout that was created together with the update and has not
// started: the device may have left the set of the update already. The reason is empty if there is
// no such rollout.
func waitForRunningSet(t *v1alpha1.Target, what string, created time.Time, candidates iter.Seq[Candidate]) eligibility.Reason {
	if runs := t.Status.Installed; candidates == nil || runs == nil || runs.ActionID != 0 || runs.ContentHash == "" {
		return eligibility.Reason{}
	}
	first := ""
	for c := range candidates {
		r := c.Rollout
		if r.CreationTimestamp.Sub(created).Abs() < eligibility.AppliedTogether && (first == "" || r.Name < first) &&
			r.Spec.State != v1alpha1.IntentPlanned && !IsStopped(r) && c.Set != nil && action.Installed(&t.Status, c.Set.ContentHash) && c.Query.Matches(t) {
			first = r.Name
		}
	}
	if first == "" {
		return eligibility.Reason{}
	}
	return eligibility.Reason{Code: eligibility.CodeStabilizing, Message: fmt.Sprintf(
		"%s has no startAt or assignedAt, and the device already runs the set of rollout %s, which was created together with it: waiting until that rollout has started or is deleted", what, first)}
}

// WaitForNewer returns why a rollout with a startAt waits at a target for rollouts with a later
// startAt that were created together with it and select the target, for a minute at most. Without
// this, a device that runs the set of the newer rollout could be downgraded because the older one
// started a moment earlier. The reason is empty if there is nothing to wait for. nil candidates:
// there are none.
func WaitForNewer(t *v1alpha1.Target, r *v1alpha1.Rollout, candidates iter.Seq[Candidate], now time.Time) eligibility.Reason {
	end := r.CreationTimestamp.Add(eligibility.AppliedTogether)
	if r.Spec.StartAt == nil || !now.Before(end) {
		return eligibility.Reason{}
	}
	newer := startingBeside(t, r.CreationTimestamp.Time, now, candidates, func(o *v1alpha1.Rollout) bool {
		return o.Spec.StartAt != nil && !o.Spec.Update.IsQueued() && isNewerAtStart(o, r.Spec.StartAt.Time, now)
	})
	if newer == "" {
		return eligibility.Reason{}
	}
	return eligibility.Reason{Code: eligibility.CodeStabilizing, Until: end, Message: fmt.Sprintf(
		"rollout %s has an earlier spec.startAt than rollout %s, which was created together with it and selects this target: waiting for the newer rollout to start, at most until %s",
		r.Name, newer, formatTime(end))}
}

// startingBeside returns the name of a rollout that was created within a minute of created, selects
// the target, can still start, and satisfies is; or "".
func startingBeside(t *v1alpha1.Target, created, now time.Time, candidates iter.Seq[Candidate], is func(*v1alpha1.Rollout) bool) string {
	if candidates == nil {
		return ""
	}
	first := ""
	for c := range candidates {
		r := c.Rollout
		if r.CreationTimestamp.Sub(created).Abs() <= eligibility.AppliedTogether && (first == "" || r.Name < first) &&
			is(r) && CanStart(r, c.expectedSet(), now) && c.Query.Matches(t) {
			first = r.Name
		}
	}
	return first
}

// expectedSet returns the set of a rollout that has not started. A set that does not exist may
// still be applied until the rollout is Stalled: to wait for it costs a minute, and the downgrade
// of a device costs more.
func (c *Candidate) expectedSet() *eligibility.Set {
	if c.Set != nil {
		return c.Set
	}
	return &eligibility.Set{Transient: true}
}

// isNewerAtStart reports whether a rollout would be newer than an update of that time if it started
// now.
func isNewerAtStart(r *v1alpha1.Rollout, since, now time.Time) bool {
	at := r.Spec.StartAt
	return at == nil || at.After(since) && !at.After(now)
}
