// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Unreadable marks an object in memory that is stored but cannot be decoded as a whole, because a
// CRD of an older or newer version accepted a value that this version cannot read. It is never
// stored. The object has its metadata and the fields of spec and status that could be decoded, each
// as a whole or not at all. Such an object is not missing: nothing is started, written, deleted or
// released because of it, and nothing is written to it.
type Unreadable struct {
	// Message names the field that cannot be decoded, and why.
	Message string `json:"-"`
	// Fields lists the fields that cannot be decoded, such as spec.startAt or status.actions, or
	// spec or status if all of it cannot be decoded. Sorted.
	Fields []string `json:"-"`
}

// Lacks reports whether one of these fields, such as spec.startAt, could not be decoded.
func (u *Unreadable) Lacks(fields ...string) bool {
	if u == nil {
		return false
	}
	return slices.ContainsFunc(fields, func(field string) bool {
		part, _, _ := strings.Cut(field, ".")
		return slices.Contains(u.Fields, field) || slices.Contains(u.Fields, part)
	})
}

// UnreadableOf returns the mark of an object of this group, or nil if it was decoded as a whole.
func UnreadableOf(object any) *Unreadable {
	if mark := unreadableIn(object); mark != nil {
		return *mark
	}
	return nil
}

// MarkUnreadable marks an object of this group.
func MarkUnreadable(object runtime.Object, mark *Unreadable) {
	if at := unreadableIn(object); at != nil {
		*at = mark
	}
}

// unreadableIn returns the field of an object that holds its mark, or nil for an object of another
// group.
func unreadableIn(object any) **Unreadable {
	switch o := object.(type) {
	case *SoftwareModule:
		return &o.Unreadable
	case *DistributionSet:
		return &o.Unreadable
	case *Target:
		return &o.Unreadable
	case *Rollout:
		return &o.Unreadable
	case *DeploymentGroup:
		return &o.Unreadable
	case *AutoAssignment:
		return &o.Unreadable
	case *DeviceAccess:
		return &o.Unreadable
	case *TargetInventory:
		return &o.Unreadable
	}
	return nil
}
