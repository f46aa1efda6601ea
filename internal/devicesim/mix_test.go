// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"strings"
	"testing"
)

func TestMixFollowsItsWeights(t *testing.T) {
	mix, err := ParseMix("obedient=90, failing=5,silent=5,offline=0")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[Behavior]int{}
	for i := range 10000 {
		counts[mix.Choose(7, fmt.Sprintf("device-%04d", i))]++
	}
	for behavior, bounds := range map[Behavior][2]int{
		Obedient: {8880, 9120}, Failing: {400, 600}, Silent: {400, 600}, Offline: {0, 0},
	} {
		if n := counts[behavior]; n < bounds[0] || n > bounds[1] {
			t.Errorf("%d of 10000 are %s, want %d to %d", n, behavior, bounds[0], bounds[1])
		}
	}
}

func TestMixDependsOnlyOnSeedAndID(t *testing.T) {
	mix, err := ParseMix("obedient,failing")
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i := range 100 {
		id := fmt.Sprintf("d%d", i)
		first, again := mix.Choose(1, id), mix.Choose(1, id)
		if first != again {
			t.Fatalf("%s was chosen differently the second time", id)
		}
		if first != mix.Choose(2, id) {
			changed++
		}
	}
	if changed < 25 || changed > 75 {
		t.Errorf("another seed changed %d of 100 devices, want about half", changed)
	}
}

func TestMixErrors(t *testing.T) {
	tests := map[string]string{
		"unknown=3":             `mix "unknown=3": unknown behavior "unknown"; known are obedient, slow, failing`,
		"":                      `mix "": unknown behavior ""; known are`,
		"obedient=many":         `mix "obedient=many": the weight of obedient is "many"; give a whole number from 0 to 1000000`,
		"obedient=-1":           `mix "obedient=-1": the weight of obedient is "-1"; give a whole number`,
		"obedient=1,obedient=2": `mix "obedient=1,obedient=2": obedient is named twice; add the weights up`,
		"obedient=0":            `mix "obedient=0": all weights are 0; give one a weight above 0`,
	}
	for text, want := range tests {
		_, err := ParseMix(text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v\ndoes not start with %s", err, want)
		}
	}
}

func TestEveryBehaviorHasADescription(t *testing.T) {
	for _, behavior := range Behaviors() {
		if behavior.Description() == "" {
			t.Errorf("%s has no description", behavior)
		}
		if got, err := ParseBehavior(" " + string(behavior)); got != behavior || err != nil {
			t.Errorf("ParseBehavior(%s) = %s, %v", behavior, got, err)
		}
	}
	if Behavior("unknown").Description() != "" {
		t.Error("an unknown behavior has a description")
	}
}
