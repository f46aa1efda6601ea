// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// recordTimeout bounds how long a look at a set waits for the record of invalidated sets: the
	// stop goes on without it.
	recordTimeout = 3 * time.Second
	// recordPause is how long an invalidation that could not be recorded waits for the next
	// attempt, fullPause if there was no room.
	recordPause, fullPause = 5 * time.Second, time.Minute
	// recordBatch is how many invalidations one write records.
	recordBatch = 500
	// recordHolds is how long an entry that was written for another set of the batch need not be
	// read again.
	recordHolds = time.Minute
	// deletionWaits is how long the deletion of an invalidated set waits until the invalidation is
	// recorded.
	deletionWaits = 5 * time.Minute
)

// records write invalidations, one namespace at a time and all that wait in it together. The
// namespaces do not wait for each other.
type records struct {
	mu         sync.Mutex
	namespaces map[string]*waitingRecord
}

// waitingRecord is what is known of the record of one namespace from the last batch. It is a hint:
// whoever is not in it asks.
type waitingRecord struct {
	mu sync.Mutex
	// known entries by their keys, each for the looks that follow from the batch.
	known map[string]knownEntry
	// full is the error of the last batch, if there was no room, until then.
	full  error
	until time.Time
}

type knownEntry struct {
	entry *InvalidationEntry
	at    time.Time
	looks int
}

func (r *records) of(namespace string) *waitingRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.namespaces == nil {
		r.namespaces = map[string]*waitingRecord{}
	}
	if r.namespaces[namespace] == nil {
		r.namespaces[namespace] = &waitingRecord{known: map[string]knownEntry{}}
	}
	return r.namespaces[namespace]
}

// take returns an entry that an earlier batch has written; nil: it is to be asked for.
func (w *waitingRecord) take(key string, now time.Time) *InvalidationEntry {
	known, ok := w.known[key]
	if !ok || now.Sub(known.at) > recordHolds {
		delete(w.known, key)
		return nil
	}
	if known.looks--; known.looks <= 0 {
		delete(w.known, key)
	} else {
		w.known[key] = known
	}
	return known.entry
}

// record records the invalidation of a set, and with it those of all sets of the namespace that
// wait for the same.
func (r *DistributionSetReconciler) record(ctx context.Context, set *v1alpha1.DistributionSet) (*InvalidationEntry, error) {
	w, now, mine := r.records.of(set.Namespace), r.Now(), invalidationEntryKey(set)
	w.mu.Lock()
	defer w.mu.Unlock()
	if found := w.take(mine, now); found != nil {
		return found, nil
	}
	if w.full != nil && now.Before(w.until) {
		return nil, w.full
	}
	maps.DeleteFunc(w.known, func(_ string, k knownEntry) bool { return now.Sub(k.at) > recordHolds })
	batch, err := r.waiting(ctx, set, w.known)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	entries, err := r.invalidationRecord().PutAll(ctx, batch, now)
	w.full = nil
	if errors.Is(err, errShardFull) {
		w.full, w.until = err, now.Add(fullPause)
	}
	for key, entry := range entries {
		w.known[key] = knownEntry{entry, now, 2} // one that writes the status, and one that sees it written
	}
	if found := w.take(mine, now); found != nil {
		return found, nil
	}
	return nil, err
}

// waiting are the invalidated sets of a namespace whose entry is not known, this one first, then
// those that are not recorded.
func (r *DistributionSetReconciler) waiting(ctx context.Context, first *v1alpha1.DistributionSet, known map[string]knownEntry) ([]*v1alpha1.DistributionSet, error) {
	var all v1alpha1.DistributionSetList
	if err := r.Client.List(ctx, &all, client.InNamespace(first.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var others []*v1alpha1.DistributionSet
	for i := range all.Items {
		set := &all.Items[i]
		if set.Name == first.Name || set.InvalidationInForce() == nil {
			continue
		}
		if _, ok := known[invalidationEntryKey(set)]; !ok {
			others = append(others, set)
		}
	}
	slices.SortFunc(others, func(a, b *v1alpha1.DistributionSet) int {
		if isA, isB := isRecorded(a), isRecorded(b); isA != isB {
			return map[bool]int{true: 1, false: -1}[isA]
		}
		return strings.Compare(a.Name, b.Name)
	})
	return append([]*v1alpha1.DistributionSet{first}, others[:min(len(others), recordBatch-1)]...), nil
}

// isRecorded reports whether the status says that the invalidation of a set was observed and
// recorded.
func isRecorded(set *v1alpha1.DistributionSet) bool {
	seen := set.Status.Invalidation
	said := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionInvalidated)
	return seen != nil && seen.Cancellation == set.InvalidationInForce().Cancellation && said != nil && said.Reason != v1alpha1.ReasonInvalidationNotRecorded
}

// recordAgain is how long an invalidation that could not be recorded waits for the next attempt.
func recordAgain(err error) time.Duration {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errShardFull):
		return fullPause
	}
	return recordPause
}

// notRecorded says what is wrong with the record and what to do.
func notRecorded(err error) string {
	return "the invalidation holds, but it is not recorded yet, so that this set would be valid again if it were deleted and applied without spec.invalidation; " +
		"Goshawk tries again by itself: " + shorten(oneLine(err.Error()), 512)
}
