// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"cmp"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Fleet follows the objects of one cache.
type Fleet struct {
	mu         sync.Mutex
	rollouts   map[types.NamespacedName]*v1alpha1.Rollout
	namespaces map[string]*namespaceCounts
	stops      *stops
}

// NewFleet returns a fleet without objects. Make it a watcher of the index before the index follows
// the caches.
func NewFleet(now func() time.Time) *Fleet {
	return &Fleet{rollouts: map[types.NamespacedName]*v1alpha1.Rollout{}, namespaces: map[string]*namespaceCounts{}, stops: newStops(now)}
}

// Changed applies a change of an object. old is nil for a new object, now is nil for a deleted one.
func (f *Fleet) Changed(old, now client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old != nil {
		f.count(old, -1)
	}
	if now != nil {
		f.count(now, 1)
	}
	f.keepRollout(old, now)
	f.stops.changed(old, now)
}

func (f *Fleet) lead(leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stops.lead(leads)
}

// keepRollout keeps the newest object of a name. A deletion counts only for the object with the
// same UID.
func (f *Fleet) keepRollout(old, now client.Object) {
	if r, ok := now.(*v1alpha1.Rollout); ok {
		f.rollouts[client.ObjectKeyFromObject(r)] = r
		return
	}
	if r, ok := old.(*v1alpha1.Rollout); ok {
		if key := client.ObjectKeyFromObject(r); f.rollouts[key] != nil && f.rollouts[key].UID == r.UID {
			delete(f.rollouts, key)
		}
	}
}

// count adds n to the counts that an object belongs to.
func (f *Fleet) count(o client.Object, n int) {
	counts := f.namespaces[o.GetNamespace()]
	if counts == nil {
		counts = newNamespaceCounts()
		f.namespaces[o.GetNamespace()] = counts
	}
	if t, ok := o.(*v1alpha1.Target); ok {
		counts.countTarget(t, n)
	}
	if r, ok := o.(*v1alpha1.Rollout); ok {
		counts.rollouts[string(cmp.Or(r.Status.State, v1alpha1.RolloutCreating))] += n
	}
	if kind, conditions, ok := kindOf(o); ok && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled) {
		key := stalledKey{kind, meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled).Reason}
		if counts.stalled[key] += n; counts.stalled[key] == 0 {
			delete(counts.stalled, key)
		}
	}
	if counts.objects += n; counts.objects == 0 {
		delete(f.namespaces, o.GetNamespace())
	}
}

// namespaceCounts are the counts of one namespace.
type namespaceCounts struct {
	objects                     int // of all kinds: without objects, the namespace has no series
	rollouts, targets, problems map[string]int
	stalled                     map[stalledKey]int
}

type stalledKey struct{ kind, reason string }

func newNamespaceCounts() *namespaceCounts {
	return &namespaceCounts{rollouts: map[string]int{}, targets: map[string]int{}, problems: map[string]int{}, stalled: map[stalledKey]int{}}
}

func (c *namespaceCounts) countTarget(t *v1alpha1.Target, n int) {
	c.targets[string(cmp.Or(t.Status.UpdateStatus, v1alpha1.UpdateStatusUnknown))] += n
	if isFalse(t.Status.Conditions, v1alpha1.ConditionOnline) {
		c.problems[offline] += n
	}
	if isFalse(t.Status.Conditions, v1alpha1.ConditionConsistent) {
		c.problems[inconsistent] += n
	}
	if isFalse(t.Status.Conditions, v1alpha1.ConditionReady) {
		c.problems[notReady] += n
	}
	if a := action.Open(&t.Status); a != nil && a.State == v1alpha1.ActionWaitingForConfirmation {
		c.problems[waitingForConfirmation] += n
	}
}

// add adds other counts, which it does not keep.
func (c *namespaceCounts) add(other *namespaceCounts) {
	addAll(c.rollouts, other.rollouts)
	addAll(c.targets, other.targets)
	addAll(c.problems, other.problems)
	addAll(c.stalled, other.stalled)
}

func addAll[K comparable](sum, other map[K]int) {
	for key, n := range other {
		sum[key] += n
	}
}
