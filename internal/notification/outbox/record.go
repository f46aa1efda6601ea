// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/notification"
)

const (
	// shardPrefix is the prefix of the ConfigMaps with the record of what was delivered.
	shardPrefix = "goshawk-notifications-"
	// maxShards and maxShardBytes limit the record. A ConfigMap may have 1 MiB: maxShardBytes for
	// marks, and maxPendingBytes for events.
	maxShards, maxShardBytes, maxPendingBytes = 64, 256 << 10, 512 << 10
	// newRecordBytes is the assumed size of a record that was not written yet.
	newRecordBytes = 700
	// sinceKey is the key of the time at which the record was created, in the first ConfigMap.
	sinceKey = "since"
	// requestTimeout limits a request to the API server.
	requestTimeout = 5 * time.Second
	// maxWrites is how often a write is tried when another process writes the same ConfigMap.
	maxWrites = 3
)

// record is what is stored about one object.
type record struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID and Version are metadata.uid and the resourceVersion of the last version that was
	// processed when the record was written.
	UID     types.UID         `json:"uid"`
	Version string            `json:"version"`
	Mark    notification.Mark `json:"mark"`
	// Pending are the events that wait for delivery, the oldest first.
	Pending []pending `json:"pending,omitempty"`

	key recordKey
	// isGone is true when the object was deleted. The record follows once nothing is pending.
	isGone bool
	shard  *shard
	// size is the length of the stored form without events, and text the stored form.
	size int
	text string
	// isEncoded is false if text is that of an earlier state.
	isEncoded bool

	// attempts that have failed, and when the next one is due.
	attempts int
	next     time.Time
	inFlight bool
}

// pending is an event that waits for delivery.
type pending struct {
	notification.Event
	// Since is when it became pending.
	Since time.Time `json:"since"`

	bytes int
}

func newPending(e notification.Event, since time.Time) pending {
	p := pending{Event: e, Since: since}
	encoded, _ := json.Marshal(p) // it always encodes
	p.bytes = len(encoded)
	return p
}

// shard is one ConfigMap.
type shard struct {
	name   string
	stored *corev1.ConfigMap // nil if it does not exist
	// other entries are kept as they are: those of another process, and those that cannot be read.
	other   map[string]string
	records map[recordKey]*record
	bytes   int
	// writtenAt is when the last write was started.
	writtenAt time.Time
	isChanged bool
}

func newShard(number int) *shard {
	return &shard{name: fmt.Sprint(shardPrefix, number), other: map[string]string{}, records: map[recordKey]*record{}}
}

func (k recordKey) String() string { return k.kind + "." + string(k.identity) }

// load reads the record, and creates it if there is none, so that it has the time since when
// decisions are notified.
func (b *Outbox) load(ctx context.Context) (*session, error) {
	s := &session{outbox: b, records: map[recordKey]*record{}, waiting: map[recordKey]*record{}, dirty: map[objectKey]bool{}, blocked: map[objectKey]bool{},
		wake: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
	for number := range maxShards {
		found := newShard(number)
		stored, err := b.read(ctx, found.name)
		if err != nil {
			return nil, err
		}
		if stored == nil && number > 0 {
			break
		}
		if stored == nil {
			if stored, err = b.create(ctx, found.name); err != nil {
				return nil, err
			}
		}
		s.shards = append(s.shards, found)
		s.take(found, stored)
	}
	since, err := time.Parse(time.RFC3339, s.shards[0].other[sinceKey])
	if err != nil {
		return nil, fmt.Errorf("key %s of ConfigMap %s/%s is not a time: correct it, or delete the ConfigMap; then decisions from now on are notified", sinceKey, b.o.Namespace, s.shards[0].name)
	}
	s.since = since
	return s, nil
}

// read returns a ConfigMap, or nil if it does not exist.
func (b *Outbox) read(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found := &corev1.ConfigMap{}
	err := b.o.Client.Get(ctx, client.ObjectKey{Namespace: b.o.Namespace, Name: name}, found)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of notifications in ConfigMap %s/%s: %w", b.o.Namespace, name, err)
	}
	return found, nil
}

func (b *Outbox) create(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	made := b.empty(name)
	made.Data = map[string]string{sinceKey: b.o.Now().UTC().Format(time.RFC3339)}
	err := b.write(ctx, made)
	if apierrors.IsAlreadyExists(err) {
		made, err = b.read(ctx, name)
	}
	if err == nil && made == nil {
		err = errors.New("it was deleted")
	}
	if err != nil {
		return nil, fmt.Errorf("create the record of notifications in ConfigMap %s/%s: %w", b.o.Namespace, name, err)
	}
	return made, nil
}

func (b *Outbox) empty(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.o.Namespace, Name: name, Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}}}
}

// write creates or updates a ConfigMap.
func (b *Outbox) write(ctx context.Context, m *corev1.ConfigMap) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if m.ResourceVersion == "" {
		return b.o.Client.Create(ctx, m, client.FieldOwner("goshawk"))
	}
	return b.o.Client.Update(ctx, m, client.FieldOwner("goshawk"))
}

