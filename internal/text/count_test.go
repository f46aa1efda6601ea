// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import "testing"

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 groups", 1: "1 group", 2: "2 groups"} {
		if got := Count(n, "group"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
