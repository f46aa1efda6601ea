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
	testSchema(t, "AutoAssignment", all(updateCases("update", "startDeadlineSeconds is for the groups of a rollout: an auto-assignment waits for its devices; remove it", update), selectionCases(), map[string]schemaCase{
		"only an update is required":        {},
		"an update is required":             {given: `{update: null}`, refused: "spec.update: Required value"},
		"TimeForced is refused":             {given: `{update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}}`, refused: timeForced},
		"a change to TimeForced is refused": {when: `{update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}}`, refused: timeForced},
		"paused, then Running":              {given: `{state: Paused}`, when: `{state: Running}`},
		"Stopped is refused in spec":        {when: `{state: Stopped}`, refused: `spec.state: Unsupported value: "Stopped": supported values: "Running", "Paused"`},
		"another set":                       {when: `{update: {distributionSet: firmware-2-2}}`},
		"a start time":                      {when: `{startAt: "2026-12-01T02:00:00Z"}`},
	}))
}
