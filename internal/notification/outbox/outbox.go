// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outbox delivers a notification of every decision, at least once and in order for each
// object. It follows the informer caches, never waits in their handlers, and records in ConfigMaps
// what was delivered, so that the next process continues where this one ended.
package outbox

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/notification"
)

const (
	// MaxPending is the maximum number of events that wait for delivery, and maxObjectPending that
	// of one object, so that it leaves room for others.
	MaxPending, maxObjectPending = 400, 50
	// MaxAttempts is the maximum number of attempts at the same time.
	MaxAttempts = 4
	// maxVersions is how many versions of an object are kept while they cannot be processed.
	maxVersions = 8
)

// Timing has the intervals of an Outbox.
type Timing struct {
	// Record is the minimum time between two writes of the same ConfigMap.
	Record time.Duration
	// Reload is how often the Secret is read.
	Reload time.Duration
	// Attempt limits one attempt to deliver an event.
	Attempt time.Duration
	// MinRetry and MaxRetry limit the delay after a failed attempt, which doubles each time.
	MinRetry, MaxRetry time.Duration
	// MaxHold limits the delay that a receiver asks for.
	MaxHold time.Duration
	// GiveUp is how long an event is tried.
	GiveUp time.Duration
	// Keep is how long a process that is not the leader keeps an older version of an object.
	Keep time.Duration
}

// DefaultTiming has the intervals that docs/notifications.md gives.
func DefaultTiming() Timing {
	return Timing{
		Record: time.Second, Reload: 10 * time.Second, Attempt: 10 * time.Second, MinRetry: time.Second, MaxRetry: 5 * time.Minute,
		MaxHold: 10 * time.Minute, GiveUp: 24 * time.Hour, Keep: 10 * time.Second,
	}
}

// Options are the settings of an Outbox.
type Options struct {
	// Secret has the endpoint and its credentials.
	Secret types.NamespacedName
	// Namespace of the ConfigMaps.
	Namespace string
	// Client reads and writes at the API server, without a cache.
	Client client.Client
	// Events records events of the Secret.
	Events     events.EventRecorder
	Log        logr.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	Timing     Timing
}

// Outbox follows objects in every replica, and delivers events while Run runs, in the leader.
type Outbox struct {
	o       Options
	metrics metrics

	mu      sync.Mutex
	objects map[objectKey]*observed
	scopes  map[string]*scope
	// session is nil in a process that is not the leader.
	session *session
}

// objectKey is the name of an object.
type objectKey struct{ kind, namespace, name string }

// recordKey identifies an object, also after a restore from a backup.
type recordKey struct {
	kind     string
	identity types.UID
}

// observed is an object in a cache.
type observed struct {
	scope *scope
	// versions of the object, the newest last. The leader keeps only the newest one. Another
	// process keeps, for Timing.Keep, those that carry a decision.
	versions []version
	// mark after the newest version, which shows whether a version carries a decision.
	mark notification.Mark
}

type version struct {
	object           client.Object
	deleted, decided bool
	at               time.Time
}

// scope is the cache of one namespace, or of all of them.
type scope struct {
	namespace string
	synced    []toolscache.InformerSynced
	// isCompared is true when the objects that the cache lacks were found.
	isCompared bool
}

func (s *scope) hasSynced() bool {
	for _, synced := range s.synced {
		if !synced() {
			return false
		}
	}
	return true
}

func (s *scope) covers(namespace string) bool { return s.namespace == "" || s.namespace == namespace }

// New returns an outbox.
func New(o Options) (*Outbox, error) {
	b := &Outbox{o: o, metrics: newMetrics(), objects: map[objectKey]*observed{}, scopes: map[string]*scope{}}
	return b, b.metrics.register(o.Registerer)
}

// Follow follows the objects of a namespace, or of all namespaces if it is empty. It is called
// before the cache starts, so that no decision of the process is missed. A later call for the same
// namespace replaces the cache.
func (b *Outbox) Follow(ctx context.Context, objects cache.Cache, namespace string) error {
	s := &scope{namespace: namespace}
	b.mu.Lock()
	b.scopes[namespace] = s
	b.mu.Unlock()
	for _, kind := range []client.Object{&v1alpha1.Rollout{}, &v1alpha1.DistributionSet{}, &v1alpha1.AutoAssignment{}} {
		informer, err := objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { b.observe(s, o, false) },
			UpdateFunc: func(_, o any) { b.observe(s, o, false) },
			DeleteFunc: func(o any) { b.observe(s, o, true) },
		})
		if err != nil {
			return err
		}
		b.mu.Lock()
		s.synced = append(s.synced, registration.HasSynced)
		b.mu.Unlock()
	}
	return nil
}

// observe takes a version of an object. It only stores it, because it runs in the handler of an
// informer.
func (b *Outbox) observe(s *scope, o any, deleted bool) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	object, ok := o.(client.Object)
	if !ok {
		return
	}
	key := objectKey{notification.KindOf(object), object.GetNamespace(), object.GetName()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.scopes[s.namespace] != s {
		return // a later cache has replaced this one
	}
	found := b.objects[key]
	if found == nil {
		found = &observed{}
		b.objects[key] = found
	}
	found.scope = s
	if last := len(found.versions) - 1; last >= 0 {
		// A cache shows a deletion and a creation of the same name as one change if it missed both.
		if before := found.versions[last]; !before.deleted && notification.Identity(before.object) != notification.Identity(object) {
			b.add(key, found, version{object: before.object, deleted: true, at: b.o.Now()})
		}
	}
	b.add(key, found, version{object: object, deleted: deleted, at: b.o.Now()})
	if b.session != nil {
		b.session.dirty[key] = true
		b.session.wakeUp()
	}
}

// add adds a version. It replaces the newest one if neither carries a decision.
func (b *Outbox) add(key objectKey, found *observed, v version) {
	last := len(found.versions) - 1
	if last >= 0 && found.versions[last].object.GetUID() != v.object.GetUID() {
		found.mark = notification.Mark{}
	}
	decisions, mark := notification.Observe(found.mark, v.object, v.at)
	found.mark = mark
	if v.decided = len(decisions) > 0 || v.deleted; last >= 0 && !v.decided && !found.versions[last].decided {
		found.versions[last] = v
		return
	}
	found.versions = append(found.versions, v)
	if len(found.versions) > maxVersions {
		found.versions = append(found.versions[:1:1], found.versions[2:]...) // the first one shows what was there before
	}
	if b.session == nil && len(found.versions) > 1 {
		time.AfterFunc(b.o.Timing.Keep, func() { b.forget(key) })
	}
}

// forget drops the older versions of an object in a process that is not the leader.
func (b *Outbox) forget(key objectKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := b.objects[key]
	if b.session != nil || found == nil {
		return
	}
	for len(found.versions) > 1 && b.o.Now().Sub(found.versions[0].at) >= b.o.Timing.Keep {
		found.versions = found.versions[1:]
	}
	if len(found.versions) == 1 && found.versions[0].deleted {
		delete(b.objects, key) // the record shows the deletion to the next leader
	}
}
