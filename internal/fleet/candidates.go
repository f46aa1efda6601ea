// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"iter"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// candidate is a rollout that has not started, with its compiled selection.
type candidate struct {
	rollout *v1alpha1.Rollout
	query   *query.Query
}

// noteCandidate keeps the rollouts that have not started. A rollout with an invalid selection is
// left out, because it never starts.
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
	q, err := query.Compile(v1alpha1.Selection{TargetSelector: r.Spec.TargetSelector, TargetExpression: r.Spec.TargetExpression}, x.Software)
	if err != nil {
		delete(x.starting, key)
		return
	}
	x.starting[key] = candidate{r, q}
}

// candidates iterates over the rollouts of a namespace that have not started, in no defined order;
// nil: there are none in any namespace. The caller holds the lock.
func (x *Index) candidates(namespace string) iter.Seq[rollout.Candidate] {
	if len(x.starting) == 0 {
		return nil
	}
	return func(yield func(rollout.Candidate) bool) {
		for key, c := range x.starting {
			set := x.setOf(namespace, &c.rollout.Spec.Update)
			if key.Namespace == namespace && !yield(rollout.Candidate{Rollout: c.rollout, Set: set, Query: c.query}) {
				return
			}
		}
	}
}
