// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"io"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// Visible returns a writer of log lines that removes their invisible characters. Lines quote what
// devices and users have written, and an encoder of JSON escapes only the control characters of
// ASCII. A line must be written at once.
func Visible(to io.Writer) io.Writer { return visible{to} }

type visible struct{ to io.Writer }

// Write reports the length of the given line, also if a shorter one was written.
func (v visible) Write(line []byte) (int, error) {
	if _, err := io.WriteString(v.to, text.Visible(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}
