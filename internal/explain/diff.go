// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// PlanDiff is how the plan of a namespace differs from another one.
type PlanDiff struct {
	Namespace string `json:"namespace"`
	// Targets is the number of targets before and after.
	Targets         Sizes        `json:"targets"`
	Rollouts        []SourceDiff `json:"rollouts,omitempty"`
	AutoAssignments []SourceDiff `json:"autoAssignments,omitempty"`
	// NewWarnings and GoneWarnings are about other objects.
	NewWarnings  []ObjectWarning `json:"newWarnings,omitempty"`
	GoneWarnings []ObjectWarning `json:"goneWarnings,omitempty"`
}

// Sizes are two numbers of targets.
type Sizes struct {
	Before int `json:"before"`
	After  int `json:"after"`
}

// How a rollout or an auto-assignment differs.
const (
	Added   = "Added"
	Removed = "Removed"
)

// SourceDiff is how one rollout or auto-assignment differs.
type SourceDiff struct {
	Name string `json:"name"`
	// Change is Added, Removed or Changed.
	Change  string `json:"change"`
	Update  string `json:"update"`
	Targets Sizes  `json:"targets"`
	// Fields that differ and matter to devices, sorted.
	Fields []FieldDiff `json:"fields,omitempty"`
	// Groups that have another size, or exist in one of the plans only.
	Groups []GroupDiff `json:"groups,omitempty"`
	// Joined, Left and Moved are the targets that are new, gone, or in another group.
	Joined *MovedTargets `json:"joined,omitempty"`
	Left   *MovedTargets `json:"left,omitempty"`
	Moved  *MovedTargets `json:"moved,omitempty"`
	// Outcome before and after.
	Gets Sizes `json:"gets"`
	// Overlaps that are new, gone, or have another result.
	Overlaps     []OverlapDiff `json:"overlaps,omitempty"`
	NewWarnings  []Warning     `json:"newWarnings,omitempty"`
	GoneWarnings []Warning     `json:"goneWarnings,omitempty"`
}

// FieldDiff is a field with both values; an absent one is "".
type FieldDiff struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// GroupDiff is a group with both sizes. A group that exists in one plan only has -1 in the other.
type GroupDiff struct {
	Name string `json:"name"`
	Sizes
}

// MovedTargets are targets that changed their place.
type MovedTargets struct {
	Count int `json:"count"`
	// Examples are the first of them, by name. A target that moved is followed by its two groups.
	Examples []string `json:"examples"`
}

// OverlapDiff is an overlap before and after; nil if there was or is none.
type OverlapDiff struct {
	Kind   v1alpha1.SourceKind `json:"kind"`
	Name   string              `json:"name,omitempty"`
	Before *PlanOverlap        `json:"before,omitempty"`
	After  *PlanOverlap        `json:"after,omitempty"`
}

// IsEmpty reports whether the plans are the same.
func (d *PlanDiff) IsEmpty() bool {
	return len(d.Rollouts)+len(d.AutoAssignments)+len(d.NewWarnings)+len(d.GoneWarnings) == 0
}

// DiffPlans returns how one plan of a namespace differs from another one. A plan that is nil has no
// rollouts and auto-assignments, and the number of targets of the other one.
func DiffPlans(before, after *Plan) PlanDiff {
	if before == nil {
		before = &Plan{Targets: after.Targets}
	}
	if after == nil {
		after = &Plan{Targets: before.Targets}
	}
	d := PlanDiff{Namespace: cmp.Or(after.Namespace, before.Namespace), Targets: Sizes{before.Targets, after.Targets}}
	d.Rollouts = diffSources(comparableRollouts(before.Rollouts), comparableRollouts(after.Rollouts))
	d.AutoAssignments = diffSources(comparableAutos(before.AutoAssignments), comparableAutos(after.AutoAssignments))
	d.NewWarnings, d.GoneWarnings = onlyIn(after.Warnings, before.Warnings), onlyIn(before.Warnings, after.Warnings)
	return d
}

