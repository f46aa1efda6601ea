// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package timing

import (
	"fmt"
	"testing"
	"time"
)

// failures counts the failures of a test.
type failures struct {
	testing.TB
	texts []string
}

func (*failures) Helper() {}
func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

func TestCheckIsMadeUntilItHolds(t *testing.T) {
	for holdsAfter, want := range map[int]int{0: 0, runs - 1: 0, runs: 1} {
		f, made := &failures{TB: t}, 0
		Check(f, func() string {
			if made++; made > holdsAfter {
				return ""
			}
			return "too long"
		})
		if len(f.texts) != want {
			t.Errorf("a check that holds after %d runs: %q", holdsAfter, f.texts)
		}
	}
}

func TestWithinFailsIfEveryRunIsTooLong(t *testing.T) {
	f := &failures{TB: t}
	Within(f, time.Millisecond, func() { time.Sleep(2 * time.Millisecond) })
	if len(f.texts) != 1 {
		t.Errorf("runs that are too long: %q", f.texts)
	}
	Within(t, time.Hour, func() {})
}
