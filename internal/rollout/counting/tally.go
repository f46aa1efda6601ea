// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Tally is the sum of the entries of the members of a group.
type Tally struct {
	v1alpha1.Counts
	// Superseded members; they are part of Canceled.
	Superseded int32
	// NotStarted members may start and never have; they are part of Pending.
	NotStarted int32
	// Again counts the members that failed and have another attempt ahead; they are InProgress by
	// update.retries, Pending by spec.retry.
	Again int32
	// OfPending and OfInProgress count the obstacles of the members that are Pending, and of those
	// that are InProgress.
	OfPending, OfInProgress [Obstacles]int32
	// Open actions of the rollout in this group, and how many of them need not be asked to cancel:
	// they are Canceling, or the device has refused.
	Open, Canceling int32
	// FailedSinceResume counts the members that failed after the last resumedAt that took effect;
	// without one, all that failed.
	FailedSinceResume int32
	// Failures by code or message; nil if there are none.
	Failures map[action.Failure]v1alpha1.FailureCount
}

// Entry is the contribution of one member to a tally. Entries can be compared with ==.
type Entry struct {
	Bucket Bucket
	// Open: the newest action of the rollout is open. Canceling: it need not be asked to cancel.
	Open, Canceling bool
	// Superseded is true if a newer update took the member over.
	Superseded bool
	// NotStarted: the member may start and never has. The start deadline is for these members.
	NotStarted bool
	// Again is true if the member failed and has another attempt left.
	Again bool
	// Obstacle is the reason why the member has no result yet.
	Obstacle Obstacle
	// FailedSinceResume: it failed after the last resumedAt that took effect.
	FailedSinceResume bool
	// Failure is the key by which a failed member is counted, and FailedAt when it failed, in
	// seconds since 1970.
	Failure  action.Failure
	FailedAt int64
}

// EntryOf returns what one member adds to the tally of its group.
func (c *Counter) EntryOf(t *v1alpha1.Target, m Member) Entry {
	if t == nil {
		return Entry{Bucket: Removed}
	}
	result := c.check(t, m)
	e, own := Entry{Bucket: BucketOf(&result, c.Open)}, result.Own
	if own == nil {
		e.Superseded = e.Bucket == Canceled && result.Code == eligibility.CodeSuperseded
	} else {
		e.Open = !own.State.IsClosed()
		e.Canceling = e.Open && c.needsNoRequest(own)
		e.Superseded = e.Bucket == Canceled && own.Cancel != nil && slices.Contains(own.Cancel.Causes, v1alpha1.CauseSuperseded)
	}
	if t.Unreadable != nil { // it is not changed: no deadline applies, and a stop does not wait for it
		e.Open, e.Canceling = false, false
	}
	e.Obstacle = c.obstacleOf(t, own, e.Bucket)
	e.Again = t.Unreadable == nil && !e.Bucket.IsClosed() && own != nil && own.State == v1alpha1.ActionError
	switch e.Bucket {
	case Pending:
		e.NotStarted = t.Unreadable == nil && (own == nil || action.IsUnconfirmed(own))
	case Failed:
		c.addFailure(&e, own, m)
	default:
	}
	return e
}

// addFailure sets how a member failed, and when.
func (c *Counter) addFailure(e *Entry, own *v1alpha1.Action, m Member) {
	var failed time.Time
	switch {
	case own == nil || action.IsUnconfirmed(own):
		e.Failure, failed = DeadlineExceeded, m.Expired
	case own.ClosedAt != nil:
		e.Failure, failed = action.FailureOf(own), own.ClosedAt.Time
	default:
		e.Failure = action.FailureOf(own)
		return
	}
	e.FailedSinceResume, e.FailedAt = failed.After(c.ResumedAt), failed.Unix()
}

