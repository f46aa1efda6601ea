// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// The obstacles that a pending member may have, and a member in progress.
var (
	obstaclesOfPending    = []counting.Obstacle{counting.Duplicate, counting.OnHold, counting.AwaitingFeatures, counting.Incompatible, counting.Busy, counting.WaitingForConfirmation, counting.Retrying}
	obstaclesOfInProgress = []counting.Obstacle{counting.Retrying, counting.Canceling}
)

// obstacleNames follow a number of members with the obstacle.
var obstacleNames = [counting.Obstacles]string{
	counting.Duplicate:              "with a duplicate controllerID",
	counting.OnHold:                 "on hold",
	counting.AwaitingFeatures:       "connected without features",
	counting.Incompatible:           "of a type that the set does not fit",
	counting.Busy:                   "busy with another update",
	counting.WaitingForConfirmation: "waiting for confirmation",
	counting.Retrying:               "waiting for a retry",
	counting.Canceling:              "asked to cancel",
}

// among returns, in brackets, how many members have which of these obstacles, or "" if none has
// one.
func among(counts [counting.Obstacles]int32, kinds []counting.Obstacle) string {
	var parts []string
	for _, o := range kinds {
		if n := counts[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, obstacleNames[o]))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// nameWith returns the name of a member with its obstacle in brackets.
func (l *planner) nameWith(name string, t *v1alpha1.Target, o counting.Obstacle) string {
	if o == counting.Clear {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, ObstacleText(l.next, t, o))
}

// ObstacleText returns in a few words why a member of a rollout has no result yet, or "" if it
// waits for the device only.
func ObstacleText(r *v1alpha1.Rollout, t *v1alpha1.Target, o counting.Obstacle) string {
	switch o {
	case counting.Incompatible:
		return fmt.Sprintf("type %s does not fit", t.Spec.Type)
	case counting.Busy:
		return "busy with " + action.Open(&t.Status).Subject()
	case counting.Retrying: // worded so that it is true before and after the time; a change of the text would cost a write
		return "retried from " + formatTime(nextAttempt(r, action.OfSource(&t.Status, r.Identity())))
	default:
		return obstacleNames[o]
	}
}
