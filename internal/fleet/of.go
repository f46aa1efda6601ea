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
// It returns the same as an index that follows caches with these objects. Each object may be in the
// list once. Objects of other kinds are an error.
func Of(objects []client.Object) (*Index, error) {
	x := New()
	inventories := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
	x.inventories.Store(&inventories)
	for _, o := range objects {
		if err := x.add(o, inventories); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *Index) add(o client.Object, inventories toolscache.Store) error {
	switch o := o.(type) {
	case *v1alpha1.Target:
		if err := x.targets.Add(o); err != nil {
			return fmt.Errorf("index target %s: %w", o.Name, err)
		}
		x.setTarget(nil, o)
	case *v1alpha1.TargetInventory:
		if err := inventories.Add(o); err != nil {
			return fmt.Errorf("index inventory %s: %w", o.Name, err)
		}
	case *v1alpha1.Rollout:
		x.setRollout(nil, o)
	case *v1alpha1.DeploymentGroup:
		x.setGroup(nil, o)
	case *v1alpha1.DistributionSet:
		x.setSet(nil, o)
	case *v1alpha1.SoftwareModule:
		x.setModule(nil, o)
	case *v1alpha1.AutoAssignment:
		x.setAutoAssignment(nil, o)
	default:
		return fmt.Errorf("index: %T has no place in it", o)
	}
	return nil
}
