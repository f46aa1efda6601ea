// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// AllRollouts returns the rollouts of all namespaces, sorted by namespace and name.
func (x *Index) AllRollouts() []*v1alpha1.Rollout { return listed(x, x.rollouts) }

// AllSets returns the sets of all namespaces, sorted by namespace and name.
func (x *Index) AllSets() []*v1alpha1.DistributionSet { return listed(x, x.sets) }

// AllModules returns the modules of all namespaces, sorted by namespace and name.
func (x *Index) AllModules() []*v1alpha1.SoftwareModule { return listed(x, x.modules) }

// AllAutoAssignments returns the auto-assignments of all namespaces, sorted by namespace and name.
func (x *Index) AllAutoAssignments() []*v1alpha1.AutoAssignment {
	x.mu.RLock()
	list := make([]*v1alpha1.AutoAssignment, 0, len(x.autos))
	for _, a := range x.autos {
		list = append(list, a.object)
	}
	x.mu.RUnlock()
	slices.SortFunc(list, byNamespace[*v1alpha1.AutoAssignment])
	return list
}

// DistributionSet returns a set as it is stored, or nil if there is none.
func (x *Index) DistributionSet(key types.NamespacedName) *v1alpha1.DistributionSet {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.sets[key]
}

// Module returns a module, or nil if there is none.
func (x *Index) Module(key types.NamespacedName) *v1alpha1.SoftwareModule {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.modules[key]
}

// listed returns the objects of a map of the index in their order.
func listed[T client.Object](x *Index, objects map[types.NamespacedName]T) []T {
	x.mu.RLock()
	list := make([]T, 0, len(objects))
	for _, o := range objects {
		list = append(list, o)
	}
	x.mu.RUnlock()
	slices.SortFunc(list, byNamespace[T])
	return list
}

func byNamespace[T client.Object](a, b T) int {
	return cmp.Or(compareNames(a.GetNamespace(), b.GetNamespace()), compareNames(a.GetName(), b.GetName()))
}

// DistributionSets returns the sets of a namespace, sorted by name.
func (x *Index) DistributionSets(namespace string) []*v1alpha1.DistributionSet {
	return inNamespace(x.AllSets(), namespace)
}

// Modules returns the modules of a namespace, sorted by name.
func (x *Index) Modules(namespace string) []*v1alpha1.SoftwareModule {
	return inNamespace(x.AllModules(), namespace)
}

func inNamespace[T client.Object](sorted []T, namespace string) []T {
	return slices.DeleteFunc(sorted, func(o T) bool { return o.GetNamespace() != namespace })
}
