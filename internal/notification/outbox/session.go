// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/goshawk-dev/goshawk/internal/notification"
	"github.com/goshawk-dev/goshawk/internal/notification/webhook"
)

// session is the work of the leader. Its fields are guarded by the lock of the outbox.
type session struct {
	outbox *Outbox
	since  time.Time
	// records of all objects, and the ConfigMaps that store them.
	records map[recordKey]*record
	shards  []*shard
	// waiting are the records with pending events.
	waiting map[recordKey]*record
	// dirty are objects with versions that have not been processed.
	dirty map[objectKey]bool
	// blocked are those of them that had no room.
	blocked map[objectKey]bool
	// pending is the number of events that wait for delivery, and pendingBytes their size.
	pending, pendingBytes int
	inFlight              int
	// wake wakes up step, and changes the writer of records.
	wake, changes chan struct{}

	endpoint endpoint
	// isFull and saidFull report that the queue or the record has no room.
	isFull, saidFull bool
	sending          sync.WaitGroup
}

func (s *session) wakeUp() { signal(s.wake) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run delivers events until ctx ends. It runs in the leader only.
func (b *Outbox) Run(ctx context.Context) error {
	s := b.open(ctx)
	if s == nil {
		return nil // ctx has ended
	}
	var running sync.WaitGroup
	running.Go(func() { s.reload(ctx) })
	running.Go(func() { s.record(ctx) })
	for ctx.Err() == nil {
		wait := s.step(ctx)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-time.After(wait):
		}
	}
	s.sending.Wait()
	running.Wait()
	b.close(s)
	return nil
}

// open loads the record. It tries again until ctx ends.
func (b *Outbox) open(ctx context.Context) *session {
	said := ""
	for ctx.Err() == nil {
		s, err := b.load(ctx)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.session = s
			for key := range b.objects {
				s.dirty[key] = true
			}
			for _, scope := range b.scopes {
				scope.isCompared = false
			}
			return s
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			b.o.Log.Error(err, "No notifications are sent, because the record of what was sent cannot be read; a decision that is overwritten by a later one in the meantime is not notified")
		}
		pause(ctx, b.o.Timing.MinRetry)
	}
	return nil
}

// close writes the record a last time.
func (b *Outbox) close(s *session) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	for _, place := range s.shards {
		if place.isChanged {
			_ = s.store(ctx, place) // the next leader sends events again that are not recorded
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session = nil
	b.metrics.pending.Set(0)
	b.metrics.oldest.Set(0)
	b.metrics.full.Set(0)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// record writes changed records until ctx ends: a change at once, further ones together.
func (s *session) record(ctx context.Context) {
	b, said := s.outbox, ""
	for ctx.Err() == nil {
		b.mu.Lock()
		place, wait := s.due(b.o.Now())
		b.mu.Unlock()
		if place == nil {
			select {
			case <-ctx.Done():
			case <-s.changes:
			case <-time.After(wait):
			}
			continue
		}
		err := s.store(ctx, place)
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil:
			if err.Error() != said {
				said = err.Error()
				b.o.Log.Error(err, "The record of notifications cannot be written; after a restart, notifications may be sent again")
			}
			pause(ctx, b.o.Timing.MinRetry)
		}
	}
}

// step takes over new versions of objects, starts the attempts that are due, and returns how long
// nothing has to be done.
func (s *session) step(ctx context.Context) time.Duration {
	b := s.outbox
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.o.Now()
	s.process(now)
	s.compare(now)
	s.reportQueue(now)
	return s.dispatch(ctx, now)
}

// process derives the events of changed objects.
func (s *session) process(now time.Time) {
	b := s.outbox
	s.isFull = s.isFull && !s.hasTotalRoom()
	keys := slices.SortedFunc(maps.Keys(s.dirty), func(x, y objectKey) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.namespace, y.namespace), cmp.Compare(x.name, y.name))
	})
	for _, key := range keys {
		found := b.objects[key]
		if found == nil {
			delete(s.dirty, key)
			continue
		}
		if s.blocked[key] && len(found.versions) == 1 && !s.hasRoom(key, found.versions[0]) {
			continue
		}
		delete(s.blocked, key)
		taken := 0
		for taken < len(found.versions) && s.accept(key, found.versions[taken], now) {
			taken++
		}
		if taken < len(found.versions) {
			s.blocked[key] = true
			s.condense(key, found, taken, now)
			continue
		}
		delete(s.dirty, key)
		if last := found.versions[taken-1]; last.deleted {
			delete(b.objects, key)
		} else {
			found.versions = append(found.versions[:0:0], last)
		}
	}
}

