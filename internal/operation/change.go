// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package operation has the operations that a person carries out on a rollout, an auto-assignment,
// a target or a set: pause, approve, stop and so on. Each operation is a change of fields in spec.
// The package computes the change with its effect and the rights that it needs, and refuses an
// operation that makes no sense in the present state of the object. It writes nothing.
//
// The package is pure: it knows no client, no clock and no log.
package operation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Change is one operation on one object: the fields that it changes, what follows from that, and
// the rights that it needs. It is computed from the object as it was read, and writes nothing.
type Change struct {
	// Operation is the verb, such as "pause".
	Operation string `json:"operation"`
	// Kind, Namespace and Name are those of the object.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// State is the present state of the object, in a few words.
	State string `json:"state,omitempty"`
	// Fields are the fields that change, sorted by their path.
	Fields []Field `json:"fields"`
	// Effect are sentences about what happens.
	Effect []string `json:"effect"`
	// Targets is how many targets the operation affects, as far as the status counts them.
	Targets int32 `json:"targets"`
	// Undo is the command that takes the operation back. Empty: it cannot be taken back.
	Undo string `json:"undo,omitempty"`
	// Rights are the rights that the API server asks for.
	Rights []Right `json:"rights"`
	// Forced is true if devices are interrupted without being asked, so that a person should
	// confirm the operation.
	Forced bool `json:"forced,omitempty"`
}

// Field is one field of spec that an operation changes.
type Field struct {
	// Path is the path of the field, such as spec.approval.planHash.
	Path string `json:"path"`
	// Old is the present value. nil: the field is not set.
	Old any `json:"old,omitempty"`
	// New is the value after the operation. nil: the operation removes the field.
	New any `json:"new,omitempty"`
}

// Refusal is why an operation makes no sense for an object in its present state.
type Refusal struct {
	// Operation is the verb, and Object the object in words, such as "rollout fleet/firmware-2-1".
	Operation, Object string
	// Reason says what is wrong, and Fix what to do. Fix may be empty.
	Reason, Fix string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("cannot %s %s: %s", r.Operation, r.Object, r.Reason)
}

// Patch returns the change as a JSON merge patch of the spec. A field that is removed is nil.
func (c *Change) Patch() map[string]any {
	patch := map[string]any{}
	for _, f := range c.Fields {
		at, path := patch, strings.Split(f.Path, ".")
		for _, name := range path[:len(path)-1] {
			next, ok := at[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[name] = next
			}
			at = next
		}
		at[path[len(path)-1]] = f.New
	}
	return patch
}

// Manifest returns the change as a part of the manifest of the object, for a commit.
func (c *Change) Manifest() map[string]any {
	part := c.Patch()
	part["apiVersion"] = v1alpha1.GroupVersion.String()
	part["kind"] = c.Kind
	part["metadata"] = map[string]any{"name": c.Name, "namespace": c.Namespace}
	return part
}

// Resource returns how kubectl names the kind of the object: in full, because other groups have
// rollouts too.
func (c *Change) Resource() string {
	return strings.ToLower(c.Kind) + "s." + v1alpha1.GroupVersion.Group
}

// SameFields reports whether another change, computed from a newer version of the object, has the
// same old and new values. Then what was shown of this change also holds for the other one.
func (c *Change) SameFields(other *Change) bool {
	return slices.EqualFunc(c.Fields, other.Fields, func(a, b Field) bool {
		return a.Path == b.Path && fmt.Sprint(a.Old) == fmt.Sprint(b.Old) && fmt.Sprint(a.New) == fmt.Sprint(b.New)
	})
}

// set adds a field. It adds nothing if the field has the value already.
func (c *Change) set(path string, old, now any) {
	if fmt.Sprint(old) != fmt.Sprint(now) {
		c.add(path, old, now)
	}
}

// add adds a field, also one that keeps its value.
func (c *Change) add(path string, old, now any) {
	c.Fields = append(c.Fields, Field{Path: path, Old: old, New: now})
	slices.SortFunc(c.Fields, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
}

func (c *Change) says(format string, args ...any) {
	c.Effect = append(c.Effect, fmt.Sprintf(format, args...))
}

func (c *Change) needs(rights ...Right) { c.Rights = append(c.Rights, rights...) }

// orNil returns a text as a field, or nil if it is empty.
func orNil[T ~string](value T) any {
	if value == "" {
		return nil
	}
	return string(value)
}

// timeOrNil returns the text of a time as the API has it, or nil.
func timeOrNil(t *metav1.Time) any {
	if t == nil {
		return nil
	}
	return stamp(t.Time)
}

// listOrNil returns a list as a field, or nil if it is empty.
func listOrNil(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// stamp writes a time as the API does: in UTC, with a fraction only if there is one.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
