// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestNoConditionIsLeftOut sets one condition of a group after the other, and requires that the
// text changes. errorAction has one value.
func TestNoConditionIsLeftOut(t *testing.T) {
	none := v1alpha1.GroupConditions{SuccessThreshold: 50, SuccessAction: v1alpha1.SuccessActionNextGroup, ErrorThreshold: 50, ErrorAction: v1alpha1.ErrorActionPause}
	if got, want := ConditionsText(&none), "50 % must succeed; pauses if more than 50 % fail"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for i := range reflect.TypeFor[v1alpha1.GroupConditions]().NumField() {
		c, name := none, reflect.TypeFor[v1alpha1.GroupConditions]().Field(i).Name
		switch field := reflect.ValueOf(&c).Elem().Field(i); {
		case name == "ErrorAction":
			continue
		case name == "SuccessAction":
			c.SuccessAction = v1alpha1.SuccessActionPause
		case field.Kind() == reflect.Bool:
			field.SetBool(true)
		case field.Kind() == reflect.Int32:
			field.SetInt(7)
		default:
			t.Fatalf("give %s a value here", name)
		}
		if ConditionsText(&c) == ConditionsText(&none) {
			t.Errorf("%s is not in the text %q", name, ConditionsText(&c))
		}
	}
}

func TestConditionWithoutWordsOfItsOwn(t *testing.T) {
	minimum := int32(3)
	type grown struct {
		SuccessThreshold int32   `json:"successThreshold"`
		SoakSeconds      int32   `json:"soakSeconds,omitempty"`
		Minimum          *int32  `json:"minimum,omitempty"`
		Ratio            *int32  `json:"ratio,omitempty"`
		Check            *string `json:"check,omitempty"`
	}
	got := setFields(grown{SuccessThreshold: 50, SoakSeconds: 600, Minimum: &minimum}, "successThreshold")
	if diff := cmp.Diff([]string{"soakSeconds 600", "minimum 3"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
