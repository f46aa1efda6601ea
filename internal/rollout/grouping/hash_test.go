// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func hashedGroups() []Group {
	conditions := v1alpha1.GroupConditions{SuccessThreshold: 50, SuccessAction: "NextGroup", ErrorThreshold: 50, ErrorAction: "Pause"}
	return []Group{{"group-1", conditions, []string{"a", "bc"}}, {"group-2", conditions, []string{"d"}}}
}

// TestPlanHashDoesNotChange: approvals are in Git, so the same plan must have the same hash in
// every version.
func TestPlanHashDoesNotChange(t *testing.T) {
	const want = "sha256:156f53613f76780e348998af63043c302cb3e4ee98c08b695a60cfd89fbe06c7"
	if got := PlanHash("c0ffee", "5bec", hashedGroups()); got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}

func TestPlanHashDependsOnEveryPart(t *testing.T) {
	seen := map[string]string{PlanHash("c0ffee", "5bec", hashedGroups()): "the plan as it was"}
	for name, change := range map[string]func([]Group) []Group{
		"one more target":      func(g []Group) []Group { g[1].Targets = []string{"d", "e"}; return g },
		"one more empty group": func(g []Group) []Group { return append(g, Group{Name: "group-3"}) },
		"a target moved to the next group": func(g []Group) []Group {
			g[0].Targets, g[1].Targets = []string{"a"}, []string{"bc", "d"}
			return g
		},
		"letters moved between targets": func(g []Group) []Group { g[0].Targets = []string{"ab", "c"}; return g },
		"the other order of targets":    func(g []Group) []Group { g[0].Targets = []string{"bc", "a"}; return g },
		"the other order of groups":     func(g []Group) []Group { g[0], g[1] = g[1], g[0]; return g },
		"another name of a group":       func(g []Group) []Group { g[0].Name = "canary"; return g },
	} {
		hash := PlanHash("c0ffee", "5bec", change(hashedGroups()))
		if other, twice := seen[hash]; twice {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[hash] = name
	}
	if _, twice := seen[PlanHash("c0ffee", "0ther", hashedGroups())]; twice {
		t.Error("another spec of the same groups has the same hash, so an edit would keep its approval")
	}
	if _, twice := seen[PlanHash("decaf", "5bec", hashedGroups())]; twice {
		t.Error("another content of the set has the same hash")
	}
}

// TestThePlanHashTakesConditionsFromTheSpecOnly: the hash of the spec covers them, so a new
// condition changes no plan hash.
func TestThePlanHashTakesConditionsFromTheSpecOnly(t *testing.T) {
	groups := hashedGroups()
	numbers := int64(60)
	fill(reflect.ValueOf(&groups[0].Conditions).Elem(), &numbers)
	if PlanHash("c0ffee", "5bec", groups) != PlanHash("c0ffee", "5bec", hashedGroups()) {
		t.Error("the plan hash depends on the conditions of a group beside the hash of the spec")
	}
}

// TestEveryConditionOfAGroupIsBoundByItsSpec: every field that changes the conditions of a planned
// group also changes the hash of the spec.
func TestEveryConditionOfAGroupIsBoundByItsSpec(t *testing.T) {
	spec := fullSpec()
	before := Conditions(spec, &spec.Groups[0])
	bound := map[string]bool{}
	for _, edit := range editsOf("", reflect.ValueOf(spec).Elem(), func(s *v1alpha1.RolloutSpec) reflect.Value { return reflect.ValueOf(s).Elem() }) {
		edited := spec.DeepCopy()
		edit.apply(edited)
		if len(edited.Groups) == 0 {
			continue
		}
		after := Conditions(edited, &edited.Groups[0])
		for i := range reflect.TypeFor[v1alpha1.GroupConditions]().NumField() {
			if reflect.DeepEqual(reflect.ValueOf(before).Field(i).Interface(), reflect.ValueOf(after).Field(i).Interface()) {
				continue
			}
			bound[reflect.TypeFor[v1alpha1.GroupConditions]().Field(i).Name] = true
			if hashOfSpec(edited) == hashOfSpec(spec) {
				t.Errorf("%s: the edit changes a condition of a group and not the hash of the spec", edit.path)
			}
		}
	}
	for i := range reflect.TypeFor[v1alpha1.GroupConditions]().NumField() {
		if name := reflect.TypeFor[v1alpha1.GroupConditions]().Field(i).Name; !bound[name] {
			t.Errorf("no field of the spec makes the condition %s", name)
		}
	}
}

// TestEveryConditionIsKnownToTheGroup: what a group of spec.groups gives beside its name, its share
// and its selection is a condition of its DeploymentGroup, and the other way round.
func TestEveryConditionIsKnownToTheGroup(t *testing.T) {
	namesOf := func(typ reflect.Type) map[string]bool {
		names := map[string]bool{}
		for i := range typ.NumField() {
			names[typ.Field(i).Name] = true
		}
		return names
	}
	given, planned := namesOf(reflect.TypeFor[v1alpha1.Group]()), namesOf(reflect.TypeFor[v1alpha1.GroupConditions]())
	for _, name := range []string{"Name", "Percentage", "Selection"} {
		delete(given, name)
	}
	if !maps.Equal(given, planned) {
		t.Errorf("a group of a rollout gives %v, the conditions of a DeploymentGroup are %v", slices.Sorted(maps.Keys(given)), slices.Sorted(maps.Keys(planned)))
	}
}

// TestAnUpgradeKeepsTheSpecHash: a version with a new optional field, at any place, gives a spec
// without it the same hash, and the hash of a spec does not change.
func TestAnUpgradeKeepsTheSpecHash(t *testing.T) {
	type grownGroup struct {
		AddedLater     *int32 `json:"addedLater,omitempty"`
		v1alpha1.Group `json:",inline"`
	}
	type grownSpec struct {
		AddedLater           *int32 `json:"addedLater,omitempty"`
		v1alpha1.RolloutSpec `json:",inline"`
		Groups               []grownGroup `json:"groups,omitempty"`
		Pace                 string       `json:"pace,omitempty"`
	}
	grown := func(spec *v1alpha1.RolloutSpec) *grownSpec {
		out := &grownSpec{RolloutSpec: *spec}
		for _, g := range spec.Groups {
			out.Groups = append(out.Groups, grownGroup{Group: g})
		}
		return out
	}
	short := v1alpha1.RolloutSpec{Update: v1alpha1.Update{DistributionSet: "fw"}}
	for name, spec := range map[string]*v1alpha1.RolloutSpec{"a short spec": &short, "a full spec": fullSpec()} {
		if hashOfJSON(grown(spec)) != hashOfJSON(spec) {
			t.Errorf("%s: a new field that is absent changes the hash", name)
		}
		used := grown(spec)
		used.AddedLater = new(int32(600))
		if hashOfJSON(used) == hashOfJSON(spec) {
			t.Errorf("%s: a new field that is given does not change the hash", name)
		}
	}
	if got := hashOfSpec(&short); got != hashOfShort {
		t.Errorf("the hash of a spec was %s and is %s: approvals in Git would not be valid after the upgrade", hashOfShort, got)
	}
}

// hashOfShort is the hash of a spec with spec.update.distributionSet only.
const hashOfShort = "4456585cf6a252602c21e97e863a416e989f3f8e6e9822d0d763e2ed72acd556"

// fullSpec returns a spec with a value in every field, including new ones. No group has a value
// that it would inherit.
func fullSpec() *v1alpha1.RolloutSpec {
	spec, numbers := &v1alpha1.RolloutSpec{}, int64(0)
	fill(reflect.ValueOf(spec).Elem(), &numbers)
	spec.Update.ConfirmationRequired = !*spec.Groups[0].ConfirmationRequired
	return spec
}

var timeType = reflect.TypeFor[metav1.Time]()

// fill sets all fields below v: lists and maps get one item, and numbers increase.
func fill(v reflect.Value, numbers *int64) {
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(metav1.NewTime(time.Unix(1_800_000_000, 0))))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), numbers)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), numbers)
	case v.Kind() == reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, numbers)
		fill(value, numbers)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), numbers)
		}
	case v.CanInt():
		*numbers++
		v.SetInt(*numbers)
	default:
		vary(v)
	}
}

