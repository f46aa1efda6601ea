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
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// A cluster that is rebuilt from Git gets everything at once, in any order, and without a history.
// What is old by its own word must then not reach a device before the newer rollouts that came with
// it have started and show that the device has been past this.
const (
	// arrives is how long the rest of a rebuild may take to be applied.
	arrives = 5 * time.Second
	// rebuilt is how close to each other two objects must have been created to count as applied
	// together, and how long one waits for the other.
	rebuilt = time.Minute
)

// candidate is a rollout that has not started, with its selection ready to be asked.
type candidate struct {
	rollout *v1alpha1.Rollout
	query   *query.Query
}

// noteCandidate keeps the rollouts that have not started. One whose selection cannot be evaluated
// never will.
func (x *Index) noteCandidate(old, new client.Object) {
	r, ok := new.(*v1alpha1.Rollout)
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

// stabilizing keeps an intent that is older than the object it comes from until newer rollouts that
// were created together with it have started, for a minute at most. Zero: nothing keeps it. The
// caller holds the lock.
func (x *Index) settling(t *v1alpha1.Target, what string, in *offer.Intent, now time.Time) offer.Reason {
	since, created := in.OpenedAt, in.CreatedAt
	end := created.Add(rebuilt)
	if in.IsUnplaced {
		if in.Set != nil && action.Installed(&t.Status, in.Set.ContentHash) {
			return offer.Reason{}
		}
		return x.besideHome(t, what, created)
	}
	if !since.Before(created) || !now.Before(end) {
		return offer.Reason{}
	}
	if soon := created.Add(arrives); now.Before(soon) {
		return offer.Reason{Code: offer.CodeStabilizing, Until: soon, Message: fmt.Sprintf(
			"%s is older than the object it stands in, as after a rebuild from Git: it waits until %s for newer rollouts that may come with it", what, stamp(soon))}
	}
	if x.starts(t, created, now, func(r *v1alpha1.Rollout) bool { return isNewerAtStart(r, since, now) }) != "" {
		return offer.Reason{Code: offer.CodeStabilizing, Until: end, Message: fmt.Sprintf(
			"%s is older than rollouts that were created together with it, as after a rebuild from Git: it waits until they have started, at most until %s", what, stamp(end))}
	}
	return offer.Reason{}
}

// besideHome keeps an intent that nothing places in the order from a target that runs, by its own
// report, what a rollout brings which was created together with it and has not started: the device
// may have been past the intent. Zero: there is none. The caller holds the lock.
func (x *Index) besideHome(t *v1alpha1.Target, what string, created time.Time) offer.Reason {
	if runs := t.Status.Installed; runs == nil || runs.ActionID != 0 || runs.ContentHash == "" {
		return offer.Reason{}
	}
	first := ""
	for key, c := range x.starting {
		r := c.rollout
		set := x.facts[types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet}]
		if key.Namespace == t.Namespace && r.CreationTimestamp.Sub(created).Abs() < rebuilt && (first == "" || r.Name < first) &&
			r.Spec.State != v1alpha1.IntentPlanned && !rollout.IsStopped(r) && set != nil && action.Installed(&t.Status, set.ContentHash) && c.query.Matches(t) {
			first = r.Name
		}
	}
	if first == "" {
		return offer.Reason{}
	}
	return offer.Reason{Code: offer.CodeStabilizing, Message: fmt.Sprintf(
		"%s has no time that says how new it is, and the device runs what rollout %s brings, which was created together with it: it waits until that has started or is gone", what, first)}
}

// behind keeps a rollout with a startAt from a target until newer ones by their startAt, which were
// created together with it and select the target, have started, for a minute at most: a device that
// runs what the newer one brings must not get the older one's set because that started a moment
// earlier. Zero: nothing keeps it. The caller holds the lock.
func (x *Index) behind(t *v1alpha1.Target, r *v1alpha1.Rollout, now time.Time) offer.Reason {
	end := r.CreationTimestamp.Add(rebuilt)
	if r.Spec.StartAt == nil || !now.Before(end) {
		return offer.Reason{}
	}
	newer := x.starts(t, r.CreationTimestamp.Time, now, func(o *v1alpha1.Rollout) bool {
		return o.Spec.StartAt != nil && o.Spec.Update.Superseding != v1alpha1.SupersedingQueue && isNewerAtStart(o, r.Spec.StartAt.Time, now)
	})
	if newer == "" {
		return offer.Reason{}
	}
	return offer.Reason{Code: offer.CodeStabilizing, Until: end, Message: fmt.Sprintf(
		"rollout %s is older by spec.startAt than rollout %s, which was created together with it and selects this target: the target waits until that has started, at most until %s",
		r.Name, newer, stamp(end))}
}

// starts returns the name of a rollout that was created within a minute of created, selects the
// target, can still start, and is such a one; empty: there is none. The caller holds the lock.
func (x *Index) starts(t *v1alpha1.Target, created, now time.Time, is func(*v1alpha1.Rollout) bool) string {
	first := ""
	for key, c := range x.starting {
		r := c.rollout
		if key.Namespace == t.Namespace && r.CreationTimestamp.Sub(created).Abs() <= rebuilt && (first == "" || r.Name < first) &&
			is(r) && rollout.CanStart(r, x.awaited(r), now) && c.query.Matches(t) {
			first = r.Name
		}
	}
	return first
}

// awaited is the set of a rollout that has not started. One that is missing may arrive until the
// rollout is Stalled: to wait for it costs a minute, and a device that has fallen back costs more.
// The caller holds the lock.
func (x *Index) awaited(r *v1alpha1.Rollout) *offer.Set {
	if set := x.facts[types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet}]; set != nil {
		return set
	}
	return &offer.Set{Passing: true}
}

// isNewerAtStart reports whether a rollout would be newer than an intent of that age if it started
// now.
func isNewerAtStart(r *v1alpha1.Rollout, since, now time.Time) bool {
	at := r.Spec.StartAt
	return at == nil || at.After(since) && !at.After(now)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
