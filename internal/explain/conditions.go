// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// ConditionsText says what the conditions of a group require.
func ConditionsText(c *v1alpha1.GroupConditions) string {
	text := fmt.Sprintf("%d %% must succeed; ", c.SuccessThreshold)
	if c.SuccessAction == v1alpha1.SuccessActionPause {
		text += "then it waits for a person; "
	}
	text += fmt.Sprintf("pauses if more than %d %% fail", c.ErrorThreshold)
	if c.ConfirmationRequired {
		text += "; devices ask for confirmation"
	}
	return strings.Join(append([]string{text}, OtherConditions(c)...), "; ")
}

// OtherConditions returns the conditions of a group, with their values, that have no words or
// columns of their own in ConditionsText and in the tables. So no table leaves out a new condition.
func OtherConditions(c *v1alpha1.GroupConditions) []string {
	return setFields(*c, "successThreshold", "successAction", "errorThreshold", "errorAction", "confirmationRequired")
}

// setFields returns the fields of a struct that are not zero, with their names in the API and their
// values, except those named.
func setFields[T any](fields T, except ...string) (set []string) {
	v := reflect.ValueOf(fields)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if !v.Field(i).IsZero() && !slices.Contains(except, name) {
			set = append(set, fmt.Sprintf("%s %v", name, reflect.Indirect(v.Field(i)).Interface()))
		}
	}
	return set
}
