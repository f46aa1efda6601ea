// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// SetOf returns the set of an update in a namespace or, if the update removes software, what takes
// the place of a set. It returns nil if the set does not exist.
func (x *Index) SetOf(namespace string, u *v1alpha1.Update) *eligibility.Set {
	if removal := x.removalOf(namespace, u); removal != nil {
		return removal
	}
	return x.Set(types.NamespacedName{Namespace: namespace, Name: u.DistributionSet})
}

// removalOf returns what takes the place of a set if the update removes software, else nil. It
// needs no lock.
func (x *Index) removalOf(namespace string, u *v1alpha1.Update) *eligibility.Set {
	return eligibility.SetOfRemoval(namespace, u, x.softwareOf)
}

func (x *Index) softwareOf(t *v1alpha1.Target) eligibility.Inventory { return x.Inventory(t) }

// setOf is SetOf for a caller that holds the lock.
func (x *Index) setOf(namespace string, u *v1alpha1.Update) *eligibility.Set {
	if removal := x.removalOf(namespace, u); removal != nil {
		return removal
	}
	return x.facts[types.NamespacedName{Namespace: namespace, Name: u.DistributionSet}]
}
