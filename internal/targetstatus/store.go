// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package targets writes what happened on a device, once: read, settle, apply, write under an
// optimistic lock, and when somebody else was faster, read again from the API server, not the
// cache, and apply again.
package targetstatus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// maxTries is how often a write is tried against other writers before the caller is told to come
// again.
const maxTries = 8

// Store reads and writes Targets. Make one per process: it remembers its own newest writes until
// the cache shows them, and keeps the process's writes in flight within bounds.
type Store struct {
	Index *fleet.Index
	// Client writes; Live reads past the cache.
	Client client.Client
	Live   client.Reader
	// Now is the server's clock.
	Now func() time.Time

	slots  *Slots
	recent *recent
}

// NewStore makes a Store with at most inFlight writes at a time: the API server ends slow watches
// beyond about eight.
func NewStore(index *fleet.Index, c client.Client, live client.Reader, now func() time.Time, inFlight int) *Store {
	return &Store{Index: index, Client: c, Live: live, Now: now, slots: NewSlots(inFlight), recent: newRecent(index.Target)}
}

// Share makes the store take its turns with others.
func (s *Store) Share(slots *Slots) { s.slots = slots }

// Get is the newest this process knows of a target: the cache, or its own last write if the cache
// does not show it yet. Nil: there is none. Do not change it.
func (s *Store) Get(key types.NamespacedName) *v1alpha1.Target {
	return s.recent.get(key)
}

// Change applies something into a target's status. It is given the world with all pending applies
// settled and the status to change, and may be called again when another writer was faster. It
// returns an error to give up.
type Change func(w offer.World, status *v1alpha1.TargetStatus) error

// Update settles the target, lets change apply something in, and writes the status if anything is
// different. It answers the target as it is now stored; a target that does not exist is a NotFound
// error.
//
// It waits for one of the process's slots before it looks, not before it writes: what was asked
// before a stop and waited its turn is judged after the stop.
func (s *Store) Update(ctx context.Context, key types.NamespacedName, change Change) (*v1alpha1.Target, error) {
	return s.update(ctx, key, change, false, nil)
}

// UpdateLater is Update for a write that can wait: it gives way to the writes of Update, until
// hurry is closed.
func (s *Store) UpdateLater(ctx context.Context, key types.NamespacedName, change Change, hurry <-chan struct{}) (*v1alpha1.Target, error) {
	return s.update(ctx, key, change, true, hurry)
}

func (s *Store) update(ctx context.Context, key types.NamespacedName, change Change, later bool, hurry <-chan struct{}) (*v1alpha1.Target, error) {
	release, err := s.slots.take(ctx, later, hurry)
	if err != nil {
		return nil, err
	}
	defer release()
	target := s.Get(key)
	for try := 0; ; try++ {
		if target == nil {
			live := &v1alpha1.Target{}
			if err := s.Live.Get(ctx, key, live); err != nil {
				return nil, fmt.Errorf("read target %s: %w", key, err)
			}
			target = live
		}
		if target.Unreadable != nil {
			return target, fmt.Errorf("target %s cannot be read and is held as it is: %s", key, target.Unreadable.Message)
		}
		stored, err := s.try(ctx, target, change)
		if !apierrors.IsConflict(err) || try == maxTries {
			return stored, err
		}
		s.recent.forget(key)
		target = nil
	}
}

// try applies and writes once.
func (s *Store) try(ctx context.Context, target *v1alpha1.Target, change Change) (*v1alpha1.Target, error) {
	w := s.Index.World(target, s.Now())
	next := target.DeepCopy()
	if settled, pending := offer.ApplyPending(w); pending {
		next.Status = *settled
	}
	w.Target = next
	if err := change(w, &next.Status); err != nil {
		return target, err
	}
	if !equality.Semantic.DeepEqual(next.Status, target.Status) {
		s.noteAssigned(next, w.Now)
	}
	noteOnline(next, w.Now)
	slices.SortFunc(next.Status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) }) // whoever added them
	if equality.Semantic.DeepEqual(next.Status, target.Status) {
		return target, nil
	}
	noteSelecting(s.Index.Selecting(next), target, next, w.Now)
	action.Prune(&next.Status, s.lives(target))
	return s.write(ctx, target, next)
}

// write patches the status under the lock of the target that was read.
func (s *Store) write(ctx context.Context, old, next *v1alpha1.Target) (*v1alpha1.Target, error) {
	patch := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
	if err := s.Client.Status().Patch(withTarget(ctx, old, next), next, patch, client.FieldOwner("goshawk")); err != nil {
		return nil, fmt.Errorf("write status of target %s: %w", key(old), err)
	}
	s.recent.remember(next)
	logDecisions(ctx, old, next)
	return next, nil
}

// ApplyPending writes whatever stop, invalidation, cancel, newer update or deadline applies to the
// target, and nothing if none does.
func (s *Store) ApplyPending(ctx context.Context, key types.NamespacedName) (*v1alpha1.Target, error) {
	return s.Update(ctx, key, func(offer.World, *v1alpha1.TargetStatus) error { return nil })
}

// lives tells which sources still live, so that their newest action on the target is kept:
// rollouts, and the target itself, whose assignment may be done.
func (s *Store) lives(t *v1alpha1.Target) func(types.UID) bool {
	alive := map[types.UID]struct{}{t.Identity(): {}}
	for _, r := range s.Index.Rollouts(t.Namespace) {
		alive[r.Identity()] = struct{}{}
	}
	return func(uid types.UID) bool { _, ok := alive[uid]; return ok }
}

func key(t *v1alpha1.Target) types.NamespacedName { return client.ObjectKeyFromObject(t) }

// isNewer compares two states of one object; an object of another uid is compared by its
// resourceVersion, too.
func isNewer(a, b *v1alpha1.Target) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}
