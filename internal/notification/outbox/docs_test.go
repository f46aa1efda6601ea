// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestBoundsAreThoseOfTheDocumentation compares constants and intervals with docs/notifications.md.
func TestBoundsAreThoseOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	text, timing := strings.Join(strings.Fields(string(page)), " "), DefaultTiming()
	for _, want := range []string{
		fmt.Sprintf("requests at the same time | %d |", MaxAttempts),
		fmt.Sprintf("events that wait | %d, at most %d of one object, and %d KiB |", MaxPending, maxObjectPending, maxPendingBytes>>10),
		fmt.Sprintf("at most %d ConfigMaps `%sN` in the namespace of Goshawk, of %d KiB", maxShards, shardPrefix, maxShardBytes>>10),
		fmt.Sprintf("each ConfigMap at most once a second%s", map[bool]string{true: ":"}[timing.Record.Seconds() == 1]),
		fmt.Sprintf("one of the Secret every %.0f seconds", timing.Reload.Seconds()),
		fmt.Sprintf("%d with a decision, for %.0f seconds", maxVersions, timing.Keep.Seconds()),
		fmt.Sprintf("or none within %.0f seconds", timing.Attempt.Seconds()),
		fmt.Sprintf("An event is tried for %.0f hours. The delay after a failure is %.0f second, doubles up to %.0f minutes", timing.GiveUp.Hours(), timing.MinRetry.Seconds(), timing.MaxRetry.Minutes()),
		fmt.Sprintf("no request until then, at most %.0f minutes", timing.MaxHold.Minutes()),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/notifications.md does not have %q", want)
		}
	}
}
