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
// characters; it replaces invalid UTF-8 by U+FFFD; it turns each run of white space into one
// blank and removes it at both ends. A text of more than limit characters is cut after limit-1 and
// ends in an ellipsis. With a limit of 0 the text is not cut.
//
// Cleaning a clean text returns it unchanged.
func Clean(s string, limit int) string {
	if isClean(s) {
		return cut(s, limit)
	}
	var out strings.Builder
	if limit <= 0 {
		out.Grow(len(s))
	}
	room := limit // how many more characters can be kept; one more shows that the text must be cut
	blank, invalid := false, false
	for i, r := range s {
		if r == utf8.RuneError {
			_, size := utf8.DecodeRuneInString(s[i:])
			if wasInvalid := invalid; size == 1 {
				if invalid = true; wasInvalid { // a run of invalid bytes becomes one character
					continue
				}
			} else {
				invalid = false
			}
		} else {
			invalid = false
		}
		switch {
		case r > ' ' && r < utf8.RuneSelf && r != 0x7f: // the most frequent case first
		case unicode.IsSpace(r):
			blank = true
			continue
		case IsInvisible(r):
			continue
		}
		if blank && out.Len() > 0 {
			out.WriteByte(' ')
			room--
		}
		blank = false
		out.WriteRune(r)
		if room--; limit > 0 && room < 0 {
			break
		}
	}
	return cut(out.String(), limit)
}

// isClean reports whether a text has only visible ASCII characters with one blank between words.
func isClean(s string) bool {
	last := byte(' ')
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f || c == ' ' && last == ' ' {
			return false
		}
		last = c
	}
	return last != ' ' || s == ""
}

// cut shortens a text to at most limit characters, on the boundary of a character.
func cut(s string, limit int) string {
	if limit <= 0 || len(s) <= limit {
		return s
	}
	n, end := 0, 0
	for i := range s {
		if n == limit-1 {
			end = i
		}
		if n++; n > limit {
			return strings.TrimRight(s[:end], " ") + "…"
		}
	}
	return s
}

// Visible returns a text of several lines without invisible characters, apart from line feeds and
// tabs. Invalid UTF-8 is replaced by U+FFFD. It is for text from anywhere that is about to be
// printed, and does not shorten it.
func Visible(s string) string {
	if !strings.ContainsFunc(s, isHidden) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r != utf8.RuneError && isHidden(r) {
			return -1
		}
		return r
	}, s)
}

// isHidden reports whether Visible changes a character. That of invalid UTF-8 is U+FFFD.
func isHidden(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' && r != '\n' && r != '\t' || r == 0x7f
	}
	return r == utf8.RuneError || IsInvisible(r)
}

// IsInvisible reports whether a character has no visible form and could control a terminal, change
// the direction of a text, or make two texts that look the same differ. The two joiners and the two
// variation selectors for emoji are kept, because some scripts and emoji need them.
func IsInvisible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner, textStyle, emojiStyle = '\u200c', '\u200d', '\ufe0e', '\ufe0f'
	switch r {
	case zeroWidthNonJoiner, zeroWidthJoiner, textStyle, emojiStyle:
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Bidi_Control, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