// vary changes a value.
func vary(v reflect.Value) {
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(metav1.NewTime(v.Interface().(metav1.Time).Add(time.Hour))))
	case v.Kind() == reflect.String:
		v.SetString(v.String() + "x")
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.CanInt():
		v.SetInt(v.Int() + 7)
	default:
		panic("vary has no case for " + v.Type().String())
	}
}

// An edit changes one field at path in a spec that has them all.
type edit struct {
	path  string
	apply func(spec *v1alpha1.RolloutSpec)
}

// editsOf returns one edit for every value and one removal for every optional part below v, which
// is at path. at returns the same place in another copy of the spec.
func editsOf(path string, v reflect.Value, at func(*v1alpha1.RolloutSpec) reflect.Value) []edit {
	var edits []edit
	if k := v.Kind(); k == reflect.Pointer || k == reflect.Slice || k == reflect.Map {
		edits = append(edits, edit{path + " is removed", func(s *v1alpha1.RolloutSpec) { at(s).SetZero() }})
	}
	switch {
	case v.Type() == timeType:
		return []edit{{path, func(s *v1alpha1.RolloutSpec) { vary(at(s)) }}}
	case v.Kind() == reflect.Pointer:
		return append(edits, editsOf(path, v.Elem(), func(s *v1alpha1.RolloutSpec) reflect.Value { return at(s).Elem() })...)
	case v.Kind() == reflect.Slice:
		return append(edits, editsOf(path, v.Index(0), func(s *v1alpha1.RolloutSpec) reflect.Value { return at(s).Index(0) })...)
	case v.Kind() == reflect.Map:
		return append(edits, edit{path, func(s *v1alpha1.RolloutSpec) {
			m := at(s)
			value := reflect.New(m.Type().Elem()).Elem()
			value.Set(m.MapIndex(m.MapKeys()[0]))
			vary(value)
			m.SetMapIndex(m.MapKeys()[0], value)
		}})
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			inner := strings.Trim(path+"."+name, ".")
			edits = append(edits, editsOf(inner, v.Field(i), func(s *v1alpha1.RolloutSpec) reflect.Value { return at(s).Field(i) })...)
		}
		return edits
	default:
		return []edit{{path, func(s *v1alpha1.RolloutSpec) { vary(at(s)) }}}
	}
}

