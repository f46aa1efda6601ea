package action

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What the schema allows, in characters.
const (
	maxWord           = 64
	maxHistoryMessage = 256
	maxSetName        = 253
	maxMessage        = 512
)

// clean makes a device's text fit to be stored and shown: one line, without control characters, at most so many characters.
func clean(text string, limit int) string {
	text = strings.Map(printable, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.TrimSpace(text)
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}

// printable turns line breaks and tabs into blanks and drops what would steer a terminal or turn the direction of the text.
func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\r' || r == '\t':
		return ' '
	case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
		return -1
	}
	return r
}
