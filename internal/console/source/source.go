// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package source has the caches that the console is rendered from: one list and one watch for each
// kind, whatever the number of viewers. It works with whatever rights it has: a kind that may not
// be listed is reported, and the others are read.
package source

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/decode"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// Options are the settings of a source.
type Options struct {
	// Namespaces are the namespaces that are read. If it is empty, these are all namespaces.
	Namespaces []string
	// Unreadable reports the objects that cannot be decoded.
	Unreadable *decode.Report
	// Now is the clock.
	Now func() time.Time
}

// Source reads the objects of the console. It implements console.Source.
type Source struct {
	index  *fleet.Index
	counts *fleetcounts.Counter
	places []*place
	seen   *observer

	mu       sync.Mutex
	watchers []func(console.Kind, string)
}

// place is a namespace that is read, or all of them.
type place struct {
	namespace string
	cache     cache.Cache
	// synced reports for each kind whether the index has all objects; stores has the objects.
	synced map[console.Kind]toolscache.InformerSynced
	stores map[console.Kind]toolscache.Store
}

// New returns a source that reads with the rights of config. Nothing is read before Run.
func New(ctx context.Context, config *rest.Config, o Options) (*Source, error) {
	s := &Source{index: fleet.New(), counts: fleetcounts.New()}
	s.seen = newObserver(o.Now, func() { s.notify("", "") }, s.isLoading)
	config = rest.CopyConfig(config)
	config.Wrap(s.seen.wrap)
	config.QPS = -1 // there are a few requests for each kind
	namespaces := o.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		objects, err := newCache(config, namespace, o.Unreadable)
		if err != nil {
			return nil, fmt.Errorf("make the caches of %s: %w", nameOf(namespace), err)
		}
		s.places = append(s.places, &place{namespace: namespace, cache: objects, synced: map[console.Kind]toolscache.InformerSynced{}, stores: map[console.Kind]toolscache.Store{}})
	}
	s.index.Watch(s.counts.Changed)
	s.index.Watch(s.changed)
	if err := s.index.Follow(ctx, joinedCaches{places: s.places}); err != nil {
		return nil, err
	}
	return s, nil
}

func nameOf(namespace string) string {
	if namespace == metav1.NamespaceAll {
		return "all namespaces"
	}
	return "namespace " + namespace
}

// newCache returns the caches of a namespace. Their requests are only for that namespace, because
// controller-runtime evaluates the field selector.
func newCache(config *rest.Config, namespace string, unreadable *decode.Report) (cache.Cache, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	options := cache.Options{Scheme: scheme, Mapper: console.Mapper(), DefaultTransform: slim}
	if namespace != metav1.NamespaceAll {
		options.DefaultFieldSelector = fields.OneTermEqualSelector("metadata.namespace", namespace)
	}
	options.DefaultWatchErrorHandler = func(context.Context, *toolscache.Reflector, error) {} // the observer has seen it
	if err := decode.Isolate(&options, config, scheme, unreadable); err != nil {
		return nil, err
	}
	return cache.New(config, options)
}

// slim drops what the console does not read and that needs much memory in a large fleet. The owners
// of fields stay on the kinds whose changes are proposed, except on targets, of which there are
// many.
func slim(o any) (any, error) {
	object, ok := o.(client.Object)
	if !ok {
		return o, nil
	}
	switch object := object.(type) {
	case *v1alpha1.Rollout, *v1alpha1.DistributionSet, *v1alpha1.AutoAssignment:
		return o, nil
	case *v1alpha1.TargetInventory:
		object.Compress()
	}
	object.SetManagedFields(nil)
	if notes := object.GetAnnotations(); notes[corev1.LastAppliedConfigAnnotation] != "" {
		delete(notes, corev1.LastAppliedConfigAnnotation)
		object.SetAnnotations(notes)
	}
	return o, nil
}

// Run reads until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	var running sync.WaitGroup
	errs := make([]error, len(s.places))
	for i, p := range s.places {
		running.Go(func() { errs[i] = p.cache.Start(ctx) })
	}
	running.Wait()
	return errs[0]
}

// Index implements console.Source.
func (s *Source) Index() *fleet.Index { return s.index }

// Counts implements console.Source.
func (s *Source) Counts() *fleetcounts.Counter { return s.counts }

// Contact implements console.Source.
func (s *Source) Contact() console.Contact { return s.seen.contact() }

// Watch implements console.Source.
func (s *Source) Watch(f func(console.Kind, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// Reading implements console.Source.
func (s *Source) Reading(kind console.Kind, namespace string) console.Reading {
	if namespace != "" {
		at := slices.IndexFunc(s.places, func(p *place) bool { return p.namespace == namespace || p.namespace == metav1.NamespaceAll })
		if at < 0 {
			return console.Reading{Outside: true}
		}
		return s.readingAt(kind, s.places[at])
	}
	all := console.Reading{Synced: true}
	refused := 0
	for _, p := range s.places {
		r := s.readingAt(kind, p)
		all.Objects += r.Objects
		if r.Refused != "" {
			refused++
			all.Refused = r.Refused
			continue
		}
		all.Synced = all.Synced && r.Synced
	}
	if refused < len(s.places) {
		all.Refused = "" // of the other namespaces it is shown
	} else {
		all.Synced = false
	}
	return all
}

func (s *Source) readingAt(kind console.Kind, p *place) console.Reading {
	requested, refused := s.seen.reading(kind, p.namespace)
	r := console.Reading{Synced: p.synced[kind](), Objects: requested, Refused: refused}
	if r.Synced {
		r.Objects = len(p.stores[kind].ListKeys())
	}
	return r
}

// isLoading reports whether a list has not been read completely yet.
func (s *Source) isLoading(l list) bool {
	return slices.ContainsFunc(s.places, func(p *place) bool {
		return p.namespace == l.namespace && p.synced[l.kind] != nil && !p.synced[l.kind]()
	})
}

// changed notifies the watchers of a change of an object.
func (s *Source) changed(old, now client.Object) {
	o := now
	if o == nil {
		o = old
	}
	s.notify(kindOf(o), o.GetNamespace())
}

func (s *Source) notify(kind console.Kind, namespace string) {
	s.mu.Lock()
	watchers := s.watchers // replaced when one is added
	s.mu.Unlock()
	for _, f := range watchers {
		f(kind, namespace)
	}
}

func kindOf(o client.Object) console.Kind {
	switch o.(type) {
	case *v1alpha1.Target:
		return console.Targets
	case *v1alpha1.TargetInventory:
		return console.Inventories
	case *v1alpha1.Rollout:
		return console.Rollouts
	case *v1alpha1.DeploymentGroup:
		return console.DeploymentGroups
	case *v1alpha1.DistributionSet:
		return console.DistributionSets
	case *v1alpha1.SoftwareModule:
		return console.SoftwareModules
	default:
		return console.AutoAssignments
	}
}
