// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"hash/fnv"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Facts are what is known about the software of one device. The zero value: nothing was reported.
type Facts struct{ object *v1alpha1.TargetInventory }

// FactsOf returns the facts that an inventory has about a target. The inventory may be compressed.
// Of a nil object, of one about an earlier target of the same name, and of one whose lists cannot
// be decoded, nothing is known.
func FactsOf(t *v1alpha1.Target, object *v1alpha1.TargetInventory) Facts {
	if object == nil || object.Status.TargetUID != t.Identity() || object.Unreadable.Lacks("status.installed", "status.context", "status.features", "status.truncated", "status.contentsHash") {
		return Facts{}
	}
	return Facts{object}
}

// IsComplete reports whether all software on the device is known: each feature has reported what is
// installed, and all of it fitted.
func (f Facts) IsComplete() bool {
	return f.object != nil && f.object.Status.ContentsHash != "" &&
		!slices.ContainsFunc(f.object.Status.Features, func(f v1alpha1.InventoryFeature) bool { return !f.InstalledReported })
}

// Has reports whether the device has reported software with this group, name and version as
// installed, whatever its type.
func (f Facts) Has(group, name, version string) bool {
	for _, h := range f.contents().Installed {
		if e := h.Value(); e.Name == name && e.Version == version && e.Group == group {
			return true
		}
	}
	return false
}

// Contents returns the reported software.
func (f Facts) Contents() *v1alpha1.CompactInventory { return f.contents() }

var nothing = &v1alpha1.CompactInventory{}

func (f Facts) contents() *v1alpha1.CompactInventory {
	if f.object == nil {
		return nothing
	}
	return f.object.Contents()
}

// status returns features and truncated of the status, and if it is asked for them installed and
// context. Do not change it.
func (f Facts) status(withLists bool) *v1alpha1.TargetInventoryStatus {
	if f.object == nil {
		return &v1alpha1.TargetInventoryStatus{}
	}
	s := &v1alpha1.TargetInventoryStatus{Features: f.object.Status.Features, Truncated: f.object.Status.Truncated}
	if !withLists {
		return s
	}
	c := f.object.Contents()
	for _, h := range c.Installed {
		s.Installed = append(s.Installed, h.Value())
	}
	for _, h := range c.Context {
		s.Context = append(s.Context, h.Value())
	}
	return s
}

// Features returns the features of the device. Do not change them.
func (f Facts) Features() []v1alpha1.InventoryFeature {
	if f.object == nil {
		return nil
	}
	return f.object.Status.Features
}

// SameSoftware reports whether two states of an inventory have the same entries. nil means that
// there is none.
func SameSoftware(a, b *v1alpha1.TargetInventory) bool {
	if a == nil || b == nil {
		return a == b
	}
	one, other := a.Contents(), b.Contents()
	return a.Status.TargetUID == b.Status.TargetUID && slices.Equal(one.Installed, other.Installed) && slices.Equal(one.Context, other.Context)
}

// SameFeatures reports whether two states of an inventory have the same features, and know as much
// of them.
func SameFeatures(a, b *v1alpha1.TargetInventory) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Status.TargetUID == b.Status.TargetUID && slices.EqualFunc(a.Status.Features, b.Status.Features, isUnchanged)
}

// Fingerprint returns a number that is equal for equal installed and context entries, and differs
// for others with near certainty.
func (f Facts) Fingerprint() uint64 {
	c := f.contents()
	if len(c.Installed) == 0 && len(c.Context) == 0 {
		return 0
	}
	h := fnv.New64a()
	write := func(s string) { h.Write([]byte(s)); h.Write([]byte{0}) } // no text contains a control character
	for _, e := range c.Installed {
		e := e.Value()
		for _, s := range []string{e.Feature, e.Group, e.Name, e.Version, e.Type} {
			write(s)
		}
	}
	h.Write([]byte{1})
	for _, e := range c.Context {
		e := e.Value()
		for _, s := range []string{e.Feature, e.Group, e.Name, e.Version, e.Type} {
			write(s)
		}
	}
	return h.Sum64()
}
