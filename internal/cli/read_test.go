// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"testing"
)

func TestSimilarNames(t *testing.T) {
	names := []string{"firmware-2-1", "firmware-2-2", "firmware-3-0", "gateway-001", "gateway-002", "hotfix"}
	tests := map[string]struct {
		name string
		want []string
	}{
		"a letter is missing":     {"gatway-001", []string{"gateway-001", "gateway-002"}},
		"two letters are swapped": {"hotifx", []string{"hotfix"}},
		"a beginning":             {"firmware-2", []string{"firmware-2-1", "firmware-2-2"}},
		"nothing is similar":      {"sensor", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := similar(tc.name, names); !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
