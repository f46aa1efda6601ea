// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShorten(t *testing.T) {
	long := "start" + strings.Repeat("é", 5000) + "end"
	for name, tc := range map[string]struct {
		text        string
		limit       int
		first, last string
		cut         int
	}{
		"short":              {"start", 512, "start", "start", 0},
		"just short enough":  {strings.Repeat("é", 512), 512, "é", "é", 0},
		"one too many":       {strings.Repeat("é", 513), 512, "é", "é", 31},
		"long":               {long, 512, "starté", "éend", 5008 - 512 + 32},
		"little room":        {long, 64, "starté", "éend", 5008 - 64 + 32},
		"no room for both":   {long, 63, "starté", "é…", 0},
		"blanks at the cuts": {strings.Repeat("a ", 5000), 512, "a a", "a ", 10000 - 512 + 32},
	} {
		t.Run(name, func(t *testing.T) {
			got := Shorten(tc.text, tc.limit)
			if !strings.HasPrefix(got, tc.first) || !strings.HasSuffix(got, tc.last) || utf8.RuneCountInString(got) > tc.limit || !utf8.ValidString(got) {
				t.Errorf("%d characters: %q", utf8.RuneCountInString(got), got)
			}
			if says := fmt.Sprintf("[… %d characters were cut …]", tc.cut); tc.cut > 0 && !strings.Contains(got, says) {
				t.Errorf("%q does not say %q", got, says)
			}
		})
	}
}

func TestLimitBytes(t *testing.T) {
	for _, tc := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 5, ""},
		{"abcde", 5, "abcde"},
		{"abcdef", 5, "ab…"},
		{"aééé", 6, "aé…"}, // the third byte of the limit is the middle of a character
		{"aéééé", 7, "aé…"},
		{"日本語", 3, "…"},
		{"日本語日", 8, "日…"},
	} {
		got := LimitBytes(tc.text, tc.limit)
		if got != tc.want {
			t.Errorf("LimitBytes(%q, %d) = %q, want %q", tc.text, tc.limit, got, tc.want)
		}
		if len(got) > tc.limit || !utf8.ValidString(got) {
			t.Errorf("LimitBytes(%q, %d) = %q: %d bytes, valid: %t", tc.text, tc.limit, got, len(got), utf8.ValidString(got))
		}
	}
}
