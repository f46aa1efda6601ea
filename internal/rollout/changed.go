// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// whatChanged says how one plan differs from another, for whoever approved the old one: groups,
// their conditions, and who is in them.
func whatChanged(old, now []*v1alpha1.DeploymentGroup) string {
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

// conditionsChanged names the fields in which two structs of conditions differ, by their names in
// the API and with both values.
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

// shown is the value of a condition as text. An invalid value is an absent one.
func shown(v reflect.Value) string {
	if !v.IsValid() {
		return "none"
	}
	return fmt.Sprint(v.Interface())
}

// membersChanged counts who is new, who is not meant any more, and who has another group.
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
			out = append(out, targets(c.n)+" "+c.what)
		}
	}
	return out
}