// hasTotalRoom reports whether a quarter of the queue is free. An object that had no room is not
// processed again before, because that takes time.
func (s *session) hasTotalRoom() bool {
	return s.pending <= MaxPending*3/4 && s.pendingBytes <= maxPendingBytes*3/4
}

// hasRoom reports the same about the queue and the part of it that one object may have.
func (s *session) hasRoom(key objectKey, v version) bool {
	r := s.records[recordKey{key.kind, notification.Identity(v.object)}]
	return s.hasTotalRoom() && (r == nil || len(r.Pending) <= maxObjectPending*3/4)
}

// accept adds the events of a version to the queue. It returns false if there is not room for all
// of them; those that had room are in the queue.
func (s *session) accept(key objectKey, v version, now time.Time) bool {
	identity := recordKey{key.kind, notification.Identity(v.object)}
	r := s.records[identity]
	switch {
	case r != nil && r.UID == v.object.GetUID() && isNotNewer(v, r), !v.deleted && !notification.IsReadable(v.object):
		return true
	case r == nil && s.isFromBefore(v):
		if r = s.baseline(key, v, now); r == nil {
			return false
		}
	}
	var mark notification.Mark
	if r != nil {
		mark = r.Mark
	}
	events, mark := notification.Observe(mark, v.object, now)
	if r == nil && len(events) == 0 && !v.deleted && reflect.DeepEqual(mark, notification.Mark{}) {
		return true // the next process comes to the same result
	}
	if r == nil {
		r = s.newRecord(identity)
	}
	r.Namespace, r.Name, r.UID = key.namespace, key.name, v.object.GetUID()
	for i := range events {
		if !s.push(r, events[i], now) {
			return false
		}
		r.Mark = events[i].After
	}
	if !reflect.DeepEqual(r.Mark, mark) {
		r.Mark = mark
		s.changed(r)
	}
	if v.deleted {
		return s.remove(r, now)
	}
	r.Version, r.isGone = v.object.GetResourceVersion(), false
	return true
}

// isNotNewer reports whether a version was processed before. A deletion has always to be processed.
func isNotNewer(v version, r *record) bool {
	order, err := resourceversion.CompareResourceVersion(v.object.GetResourceVersion(), r.Version)
	return err == nil && order <= 0 && !v.deleted
}

// isFromBefore reports whether an object was created before notifications were set up, or was
// restored from a backup.
func (s *session) isFromBefore(v version) bool {
	return v.object.GetCreationTimestamp().Time.Before(s.since) || notification.Identity(v.object) != v.object.GetUID()
}

// baseline makes the record of an object from before, or returns nil if there is no room for the
// events since then.
func (s *session) baseline(key objectKey, v version, now time.Time) *record {
	events, mark := notification.Baseline(v.object, s.since, now)
	if s.pending > 0 && s.pending+len(events) > MaxPending {
		return nil
	}
	r := s.newRecord(recordKey{key.kind, notification.Identity(v.object)})
	r.Namespace, r.Name, r.UID, r.Mark = key.namespace, key.name, v.object.GetUID(), mark
	s.changed(r)
	for i := range events {
		if !s.push(r, events[i], now) {
			s.drop(events[i], droppedOverwritten, "the queue has no room for all decisions of the object")
		}
	}
	return r
}

func (s *session) newRecord(key recordKey) *record {
	r := &record{key: key}
	s.records[key] = r
	s.assign(r)
	return r
}

// remove adds the event of a deletion.
func (s *session) remove(r *record, now time.Time) bool {
	if n := len(r.Pending); n > 0 && r.Pending[n-1].IsDeletion() {
		r.isGone = true
	}
	if r.isGone {
		return true
	}
	if !s.push(r, notification.Deleted(r.key.kind, r.Namespace, r.Name, r.key.identity, now), now) {
		return false
	}
	r.isGone = true
	return true
}

