// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"strings"
	"testing"
)

// BenchmarkCondense condenses reports of about 64 KiB, the largest that the device API accepts.
func BenchmarkCondense(b *testing.B) {
	const size = 64 << 10
	repeat := func(s string) []string { return []string{strings.Repeat(s, size/len(s))} }
	for name, details := range map[string][]string{
		"one long line":                repeat("a long line of a log "),
		"one long word":                repeat("x"),
		"one long line of errors":      repeat("error: modem failed "),
		"one long line of assignments": repeat("token-"),
		"one long line of assigned":    repeat("token=a1 "),
		"one long line of URLs":        repeat("https://u:p@h/a?b "),
		"one long line of schemes":     append(repeat("a+"), "://"),
		"short lines":                  repeat("a line\n"),
		"shortest lines":               repeat("a\n"),
		"short error lines":            repeat("error: modem 17 failed\n"),
		"lines of control characters":  repeat("\x1b\u202e"),
		"invalid UTF-8":                repeat("a\xff"),
		"other scripts":                repeat("обновление "),
		"50 lines of a log":            strings.Split(strings.TrimSuffix(strings.Repeat(strings.Repeat("swupdate: read ", 87)+"\n", 50), "\n"), "\n"),
		"many inconsistent":            repeat("A_INCONSISTENTX "),
		"white space":                  repeat(" "),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				Condense(Report{Details: details})
			}
		})
	}
}
