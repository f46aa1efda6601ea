// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Obstacle is the cause, read from the Target, why a member has no result yet.
type Obstacle uint8

// Obstacles. A member with several has the first in this order. Clear: it waits for
// the device only.
const (
	Clear Obstacle = iota
	Duplicate
	OnHold
	AwaitingFeatures
	Incompatible
	Busy
	WaitingForConfirmation
	Retrying
	Canceling
	// Obstacles is how many there are.
	Obstacles
)

// obstacleOf returns the obstacle of a member in this bucket; own is the newest action of the
// rollout.
func (c *Counter) obstacleOf(t *v1alpha1.Target, own *v1alpha1.Action, b Bucket) Obstacle {
	switch b {
	case Pending:
		return c.obstacleOfPending(t, own)
	case InProgress:
		switch own.State {
		case v1alpha1.ActionCanceling:
			return Canceling
		case v1alpha1.ActionError:
			return Retrying
		default:
		}
	default:
	}
	return Clear
}

func (c *Counter) obstacleOfPending(t *v1alpha1.Target, own *v1alpha1.Action) Obstacle {
	open := action.Open(&t.Status)
	switch {
	case eligibility.IsDuplicate(t):
		return Duplicate
	case t.Spec.Hold:
		return OnHold
	case eligibility.AwaitsFeatures(t):
		return AwaitingFeatures
	case !c.set.Fits(t.Spec.Type):
		return Incompatible
	case open != nil && open != own:
		return Busy
	case open != nil:
		return WaitingForConfirmation
	case own != nil && own.State == v1alpha1.ActionError:
		return Retrying
	}
	return Clear
}
