// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Shorten returns a text of at most limit characters. Of a longer text it keeps both ends, because
// the cause of an error is at the start or at the end of a log, and says in between how many
// characters were cut. A limit of less than 64 characters leaves no room for that, and the text is
// cut at its end.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	length := utf8.RuneCountInString(s)
	if length <= limit {
		return s
	}
	if limit < 64 {
		return cut(s, limit)
	}
	marker := func(n int) string { return fmt.Sprintf(" [… %d characters were cut …] ", n) }
	room := limit - utf8.RuneCountInString(marker(length))
	room = limit - utf8.RuneCountInString(marker(length-room)) // the number of cut characters may have fewer digits than the length
	head := room / 2
	start := 0
	for range head {
		_, size := utf8.DecodeRuneInString(s[start:])
		start += size
	}
	end := len(s)
	for range room - head {
		_, size := utf8.DecodeLastRuneInString(s[:end])
		end -= size
	}
	return s[:start] + marker(length-room) + s[end:]
}

// LimitBytes returns a text of at most limit bytes. A longer text is cut at its end, between two
// characters, and ends in an ellipsis.
func LimitBytes(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	return strings.ToValidUTF8(s[:max(0, limit-len(mark))], "") + mark
}