// TestAnApprovalBindsEveryField edits every field of a full spec, and removes every optional part.
// A new field of the schema changes the plan hash unless it is in notApproved.
func TestAnApprovalBindsEveryField(t *testing.T) {
	isException := map[string]bool{}
	for _, f := range notApproved {
		isException[f.field] = true
		if f.reason == "" {
			t.Errorf("%s is not bound by an approval and has no reason", f.field)
		}
	}
	rollout := &v1alpha1.Rollout{Spec: *fullSpec()}
	before, edits := SpecHash(rollout), editsOf("", reflect.ValueOf(&rollout.Spec).Elem(), func(s *v1alpha1.RolloutSpec) reflect.Value { return reflect.ValueOf(s).Elem() })
	if len(edits) < 60 {
		t.Fatalf("there are only %d edits", len(edits))
	}
	seen := map[string]bool{}
	for _, edit := range edits {
		field := strings.FieldsFunc(edit.path, func(r rune) bool { return r == '.' || r == ' ' })[0]
		seen[field] = true
		edited := rollout.DeepCopy()
		edit.apply(&edited.Spec)
		if bound := SpecHash(edited) != before; bound == isException[field] {
			t.Errorf("%s: the edit changes the plan hash: %t", edit.path, bound)
		}
	}
	for field := range isException {
		if !seen[field] {
			t.Errorf("notApproved names %s, which is no field of the spec", field)
		}
	}
}

