// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Obstacle is what keeps a member that has no result from getting one, as far as its own Target
// tells.
type Obstacle uint8

// Obstacles, the stubbornest first. Clear: only the device is awaited.
const (
	Clear Obstacle = iota
	Duplicate
	OnHold
	Unfit
	Busy
	Unconfirmed
	Retrying
	Canceling
	obstacles
)

// Those of members that are pending, and of members in progress.
var (
	obstaclesOfPending    = []Obstacle{Duplicate, OnHold, Unfit, Busy, Unconfirmed, Retrying}
	obstaclesOfInProgress = []Obstacle{Retrying, Canceling}
)

// Words for a number of members with that obstacle.
var obstacleNames = [obstacles]string{
	Duplicate:   "with the controllerID of another target",
	OnHold:      "on hold",
	Unfit:       "of a type that the set does not fit",
	Busy:        "busy with another update",
	Unconfirmed: "to be confirmed",
	Retrying:    "to be tried again",
	Canceling:   "asked to cancel",
}

// obstacleOf returns what keeps a member in this bucket; own is the newest action of the rollout.
func (r *Rule) obstacleOf(t *v1alpha1.Target, own *v1alpha1.Action, b Bucket) Obstacle {
	if b != Pending && b != InProgress {
		return Clear
	}
	open := action.Open(&t.Status)
	switch {
	case b == InProgress && own.State == v1alpha1.ActionCanceling:
		return Canceling
	case b == InProgress && own.State == v1alpha1.ActionError:
		return Retrying
	case b != Pending:
		return Clear
	case isDuplicate(t):
		return Duplicate
	case t.Spec.Hold:
		return OnHold
	case !r.fits(t):
		return Unfit
	case open != nil && open != own:
		return Busy
	case open != nil:
		return Unconfirmed
	case own != nil && own.State == v1alpha1.ActionError:
		return Retrying
	}
	return Clear
}

func (r *Rule) fits(t *v1alpha1.Target) bool {
	set := eligibility.Set{CompatibleTargetTypes: r.types}
	return set.Fits(t.Spec.Type)
}

// among lists how many have which of these obstacles, in brackets; nothing when none has.
func among(counts [obstacles]int32, kinds []Obstacle) string {
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
func (l *planner) nameWith(name string, t *v1alpha1.Target, o Obstacle) string {
	words := obstacleNames[o]
	switch o {
	case Clear:
		return name
	case Unfit:
		words = fmt.Sprintf("type %s does not fit", t.Spec.Type)
	case Busy:
		words = "busy with " + action.Open(&t.Status).DistributionSet
	case Retrying: // in words that hold before and after, or the hour alone would cost a write
		words = "tried again from " + formatTime(l.nextAttempt(action.OfSource(&t.Status, l.next.Identity())))
	default:
	}
	return fmt.Sprintf("%s (%s)", name, words)
}
