// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	cases := map[string]struct {
		text  string
		limit int
		want  string
	}{
		"plain text stays as it is":                    {"Update installed.", 64, "Update installed."},
		"other scripts and emoji stay":                 {"Обновление 更新 👩\u200d🔧 می\u200cخواهم", 64, "Обновление 更新 👩\u200d🔧 می\u200cخواهم"},
		"ESC cannot steer a terminal":                  {"\x1b[31mred\x1b[0m \x1b]0;title\x07", 64, "[31mred[0m ]0;title"},
		"nor can the control characters of 8 bits":     {"a\u009b31mb\u0085c", 64, "a31mb c"},
		"NUL and DEL":                                  {"a\x00b\x7fc", 64, "abc"},
		"characters that change the direction":         {"a\u202eb\u2066c\u2069d\u200fe\u061cf", 64, "abcdef"},
		"invisible characters":                         {"a\u200bb\ufeffc\u00add\u2060e\U000e0041f", 64, "abcdef"},
		"fillers and joiners that look like nothing":   {"a\u115fb\u1160c\u3164d\uffa0e\u034ff\u17b4g\u2065h\U000e0fffi", 64, "abcdefghi"},
		"selectors of variants":                        {"a\ufe00b\u180bc\U000e0100d", 64, "abcd"},
		"the style of an emoji stays":                  {"\u2764\ufe0f", 64, "\u2764\ufe0f"},
		"marks of ruby text":                           {"a\ufff9b\ufffac\ufffb", 64, "abc"},
		"invalid UTF-8 is marked":                      {"a\xff\xfeb\xc3", 64, "a\uFFFDb\uFFFD"},
		"a surrogate as three bytes is invalid":        {"a\xed\xa0\x80b", 64, "a\uFFFDb"},
		"white space is one blank":                     {" \t a \r\n\n b\u00a0\u2028c\v\f ", 64, "a b c"},
		"only white space becomes empty":               {" \r\n\t\u2029", 64, ""},
		"blanks around an invisible character are one": {"a \u200b b", 64, "a b"},
		"a text of just the limit is not cut":          {"ü€𝄞", 3, "ü€𝄞"},
		"one more is cut between characters":           {"ü€𝄞x", 3, "ü€…"},
		"a cut leaves no blank before the ellipsis":    {"ab cd", 4, "ab…"},
		"the limit counts the remaining characters":    {"\x1b\x1b\x1babc", 3, "abc"},
		"without a limit nothing is cut":               {strings.Repeat("a", 5000), 0, strings.Repeat("a", 5000)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Clean(tc.text, tc.limit); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestVisible(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"lines and tabs stay":                  {"a\tb\nc\n", "a\tb\nc\n"},
		"other scripts and emoji stay":         {"Обновление 更新 👩\u200d🔧", "Обновление 更新 👩\u200d🔧"},
		"blanks stay":                          {"  a\u00a0 b ", "  a\u00a0 b "},
		"ESC, 8 bit controls and DEL":          {"\x1b[2Ja\u009b31mb\x7f\r\b", "[2Ja31mb"},
		"direction and invisible characters":   {"a\u202eb\u200bc\u3164d", "abcd"},
		"invalid UTF-8 is marked":              {"a\xffb", "a\uFFFDb"},
		"the character for invalid text stays": {"a\uFFFDb", "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Visible(tc.text); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2Jb\u202e\nc\xff", 5)
	f.Add(strings.Repeat("ü€𝄞 ", 100), 64)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(limit%600, 0)
		got := Clean(s, limit)
		switch {
		case !utf8.ValidString(got):
			t.Errorf("%q is not valid UTF-8", got)
		case limit > 0 && utf8.RuneCountInString(got) > limit:
			t.Errorf("%q has more than %d characters", got, limit)
		case strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
			t.Errorf("%q has control characters", got)
		case Clean(got, limit) != got:
			t.Errorf("%q becomes %q when it is cleaned again", got, Clean(got, limit))
		}
	})
}
