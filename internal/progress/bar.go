// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// bucket is one of the counts of a rollout, and how it is drawn.
type bucket struct {
	name           string
	count          func(v1alpha1.Counts) int32
	unicode, ascii string
	hue            hue
	rare           bool // left out while it is 0
}

// buckets has the counts in the order in which a bar is filled: closed, in progress, not started.
var buckets = []bucket{
	{"succeeded", func(c v1alpha1.Counts) int32 { return c.Succeeded }, "█", "#", green, false},
	{"failed", func(c v1alpha1.Counts) int32 { return c.Failed }, "×", "x", red, false},
	{"canceled", func(c v1alpha1.Counts) int32 { return c.Canceled }, "–", "-", yellow, false},
	{"skipped", func(c v1alpha1.Counts) int32 { return c.Skipped }, "/", "/", dim, true},
	{"in progress", func(c v1alpha1.Counts) int32 { return c.InProgress }, "▒", ">", cyan, false},
	{"pending", func(c v1alpha1.Counts) int32 { return c.Pending }, "░", ".", plain, false},
	{"scheduled", func(c v1alpha1.Counts) int32 { return c.Scheduled }, "·", " ", dim, false},
}

// bar returns the counts drawn in the given number of columns.
func (s Style) bar(c v1alpha1.Counts, columns int) line {
	counts := make([]int32, len(buckets))
	for i, b := range buckets {
		counts[i] = b.count(c)
	}
	var drawn line
	for i, n := range share(counts, columns) {
		b := &buckets[i]
		if n > 0 {
			drawn = append(drawn, span{strings.Repeat(s.word(b.unicode, b.ascii), n), b.hue})
		}
	}
	if rest := columns - drawn.columns(); rest > 0 {
		drawn = append(drawn, span{strings.Repeat(" ", rest), plain})
	}
	if s.Unicode {
		return drawn
	}
	return append(append(line{{"[", plain}}, drawn...), span{"]", plain})
}

// barColumns returns the width of a drawn bar with its frame.
func (s Style) barColumns(columns int) int { return columns + len(s.word("", "[]")) }

// share divides the columns in proportion to the counts. Each count above 0 gets at least one
// column, which is taken from the widest part, so that one failure among thousands is visible.
func share(counts []int32, columns int) []int {
	widths := make([]int, len(counts))
	var whole int64
	for _, n := range counts {
		whole += int64(n)
	}
	if whole == 0 {
		return widths
	}
	var before int64
	drawn := 0
	for i, n := range counts {
		before += int64(n)
		end := int((2*before*int64(columns) + whole) / (2 * whole)) // rounded half up
		widths[i] = end - drawn
		drawn = end
	}
	for i, n := range counts {
		if widest := indexOfMax(widths); n > 0 && widths[i] == 0 && widths[widest] > 1 {
			widths[i]++
			widths[widest]--
		}
	}
	return widths
}

func indexOfMax(numbers []int) int {
	at := 0
	for i, n := range numbers {
		if n > numbers[at] {
			at = i
		}
	}
	return at
}
