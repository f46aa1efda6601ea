// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// joinedCaches are the caches of several namespaces as one, for the index.
type joinedCaches struct {
	cache.Cache // nil: the index asks only for informers
	places      []*place
}

// GetInformer returns the informers of a kind as one.
func (j joinedCaches) GetInformer(ctx context.Context, o client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	joined := &joinedInformer{places: j.places, of: o}
	for _, p := range j.places {
		informer, err := p.cache.GetInformer(ctx, o, options...)
		if err != nil {
			return nil, err
		}
		shared, ok := informer.(toolscache.SharedIndexInformer)
		if !ok {
			return nil, fmt.Errorf("informer %T has no store", informer)
		}
		joined.informers = append(joined.informers, shared)
		p.stores[kindOf(o)] = shared.GetStore()
	}
	joined.SharedIndexInformer = joined.informers[0]
	return joined, nil
}

// joinedInformer is the informers of one kind in several namespaces.
type joinedInformer struct {
	toolscache.SharedIndexInformer
	informers []toolscache.SharedIndexInformer
	places    []*place
	of        client.Object
}

// AddEventHandler adds a handler to all informers. It is called by several goroutines, for
// different objects.
func (j *joinedInformer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	all := joinedRegistration{}
	for i, informer := range j.informers {
		r, err := informer.AddEventHandler(handler)
		if err != nil {
			return nil, err
		}
		all.registrations = append(all.registrations, r)
		j.places[i].synced[kindOf(j.of)] = r.HasSynced
	}
	all.ResourceEventHandlerRegistration = all.registrations[0]
	return all, nil
}

type joinedRegistration struct {
	toolscache.ResourceEventHandlerRegistration
	registrations []toolscache.ResourceEventHandlerRegistration
}

func (r joinedRegistration) HasSynced() bool {
	for _, one := range r.registrations {
		if !one.HasSynced() {
			return false
		}
	}
	return true
}

// GetStore returns the objects of all namespaces, to be read.
func (j *joinedInformer) GetStore() toolscache.Store {
	stores := joinedStores{Store: j.informers[0].GetStore()}
	for _, informer := range j.informers {
		stores.all = append(stores.all, informer.GetStore())
	}
	if len(stores.all) == 1 {
		return stores.Store
	}
	return stores
}

type joinedStores struct {
	toolscache.Store
	all []toolscache.Store
}

func (s joinedStores) List() []any {
	var objects []any
	for _, one := range s.all {
		objects = append(objects, one.List()...)
	}
	return objects
}

func (s joinedStores) GetByKey(key string) (item any, exists bool, err error) {
	for _, one := range s.all {
		if item, exists, err = one.GetByKey(key); exists || err != nil {
			return item, exists, err
		}
	}
	return nil, false, nil
}
