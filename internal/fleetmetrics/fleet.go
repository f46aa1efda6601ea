// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// Fleet follows the objects of one cache.
type Fleet struct {
	mu       sync.Mutex
	rollouts map[types.NamespacedName]*v1alpha1.Rollout
	counts   *fleetcounts.Counter
	stops    *stops
}

// NewFleet returns a fleet without objects. Make it a watcher of the index before the index follows
// the caches.
func NewFleet(now func() time.Time) *Fleet {
	return &Fleet{rollouts: map[types.NamespacedName]*v1alpha1.Rollout{}, counts: fleetcounts.New(), stops: newStops(now)}
}

// Changed applies a change of an object. old is nil for a new object, now is nil for a deleted one.
func (f *Fleet) Changed(old, now client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.Changed(old, now)
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
