// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

// Inventory returns what is known about the software of a target.
func (x *Index) Inventory(t *v1alpha1.Target) inventory.Facts {
	return inventory.FactsOf(t, x.InventoryObject(client.ObjectKeyFromObject(t)))
}

// setInventory takes a change of an inventory, which the store has already. It concerns its target.
func (x *Index) setInventory(old, now client.Object) {
	_, _, namespace := objects[v1alpha1.TargetInventory](old, now)
	x.tell(Concern{Namespace: namespace, Targets: []v1alpha1.TargetName{v1alpha1.TargetName(nameOf(old, now))}})
}

// InventoryObject returns the inventory with the name of a target from the cache, or nil if there
// is none. It is compressed.
func (x *Index) InventoryObject(key types.NamespacedName) *v1alpha1.TargetInventory {
	store := x.inventories.Load()
	if store == nil {
		return nil
	}
	if object, ok, err := (*store).GetByKey(storeKey(key)); err == nil && ok {
		return object.(*v1alpha1.TargetInventory)
	}
	return nil
}
