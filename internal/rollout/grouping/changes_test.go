// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"reflect"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestChanges(t *testing.T) {
	plan := func(groups ...*v1alpha1.DeploymentGroup) []*v1alpha1.DeploymentGroup { return groups }
	group := func(name string, errorThreshold int32, targets ...v1alpha1.TargetName) *v1alpha1.DeploymentGroup {
		return &v1alpha1.DeploymentGroup{Spec: v1alpha1.DeploymentGroupSpec{
			Group: name, Targets: targets, Conditions: v1alpha1.GroupConditions{SuccessThreshold: 50, ErrorThreshold: errorThreshold},
		}}
	}
	confirmed := group("a", 50, "x")
	confirmed.Spec.Conditions.ConfirmationRequired, confirmed.Spec.Conditions.SuccessThreshold = true, 90
	old := plan(group("a", 50, "x"), group("b", 50, "y", "z"))
	tests := map[string]struct {
		now  []*v1alpha1.DeploymentGroup
		want string
	}{
		"nothing":              {old, ""},
		"a threshold":          {plan(group("a", 10, "x"), old[1]), "group a: errorThreshold 10 instead of 50"},
		"several conditions":   {plan(confirmed, old[1]), "group a: successThreshold 90 instead of 50, confirmationRequired true instead of false"},
		"a group is new":       {plan(old[0], group("b", 50, "y"), group("c", 50, "z")), "new group c; 1 target in another group"},
		"a group is removed":   {plan(group("a", 50, "x", "y", "z")), "no group b; 2 targets in another group"},
		"more and fewer":       {plan(group("a", 50, "v", "w"), old[1]), "2 targets more; 1 target fewer"},
		"another order within": {plan(old[0], group("b", 50, "z", "y")), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Changes(old, tt.now); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestConditionsAreComparedFieldByField: every field of the struct is compared, also a new field
// and an absent one.
func TestConditionsAreComparedFieldByField(t *testing.T) {
	type grown struct {
		v1alpha1.GroupConditions `json:",inline"`
		AddedLater               *int32 `json:"addedLater,omitempty"`
	}
	if got := conditionsChanged(grown{}, grown{AddedLater: new(int32(600))}); got != "addedLater 600 instead of none" {
		t.Errorf("a new condition: %q", got)
	}
	if got := conditionsChanged(grown{AddedLater: new(int32(600))}, grown{AddedLater: new(int32(600))}); got != "" {
		t.Errorf("two pointers to the same value differ: %q", got)
	}
	fields := reflect.TypeFor[v1alpha1.GroupConditions]()
	for i := range fields.NumField() {
		var old, now v1alpha1.GroupConditions
		vary(reflect.ValueOf(&now).Elem().Field(i))
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if got := conditionsChanged(old, now); !strings.HasPrefix(got, name+" ") || strings.Contains(got, ", ") {
			t.Errorf("another %s is named as %q", name, got)
		}
	}
}
