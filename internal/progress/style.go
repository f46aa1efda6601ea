// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// Style describes what a terminal can show.
type Style struct {
	// Width in columns; no line is longer. 0: 80.
	Width int
	// Height in rows, which limits the number of bars of a long rollout. 0: no limit.
	Height int
	// Unicode draws with block characters instead of ASCII.
	Unicode bool
	// Color marks successes and failures. The text has the same information without it.
	Color bool
}

// StyleFor returns the style of a terminal of this size for the environment variables.
func StyleFor(getenv func(string) string, width, height int) Style {
	return Style{
		Width: width, Height: height,
		Unicode: speaksUTF8(getenv),
		Color:   getenv("NO_COLOR") == "",
	}
}

// speaksUTF8 reports whether the locale uses UTF-8. The first of these variables that is set
// decides, as in C libraries.
func speaksUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := getenv(name); value != "" {
			word := strings.ToUpper(value)
			return strings.Contains(word, "UTF-8") || strings.Contains(word, "UTF8")
		}
	}
	return false
}

func (s Style) width() int {
	if s.Width <= 0 {
		return 80
	}
	return s.Width
}

// word returns one of its arguments, depending on Unicode.
func (s Style) word(unicode, ascii string) string {
	if s.Unicode {
		return unicode
	}
	return ascii
}

// hue is a color of the terminal's palette, as its escape code.
type hue string

const (
	plain  hue = ""
	bold   hue = "1"
	dim    hue = "2"
	red    hue = "31"
	green  hue = "32"
	yellow hue = "33"
	cyan   hue = "36"
	reset  hue = "0"
)

// Visible returns a text for a terminal without invisible characters, which objects may have in
// names and reasons. The escape sequences of this package's colors stay.
func Visible(s string) string {
	parts := strings.Split(s, "\x1b[")
	for i, part := range parts {
		code, _, _ := strings.Cut(part, "m")
		parts[i] = text.Visible(part)
		switch {
		case i == 0:
		case slices.Contains(hues, hue(code)):
			parts[i] = "\x1b[" + parts[i]
		default:
			parts[i] = "[" + parts[i]
		}
	}
	return strings.Join(parts, "")
}

// hues are the codes that renderLine writes; reset ends a color.
var hues = []hue{bold, dim, red, green, yellow, cyan, reset}

// span is a part of a line in one color.
type span struct {
	text string
	hue  hue
}

func (s span) columns() int { return len([]rune(s.text)) }

// line is one line of output.
type line []span

func (l line) columns() int {
	n := 0
	for _, s := range l {
		n += s.columns()
	}
	return n
}

// render returns the lines as text, none of them wider than the terminal, because a broken line
// could not be replaced.
func (s Style) render(lines []line) string {
	var out strings.Builder
	for _, l := range lines {
		s.renderLine(&out, l)
		out.WriteByte('\n')
	}
	return out.String()
}

func (s Style) renderLine(out *strings.Builder, l line) {
	room := s.width()
	for _, piece := range l {
		text := []rune(oneLine.Replace(piece.text))
		text = text[:min(len(text), room)]
		room -= len(text)
		if len(text) == 0 {
			continue
		}
		if !s.Color || piece.hue == plain {
			out.WriteString(string(text))
			continue
		}
		out.WriteString("\x1b[" + string(piece.hue) + "m" + string(text) + "\x1b[" + string(reset) + "m")
	}
}

// oneLine keeps a text with line ends from looking like further lines.
var oneLine = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ")

// flow returns lines with the items one after another, gap columns apart. A line that would be too
// wide is broken before an item.
func (s Style) flow(indent, gap int, items []line) []line {
	var lines []line
	current := line{{strings.Repeat(" ", indent), plain}}
	for _, item := range items {
		started := len(current) > 1
		if started && current.columns()+gap+item.columns() > s.width() {
			lines, current, started = append(lines, current), line{{strings.Repeat(" ", indent), plain}}, false
		}
		if started {
			current = append(current, span{strings.Repeat(" ", gap), plain})
		}
		current = append(current, item...)
	}
	return append(lines, current)
}

// paragraph returns indented lines with the text, broken between words.
func (s Style) paragraph(text string, h hue) []line {
	var words []line
	for _, word := range strings.Fields(text) {
		words = append(words, line{{word, h}})
	}
	return s.flow(2, 1, words)
}