// compared is what is compared of a rollout or an auto-assignment.
type compared struct {
	name, update string
	fields       map[string]string
	groups       []GroupPlan
	targets      int
	gets         int
	overlaps     []PlanOverlap
	warnings     []Warning
}

func comparableRollouts(list []RolloutPlan) map[string]*compared {
	all := map[string]*compared{}
	for i := range list {
		r := &list[i]
		c := &compared{name: r.Name, update: r.Update, groups: r.Groups, targets: r.Targets, overlaps: r.Overlaps, warnings: r.Warnings, fields: map[string]string{
			"update": r.Update, "plan": r.Hash, "content": fleetcounts.ShortHash(r.ContentHash), "maintenanceWindow": windowText(r.Window), "approval": approvalText(r.Approval), "start": waitText(r.Waits),
		}}
		for _, s := range r.Settings {
			c.fields[s.Field] = s.Value
		}
		for i := range r.Groups {
			conditionFields(c.fields, &r.Groups[i])
		}
		if r.Outcome != nil {
			c.gets = r.Outcome.Gets
		}
		all[r.Name] = c
	}
	return all
}

// conditionFields adds the conditions of a group.
func conditionFields(fields map[string]string, g *GroupPlan) {
	v := reflect.ValueOf(g.Conditions)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if value := reflect.Indirect(v.Field(i)); value.IsValid() {
			fields[fmt.Sprintf("groups.%s.%s", g.Name, name)] = fmt.Sprint(value.Interface())
		}
	}
}

func comparableAutos(list []AutoAssignmentPlan) map[string]*compared {
	all := map[string]*compared{}
	for i := range list {
		a := &list[i]
		c := &compared{name: a.Name, update: a.Update, targets: a.Targets, overlaps: a.Overlaps, warnings: a.Warnings, groups: []GroupPlan{{Targets: a.Members}}, fields: map[string]string{
			"update": a.Update, "maintenanceWindow": windowText(a.Window), "state": string(a.State),
		}}
		if a.Outcome != nil {
			c.gets = a.Outcome.Gets
		}
		all[a.Name] = c
	}
	return all
}

func windowText(w *WindowPlan) string {
	if w == nil {
		return ""
	}
	return fmt.Sprintf("%q (%s, %d s)", w.Schedule, w.TimeZone, w.DurationSeconds)
}

func approvalText(a *Approval) string {
	switch {
	case a == nil:
		return ""
	case a.Given:
		return "given"
	}
	return "missing"
}

func waitText(w *Wait) string {
	if w == nil {
		return ""
	}
	return "waits: " + w.Reason
}

func diffSources(before, after map[string]*compared) []SourceDiff {
	names := map[string]bool{}
	for _, list := range []map[string]*compared{before, after} {
		for name := range list {
			names[name] = true
		}
	}
	var out []SourceDiff
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if d := diffSource(before[name], after[name]); d != nil {
			out = append(out, *d)
		}
	}
	return out
}

// diffSource returns how a rollout or an auto-assignment differs, or nil if it does not.
func diffSource(before, after *compared) *SourceDiff {
	change, none := Changed, &compared{}
	switch {
	case before == nil:
		change, before = Added, none
	case after == nil:
		change, after = Removed, none
	}
	d := &SourceDiff{
		Name: cmp.Or(after.name, before.name), Change: change, Update: cmp.Or(after.update, before.update),
		Targets: Sizes{before.targets, after.targets}, Gets: Sizes{before.gets, after.gets},
		NewWarnings: onlyIn(after.warnings, before.warnings), GoneWarnings: onlyIn(before.warnings, after.warnings),
		Overlaps: diffOverlaps(before.overlaps, after.overlaps),
	}
	if change == Changed {
		d.Fields = diffFields(before.fields, after.fields)
	}
	d.Groups = diffGroups(before.groups, after.groups)
	d.Joined, d.Left, d.Moved = diffMembers(before.groups, after.groups)
	if change == Changed && len(d.Fields)+len(d.Groups)+len(d.Overlaps)+len(d.NewWarnings)+len(d.GoneWarnings) == 0 &&
		d.Joined == nil && d.Left == nil && d.Moved == nil && d.Gets.Before == d.Gets.After {
		return nil
	}
	return d
}