// push adds an event to the queue of its object, if there is room.
func (s *session) push(r *record, e notification.Event, now time.Time) bool {
	p := newPending(e, now)
	if s.pending >= MaxPending || s.pendingBytes+p.bytes > maxPendingBytes {
		s.isFull = true
		return false
	}
	if len(r.Pending) >= maxObjectPending {
		return false
	}
	r.Pending = append(r.Pending, p)
	s.waiting[r.key] = r
	s.pending++
	s.pendingBytes += p.bytes
	s.changed(r)
	return true
}

// condense keeps only the newest version of an object while the queue is full. The decisions of the
// other versions that the newest one does not show any more are dropped, and logged.
func (s *session) condense(key objectKey, found *observed, taken int, now time.Time) {
	found.versions = append(found.versions[:0:0], found.versions[taken:]...)
	last := found.versions[len(found.versions)-1]
	if len(found.versions) == 1 {
		return
	}
	identity := notification.Identity(last.object)
	var mark notification.Mark
	if r := s.records[recordKey{key.kind, identity}]; r != nil {
		mark = r.Mark
	}
	kept := map[string]bool{}
	shown, _ := notification.Observe(mark, last.object, now)
	for i := range shown {
		kept[shown[i].ID] = true
	}
	for _, v := range found.versions[:len(found.versions)-1] {
		if notification.Identity(v.object) != identity {
			return // the object was created again; the versions of both are kept
		}
	}
	for _, v := range found.versions[:len(found.versions)-1] {
		events, after := notification.Observe(mark, v.object, now)
		for i := range events {
			if !kept[events[i].ID] {
				s.drop(events[i], droppedOverwritten, "the queue was full, and a later decision has overwritten this one")
			}
		}
		mark = after
	}
	found.versions = append(found.versions[:0:0], last)
}

// compare finds the objects that were deleted while no process followed them.
func (s *session) compare(now time.Time) {
	b := s.outbox
	for _, scope := range b.scopes {
		if scope.isCompared || !scope.hasSynced() {
			continue
		}
		present, unreadable := map[recordKey]bool{}, map[objectKey]bool{}
		for key, found := range b.objects {
			if found.scope != scope && scope.covers(key.namespace) {
				delete(b.objects, key) // a cache before this one had it
				continue
			}
			for _, v := range found.versions {
				present[recordKey{key.kind, notification.Identity(v.object)}] = true
				unreadable[key] = unreadable[key] || !notification.IsReadable(v.object)
			}
		}
		scope.isCompared = true
		for _, r := range s.records {
			isThere := present[r.key] || unreadable[objectKey{r.key.kind, r.Namespace, r.Name}]
			if scope.covers(r.Namespace) && !isThere && !s.remove(r, now) {
				scope.isCompared = false // there was no room
			}
		}
	}
}

// reportQueue sets the metrics of the queue, and says once that it is full.
func (s *session) reportQueue(now time.Time) {
	b := s.outbox
	oldest := now
	for _, r := range s.waiting {
		if r.Pending[0].Since.Before(oldest) {
			oldest = r.Pending[0].Since
		}
	}
	b.metrics.pending.Set(float64(s.pending))
	b.metrics.oldest.Set(now.Sub(oldest).Seconds())
	full := 0.0
	if s.isFull {
		full = 1
	}
	b.metrics.full.Set(full)
	s.endpoint.full.report(s.isFull, func() {
		b.say(corev1.EventTypeWarning, "NotificationQueueFull", fmt.Sprintf("%d notifications wait for delivery, the most that are kept: further decisions wait in the status of their objects, and one that a later decision overwrites is not notified, but logged; %s", s.pending, s.endpoint.why()))
	})
}

// once says something when it becomes true.
type once bool

func (o *once) report(is bool, say func()) {
	if is && !bool(*o) {
		say()
	}
	*o = once(is)
}

