// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Unreadable marks an object in memory that is stored and cannot be decoded as a whole: an older or
// newer CRD, or none of its rules, let in a value that this version cannot read. It is never
// stored. The object then has its metadata and those fields of spec and status that could be
// decoded, each as a whole or not at all.
//
// Such an object is not a missing one. Nothing is started, written, deleted or released because of
// it, and nothing is written to it.
type Unreadable struct {
	// Message says which field cannot be read, and why.
	Message string
	// Fields that could not be decoded, such as spec.startAt or status.actions; spec or status if
	// all of it could not. Sorted.
	Fields []string
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

// UnreadableOf is the mark of an object of any kind of this group; nil: the object was decoded as a
// whole.
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

// unreadableIn is where an object keeps its mark; nil: it is of another group.
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
	}
	return nil
}
