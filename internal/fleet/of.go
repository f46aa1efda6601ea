// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Of returns an index of these objects, for a program that has read them once and follows no cache.
// It returns the same as an index that follows caches with these objects. Objects of other kinds
// are an error.
func Of(objects []client.Object) (*Index, error) {
	x := New()
	x.inventories.Store(new(toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)))
	for _, o := range objects {
		if err := x.Put(o); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Put adds an object to an index of Of, or replaces the one of its kind and name. Watchers are
// notified.
func (x *Index) Put(o client.Object) error {
	old, err := x.put(o)
	if err == nil {
		x.count(old, o)
		x.notify(old, o)
	}
	return err
}

// put is Put, and returns the object that was replaced.
func (x *Index) put(o client.Object) (old client.Object, err error) {
	key := client.ObjectKeyFromObject(o)
	switch o := o.(type) {
	case *v1alpha1.Target:
		old = objectOrNil(x.Target(key))
		if err := x.targets.Add(o); err != nil {
			return nil, fmt.Errorf("index target %s: %w", o.Name, err)
		}
		x.setTarget(old, o)
	case *v1alpha1.TargetInventory:
		old = objectOrNil(x.InventoryObject(key))
		if err := (*x.inventories.Load()).Add(o); err != nil {
			return nil, fmt.Errorf("index inventory %s: %w", o.Name, err)
		}
	case *v1alpha1.Rollout:
		old = objectOrNil(x.rollouts[key])
		x.setRollout(old, o)
	case *v1alpha1.DeploymentGroup:
		old = objectOrNil(x.groups[key])
		x.setGroup(old, o)
	case *v1alpha1.DistributionSet:
		old = objectOrNil(x.sets[key])
		x.setSet(old, o)
	case *v1alpha1.SoftwareModule:
		old = objectOrNil(x.modules[key])
		x.setModule(old, o)
	case *v1alpha1.AutoAssignment:
		old = objectOrNil(x.AutoAssignment(key))
		x.setAutoAssignment(old, o)
	default:
		return nil, fmt.Errorf("index: %T has no place in it", o)
	}
	return old, nil
}

// objectOrNil returns a nil interface for a nil pointer.
func objectOrNil[T any, P interface {
	*T
	client.Object
}](o P) client.Object {
	if o == nil {
		return nil
	}
	return o
}
