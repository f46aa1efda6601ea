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
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// recordTimeout limits how long the reconcile of a set waits for the invalidation record. The
	// open actions are canceled without waiting for it.
	recordTimeout = 3 * time.Second
	// recordRetryDelay is the delay before an invalidation is recorded again after an error,
	// recordFullRetryDelay if the record was full.
	recordRetryDelay, recordFullRetryDelay = 5 * time.Second, time.Minute
	// recordBatch is the maximum number of invalidations in one write.
	recordBatch = 500
	// recordCacheTTL is how long an entry that was written for another set of the batch is used
	// without reading it again.
	recordCacheTTL = time.Minute
	// deletionTimeout is how long the deletion of an invalidated set waits until the invalidation
	// is recorded.
	deletionTimeout = 5 * time.Minute
)

// records writes invalidations, all waiting ones of a namespace together. Namespaces do not wait
// for each other.
type records struct {
	mu         sync.Mutex
	namespaces map[string]*waitingRecord
}

// waitingRecord caches what the last batch learned about the record of one namespace. It is only a
// cache: for a set that is not in it, the record is read.
type waitingRecord struct {
	mu sync.Mutex
	// known entries by their keys, each for the reconciles that follow the batch.
	known map[string]knownEntry
	// full is the error of the last batch if there was no room. It is valid until the time below.
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

// take returns an entry that an earlier batch has written, or nil if the record must be read.
func (w *waitingRecord) take(key string, now time.Time) *InvalidationEntry {
	known, ok := w.known[key]
	if !ok || now.Sub(known.at) > recordCacheTTL {
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

// record records the invalidation of a set, together with all other sets of the namespace that wait
// for it.
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
	maps.DeleteFunc(w.known, func(_ string, k knownEntry) bool { return now.Sub(k.at) > recordCacheTTL })
	batch, err := r.waiting(ctx, set, w.known)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	entries, err := r.invalidationRecord().PutAll(ctx, batch, now)
	w.full = nil
	if errors.Is(err, errShardFull) {
		w.full, w.until = err, now.Add(recordFullRetryDelay)
	}
	for key, entry := range entries {
		w.known[key] = knownEntry{entry, now, 2} // for the reconcile that writes the status, and the one after it
	}
	if found := w.take(mine, now); found != nil {
		return found, nil
	}
	return nil, err
}

// waiting returns the invalidated sets of a namespace whose entry is not known: first the given
// set, then the sets that are not recorded yet.
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

// isRecorded reports whether the status says that the invalidation of the set was observed and
// recorded.
func isRecorded(set *v1alpha1.DistributionSet) bool {
	seen := set.Status.Invalidation
	said := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionInvalidated)
	return seen != nil && seen.Cancellation == set.InvalidationInForce().Cancellation && said != nil && said.Reason != v1alpha1.ReasonInvalidationNotRecorded
}

// recordDelay returns the delay before an invalidation is recorded again after an error.
func recordDelay(err error) time.Duration {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errShardFull):
		return recordFullRetryDelay
	}
	return recordRetryDelay
}

// notRecorded returns a message with the error of the record and its consequence.
func notRecorded(err error) string {
	return "the invalidation is in effect, but not recorded yet: if the set were deleted now and applied again without spec.invalidation, it would be valid; " +
		"Goshawk retries automatically: " + text.LimitBytes(oneLine(err.Error()), 512)
}
