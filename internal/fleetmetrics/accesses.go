// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// The values of the label problem of accesses.
const (
	stalled             = "stalled"
	registrationStopped = "registrationStopped"
)

var accessesDesc = collectors.Define(collectors.Definition{
	Name: "goshawk_device_access_problems", Process: collectors.DeviceAPI,
	Help: "DeviceAccesses with the condition Stalled=True (stalled), or RegistrationStopped=True (registrationStopped): it registers no further devices. " +
		"Each process exports the same numbers, and a namespace without a problem has no series.",
	Labels: []collectors.Label{namespaceLabel, {Name: "problem", Values: []string{stalled, registrationStopped}}},
}).Desc()

// Store has the DeviceAccesses of a cache.
type Store interface{ List() []any }

// Accesses exports the problems of DeviceAccesses, of which there are few, from the caches.
type Accesses struct {
	mu     sync.Mutex
	stores []Store
}

// Follow exports the objects of a store until end is called.
func (a *Accesses) Follow(s Store) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stores = append(a.stores, s)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.stores = slices.DeleteFunc(a.stores, func(other Store) bool { return other == s })
	}
}

// Describe implements prometheus.Collector.
func (a *Accesses) Describe(descs chan<- *prometheus.Desc) { descs <- accessesDesc }

// Collect implements prometheus.Collector.
func (a *Accesses) Collect(out chan<- prometheus.Metric) {
	counts := map[string]map[string]int{}
	count := func(namespace, problem string, n int) {
		if counts[namespace] == nil {
			counts[namespace] = map[string]int{}
		}
		counts[namespace][problem] += n
	}
	for _, o := range a.objects() {
		if meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionStalled) {
			count(o.Namespace, stalled, 1)
		}
		if meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionRegistrationStopped) {
			count(o.Namespace, registrationStopped, 1)
		}
	}
	own := sortedKeys(counts)
	for _, namespace := range own[min(len(own), maxNamespaces):] {
		for problem, n := range counts[namespace] {
			count(Others, problem, n)
		}
		delete(counts, namespace)
	}
	for namespace, problems := range counts {
		for problem, n := range problems {
			emit(out, accessesDesc, float64(n), namespace, problem)
		}
	}
}

func (a *Accesses) objects() []*v1alpha1.DeviceAccess {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*v1alpha1.DeviceAccess
	for _, store := range a.stores {
		for _, o := range store.List() {
			if access, ok := o.(*v1alpha1.DeviceAccess); ok {
				list = append(list, access)
			}
		}
	}
	return list
}

// sortedKeys returns the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
