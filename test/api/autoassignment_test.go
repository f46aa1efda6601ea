// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"testing"
)

func TestAutoAssignment(t *testing.T) {
	const timeForced = "spec.update.type: update.type TimeForced does not fit an auto-assignment: targets join at any time; choose Forced or Soft"
	update := func(update string) string { return fmt.Sprintf("{update: %s}", update) }
	judge(t, "AutoAssignment", all(updateLaws("update", "startDeadlineSeconds is for the groups of a rollout: an auto-assignment waits for its devices; remove it", update), selectionLaws(), map[string]law{
		"an update is all that is needed": {},
		"an update is needed":             {given: `{update: null}`, refused: "spec.update: Required value"},
		"TimeForced is refused":           {given: `{update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}}`, refused: timeForced},
		"it does not become TimeForced":   {when: `{update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}}`, refused: timeForced},
		"it is paused and goes on":        {given: `{state: Paused}`, when: `{state: Running}`},
		"only a set's invalidation stops": {when: `{state: Stopped}`, refused: `spec.state: Unsupported value: "Stopped": supported values: "Running", "Paused"`},
		"it moves on to the next set":     {when: `{update: {distributionSet: firmware-2-2}}`},
		"it starts at a time":             {when: `{startAt: "2026-12-01T02:00:00Z"}`},
	}))
}