// needsNoRequest reports whether an open action needs no (further) request to cancel: it is
// Canceling, or the device has refused. If the set was deleted, a refusal of that cause is enough.
func (c *Counter) needsNoRequest(a *v1alpha1.Action) bool {
	if a.State == v1alpha1.ActionCanceling {
		return true
	}
	return a.Cancel != nil && a.Cancel.Answer == v1alpha1.AnswerRejected &&
		(slices.ContainsFunc(a.Cancel.Causes, stops) || c.SetGone && slices.Contains(a.Cancel.Causes, v1alpha1.CauseSetGone))
}

// stops reports whether a cause ends the whole rollout, and not only the action of one device.
func stops(c v1alpha1.CancelCause) bool {
	return c == v1alpha1.CauseStopped || c == v1alpha1.CauseDeleted || c == v1alpha1.CauseInvalidated
}

// Recount returns the tally of a group. The members are aligned with its spec.targets; nil: the
// Target was deleted.
func Recount(g *v1alpha1.DeploymentGroup, rule Rule, members []*v1alpha1.Target) Tally {
	var tally Tally
	counter := NewCounter(rule)
	for i, name := range g.Spec.Targets {
		tally.Add(counter.EntryOf(members[i], MemberOf(g, i)), string(name))
	}
	return tally
}

// Add adds a member. Its cost does not depend on the size of the group.
func (t *Tally) Add(e Entry, name string) {
	t.count(&e, 1)
	if e.Bucket != Failed {
		return
	}
	if t.Failures == nil {
		t.Failures = map[action.Failure]v1alpha1.FailureCount{}
	}
	line, at := t.Failures[e.Failure], time.Unix(e.FailedAt, 0)
	line.StatusCode, line.Message = e.Failure.Code, e.Failure.Message
	line.Count++
	if len(line.Examples) < MaxExamples {
		line.Examples = append(slices.Clone(line.Examples), name)
	}
	if line.FirstSeen == nil || at.Before(line.FirstSeen.Time) {
		line.FirstSeen = &metav1.Time{Time: at}
	}
	if line.LastSeen == nil || at.After(line.LastSeen.Time) {
		line.LastSeen = &metav1.Time{Time: at}
	}
	t.Failures[e.Failure] = line
}

// MaxExamples is how many names a line of the failure table has at the most.
const MaxExamples = 3

// Remove takes back what Add added. The first and the last time of a failure stay as they are, and
// an example that is removed is not replaced before the next failure.
func (t *Tally) Remove(e Entry, name string) {
	t.count(&e, -1)
	if e.Bucket != Failed {
		return
	}
	line := t.Failures[e.Failure]
	line.Count--
	if line.Count <= 0 {
		delete(t.Failures, e.Failure)
		return
	}
	if i := slices.Index(line.Examples, name); i >= 0 {
		line.Examples = slices.Delete(slices.Clone(line.Examples), i, i+1)
	}
	t.Failures[e.Failure] = line
}

// Clone returns a tally that does not change when this one does.
func (t Tally) Clone() Tally {
	t.Failures = maps.Clone(t.Failures)
	return t
}

func (t *Tally) count(e *Entry, n int32) {
	t.Targets += n
	*t.bucket(e.Bucket) += n
	addIf(e.Superseded, &t.Superseded, n)
	addIf(e.NotStarted, &t.NotStarted, n)
	addIf(e.Again, &t.Again, n)
	switch e.Bucket {
	case Pending:
		t.OfPending[e.Obstacle] += n
	case InProgress:
		t.OfInProgress[e.Obstacle] += n
	default:
	}
	addIf(e.Open, &t.Open, n)
	addIf(e.Canceling, &t.Canceling, n)
	addIf(e.FailedSinceResume, &t.FailedSinceResume, n)
}

func addIf(applies bool, counter *int32, n int32) {
	if applies {
		*counter += n
	}
}

func (t *Tally) bucket(b Bucket) *int32 {
	switch b {
	case Scheduled:
		return &t.Scheduled
	case Pending:
		return &t.Pending
	case InProgress:
		return &t.InProgress
	case Succeeded:
		return &t.Succeeded
	case Failed:
		return &t.Failed
	case Canceled:
		return &t.Canceled
	case Skipped:
		return &t.Counts.Skipped
	default:
		return &t.Counts.Removed
	}
}
