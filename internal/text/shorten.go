// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"fmt"
	"unicode/utf8"
)

// Shorten returns a text of at most limit characters. Of a longer text it keeps both ends, because
// the cause of an error is at the start or at the end of a log, and says in between how many
// characters were cut. A limit of less than 64 characters leaves no room for that, and the text is
// cut at its end.
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
	room = limit - utf8.RuneCountInString(marker(length-room)) // the number of cut characters may have fewer digits than the length
	head := room / 2
	return string(runes[:head]) + marker(length-room) + string(runes[length-room+head:])
}
