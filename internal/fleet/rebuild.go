// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// When a cluster is rebuildWindow from Git, all objects are created at once, in any order and
// without history. An intent that is old by its own time must not reach a device before the newer
// rollouts that were applied together with it have started: these show that the device has already
// left the old version waitForNewerRollout.
const (
	// rebuildArrival is how long the other objects of a rebuild may take to be applied.
	rebuildArrival = 5 * time.Second
	// rebuildWindow is the maximum difference between the creation of two objects that count as
	// applied together, and how long an intent waits for the others.
	rebuildWindow = time.Minute
)

// candidate is a rollout that has not started, with its compiled selection.
type candidate struct {
	rollout *v1alpha1.Rollout
	query   *query.Query
}

// noteCandidate keeps the rollouts that have not started. A rollout with an invalid selection is
// left out, because it never startingBeside.
func (x *Index) noteCandidate(old, now client.Object) {
	r, ok := now.(*v1alpha1.Rollout)
	if !ok {
		gone := old.(*v1alpha1.Rollout)
		if known, ok := x.starting[client.ObjectKeyFromObject(gone)]; ok && known.rollout.UID == gone.UID {
			delete(x.starting, client.ObjectKeyFromObject(gone))
		}
		return
	}
	key := client.ObjectKeyFromObject(r)
	if r.Status.StartedAt != nil || r.Unreadable != nil || !r.DeletionTimestamp.IsZero() {
		delete(x.starting, key)
		return
	}
	if known, ok := x.starting[key]; ok && known.rollout.UID == r.UID && known.rollout.Generation == r.Generation {
		x.starting[key] = candidate{r, known.query}
		return
	}
	q, err := query.Compile(v1alpha1.Selection{TargetSelector: r.Spec.TargetSelector, TargetExpression: r.Spec.TargetExpression})
	if err != nil {
		delete(x.starting, key)
		return
	}
	x.starting[key] = candidate{r, q}
}

// stabilizing closes an intent that is older than the object it comes from until newer rollouts
// that were created together with it have started, for a minute at most. It returns an empty reason
// if there is nothing to wait for. The caller holds the lock.
func (x *Index) stabilizing(t *v1alpha1.Target, what string, in *eligibility.Intent, now time.Time) eligibility.Reason {
	since, created := in.OpenedAt, in.CreatedAt
	end := created.Add(rebuildWindow)
	if in.IsUnplaced {
		if in.Set != nil && action.Installed(&t.Status, in.Set.ContentHash) {
			return eligibility.Reason{}
		}
		return x.waitForRunningSet(t, what, created)
	}
	if !since.Before(created) || !now.Before(end) {
		return eligibility.Reason{}
	}
	if soon := created.Add(rebuildArrival); now.Before(soon) {
		return eligibility.Reason{Code: eligibility.CodeStabilizing, Until: soon, Message: fmt.Sprintf(
			"%s is older than its object (cluster rebuilt from Git?): waiting until %s for newer rollouts to be applied", what, formatTime(soon))}
	}
	if x.startingBeside(t, created, now, func(r *v1alpha1.Rollout) bool { return isNewerAtStart(r, since, now) }) != "" {
		return eligibility.Reason{Code: eligibility.CodeStabilizing, Until: end, Message: fmt.Sprintf(
			"%s is older than rollouts that were created together with it (cluster rebuilt from Git?): waiting for them to start, at most until %s", what, formatTime(end))}
	}
	return eligibility.Reason{}
}

// waitForRunningSet closes an intent without a place in the order for a target that runs, by its
// own report, the set of a rollout that was created together with the intent and has not started:
// the device may have left the set of the intent waitForNewerRollout. It returns an empty reason if
// there is no such rollout. The caller holds the lock.
func (x *Index) waitForRunningSet(t *v1alpha1.Target, what string, created time.Time) eligibility.Reason {
	if runs := t.Status.Installed; runs == nil || runs.ActionID != 0 || runs.ContentHash == "" {
		return eligibility.Reason{}
	}
	first := ""
	for key, c := range x.starting {
		r := c.rollout
		set := x.facts[types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet}]
		if key.Namespace == t.Namespace && r.CreationTimestamp.Sub(created).Abs() < rebuildWindow && (first == "" || r.Name < first) &&
			r.Spec.State != v1alpha1.IntentPlanned && !rollout.IsStopped(r) && set != nil && action.Installed(&t.Status, set.ContentHash) && c.query.Matches(t) {
			first = r.Name
		}
	}
	if first == "" {
		return eligibility.Reason{}
	}
	return eligibility.Reason{Code: eligibility.CodeStabilizing, Message: fmt.Sprintf(
		"%s has no startAt or assignedAt, and the device already runs the set of rollout %s, which was created together with it: waiting until that rollout has started or is deleted", what, first)}
}

// waitForNewerRollout closes a rollout with a startAt for a target until rollouts with a later
// startAt that were created together with it and select the target have started, for a minute at
// most. Otherwise a device that runs the set of the newer rollout could be downgraded because the
// older one started a moment earlier. It returns an empty reason if there is nothing to wait for.
// The caller holds the lock.
func (x *Index) waitForNewerRollout(t *v1alpha1.Target, r *v1alpha1.Rollout, now time.Time) eligibility.Reason {
	end := r.CreationTimestamp.Add(rebuildWindow)
	if r.Spec.StartAt == nil || !now.Before(end) {
		return eligibility.Reason{}
	}
	newer := x.startingBeside(t, r.CreationTimestamp.Time, now, func(o *v1alpha1.Rollout) bool {
		return o.Spec.StartAt != nil && o.Spec.Update.Superseding != v1alpha1.SupersedingQueue && isNewerAtStart(o, r.Spec.StartAt.Time, now)
	})
	if newer == "" {
		return eligibility.Reason{}
	}
	return eligibility.Reason{Code: eligibility.CodeStabilizing, Until: end, Message: fmt.Sprintf(
		"rollout %s has an earlier spec.startAt than rollout %s, which was created together with it and selects this target: waiting for the newer rollout to start, at most until %s",
		r.Name, newer, formatTime(end))}
}

// startingBeside returns the name of a rollout that was created within a minute of created, selects
// the target, can still start, and satisfies is; or "". The caller holds the lock.
func (x *Index) startingBeside(t *v1alpha1.Target, created, now time.Time, is func(*v1alpha1.Rollout) bool) string {
	first := ""
	for key, c := range x.starting {
		r := c.rollout
		if key.Namespace == t.Namespace && r.CreationTimestamp.Sub(created).Abs() <= rebuildWindow && (first == "" || r.Name < first) &&
			is(r) && rollout.CanStart(r, x.awaited(r), now) && c.query.Matches(t) {
			first = r.Name
		}
	}
	return first
}

// awaited returns the set of a rollout that has not started. A missing set may still be applied
// until the rollout is Stalled: waiting for it costs a minute, and a downgrade of a device costs
// more. The caller holds the lock.
func (x *Index) awaited(r *v1alpha1.Rollout) *eligibility.Set {
	if set := x.facts[types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet}]; set != nil {
		return set
	}
	return &eligibility.Set{Passing: true}
}

// isNewerAtStart reports whether a rollout would be newer than an intent of that time if it started
// now.
func isNewerAtStart(r *v1alpha1.Rollout, since, now time.Time) bool {
	at := r.Spec.StartAt
	return at == nil || at.After(since) && !at.After(now)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
