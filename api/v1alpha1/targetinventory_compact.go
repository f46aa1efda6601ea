// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "unique"

// CompactInventory holds the software of a device with 8 bytes for each entry: equal entries of all
// devices share their memory. It is never changed.
// +kubebuilder:object:generate=false
type CompactInventory struct {
	// Installed has the entries of status.installed, in its order.
	Installed []unique.Handle[InventorySoftware] `json:"-"`
	// Context has the entries of status.context, in its order.
	Context []unique.Handle[InventorySoftware] `json:"-"`
}

// DeepCopy returns the same object, because it is never changed.
func (c *CompactInventory) DeepCopy() *CompactInventory { return c }

// Compress moves installed and context to Compact, and drops what only users read: the history,
// and of operations all but what identifies them. It is for the caches: never write a compressed
// object. A compressed object does not change: client-go transforms the objects of its first list
// twice.
func (t *TargetInventory) Compress() {
	if t.Compact != nil {
		return
	}
	s := &t.Status
	t.Compact = &CompactInventory{Installed: handles(s.Installed), Context: handles(s.Context)}
	s.Installed, s.Context, s.History, s.Conditions = nil, nil, nil, nil
	t.Labels, t.Annotations, t.ManagedFields = nil, nil, nil
	for i := range s.Features {
		f := &s.Features[i]
		f.ID, f.SoftwareModuleType, f.Definition = intern(f.ID), intern(f.SoftwareModuleType), intern(f.Definition)
		f.LastOperation, f.LastFailedOperation = identityOf(f.LastOperation), identityOf(f.LastFailedOperation)
	}
}

func intern(s string) string { return unique.Make(s).Value() }

func identityOf(o *InventoryOperation) *InventoryOperation {
	if o == nil {
		return nil
	}
	return &InventoryOperation{CorrelationID: o.CorrelationID, Status: intern(o.Status), SoftwareModule: intern(o.SoftwareModule)}
}

// Contents returns the software of an object that may be compressed.
func (t *TargetInventory) Contents() *CompactInventory {
	if t.Compact != nil {
		return t.Compact
	}
	return &CompactInventory{Installed: handles(t.Status.Installed), Context: handles(t.Status.Context)}
}

func handles(list []InventorySoftware) []unique.Handle[InventorySoftware] {
	if len(list) == 0 {
		return nil
	}
	compact := make([]unique.Handle[InventorySoftware], len(list))
	for i := range list {
		compact[i] = unique.Make(list[i])
	}
	return compact
}
