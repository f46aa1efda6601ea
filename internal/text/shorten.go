// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"fmt"
	"unicode/utf8"
)

// Shorten returns a text of at most limit characters. Of a longer one it keeps both ends, because
// the cause of an error is at the start of a log or at its end, and says in between how much was
// cut. A limit of less than 64 characters leaves no room for that: the text is cut at its end.
func Shorten(s string, limit int) string {
	length := utf8.RuneCountInString(s)
	if length <= limit {
		return s
	}
	if limit < 64 {
		return cut(s, limit)
	}
	runes := []rune(s)
	marker := func(n int) string { return fmt.Sprintf(" [… %d characters were cut …] ", n) }
	room := limit - utf8.RuneCountInString(marker(length))
	room = limit - utf8.RuneCountInString(marker(length-room)) // the number that is said may be shorter than that of all characters
	head := room / 2
	return string(runes[:head]) + marker(length-room) + string(runes[length-room+head:])
}
