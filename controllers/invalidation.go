// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// invalidationPage is the number of targets that one reconcile of an invalid set writes at
	// most, so that other sets are reconciled in between.
	invalidationPage = 200
	// invalidationWorkers is the number of targets that are written in parallel.
	invalidationWorkers = 8
	// invalidationRetryDelay is the delay before the next page, in which the cache receives what
	// was written.
	invalidationRetryDelay = 200 * time.Millisecond
)

// cancelOpenActions applies an invalidation to the open actions of the set, one page per reconcile.
// It returns the requeue delay, or 0 if nothing is left to do. It keeps no state: what is left is
// computed from the targets.
//
// It starts once the status shows that the invalidation was observed, whether the invalidation
// could be recorded or not.
func (r *DistributionSetReconciler) cancelOpenActions(ctx context.Context, set *v1alpha1.DistributionSet) (time.Duration, error) {
	if set.Status.Invalidation == nil {
		return 0, nil
	}
	key := client.ObjectKeyFromObject(set)
	kind := set.Status.Invalidation.Cancellation
	if r.counts.of(key).unapplied(kind) == 0 {
		return 0, nil
	}
	names, err := r.unapplied(ctx, set, kind)
	if err != nil || len(names) == 0 {
		return invalidationRetryDelay, err
	}
	page := r.pageCursor.next(key, names)
	if err := applyPendingToAll(ctx, r.Targets, set.Namespace, page); err != nil {
		return 0, fmt.Errorf("cancel actions of the invalid DistributionSet %s: %w", set.Name, err)
	}
	if len(names) > len(page) {
		return time.Millisecond, nil
	}
	return invalidationRetryDelay, nil
}

// unapplied returns the sorted names of the targets with an open action of the set that the
// invalidation has not been applied to, according to the newest status that this process knows.
func (r *DistributionSetReconciler) unapplied(ctx context.Context, set *v1alpha1.DistributionSet, c v1alpha1.Cancellation) ([]string, error) {
	var busy v1alpha1.TargetList
	if err := r.Client.List(ctx, &busy, client.InNamespace(set.Namespace), client.MatchingFields{TargetByOpenSet: set.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list targets with an open action of DistributionSet %s: %w", set.Name, err)
	}
	var names []string
	for i := range busy.Items {
		t := r.Targets.Get(client.ObjectKeyFromObject(&busy.Items[i]))
		if t != nil && t.Unreadable == nil && isInvalidationPending(t, set.Name, c) {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// isInvalidationPending reports whether the invalidation must still be applied to the open action
// of a target.
func isInvalidationPending(t *v1alpha1.Target, set string, c v1alpha1.Cancellation) bool {
	a := action.Open(&t.Status)
	return a != nil && a.DistributionSet == set && countsOfAction(a).unapplied(c) > 0
}

// applyPendingToAll applies pending changes to each target. A target that cannot be written does
// not stop the others.
func applyPendingToAll(ctx context.Context, store *targetstatus.Store, namespace string, names []string) error {
	var work errgroup.Group
	work.SetLimit(invalidationWorkers)
	failures := make([]error, len(names))
	for i, name := range names {
		work.Go(func() error {
			_, err := store.ApplyPending(ctx, types.NamespacedName{Namespace: namespace, Name: name})
			failures[i] = client.IgnoreNotFound(err)
			return nil
		})
	}
	_ = work.Wait() // the errors are collected in errs
	return errors.Join(failures...)
}

// pageCursor stores where the last page of each object ended, so that targets that cannot be
// written do not block the targets after them. Correctness does not depend on it.
type pageCursor struct {
	mu   sync.Mutex
	last map[types.NamespacedName]string
}

// next returns the names after the last page. After the last name it starts again with the first.
func (t *pageCursor) next(key types.NamespacedName, names []string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	start, found := slices.BinarySearch(names, t.last[key])
	if found {
		start++
	}
	page := slices.Concat(names[start:], names[:start])[:min(len(names), invalidationPage)]
	if t.last == nil {
		t.last = map[types.NamespacedName]string{}
	}
	t.last[key] = page[len(page)-1]
	return page
}

func (t *pageCursor) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.last, key)
}

// progress returns the progress of an invalidation. The counts of closed actions never decrease,
// although old actions are removed from the history of a target.
func progress(before *v1alpha1.InvalidatedActions, c actionCounts, kind v1alpha1.Cancellation) *v1alpha1.InvalidatedActions {
	if cancellation.Of(kind).StartedActions == cancellation.Continue {
		return nil
	}
	if before == nil {
		before = &v1alpha1.InvalidatedActions{}
	}
	now := &v1alpha1.InvalidatedActions{Canceling: c.canceling, Canceled: max(before.Canceled, c.canceled), Refused: max(before.Refused, c.refused)}
	now.Total = max(before.Total, c.pending+now.Canceling+now.Canceled+now.Refused)
	return now
}
