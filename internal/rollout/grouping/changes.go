// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Changes lists how one plan differs from another: the groups, their conditions, and their members.
// It is part of an event for the approver of the old plan. Empty: the plans are the same.
func Changes(old, now []*v1alpha1.DeploymentGroup) string {
	var out []string
	for _, g := range now {
		was := groupOf(old, g.Spec.Group)
		if was == nil {
			out = append(out, "new group "+g.Spec.Group)
			continue
		}
		if difference := conditionsChanged(was.Spec.Conditions, g.Spec.Conditions); difference != "" {
			out = append(out, fmt.Sprintf("group %s: %s", g.Spec.Group, difference))
		}
	}
	for _, g := range old {
		if groupOf(now, g.Spec.Group) == nil {
			out = append(out, "no group "+g.Spec.Group)
		}
	}
	return strings.Join(append(out, membersChanged(old, now)...), "; ")
}

func groupOf(groups []*v1alpha1.DeploymentGroup, name string) *v1alpha1.DeploymentGroup {
	if i := slices.IndexFunc(groups, func(g *v1alpha1.DeploymentGroup) bool { return g.Spec.Group == name }); i >= 0 {
		return groups[i]
	}
	return nil
}

// conditionsChanged returns the fields in which two structs of conditions differ, with their names
// in the API and both values.
func conditionsChanged[C any](old, now C) string {
	var out []string
	was, is := reflect.ValueOf(old), reflect.ValueOf(now)
	for i := range was.NumField() {
		before, after := reflect.Indirect(was.Field(i)), reflect.Indirect(is.Field(i))
		if before.IsValid() == after.IsValid() && (!before.IsValid() || reflect.DeepEqual(before.Interface(), after.Interface())) {
			continue
		}
		name, _, _ := strings.Cut(was.Type().Field(i).Tag.Get("json"), ",")
		out = append(out, fmt.Sprintf("%s %s instead of %s", name, shown(after), shown(before)))
	}
	return strings.Join(out, ", ")
}

// shown returns the value of a condition as text; "none" if v is invalid, because the field is
// absent.
func shown(v reflect.Value) string {
	if !v.IsValid() {
		return "none"
	}
	return fmt.Sprint(v.Interface())
}

// membersChanged counts the targets that are new, that are no longer members, and that are in
// another group.
func membersChanged(old, now []*v1alpha1.DeploymentGroup) []string {
	was, added, moved := map[v1alpha1.TargetName]string{}, 0, 0
	for _, g := range old {
		for _, name := range g.Spec.Targets {
			was[name] = g.Spec.Group
		}
	}
	for _, g := range now {
		for _, name := range g.Spec.Targets {
			switch group, ok := was[name]; {
			case !ok:
				added++
			case group != g.Spec.Group:
				moved++
			}
			delete(was, name)
		}
	}
	var out []string
	for _, c := range []struct {
		n    int
		what string
	}{{added, "more"}, {len(was), "fewer"}, {moved, "in another group"}} {
		if c.n > 0 {
			out = append(out, text.Count(c.n, "target")+" "+c.what)
		}
	}
	return out
}
