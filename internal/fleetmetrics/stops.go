// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

var (
	stopSeconds = stopDefinition.Histograms()
	stopDelay   = delayDefinition.Histograms()
)

func init() { metrics.Registry.MustRegister(stopSeconds, stopDelay) }

// stop is what an object says about its stop.
type stop struct {
	// isWanted reports whether the spec wants the stop, or has wanted it.
	isWanted bool
	// observedAt is when the controllers saw that. Zero: they have not stored it yet.
	observedAt time.Time
	// isApplied reports whether the stop has been applied to all open actions that it concerns.
	isApplied bool
}

// stopOf returns the stop of a set or a rollout. Another object, one that cannot be decoded or that
// is being deleted has none. A rollout that is stopped by the invalidation of its set has none
// either, because the stop is that of the set.
func stopOf(o client.Object) stop {
	switch o := o.(type) {
	case *v1alpha1.DistributionSet:
		if o.Unreadable != nil || !o.DeletionTimestamp.IsZero() || o.InvalidationInForce() == nil {
			return stop{}
		}
		s, seen := stop{isWanted: true}, o.Status.Invalidation
		if seen != nil && seen.Recorded != nil && seen.ObservedAt != nil {
			s.observedAt, s.isApplied = seen.ObservedAt.Time, seen.FinishedAt != nil
		}
		return s
	case *v1alpha1.Rollout:
		if _, isStopped := rollout.StopOf(o); o.Unreadable != nil || !o.DeletionTimestamp.IsZero() || !isStopped || o.Status.State == v1alpha1.RolloutFinished {
			return stop{}
		}
		s := stop{isWanted: true, isApplied: o.Status.State == v1alpha1.RolloutStopped}
		if o.Status.Stop != nil {
			s.observedAt = o.Status.Stop.ObservedAt.Time
		}
		return s
	}
	return stop{}
}

// stops measures the stops that the controllers apply.
type stops struct {
	now   func() time.Time
	leads bool
	// pending has the stops that are not applied yet, with the time at which they were seen.
	pending map[objectKey]time.Time
}

func newStops(now func() time.Time) *stops {
	return &stops{now: now, pending: map[objectKey]time.Time{}}
}

// changed follows the stop of an object. A stop that was applied before this process saw it is not
// measured. One that was under way then is measured from the time that was stored.
func (s *stops) changed(old, now client.Object) {
	if old != nil && (now == nil || now.GetUID() != old.GetUID()) {
		delete(s.pending, keyOf(old))
	}
	if now == nil {
		return
	}
	key, is := keyOf(now), stopOf(now)
	since, isPending := s.pending[key]
	switch {
	case !is.isWanted:
		delete(s.pending, key)
	case is.isApplied && isPending:
		delete(s.pending, key)
		if s.leads {
			stopSeconds.WithLabelValues(key.kind).Observe(max(0, s.now().Sub(since).Seconds()))
		}
	case is.isApplied || isPending:
	case old == nil && !is.observedAt.IsZero():
		s.pending[key] = is.observedAt
	default:
		s.pending[key] = s.now()
	}
}

// lead starts or ends the measurements, so that only one of several processes has them.
func (s *stops) lead(leads bool) {
	s.leads = leads
	if leads {
		for _, kind := range stopKind.Values {
			stopSeconds.WithLabelValues(kind)
		}
	}
}

func keyOf(o client.Object) objectKey {
	kind, _ := fleetcounts.ConditionsOf(o)
	return objectKey{kind, o.GetUID()}
}

// Delays measures how much later than the controllers a process of the device API sees the stops in
// one cache.
type Delays struct {
	now func() time.Time

	mu sync.Mutex
	// seen has the stops that the controllers have not stored yet.
	seen map[types.UID]time.Time
}

// NewDelays returns a Delays without stops. Make it a watcher of the index before the index follows
// the caches.
func NewDelays(now func() time.Time) *Delays {
	for _, kind := range stopKind.Values {
		stopDelay.WithLabelValues(kind)
	}
	return &Delays{now: now, seen: map[types.UID]time.Time{}}
}

// Changed applies a change of an object. The stop of an object that the process sees for the first
// time is not measured: it is not known how long this process could have seen it.
func (d *Delays) Changed(old, now client.Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old != nil && (now == nil || now.GetUID() != old.GetUID()) {
		delete(d.seen, old.GetUID())
	}
	if old == nil || now == nil || now.GetUID() != old.GetUID() {
		return
	}
	was, is := stopOf(old), stopOf(now)
	switch {
	case !is.isWanted:
		delete(d.seen, now.GetUID())
	case !was.isWanted:
		d.seen[now.GetUID()] = d.now()
	}
	if since, ok := d.seen[now.GetUID()]; ok && !is.observedAt.IsZero() {
		delete(d.seen, now.GetUID())
		stopDelay.WithLabelValues(keyOf(now).kind).Observe(max(0, since.Sub(is.observedAt).Seconds()))
	}
}
