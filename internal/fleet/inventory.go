// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strconv"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

// Inventory returns what is known about the software of a target.
func (x *Index) Inventory(t *v1alpha1.Target) inventory.Facts {
	return inventory.FactsOf(t, x.InventoryObject(client.ObjectKeyFromObject(t)))
}

// setInventory says which device an inventory concerns; the store of the cache has it already.
func (x *Index) setInventory(old, now client.Object) {
	before, after, namespace := objects[v1alpha1.TargetInventory](old, now)
	if x.isWatched.Load() && !(inventory.SameSoftware(before, after) && inventory.SameFeatures(before, after)) {
		x.tell(Concern{Namespace: namespace, Targets: []v1alpha1.TargetName{v1alpha1.TargetName(nameOf(old, now))}})
	}
}

// Software returns the software that a target has reported. It takes no lock, because selections
// are evaluated while the index is locked.
func (x *Index) Software(t *v1alpha1.Target) *v1alpha1.CompactInventory {
	return x.Inventory(t).Contents()
}

// SelectionFingerprint returns a text that changes when the software of a target changes. It is
// empty if ReadsInventory is false, and for a target that has reported no software.
func (x *Index) SelectionFingerprint(t *v1alpha1.Target) string {
	if !x.ReadsInventory(t.Namespace) {
		return ""
	}
	if f := x.Inventory(t).Fingerprint(); f != 0 {
		return strconv.FormatUint(f, 16)
	}
	return ""
}

// ReadsInventory reports whether an auto-assignment, or a rollout that has not started, of the
// namespace reads software in its expression.
func (x *Index) ReadsInventory(namespace string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for key, a := range x.autos {
		if key.Namespace == namespace && a.query != nil && a.query.ReadsInventory() {
			return true
		}
	}
	for key, c := range x.starting {
		if key.Namespace == namespace && c.query.ReadsInventory() {
			return true
		}
	}
	return false
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
