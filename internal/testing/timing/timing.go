// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package timing checks durations on machines that are busy with other work, which makes a run
// longer, and never shorter.
package timing

import (
	"testing"
	"time"
)

// runs is how often a check is made before it has failed.
const runs = 10

// Check makes a check of durations until it holds, ten times at most. The check measures anew each
// time, and returns what is wrong, or "". The test fails with the result of the last run.
func Check(t testing.TB, check func() string) {
	t.Helper()
	wrong := ""
	for range runs {
		if wrong = check(); wrong == "" {
			return
		}
	}
	t.Errorf("in each of %d runs: %s", runs, wrong)
}

// Within checks that do takes less than limit in one of ten runs.
func Within(t testing.TB, limit time.Duration, do func()) {
	t.Helper()
	Check(t, func() string {
		started := time.Now()
		do()
		if took := time.Since(started); took >= limit {
			return took.String() + ", want less than " + limit.String()
		}
		return ""
	})
}
