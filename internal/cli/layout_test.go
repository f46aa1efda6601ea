// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import "testing"

func TestLinesAreCutToTheWidth(t *testing.T) {
	const red, end = "\x1b[31m", "\x1b[0m"
	for name, tc := range map[string]struct {
		text  string
		width int
		want  string
	}{
		"a line that fits":                 {"12345678", 8, "12345678"},
		"a line that is too long":          {"123456789", 8, "12345..."},
		"only the long line":               {"123456789\n12\n", 8, "12345...\n12\n"},
		"characters of several bytes":      {"ääääääääää", 8, "äääää..."},
		"a color that fits":                {red + "12345678" + end, 8, red + "12345678" + end},
		"a color before the cut":           {red + "12" + end + "3456789", 8, red + "12" + end + "345..."},
		"a cut inside a color":             {"12" + red + "3456789" + end, 8, "12" + red + "345..." + end},
		"a color behind the cut":           {"12345678" + red + "9" + end, 8, "12345..." + red + end},
		"a terminal that reports no width": {"123456789", 0, "123456789"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cut(tc.text, tc.width); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