func diffFields(before, after map[string]string) []FieldDiff {
	names := map[string]bool{}
	for _, fields := range []map[string]string{before, after} {
		for name := range fields {
			names[name] = true
		}
	}
	var out []FieldDiff
	for _, name := range slices.Sorted(maps.Keys(names)) {
		// The conditions of a group that exists in one plan only are no changes.
		_, was := before[name]
		_, is := after[name]
		if before[name] != after[name] && (was && is || !strings.HasPrefix(name, "groups.")) {
			out = append(out, FieldDiff{name, before[name], after[name]})
		}
	}
	return out
}

func diffGroups(before, after []GroupPlan) []GroupDiff {
	sizes := map[string]int{}
	for i := range before {
		sizes[before[i].Name] = before[i].Size
	}
	var out []GroupDiff
	seen := map[string]bool{}
	for i := range after {
		g := &after[i]
		seen[g.Name] = true
		if was, ok := sizes[g.Name]; !ok {
			out = append(out, GroupDiff{g.Name, Sizes{-1, g.Size}})
		} else if was != g.Size {
			out = append(out, GroupDiff{g.Name, Sizes{was, g.Size}})
		}
	}
	for i := range before {
		if g := &before[i]; !seen[g.Name] {
			out = append(out, GroupDiff{g.Name, Sizes{g.Size, -1}})
		}
	}
	return out
}

// shownMembers is how many targets a difference names.
const shownMembers = 5

func diffMembers(before, after []GroupPlan) (joined, left, moved *MovedTargets) {
	was, is := groupsByTarget(before), groupsByTarget(after)
	add := func(m **MovedTargets, example string) {
		if *m == nil {
			*m = &MovedTargets{}
		}
		(*m).Count++
		if len((*m).Examples) < shownMembers {
			(*m).Examples = append((*m).Examples, example)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		switch group, ok := was[name]; {
		case !ok:
			add(&joined, string(name))
		case group != is[name]:
			add(&moved, fmt.Sprintf("%s (%s to %s)", name, group, is[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[name]; !ok {
			add(&left, string(name))
		}
	}
	return joined, left, moved
}

func groupsByTarget(groups []GroupPlan) map[v1alpha1.TargetName]string {
	n := 0
	for i := range groups {
		n += len(groups[i].Targets)
	}
	out := make(map[v1alpha1.TargetName]string, n)
	for i := range groups {
		for _, name := range groups[i].Targets {
			out[name] = groups[i].Name
		}
	}
	return out
}

func diffOverlaps(before, after []PlanOverlap) []OverlapDiff {
	var out []OverlapDiff
	find := func(list []PlanOverlap, o *PlanOverlap) *PlanOverlap {
		if i := slices.IndexFunc(list, func(other PlanOverlap) bool { return other.Kind == o.Kind && other.Name == o.Name }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for i := range after {
		o := &after[i]
		if was := find(before, o); was == nil || was.Targets != o.Targets || was.Wins != o.Wins || was.Loses != o.Loses || was.Both != o.Both {
			out = append(out, OverlapDiff{o.Kind, o.Name, was, o})
		}
	}
	for i := range before {
		if o := &before[i]; find(after, o) == nil {
			out = append(out, OverlapDiff{o.Kind, o.Name, o, nil})
		}
	}
	return out
}

// onlyIn returns the items of a list that another list does not have.
func onlyIn[T comparable](list, other []T) []T {
	var out []T
	for _, item := range list {
		if !slices.Contains(other, item) {
			out = append(out, item)
		}
	}
	return out
}
