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
	obstaclesOfPending    = []counting.Obstacle{counting.Duplicate, counting.OnHold, counting.Incompatible, counting.Busy, counting.WaitingForConfirmation, counting.Retrying}
	obstaclesOfInProgress = []counting.Obstacle{counting.Retrying, counting.Canceling}
)

// obstacleNames follow a number of members with the obstacle.
var obstacleNames = [counting.Obstacles]string{
	counting.Duplicate:              "with the controllerID of another target",
	counting.OnHold:                 "on hold",
	counting.Incompatible:           "of a type that the set does not fit",
	counting.Busy:                   "busy with another update",
	counting.WaitingForConfirmation: "to be confirmed",
	counting.Retrying:               "to be tried again",
	counting.Canceling:              "asked to cancel",
}

// among lists how many have which of these obstacles, in brackets; nothing when none has.
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

// nameWith is the name of a member with what keeps it, in brackets.
func (l *planner) nameWith(name string, t *v1alpha1.Target, o counting.Obstacle) string {
	words := obstacleNames[o]
	switch o {
	case counting.Clear:
		return name
	case counting.Incompatible:
		words = fmt.Sprintf("type %s does not fit", t.Spec.Type)
	case counting.Busy:
		words = "busy with " + action.Open(&t.Status).DistributionSet
	case counting.Retrying: // in words that hold before and after, or the hour alone would cost a write
		words = "tried again from " + formatTime(l.nextAttempt(action.OfSource(&t.Status, l.next.Identity())))
	default:
	}
	return fmt.Sprintf("%s (%s)", name, words)
}
