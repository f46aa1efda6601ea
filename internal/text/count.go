// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import "fmt"

// Count returns a number with its noun, which takes an s unless the number is 1: "1 target", "2
// targets".
func Count[N int | int32](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
