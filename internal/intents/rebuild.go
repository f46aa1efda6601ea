package intents

import (
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// A cluster that is rebuilt from Git gets everything at once, in any order, and without a history. What is old by its own word must then not reach a
// device before the newer rollouts that came with it have started and show that the device has been past this.
const (
	// arrives is how long the rest of a rebuild may take to be applied.
	arrives = 5 * time.Second
	// rebuilt is how close to each other two objects must have been created to count as applied together, and how long one waits for the other.
	rebuilt = time.Minute
)

// candidate is a rollout that has not started, with its selection ready to be asked.
type candidate struct {
	rollout *v1alpha1.Rollout
	query   *query.Query
}

// noteCandidate keeps the rollouts that have not started. One whose selection cannot be evaluated never will.
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
	if r.Status.StartedAt != nil || !r.DeletionTimestamp.IsZero() {
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

// settling keeps an intent that is older than the object it comes from until newer rollouts that were created together with it have started, for a minute at most.
// Zero: nothing keeps it. The caller holds the lock.
func (x *Index) settling(t *v1alpha1.Target, what string, since, created, now time.Time) offer.Reason {
	end := created.Add(rebuilt)
	if !since.Before(created) || !now.Before(end) {
		return offer.Reason{}
	}
	if soon := created.Add(arrives); now.Before(soon) {
		return offer.Reason{Code: offer.CodeSettling, Until: soon, Message: fmt.Sprintf(
			"%s is older than the object it stands in, as after a rebuild from Git: it waits until %s for newer rollouts that may come with it", what, stamp(soon))}
	}
	for key, c := range x.starting {
		if key.Namespace == t.Namespace && isAboutToStart(c.rollout, since, now) && c.rollout.CreationTimestamp.Sub(created).Abs() <= rebuilt && c.query.Matches(t) {
			return offer.Reason{Code: offer.CodeSettling, Until: end, Message: fmt.Sprintf(
				"%s is older than rollouts that were created together with it, as after a rebuild from Git: it waits until they have started, at most until %s", what, stamp(end))}
		}
	}
	return offer.Reason{}
}

// isAboutToStart tells whether a rollout may start now and would be newer than an intent of that age.
func isAboutToStart(r *v1alpha1.Rollout, since, now time.Time) bool {
	if r.Spec.State != v1alpha1.IntentRunning && r.Spec.State != "" || rollout.IsStopped(r) {
		return false
	}
	at := r.Spec.StartAt
	return at == nil || at.After(since) && !at.After(now)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
