// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fakes stands in for an API server and for the informer caches of a process, in tests of
// one package that need neither.
package fakes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Server returns a builder of an API server that knows the core kinds and those of Goshawk. The
// status of a kind of Goshawk is a subresource, as in its CRD.
func Server(t testing.TB) *fake.ClientBuilder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(
		&v1alpha1.SoftwareModule{}, &v1alpha1.DistributionSet{}, &v1alpha1.Target{}, &v1alpha1.Rollout{}, &v1alpha1.DeploymentGroup{}, &v1alpha1.AutoAssignment{},
		&v1alpha1.DeviceAccess{}, &v1alpha1.TargetInventory{})
}

// Caches are the informer caches of one process. They change only when the test calls Sync, or
// Replace of an informer, so that each run is deterministic.
type Caches struct {
	cache.Cache
	informers map[string]*Informer
}

// NewCaches returns caches without an informer.
func NewCaches() *Caches { return &Caches{informers: map[string]*Informer{}} }

// GetInformer returns the informer of the kind of an object.
func (c *Caches) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	kind := fmt.Sprintf("%T", o)
	if c.informers[kind] == nil {
		c.informers[kind] = &Informer{Object: o, store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)}
	}
	return c.informers[kind], nil
}

// Informers returns the informers that were asked for, in the order of their kinds.
func (c *Caches) Informers() []*Informer {
	var sorted []*Informer
	for _, kind := range slices.Sorted(maps.Keys(c.informers)) {
		sorted = append(sorted, c.informers[kind])
	}
	return sorted
}

// Sync lets each informer have the objects that the API server has.
func (c *Caches) Sync(ctx context.Context, server client.Client) error {
	for _, informer := range c.Informers() {
		objects, err := listOf(ctx, server, informer.Object)
		if err != nil {
			return err
		}
		informer.Replace(objects)
	}
	return nil
}

// listOf returns all objects of the kind of an object.
func listOf(ctx context.Context, server client.Client, o client.Object) ([]runtime.Object, error) {
	kind, err := server.GroupVersionKindFor(o)
	if err != nil {
		return nil, err
	}
	kind.Kind += "List"
	list, err := server.Scheme().New(kind)
	if err != nil {
		return nil, err
	}
	if err := server.List(ctx, list.(client.ObjectList)); err != nil {
		return nil, err
	}
	return meta.ExtractList(list)
}

// Informer is the cache of one kind.
type Informer struct {
	toolscache.SharedIndexInformer
	// Object is an object of the kind.
	Object client.Object
	// Synced is the result of HasSynced. Replace sets it.
	Synced atomic.Bool

	store    toolscache.Store
	handlers []toolscache.ResourceEventHandler
}

// GetStore returns the objects that the cache has.
func (i *Informer) GetStore() toolscache.Store { return i.store }

// AddEventHandler calls a handler for each change from the next Replace on.
func (i *Informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.handlers = append(i.handlers, h)
	return registration{informer: i}, nil
}

type registration struct {
	toolscache.ResourceEventHandlerRegistration
	informer *Informer
}

// HasSynced reports whether the cache has the objects of an API server.
func (r registration) HasSynced() bool { return r.informer.Synced.Load() }

// Replace lets the cache have these objects and no others, and calls the handlers for those that
// are new, that have another resourceVersion, or that are gone.
func (i *Informer) Replace(objects []runtime.Object) {
	present := map[string]bool{}
	for _, o := range objects {
		key, _ := toolscache.MetaNamespaceKeyFunc(o)
		present[key] = true
		old, exists, _ := i.store.GetByKey(key)
		if exists && old.(client.Object).GetResourceVersion() == o.(client.Object).GetResourceVersion() {
			continue
		}
		_ = i.store.Add(o)
		for _, h := range i.handlers {
			if exists {
				h.OnUpdate(old, o)
			} else {
				h.OnAdd(o, false)
			}
		}
	}
	for _, old := range i.store.List() {
		if key, _ := toolscache.MetaNamespaceKeyFunc(old); !present[key] {
			_ = i.store.Delete(old)
			for _, h := range i.handlers {
				h.OnDelete(old)
			}
		}
	}
	i.Synced.Store(true)
}
