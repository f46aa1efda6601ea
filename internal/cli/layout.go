// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wrapped returns the text as lines of at most width columns, each with the indent. A word that is
// longer than a line has a line for itself.
func wrapped(indent, width int, text string) string {
	margin := strings.Repeat(" ", indent)
	var out strings.Builder
	line := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case line == 0:
			out.WriteString(margin)
			line = indent
		case line+1+n > width:
			out.WriteString("\n" + margin)
			line = indent
		default:
			out.WriteString(" ")
			line++
		}
		out.WriteString(word)
		line += n
	}
	return out.String() + "\n"
}

// table returns rows with aligned columns. Empty columns are left out. Cells may have colors.
func table(indent int, rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columnsOf(cell))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		line.WriteString(strings.Repeat(" ", indent))
		for i, cell := range row {
			if widths[i] == 0 {
				continue
			}
			line.WriteString(oneLine.Replace(cell) + strings.Repeat(" ", widths[i]-columnsOf(cell)+2))
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}

// oneLine keeps a cell with line ends from looking like further rows.
var oneLine = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ")

// columnsOf returns how wide a text is, without the escape sequences of colors, which end in m.
func columnsOf(text string) int {
	n := 0
	for text != "" {
		before, after, found := strings.Cut(text, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			break
		}
		_, text, _ = strings.Cut(after, "m")
	}
	return n
}

// cut shortens the lines of a text to this width. The escape sequences of colors are kept, so that
// each color ends.
func cut(text string, width int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if width > 3 && columnsOf(line) > width {
			lines[i] = cutLine(line, width)
		}
	}
	return strings.Join(lines, "\n")
}

// cutLine shortens a line that is wider than the width.
func cutLine(line string, width int) string {
	const mark = "..."
	var out strings.Builder
	columns, isEscape := 0, false
	for _, r := range line {
		isEscape = isEscape || r == '\x1b'
		if isEscape {
			out.WriteRune(r)
			isEscape = r != 'm'
			continue
		}
		columns++
		switch {
		case columns <= width-len(mark):
			out.WriteRune(r)
		case columns == width:
			out.WriteString(mark)
		}
	}
	return out.String()
}

// stamp returns a time for people, in UTC with seconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// stampOf returns a time for people, or "" if it is nil.
func stampOf(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return stamp(t.Time)
}