// take takes over the entries of a stored ConfigMap that the session does not have.
func (s *session) take(into *shard, stored *corev1.ConfigMap) {
	into.stored, into.other = stored, map[string]string{}
	for name, text := range stored.Data {
		kind, identity, found := strings.Cut(name, ".")
		key := recordKey{kind, types.UID(identity)}
		if _, known := s.records[key]; known {
			continue
		}
		r := &record{}
		if !found || json.Unmarshal([]byte(text), r) != nil {
			into.other[name] = text
			continue
		}
		r.key, r.shard, r.text, r.isEncoded = key, into, text, true
		r.size = len(name) + len(text)
		for i := range r.Pending {
			r.Pending[i] = newPending(r.Pending[i].Event, r.Pending[i].Since)
			r.size -= r.Pending[i].bytes
			s.pendingBytes += r.Pending[i].bytes
		}
		if s.pending += len(r.Pending); len(r.Pending) > 0 {
			s.waiting[key] = r
		}
		s.records[key], into.records[key] = r, r
		into.bytes += r.size
	}
}

// assign gives a new record a place: the first ConfigMap with room. Without room, the record is
// not stored.
func (s *session) assign(r *record) {
	for _, place := range s.shards {
		if place.bytes+newRecordBytes <= maxShardBytes {
			s.put(place, r)
			return
		}
	}
	if len(s.shards) < maxShards {
		s.shards = append(s.shards, newShard(len(s.shards)))
		s.put(s.shards[len(s.shards)-1], r)
		return
	}
	if !s.saidFull {
		s.saidFull = true
		s.outbox.o.Log.Error(nil, "The record of notifications has no room for a further object. After a restart, its decisions are notified again: delete rollouts that have ended",
			"configMaps", fmt.Sprintf("%s/%s*", s.outbox.o.Namespace, shardPrefix), "max", maxShards)
	}
}

func (s *session) put(place *shard, r *record) {
	r.shard, r.size = place, newRecordBytes
	place.records[r.key] = r
	place.bytes += r.size
}

// changed marks a record for the next write. A record of a deleted object is dropped once all its
// events are delivered.
func (s *session) changed(r *record) {
	r.isEncoded = false
	if r.shard != nil {
		r.shard.isChanged = true
		signal(s.changes)
	}
	if r.isGone && len(r.Pending) == 0 {
		delete(s.records, r.key)
		if r.shard != nil {
			delete(r.shard.records, r.key)
			r.shard.bytes -= r.size
		}
	}
}

// due returns a ConfigMap to write now, or how long to wait for the next one.
func (s *session) due(now time.Time) (*shard, time.Duration) {
	wait := time.Hour
	for _, place := range s.shards {
		if !place.isChanged {
			continue
		}
		left := place.writtenAt.Add(s.outbox.o.Timing.Record).Sub(now)
		if left <= 0 {
			return place, 0
		}
		wait = min(wait, left)
	}
	return nil, wait
}

// store writes one ConfigMap. The lock is held while the content is made, and not while it is
// written.
func (s *session) store(ctx context.Context, place *shard) error {
	for try := 1; ; try++ {
		s.outbox.mu.Lock()
		content := s.content(place)
		s.outbox.mu.Unlock()
		err := s.outbox.write(ctx, content)
		if err == nil {
			s.outbox.mu.Lock()
			place.stored = content
			s.outbox.mu.Unlock()
			return nil
		}
		if isRace := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err); !isRace || try == maxWrites {
			s.outbox.mu.Lock()
			place.isChanged = true
			s.outbox.mu.Unlock()
			return fmt.Errorf("write ConfigMap %s/%s: %w", s.outbox.o.Namespace, place.name, err)
		}
		stored, readErr := s.outbox.read(ctx, place.name)
		if readErr != nil {
			return readErr
		}
		s.outbox.mu.Lock()
		if place.isChanged = true; stored == nil {
			place.stored = nil // it was deleted: it is created again with all records
		} else {
			s.take(place, stored)
		}
		s.outbox.mu.Unlock()
	}
}

// content returns the ConfigMap with all records.
func (s *session) content(place *shard) *corev1.ConfigMap {
	m := s.outbox.empty(place.name)
	if place.stored != nil {
		m = place.stored.DeepCopy()
	}
	m.Data = maps.Clone(place.other)
	if place == s.shards[0] {
		m.Data[sinceKey] = s.since.UTC().Format(time.RFC3339)
	}
	place.bytes = 0
	for key, r := range place.records {
		if !r.isEncoded {
			r.encode()
		}
		m.Data[key.String()] = r.text
		place.bytes += r.size
	}
	place.isChanged, place.writtenAt = false, s.outbox.o.Now()
	return m
}

// encode makes the stored form of a record.
func (r *record) encode() {
	encoded, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and times always encode
	}
	r.text, r.isEncoded, r.size = string(encoded), true, len(r.key.String())+len(encoded)
	for i := range r.Pending {
		r.size -= r.Pending[i].bytes
	}
}
