// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// maxRecent is the number of remembered writes at which those that the cache shows are dropped.
const maxRecent = 1024

// recent keeps own writes that the cache may not show yet, because a device may report at once
// on the action that it was just given.
type recent struct {
	mu      sync.Mutex
	targets map[types.NamespacedName]*v1alpha1.Target
	cached  func(types.NamespacedName) *v1alpha1.Target
}

func newRecent(cached func(types.NamespacedName) *v1alpha1.Target) *recent {
	return &recent{targets: map[types.NamespacedName]*v1alpha1.Target{}, cached: cached}
}

func (r *recent) remember(t *v1alpha1.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if present := r.targets[key(t)]; present == nil || isNewer(t, present) {
		r.targets[key(t)] = t
	}
	if len(r.targets) > maxRecent {
		for k := range r.targets {
			r.newest(k)
		}
	}
}

func (r *recent) forget(k types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.targets, k)
}

// get returns the newer of the cached target and the last write.
func (r *recent) get(k types.NamespacedName) *v1alpha1.Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest(k)
}

// newest drops a write that the cache has caught up with. A target that is missing in the cache was
// deleted, because every write was to a target in the cache.
func (r *recent) newest(k types.NamespacedName) *v1alpha1.Target {
	cached, written := r.cached(k), r.targets[k]
	if written == nil {
		return cached
	}
	if cached == nil || cached.UID != written.UID || !isNewer(written, cached) {
		delete(r.targets, k)
		return cached
	}
	return written
}
