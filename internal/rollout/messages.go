// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// targets returns a number of targets as text.
func targets[N int | int32](n N) string { return text.Count(n, "target") }

// list returns the first five names, and how many more there are.
func list(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// formatTime formats a time for a message.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
