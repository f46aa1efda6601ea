// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"reflect"
	"testing"
)

// TestCountsAddUpInEveryField: Add must not leave out a field that is added to Counts later.
func TestCountsAddUpInEveryField(t *testing.T) {
	var a, b Counts
	fill := func(c *Counts, from int64) {
		for i := range reflect.TypeFor[Counts]().NumField() {
			reflect.ValueOf(c).Elem().Field(i).SetInt(from + int64(i))
		}
	}
	fill(&a, 1)
	fill(&b, 100)
	a.Add(b)
	for i := range reflect.TypeFor[Counts]().NumField() {
		if got, want := reflect.ValueOf(a).Field(i).Int(), int64(101+2*i); got != want {
			t.Errorf("%s is %d, want %d", reflect.TypeFor[Counts]().Field(i).Name, got, want)
		}
	}
}
