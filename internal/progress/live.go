// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"io"
	"strings"
)

// Live replaces one text by another in a terminal.
type Live struct {
	Out   io.Writer
	lines int
}

// Show replaces the text of the last Show. It uses one write, so that the terminal does not
// flicker.
func (l *Live) Show(text string) error {
	var out strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\r", l.lines)
	}
	out.WriteString(strings.ReplaceAll(text, "\n", "\x1b[K\n"))
	out.WriteString("\x1b[J")
	l.lines = strings.Count(text, "\n")
	_, err := io.WriteString(l.Out, out.String())
	return err
}

// Keep keeps the last text; the next Show writes below it.
func (l *Live) Keep() { l.lines = 0 }
