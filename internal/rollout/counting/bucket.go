// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package counting sorts the members of a group into buckets and adds them up. Which bucket a
// member is in follows from what package eligibility says about it; this package has the table. A
// Rule holds what is the same for all members of a group, a Member what the status of the group
// says about one of them, an Entry what one member adds, and a Tally the sum.
//
// The package is pure: it knows no client, no clock and no log.
package counting

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Bucket says how one member of a group is counted. Every member is in exactly one bucket.
type Bucket uint8

// Buckets have the names of the fields of Counts.
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

// IsClosed reports whether the member has a result, or will not get one.
func (b Bucket) IsClosed() bool { return b >= Succeeded }

// row says how a code of package eligibility is counted.
type row struct {
	bucket Bucket
	// awaited is true if the update may still start. The bucket is Scheduled until the group opens,
	// InProgress after a failure that is retried, and otherwise Pending.
	awaited bool
	// keepsFailure is true if a member whose last action failed stays Failed.
	keepsFailure bool
}

// rowOf is the table that maps a code to a bucket; no other place does. It is a switch because it
// is called for each of 100 000 members. It returns false for a code without a row.
func rowOf(code eligibility.Code) (row, bool) {
	switch code {
	case "",
		// The member waits for the end of a pause, a hold or another wait, or for a person to
		// correct a set, a type or a controllerID. The start deadline ends the wait, and waitingFor
		// names the obstacle.
		eligibility.CodeNotStarted, eligibility.CodeStabilizing, eligibility.CodePaused, eligibility.CodeGroupNotOpen,
		eligibility.CodeSetNotFound, eligibility.CodeSetNotReady, eligibility.CodeContentChanged, eligibility.CodeIncompatible,
		eligibility.CodeHold, eligibility.CodeAwaitingFeatures, eligibility.CodeWindowClosed, eligibility.CodeRetrying, eligibility.CodeNotReady,
		eligibility.CodeBusy, eligibility.CodeWaitingForStep:
		return row{awaited: true}, true
	case eligibility.CodeFinished:
		// The counts of a finished rollout are frozen, so a member that runs another set since
		// changes no number.
		return row{awaited: true}, true
	case eligibility.CodeDone, eligibility.CodeAlreadyThere:
		return row{bucket: Succeeded}, true
	case eligibility.CodeFailed, eligibility.CodeDeadlinePassed:
		return row{bucket: Failed}, true
	case eligibility.CodeSkipped:
		return row{bucket: Skipped}, true
	case eligibility.CodeCanceled:
		return row{bucket: Canceled}, true
	case eligibility.CodeSuperseded, eligibility.CodeStopped, eligibility.CodeSetInvalid:
		// A failure stays a failure when the member is taken over, or when the rollout ends. A
		// rollout whose set is invalid is about to stop.
		return row{bucket: Canceled, keepsFailure: true}, true
	case eligibility.CodeAlreadyHad: // of auto-assignments, which have no groups
		return row{bucket: Canceled}, true
	}
	return row{}, false
}

// BucketOf returns the bucket of a member with this result of package eligibility. An open action
// decides before the bits of the group, except that an action that waits for confirmation does not
// count after the start deadline.
func BucketOf(r *eligibility.Result, open bool) Bucket {
	own := r.Own
	if own != nil && !own.State.IsClosed() && !(action.IsUnconfirmed(own) && (r.Code == eligibility.CodeDeadlinePassed || r.Code == eligibility.CodeSkipped)) {
		if action.IsUnconfirmed(own) {
			return Pending
		}
		return InProgress
	}
	switch row, _ := rowOf(r.Code); {
	case row.awaited, r.Brought: // the newer update brings the same content
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
