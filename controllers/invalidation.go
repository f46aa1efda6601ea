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
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// invalidationPage is how many targets one look at an invalid set applies, so that other sets
	// get their turn.
	invalidationPage = 200
	// invalidationWorkers is how many of them are written at a time.
	invalidationWorkers = 8
	// invalidationPause is how long the walk waits for the cache to show what it has written.
	invalidationPause = 200 * time.Millisecond
)

// cancelOpenActions applies an invalidation into the open actions of the set, one page at a look,
// and answers when to look again; zero: nothing is left to apply. It remembers nothing: what is
// left is what the targets show.
//
// It starts once the status says that the invalidation was observed, whether the record of it could
// be written or not.
func (r *DistributionSetReconciler) cancelOpenActions(ctx context.Context, set *v1alpha1.DistributionSet) (time.Duration, error) {
	if set.Status.Invalidation == nil {
		return 0, nil
	}
	key := client.ObjectKeyFromObject(set)
	cancellation := set.Status.Invalidation.Cancellation
	if r.counts.of(key).unapplied(cancellation) == 0 {
		return 0, nil
	}
	names, err := r.unapplied(ctx, set, cancellation)
	if err != nil || len(names) == 0 {
		return invalidationPause, err
	}
	page := r.pageCursor.next(key, names)
	if err := settleAll(ctx, r.Targets, set.Namespace, page); err != nil {
		return 0, fmt.Errorf("cancel actions of the invalid DistributionSet %s: %w", set.Name, err)
	}
	if len(names) > len(page) {
		return time.Millisecond, nil
	}
	return invalidationPause, nil
}

// unfolded are the names, sorted, of the targets whose open action of the set has not been reached,
// by the newest that this process knows of them.
func (r *DistributionSetReconciler) unapplied(ctx context.Context, set *v1alpha1.DistributionSet, c v1alpha1.Cancellation) ([]string, error) {
	var busy v1alpha1.TargetList
	if err := r.Client.List(ctx, &busy, client.InNamespace(set.Namespace), client.MatchingFields{TargetByOpenSet: set.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list targets with an open action of DistributionSet %s: %w", set.Name, err)
	}
	var names []string
	for i := range busy.Items {
		t := r.Targets.Get(client.ObjectKeyFromObject(&busy.Items[i]))
		if t != nil && t.Unreadable == nil && awaitsApply(t, set.Name, c) {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// awaitsApply reports whether an invalidation has still to reach the open action of a target.
func awaitsApply(t *v1alpha1.Target, set string, c v1alpha1.Cancellation) bool {
	a := action.Open(&t.Status)
	return a != nil && a.DistributionSet == set && countOf(a).unapplied(c) > 0
}

// settleAll writes what applies to each target. One that cannot be written does not hold the
// others.
func settleAll(ctx context.Context, store *targetstatus.Store, namespace string, names []string) error {
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
	_ = work.Wait() // each has left its own error
	return errors.Join(failures...)
}

// pageCursor remember where the last page of each walk ended, so that targets that cannot be
// written do not keep the others waiting. Nothing depends on it.
type pageCursor struct {
	mu   sync.Mutex
	last map[types.NamespacedName]string
}

// next is the page after the last one, start again at the first name.
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

// progress is how far an invalidation has come. A count of what is closed never goes back: old
// actions leave a target's history.
func progress(before *v1alpha1.InvalidatedActions, c actionCounts, cancellation v1alpha1.Cancellation) *v1alpha1.InvalidatedActions {
	if cancellation != v1alpha1.CancellationSoft && cancellation != v1alpha1.CancellationForce {
		return nil
	}
	if before == nil {
		before = &v1alpha1.InvalidatedActions{}
	}
	now := &v1alpha1.InvalidatedActions{Canceling: c.canceling, Canceled: max(before.Canceled, c.canceled), Refused: max(before.Refused, c.refused)}
	now.Total = max(before.Total, c.pending+now.Canceling+now.Canceled+now.Refused)
	return now
}
