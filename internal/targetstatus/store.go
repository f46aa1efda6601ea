// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package targetstatus is the only writer of Target status. A write reads the target, applies
// pending changes and then the given change, and patches the status with the resource version that
// was read. After a conflict it reads the target from the API server, not from the cache, and
// applies the changes again.
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

// maxTries is how often a write is tried against other writers before the conflict is returned to
// the caller.
const maxTries = 8

// Store reads and writes Targets. Create one per process: it keeps its own newest writes until
// the cache shows them, and limits the process's writes in flight.
type Store struct {
	Index *fleet.Index
	// Client writes; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Now is the server's clock.
	Now func() time.Time
	// Presence returns what this process knows about the connection of a device. It may be nil.
	Presence func(*v1alpha1.Target) Presence

	slots  *Slots
	recent *recent
}

// NewStore returns a Store with at most inFlight writes at a time, because the API server ends slow
// watches above about eight.
func NewStore(index *fleet.Index, c client.Client, live client.Reader, now func() time.Time, inFlight int) *Store {
	return &Store{Index: index, Client: c, Live: live, Now: now, slots: NewSlots(inFlight), recent: newRecent(index.Target)}
}

// Share makes the store share slots with other stores.
func (s *Store) Share(slots *Slots) { s.slots = slots }

// Get returns the newest state of a target that this process knows: the cache, or its own last
// write if the cache does not show that yet. It returns nil if there is no target. Do not change
// the returned object.
func (s *Store) Get(key types.NamespacedName) *v1alpha1.Target {
	return s.recent.get(key)
}

// Device returns, as Get does, the target that serves a controllerID.
func (s *Store) Device(namespace, controllerID string) *v1alpha1.Target {
	return s.Index.DeviceFrom(s.recent.get, namespace, controllerID)
}

// Reload reads a target from the API server, after which Get returns no older state: another
// process may have written one that the cache does not show yet. It waits for a slot like a Later
// write.
func (s *Store) Reload(ctx context.Context, key types.NamespacedName) error {
	release, err := s.slots.take(ctx, Later, nil)
	if err != nil {
		return err
	}
	defer release()
	live := &v1alpha1.Target{}
	if err := s.Live.Get(ctx, key, live); err != nil {
		return fmt.Errorf("read target %s: %w", key, err)
	}
	s.recent.remember(live)
	return nil
}

// TakeSlot waits for a slot like a Later write, for a write to another object of a target. release
// returns the slot.
func (s *Store) TakeSlot(ctx context.Context) (release func(), err error) {
	return s.slots.take(ctx, Later, nil)
}

// Change applies a change to a target's status. It gets the world, with all pending changes
// applied, and the status to change. It may be called again after a conflict. If it returns an
// error, nothing is written.
type Change func(w offer.World, status *v1alpha1.TargetStatus) error

// Update applies pending changes to the target, calls change, and writes the status if it differs.
// It returns the target as it is now stored. If the target does not exist, the error is NotFound.
//
// It waits for one of the process's slots before it computes the change, not before it writes: a
// report that was received before a stop and waited for a slot is processed with the state after
// the stop.
func (s *Store) Update(ctx context.Context, key types.NamespacedName, change Change) (*v1alpha1.Target, error) {
	return s.UpdateAs(ctx, First, key, change, nil)
}

// UpdateAs is Update with a priority, which becomes First when urgent is closed. Update has the
// priority First. The error is ErrBusy if too many writes of the priority wait.
func (s *Store) UpdateAs(ctx context.Context, priority Priority, key types.NamespacedName, change Change, urgent <-chan struct{}) (*v1alpha1.Target, error) {
	release, err := s.slots.take(ctx, priority, urgent)
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
			return target, fmt.Errorf("target %s cannot be decoded and is not changed: %s", key, target.Unreadable.Message)
		}
		stored, err := s.try(ctx, target, change)
		if !apierrors.IsConflict(err) || try == maxTries {
			return stored, err
		}
		s.recent.forget(key)
		target = nil
	}
}

// try applies the changes, and patches the status with the resource version of the target that was
// read.
func (s *Store) try(ctx context.Context, target *v1alpha1.Target, change Change) (*v1alpha1.Target, error) {
	w := s.Index.World(target, s.Now())
	next := target.DeepCopy()
	if current, pending := offer.ApplyPending(w); pending {
		next.Status = *current
	}
	w.Target = next
	if err := change(w, &next.Status); err != nil {
		return target, err
	}
	noteOnline(next, w.Now, s.presence(next))
	if !equality.Semantic.DeepEqual(next.Status, target.Status) {
		s.noteAssigned(next, w.Now)
	}
	slices.SortFunc(next.Status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) }) // sorted, whatever code added them
	if equality.Semantic.DeepEqual(next.Status, target.Status) {
		return target, nil
	}
	if next.Status.SelectionHash != "" { // else the first reconcile of the target notes it
		NoteSelection(next, &next.Status, s.Index.SelectionFingerprint(next), w.Now)
	}
	noteSelecting(s.Index.Selecting(next), target, next, w.Now)
	action.Prune(&next.Status, s.sourceExists(target))
	patch := client.MergeFromWithOptions(target, client.MergeFromWithOptimisticLock{})
	if err := s.Client.Status().Patch(withTarget(ctx, target, next), next, patch, client.FieldOwner("goshawk")); err != nil {
		return nil, fmt.Errorf("write status of target %s: %w", key(target), err)
	}
	s.recent.remember(next)
	logDecisions(ctx, target, next)
	return next, nil
}

func (s *Store) presence(t *v1alpha1.Target) Presence {
	if s.Presence == nil {
		return Presence{}
	}
	return s.Presence(t)
}

// ApplyPending writes the stop, invalidation, cancel, newer update or deadline that applies to the
// target, or nothing if none does.
func (s *Store) ApplyPending(ctx context.Context, key types.NamespacedName) (*v1alpha1.Target, error) {
	return s.Update(ctx, key, func(offer.World, *v1alpha1.TargetStatus) error { return nil })
}

// sourceExists returns a function that reports whether a source still exists, so that its newest
// action on the target is kept. Sources are rollouts and the target itself, whose assignment may be
// complete.
func (s *Store) sourceExists(t *v1alpha1.Target) func(types.UID) bool {
	alive := map[types.UID]struct{}{t.Identity(): {}}
	for _, r := range s.Index.Rollouts(t.Namespace) {
		alive[r.Identity()] = struct{}{}
	}
	return func(uid types.UID) bool { _, ok := alive[uid]; return ok }
}

func key(t *v1alpha1.Target) types.NamespacedName { return client.ObjectKeyFromObject(t) }

// isNewer compares two states of one object. Objects with different UIDs are compared by
// resourceVersion as well.
func isNewer(a, b *v1alpha1.Target) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}