// TestAnExplicitDefaultIsNoChange: a default that is added to a manifest, or removed from it, needs
// no new approval.
func TestAnExplicitDefaultIsNoChange(t *testing.T) {
	short := v1alpha1.RolloutSpec{
		Update:           v1alpha1.Update{DistributionSet: "fw", MaintenanceWindow: &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *"}, Retries: &v1alpha1.Retries{Limit: 1}},
		SuccessThreshold: new(int32(90)),
		Groups:           []v1alpha1.Group{{Name: "all"}},
	}
	for name, write := range map[string]func(*v1alpha1.RolloutSpec){
		"update.type":                   func(s *v1alpha1.RolloutSpec) { s.Update.Type = "Forced" },
		"update.weight":                 func(s *v1alpha1.RolloutSpec) { s.Update.Weight = new(int32(1000)) },
		"update.superseding":            func(s *v1alpha1.RolloutSpec) { s.Update.Superseding = "Replace" },
		"update.startDeadlineAction":    func(s *v1alpha1.RolloutSpec) { s.Update.StartDeadlineAction = "Fail" },
		"update.confirmationRequired":   func(s *v1alpha1.RolloutSpec) { s.Update.ConfirmationRequired = false },
		"the window's timeZone":         func(s *v1alpha1.RolloutSpec) { s.Update.MaintenanceWindow.TimeZone = "UTC" },
		"retries.backoffSeconds":        func(s *v1alpha1.RolloutSpec) { s.Update.Retries.BackoffSeconds = new(int32(600)) },
		"an empty targetSelector":       func(s *v1alpha1.RolloutSpec) { s.TargetSelector = &v1alpha1.TargetSelector{} },
		"a group's percentage":          func(s *v1alpha1.RolloutSpec) { s.Groups[0].Percentage = new(int32(100)) },
		"a group's inherited threshold": func(s *v1alpha1.RolloutSpec) { s.Groups[0].SuccessThreshold = new(int32(90)) },
		"a group's errorThreshold":      func(s *v1alpha1.RolloutSpec) { s.Groups[0].ErrorThreshold = new(int32(50)) },
		"a group's actions": func(s *v1alpha1.RolloutSpec) {
			s.Groups[0].SuccessAction, s.Groups[0].ErrorAction = "NextGroup", "Pause"
		},
		"a group's confirmationRequired": func(s *v1alpha1.RolloutSpec) { s.Groups[0].ConfirmationRequired = new(false) },
		"a group's empty targetSelector": func(s *v1alpha1.RolloutSpec) { s.Groups[0].TargetSelector = &v1alpha1.TargetSelector{} },
		"groupOrder":                     func(s *v1alpha1.RolloutSpec) { s.GroupOrder = "Hash" },
		"successAction and errorAction":  func(s *v1alpha1.RolloutSpec) { s.SuccessAction, s.ErrorAction = "NextGroup", "Pause" },
		"errorThreshold":                 func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = new(int32(50)) },
		"stop- and deletionCancellation": func(s *v1alpha1.RolloutSpec) { s.StopCancellation, s.DeletionCancellation = "Soft", "None" },
		"minimumReports":                 func(s *v1alpha1.RolloutSpec) { s.MinimumReports = 0 },
	} {
		long := short.DeepCopy()
		write(long)
		if hashOfSpec(long) != hashOfSpec(&short) {
			t.Errorf("an explicit %s makes another plan", name)
		}
	}
	one := v1alpha1.RolloutSpec{GroupCount: new(int32(1))}
	if hashOfSpec(&one) != hashOfSpec(&v1alpha1.RolloutSpec{}) {
		t.Error("an explicit groupCount 1 makes another plan")
	}
}

// TestAGroupThatRepeatsAConditionIsNoChange: a group that gives a condition the value that it
// inherits makes no other plan, whatever condition that is; another value does.
func TestAGroupThatRepeatsAConditionIsNoChange(t *testing.T) {
	spec := v1alpha1.RolloutSpec{Update: v1alpha1.Update{DistributionSet: "fw"}, SuccessThreshold: new(int32(90)), Groups: []v1alpha1.Group{{Name: "all"}}}
	before := hashOfSpec(&spec)
	inherited := reflect.ValueOf(Conditions(&spec, nil))
	for i := range inherited.NumField() {
		name := inherited.Type().Field(i).Name
		edited := spec.DeepCopy()
		field := reflect.ValueOf(&edited.Groups[0]).Elem().FieldByName(name)
		if !field.IsValid() {
			t.Errorf("a group cannot give its own %s", name)
			continue
		}
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		field.Set(inherited.Field(i))
		if hashOfSpec(edited) != before {
			t.Errorf("a group that repeats %s makes another plan", name)
		}
		vary(field)
		if hashOfSpec(edited) == before {
			t.Errorf("a group with another %s makes the same plan", name)
		}
	}
}

// TestAnAdvanceFromBeforeTheCreationIsNotBound: an advance from before the creation of the rollout
// has opened groups before the cluster was rebuilt from Git. It has no effect, and the approval
// stays valid.
func TestAnAdvanceFromBeforeTheCreationIsNotBound(t *testing.T) {
	created := time.Unix(1_800_000_000, 0)
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created)}}
	before := SpecHash(r)
	for _, c := range []struct {
		name  string
		at    time.Time
		bound bool
	}{
		{"before the creation", created.Add(-time.Hour), false},
		{"after the creation", created.Add(time.Hour), true},
	} {
		r.Spec.Advance = &v1alpha1.Advance{To: "group-2", At: metav1.NewTime(c.at)}
		if bound := SpecHash(r) != before; bound != c.bound {
			t.Errorf("an advance %s is bound: %t", c.name, bound)
		}
	}
}
