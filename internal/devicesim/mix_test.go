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
	counts := map[Temperament]int{}
	for i := range 10000 {
		counts[mix.Choose(7, fmt.Sprintf("device-%04d", i))]++
	}
	for temperament, bounds := range map[Temperament][2]int{
		Obedient: {8880, 9120}, Failing: {400, 600}, Silent: {400, 600}, Offline: {0, 0},
	} {
		if n := counts[temperament]; n < bounds[0] || n > bounds[1] {
			t.Errorf("%d of 10000 are %s, want %d to %d", n, temperament, bounds[0], bounds[1])
		}
	}
}

func TestMixDependsOnSeedAndIdAlone(t *testing.T) {
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
		"moody=3":               `mix "moody=3": unknown temperament "moody"; known are obedient, slow, failing`,
		"":                      `mix "": unknown temperament ""; known are`,
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

func TestEveryTemperamentHasAStory(t *testing.T) {
	for _, temperament := range Temperaments() {
		if temperament.Story() == "" {
			t.Errorf("%s has no story", temperament)
		}
		if got, err := ParseTemperament(" " + string(temperament)); got != temperament || err != nil {
			t.Errorf("ParseTemperament(%s) = %s, %v", temperament, got, err)
		}
	}
	if Temperament("moody").Story() != "" {
		t.Error("an unknown temperament has a story")
	}
}
