// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// targets counts targets in a sentence.
func targets[N int | int32](n N) string { return text.Count(n, "target") }

// list names the first five.
func list(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// truncate cuts a sentence to at most n bytes, between characters.
func truncate(s string, n int) string {
	const cut = "..."
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(cut)], "") + cut
}

// formatTime writes a time into a sentence.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
