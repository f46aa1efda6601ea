// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Bucket is what became of one member of a group. Every member is in exactly one.
type Bucket uint8

// Buckets, as Counts names them.
const (
	Scheduled Bucket = iota
	Pending
	InProgress
	Succeeded
	Failed
	Canceled
	Skipped
	Removed
)

var bucketNames = [...]string{"Scheduled", "Pending", "InProgress", "Succeeded", "Failed", "Canceled", "Skipped", "Removed"}

func (b Bucket) String() string { return bucketNames[b] }

// IsClosed reports whether nothing more is awaited of the member.
func (b Bucket) IsClosed() bool { return b >= Succeeded }

// row says what a code of package eligibility means for the counts.
type row struct {
	bucket Bucket
	// awaited: the update may still start. The bucket is Scheduled until the group opens, InProgress
	// after a failure that is tried again, and else Pending.
	awaited bool
	// keepsFailure: a member whose last action failed stays Failed, because a result stays one.
	keepsFailure bool
}

// buckets is the only place that says which bucket follows from which code.
var buckets = map[eligibility.Code]row{
	"": {awaited: true},

	// The end of a pause, of a hold and of a wait is awaited, as are a set, a type and a
	// controllerID that a person still has to correct: the start deadline ends the wait, and
	// waitingFor names the obstacle.
	eligibility.CodeNotStarted:     {awaited: true},
	eligibility.CodeStabilizing:    {awaited: true},
	eligibility.CodePaused:         {awaited: true},
	eligibility.CodeGroupNotOpen:   {awaited: true},
	eligibility.CodeSetNotFound:    {awaited: true},
	eligibility.CodeSetNotReady:    {awaited: true},
	eligibility.CodeContentChanged: {awaited: true},
	eligibility.CodeIncompatible:   {awaited: true},
	eligibility.CodeHold:           {awaited: true},
	eligibility.CodeWindowClosed:   {awaited: true},
	eligibility.CodeRetrying:       {awaited: true},
	eligibility.CodeNotReady:       {awaited: true},
	eligibility.CodeBusy:           {awaited: true},
	eligibility.CodeWaitingForStep: {awaited: true},

	eligibility.CodeDone:           {bucket: Succeeded},
	eligibility.CodeAlreadyThere:   {bucket: Succeeded},
	eligibility.CodeFailed:         {bucket: Failed},
	eligibility.CodeDeadlinePassed: {bucket: Failed},
	eligibility.CodeSkipped:        {bucket: Skipped},
	eligibility.CodeCanceled:       {bucket: Canceled},

	// A result stays a result when the member is taken over, or when the rollout ends.
	eligibility.CodeSuperseded: {bucket: Canceled, keepsFailure: true},
	eligibility.CodeStopped:    {bucket: Canceled, keepsFailure: true},
	eligibility.CodeSetInvalid: {bucket: Canceled, keepsFailure: true}, // the rollout is about to stop

	// The counts of a finished rollout are history and are not counted again. A member that has lost
	// the set since changes no number.
	eligibility.CodeFinished: {awaited: true},

	eligibility.CodeAlreadyHad: {bucket: Canceled}, // of auto-assignments, which have no groups
}

// BucketOf returns the bucket that follows from what package eligibility says about a member. An
// action that is open outranks what the group remembers; but one that waits for confirmation does
// not outrank a start deadline.
func BucketOf(r *eligibility.Result, open bool) Bucket {
	own := r.Own
	if own != nil && !own.State.IsClosed() && !(isUnconfirmed(own) && (r.Code == eligibility.CodeDeadlinePassed || r.Code == eligibility.CodeSkipped)) {
		if isUnconfirmed(own) {
			return Pending
		}
		return InProgress
	}
	if r.Code == "" || r.Brought {
		return awaited(r, open)
	}
	switch row := buckets[r.Code]; {
	case row.awaited:
		return awaited(r, open)
	case row.keepsFailure && own != nil && own.State == v1alpha1.ActionError:
		return Failed
	default:
		return row.bucket
	}
}

func awaited(r *eligibility.Result, open bool) Bucket {
	switch {
	case r.Again:
		return InProgress
	case open:
		return Pending
	}
	return Scheduled
}

// isUnconfirmed reports whether an action has not started: it waits for confirmation, or was closed
// while it did.
func isUnconfirmed(a *v1alpha1.Action) bool {
	return a.State == v1alpha1.ActionWaitingForConfirmation ||
		a.State == v1alpha1.ActionCanceled && a.Cancel != nil && a.Cancel.From == v1alpha1.ActionWaitingForConfirmation
}