// dispatch starts the attempts that are due, and returns how long until the next one.
func (s *session) dispatch(ctx context.Context, now time.Time) time.Duration {
	wait := time.Second // for the metric of the age, and for caches that have not synced
	sender := s.endpoint.sender
	if sender == nil || s.endpoint.isGone {
		return wait
	}
	if hold := s.endpoint.holdUntil.Sub(now); hold > 0 {
		return min(wait, hold)
	}
	var ready []*record
	for _, r := range s.waiting {
		if r.inFlight {
			continue
		}
		if left := r.next.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		ready = append(ready, r)
	}
	slices.SortFunc(ready, func(x, y *record) int {
		return cmp.Or(x.next.Compare(y.next), x.Pending[0].Since.Compare(y.Pending[0].Since), cmp.Compare(x.key.String(), y.key.String()))
	})
	for _, r := range ready {
		if s.inFlight >= MaxAttempts {
			break
		}
		r.inFlight = true
		s.inFlight++
		event := r.Pending[0].Event
		s.sending.Go(func() { s.attempt(ctx, sender, r, event) })
	}
	return wait
}

// attempt makes one attempt to deliver the first event of an object.
func (s *session) attempt(ctx context.Context, sender *webhook.Sender, r *record, e notification.Event) {
	limited, cancel := context.WithTimeout(ctx, s.outbox.o.Timing.Attempt)
	defer cancel()
	by := e.Data.By
	if by == nil {
		by = s.outbox.fieldManager(limited, &e)
	}
	e.Data.By = by
	result := sender.Send(limited, &e)
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	r.inFlight = false
	s.inFlight--
	if ctx.Err() == nil || result.Outcome == webhook.Delivered {
		r.Pending[0].Data.By = by
		s.conclude(sender, r, result)
	}
	s.wakeUp()
}

// conclude takes over the result of an attempt.
func (s *session) conclude(sender *webhook.Sender, r *record, result webhook.Result) {
	b, now := s.outbox, s.outbox.o.Now()
	switch result.Outcome {
	case webhook.Delivered:
		b.metrics.attempts.WithLabelValues(resultDelivered).Inc()
		sent := s.pop(r)
		b.o.Log.V(1).Info("Sent a notification", "id", sent.ID, "type", sent.Type(), "object", types.NamespacedName{Namespace: sent.Data.Namespace, Name: sent.Data.Name})
		s.recovered(now)
		return
	case webhook.Refused:
		b.metrics.attempts.WithLabelValues(droppedRefused).Inc()
		dropped := s.pop(r)
		s.drop(dropped.Event, droppedRefused, result.Err.Error())
		b.say(corev1.EventTypeWarning, "NotificationRefused", fmt.Sprintf("the receiver refused a notification of type %s, which is dropped: %v", dropped.Type(), result.Err))
		s.recovered(now)
		return
	case webhook.Gone:
		s.endpoint.isGone = sender == s.endpoint.sender
	case webhook.Failed:
	}
	b.metrics.attempts.WithLabelValues(resultFailed).Inc()
	s.failed(result.Err, now)
	if result.RetryAfter > 0 {
		s.endpoint.holdUntil = now.Add(min(result.RetryAfter, b.o.Timing.MaxHold))
	}
	r.attempts++
	r.next = now.Add(b.backoff(r.attempts))
	if first := r.Pending[0]; now.Sub(first.Since) >= b.o.Timing.GiveUp {
		s.pop(r)
		s.drop(first.Event, droppedExpired, fmt.Sprintf("it was tried for %s: %v", b.o.Timing.GiveUp, result.Err))
	}
}

// backoff returns the delay after a number of failed attempts: it doubles, and is changed by up to
// a fifth, so that not all attempts are made at the same time.
func (b *Outbox) backoff(attempts int) time.Duration {
	d := b.o.Timing.MaxRetry
	if shift := attempts - 1; shift < 20 {
		d = min(d, b.o.Timing.MinRetry<<shift)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// pop removes the first event of an object from the queue.
func (s *session) pop(r *record) pending {
	first := r.Pending[0]
	r.Pending = r.Pending[1:]
	s.pending--
	s.pendingBytes -= first.bytes
	if len(r.Pending) == 0 {
		delete(s.waiting, r.key)
	}
	r.attempts, r.next = 0, time.Time{}
	s.changed(r)
	return first
}

// drop logs an event that is never delivered, with all its data.
func (s *session) drop(e notification.Event, reason, why string) {
	s.outbox.metrics.dropped.WithLabelValues(reason).Inc()
	s.outbox.o.Log.Info("Dropped a notification", "reason", reason, "why", why, "id", e.ID, "type", e.Type(), "time", e.Time, "data", e.Data)
}
