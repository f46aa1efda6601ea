// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package eligibility

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// A removal of software has no distribution set. It takes the place of one as a Set without
// modules: it always exists, is always deployable, fits every target, and its content hash is that
// of the list of software.

// Inventory is what a device has reported about its software.
type Inventory interface {
	// IsComplete reports whether all installed software of the device is known.
	IsComplete() bool
	// Has reports whether the device has reported the software as installed.
	Has(group, name, version string) bool
}

// Inventories returns what is known about the software of a target.
type Inventories func(*v1alpha1.Target) Inventory

// RemovalHash returns the content hash of a removal: a SHA-256 over the sorted list, so that the
// order of the list does not matter. It returns "" for no software.
func RemovalHash(software []v1alpha1.SoftwareReference) string {
	if len(software) == 0 {
		return ""
	}
	sorted := slices.SortedFunc(slices.Values(software), func(a, b v1alpha1.SoftwareReference) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Type, b.Type))
	})
	encoded, err := json.Marshal(map[string]any{"remove": sorted})
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// SetOfRemoval returns the removal of an update in place of a set, or nil if the update installs a
// set.
func SetOfRemoval(namespace string, u *v1alpha1.Update, inventories Inventories) *Set {
	if len(u.Remove) == 0 {
		return nil
	}
	return removal(namespace, u.Remove, RemovalHash(u.Remove), inventories)
}

// SetOfAction returns the removal of an open action in place of a set.
func SetOfAction(namespace string, a *v1alpha1.Action) *Set {
	software := make([]v1alpha1.SoftwareReference, len(a.Remove))
	for i := range a.Remove {
		software[i] = a.Remove[i].SoftwareReference
	}
	return removal(namespace, software, a.ContentHash, nil)
}

func removal(namespace string, software []v1alpha1.SoftwareReference, hash string, inventories Inventories) *Set {
	return &Set{Namespace: namespace, Name: v1alpha1.RemovalOf(software), ContentHash: hash, Deployable: true, Remove: software, Inventories: inventories}
}

// Removes reports whether the update removes software, in place of installing a set. The set may be
// nil.
func (s *Set) Removes() bool { return s != nil && len(s.Remove) > 0 }

// IsThere reports whether a target certainly needs no update to this content: the device runs the
// set or, of a removal, the device has reported its inventory and has none of the software.
func (s *Set) IsThere(t *v1alpha1.Target) bool {
	if !s.Removes() {
		return action.Installed(&t.Status, s.ContentHash)
	}
	if s.Inventories == nil {
		return false
	}
	has := s.Inventories(t)
	return has.IsComplete() && !slices.ContainsFunc(s.Remove, func(r v1alpha1.SoftwareReference) bool { return has.Has(r.Group, r.Name, r.Version) })
}
