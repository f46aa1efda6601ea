// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package bitmap

import "testing"

// wide is a bitmap over 16 members.
func wide(marks ...int) []byte {
	var out []byte
	for _, i := range marks {
		out = Set(out, i, 16)
	}
	return out
}

func TestBitmaps(t *testing.T) {
	all, added := Union(wide(0), wide(0, 3), 4)
	if added != 1 || !Has(all, 0) || Has(all, 1) || !Has(all, 3) || Has(all, 99) {
		t.Errorf("union %08b, %d new", all, added)
	}
	given := wide(0)
	if Union(given, wide(1), 4); Has(given, 1) {
		t.Error("Union changed what it was given")
	}
	if !IsEmpty(nil) || IsEmpty(wide(2)) {
		t.Error("IsEmpty")
	}
	if got := Set(nil, 9, 10); len(got) != 2 || got[1] != 2 {
		t.Errorf("lowest bit first: %08b", got)
	}
	if got := Set(Set(nil, 2, 3), 20, 21); !Has(got, 2) || !Has(got, 20) || len(got) != 3 {
		t.Errorf("a bitmap grows with its group: %08b", got)
	}
	if got := First(wide(1, 7, 9), 8); !Has(got, 1) || !Has(got, 7) || Has(got, 9) {
		t.Errorf("the first eight: %08b", got)
	}
	if got := First(wide(1, 7, 9), 7); !Has(got, 1) || Has(got, 7) || Has(got, 9) {
		t.Errorf("the first seven: %08b", got)
	}
	if got := First(wide(9), 3); got != nil {
		t.Errorf("no member: %08b", got)
	}
}
