// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text makes text that devices send fit to be stored, shown and compared. Every text of a
// device, whatever the protocol, passes Clean before it is stored.
//
// The functions are pure and deterministic: the same text gives the same result in every process.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns a text of a device as one line that can be stored and shown. It removes control
// characters (ESC among them), characters that change the direction of text, and other invisible
// format characters; it replaces invalid UTF-8 by U+FFFD; it turns each run of white space into one
// blank and removes it at both ends. A text of more than limit characters is cut after limit-1 and
// ends in an ellipsis. With a limit of 0 the text is not cut.
//
// Cleaning a clean text returns it unchanged.
func Clean(s string, limit int) string {
	var out strings.Builder
	blank := false
	for _, r := range strings.ToValidUTF8(s, string(utf8.RuneError)) {
		switch {
		case unicode.IsSpace(r):
			blank = true
			continue
		case isInvisible(r):
			continue
		}
		if blank && out.Len() > 0 {
			out.WriteByte(' ')
		}
		blank = false
		out.WriteRune(r)
	}
	return cut(out.String(), limit)
}

// cut shortens a text to at most limit characters, on the boundary of a character.
func cut(s string, limit int) string {
	if limit <= 0 || utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)[:limit-1]
	return strings.TrimRight(string(runes), " ") + "…"
}

// isInvisible reports whether a character has no visible form and could control a terminal, change
// the direction of a text, or make two texts that look the same differ. The two joiners are kept,
// because some scripts and emoji need them.
func isInvisible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	if r == zeroWidthNonJoiner || r == zeroWidthJoiner {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r)
}
