// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package eligibility is the one rule about an update and a target: may this update go to this
// target now, and if not, why not. Check returns the result as a code, without words.
//
// Every other package reads this result. Package offer asks it about all updates that reach a
// target, adds their order and the message. Package rollout maps it to the bucket that a member of
// a group is counted in. So a device is never offered what the counters call closed, and a member
// that is counted as awaited can still get its update.
//
// A result is lasting or passing. Lasting is what only the state of the target's actions, the
// member's bits and newer updates decide. Passing is what ends by time or by a person: a pause, a
// set that is not ready, a hold, a maintenance window. Lasting alone decides the bucket.
package eligibility

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Result says whether an update may start on a target. The zero Code says that it may.
type Result struct {
	Code Code
	// Until is when time alone changes the result. Zero: time alone does not.
	Until time.Time
	// Action and Other are what the code is about, where it is about such: an action of the target,
	// another update.
	Action *v1alpha1.Action
	Other  *Intent
	// Own is the newest action that the update created or adopted. Nil: there is none.
	Own *v1alpha1.Action
	// Again is true when the newest action of the update failed and update.retries allows another
	// attempt.
	Again bool
	// Brought is true with CodeSuperseded when the newer update brings just the content that this
	// one brings: the target is about to get it without this update.
	Brought bool
}

// MayStart reports whether nothing stands against a start.
func (r *Result) MayStart() bool { return r.Code == "" }

// IsFinal reports whether the update will not start on the target any more.
func (r *Result) IsFinal() bool { return r.Code.IsFinal() }

// Check reports whether an update may start on a target now. It does not ask whether another action
// of the target is open, or whether a required migration step goes first: that is the order of
// updates, which package offer adds.
func Check(t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) Result {
	r := Result{Own: Own(&t.Status, in)}
	lasting(&r, t, in, newer, now)
	if r.Code == "" {
		passing(&r, t, in, now)
	}
	replaced(&r, t, in, newer)
	return r
}

// Lasting is Check without what passes by time or by a person. It is what the counters need: it
// does not read the state of the set, a pause, a hold or a maintenance window.
// Whether the next attempt still waits for its backoff is not read either: Again is true in both
// cases. Nothing is asked about a device at work, because it has been given the update.
func Lasting(t *v1alpha1.Target, in *Intent, newer *Newer) Result {
	r := Result{Own: Own(&t.Status, in)}
	if r.Own == nil || r.Own.State.IsClosed() || !r.Own.State.HasStarted() {
		lasting(&r, t, in, newer, time.Time{})
		replaced(&r, t, in, newer)
	}
	return r
}

// lasting asks, in this order: has the update had its action; do the member's bits say that it is
// over; was the set installed before; has the target started something newer; was the source
// stopped; has the planned content been installed in another way.
func lasting(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) {
	if spent(r, t, in, newer, now); r.Code != "" {
		return
	}
	displaced(r, in, newer)
	switch {
	case r.Code != "":
	case in.AlreadyThere && r.Own == nil:
		r.Code = CodeAlreadyThere
	default:
		leftBehind(r, t, in, newer)
	}
}

// leftBehind: a newer update has started, the source was stopped, or the planned content came in
// another way. An update that brings the same content leaves nothing behind once it is there.
func leftBehind(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer) {
	dead, brought := olderThanStarted(t, in, newer)
	switch {
	case dead != nil && !brought:
		r.Code, r.Action = CodeSuperseded, dead
	case in.Closed.Code == CodeStopped:
		r.Code, r.Until = CodeStopped, in.Closed.Until
	case isThereAsPlanned(t, in):
		r.Code = CodeAlreadyThere
	case dead != nil:
		r.Code, r.Action, r.Brought = CodeSuperseded, dead, true
	}
}

// passing asks what ends by time or by a person: is the source held back, can the set be given to
// this target, does the target run it, is the target on hold, is the maintenance window open.
func passing(r *Result, t *v1alpha1.Target, in *Intent, now time.Time) {
	if in.Closed.Code != "" {
		r.Code, r.Until = in.Closed.Code, in.Closed.Until
		return
	}
	if r.Code = setProblem(in, t); r.Code != "" {
		return
	}
	if in.AlreadyThere || !in.Update.Reinstall && action.Installed(&t.Status, in.Set.ContentHash) {
		r.Code = CodeAlreadyThere
		return
	}
	if t.Spec.Hold {
		r.Code = CodeHold
		return
	}
	if open, next, _ := window.At(in.Update.MaintenanceWindow, now); !open { // also a window that cannot be read
		r.Code, r.Until = CodeWindowClosed, next
	}
}

// spent: the update had its action. Finished and Canceled spend it; Error does unless attempts are
// left or a retry names it.
func spent(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) {
	own := r.Own
	if own == nil {
		if in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Set != nil && action.Had(&t.Status, in.Set.ContentHash) {
			r.Code = CodeAlreadyHad
		}
		return
	}
	switch own.State {
	case v1alpha1.ActionFinished:
		if !isOnlyDownloaded(in, own) {
			r.Code, r.Action = CodeDone, own
		}
	case v1alpha1.ActionCanceled:
		if !IsTakenBack(in, own) && !(action.IsUnconfirmed(own) && (in.Expired || in.Skipped)) {
			r.Code, r.Action = CodeCanceled, own
		}
	case v1alpha1.ActionError:
		afterFailure(r, t, in, newer, now)
	default:
	}
}

// isOnlyDownloaded reports whether an assignment wants installed what its action only downloaded:
// its type was changed from DownloadOnly.
func isOnlyDownloaded(in *Intent, a *v1alpha1.Action) bool {
	return in.Source.Kind == v1alpha1.SourceTarget && a.Update.Type == v1alpha1.UpdateTypeDownloadOnly && in.Update.Type != v1alpha1.UpdateTypeDownloadOnly
}

// IsTakenBack reports whether an action was closed while it waited for confirmation, in a way that
// spends nothing: a required migration step went first, or the confirmation did not come in time
// and a retry gives more time.
func IsTakenBack(in *Intent, a *v1alpha1.Action) bool {
	if a.Cancel == nil || a.Cancel.From != v1alpha1.ActionWaitingForConfirmation {
		return false
	}
	return a.Cancel.Cause == v1alpha1.CauseMigrationStep || in.Forgiven && a.Cancel.Cause == v1alpha1.CauseStopped
}

// afterFailure: a failed action is tried again while attempts are left, after the backoff, or when
// the rollout's retry names it.
func afterFailure(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) {
	own, retries := r.Own, in.Update.Retries
	fail := func() { r.Code, r.Action, r.Again = CodeFailed, own, false }
	if in.Abandoned {
		fail()
		return
	}
	r.Again = retries != nil && max(own.Source.Attempt, 1) <= retries.Limit && NamedBy(retries).Name(action.FailureOf(own))
	if !in.RetryAt.IsZero() && timeOf(own.ClosedAt).Before(in.RetryAt) && in.RetryFailures.Name(action.FailureOf(own)) {
		return
	}
	if in.Stopped || in.Superseded || !r.Again {
		fail()
		return
	}
	if !in.Update.Reinstall && action.Installed(&t.Status, own.ContentHash) { // it came by the set in another way
		r.Code = CodeAlreadyThere
		return
	}
	if dead, brought := olderThanStarted(t, in, newer); dead != nil && !brought {
		fail()
		return
	}
	if next := NextAttempt(retries, own); now.Before(next) {
		r.Code, r.Action, r.Until = CodeRetrying, own, next
	}
}

// NamedBy returns the failures after which retries tries again.
func NamedBy(r *v1alpha1.Retries) action.Failures {
	return action.Failures{Codes: r.StatusCodes, Messages: r.Messages}
}

// NextAttempt returns when a failed action may be tried again: backoffSeconds after it closed, by
// default ten minutes.
func NextAttempt(r *v1alpha1.Retries, a *v1alpha1.Action) time.Time {
	backoff := 600 * time.Second
	if r.BackoffSeconds != nil {
		backoff = time.Duration(*r.BackoffSeconds) * time.Second
	}
	return timeOf(a.ClosedAt).Add(backoff)
}

// displaced: the member's bits say that its part in the rollout is over. The start deadline counts
// before a newer update, because the member had failed before that came. What has started was in
// time, whatever a bit says that was written meanwhile.
func displaced(r *Result, in *Intent, newer *Newer) {
	started := r.Own != nil && !action.IsUnconfirmed(r.Own)
	switch {
	case in.Expired && !started:
		r.Code = CodeDeadlinePassed
	case in.Superseded:
		r.Code, r.Other = CodeSuperseded, newer.successor(in)
	case in.Skipped && !started:
		r.Code = CodeSkipped
	}
}

// olderThanStarted returns an action by which the target has started something newer, or of the
// same age, than the update: a device never goes back behind that. A required migration step is
// left behind only by a newer set that has succeeded. An update that has not started has no age
// yet. Brought is true when all such actions bring, or have brought, just what the update brings.
func olderThanStarted(t *v1alpha1.Target, in *Intent, newer *Newer) (dead *v1alpha1.Action, brought bool) {
	age := since(&in.Source)
	if age.IsZero() {
		return nil, false
	}
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		c := age.Compare(since(&a.Source))
		if c > 0 || a.Update.Superseding == v1alpha1.SupersedingQueue || IsOwn(a, in) || IsStep(in) && a.State != v1alpha1.ActionFinished {
			continue
		}
		if c == 0 && (IsRecreated(a, in) || newer.isNewerAuto(in, a)) {
			continue
		}
		if dead == nil {
			dead, brought = a, true
		}
		brought = brought && brings(t, in, a)
	}
	return dead, brought && dead != nil
}

// brings reports whether an action of another update brings, or has brought, just what this update
// is to bring.
func brings(t *v1alpha1.Target, in *Intent, a *v1alpha1.Action) bool {
	return in.PlannedHash != "" && a.ContentHash == in.PlannedHash && !in.Update.Reinstall &&
		(!a.State.IsClosed() || action.Installed(&t.Status, in.PlannedHash))
}

// IsRecreated reports whether an update has the name of the source of an action: the manifest was
// removed and applied again.
func IsRecreated(a *v1alpha1.Action, in *Intent) bool {
	return a.Source.Kind == in.Source.Kind && a.Source.Name == in.Source.Name
}

// isThereAsPlanned reports whether the target runs the content that the rollout planned, since its
// group has opened. That counts whatever has become of the set meanwhile, and while the rollout is
// paused.
func isThereAsPlanned(t *v1alpha1.Target, in *Intent) bool {
	return in.PlannedHash != "" && !in.OpenedAt.IsZero() && !in.Update.Reinstall && action.Installed(&t.Status, in.PlannedHash)
}

// setProblem returns what keeps the set from being given to this target; empty: nothing does.
func setProblem(in *Intent, t *v1alpha1.Target) Code {
	set := in.Set
	switch {
	case set == nil:
		return CodeSetNotFound
	case set.Invalidation != "" && !startedBefore(in, set):
		return CodeSetInvalid
	case !set.Deployable:
		return CodeSetNotReady
	case in.PlannedHash != "" && in.PlannedHash != set.ContentHash:
		return CodeContentChanged
	case !set.Fits(t.Spec.Type):
		return CodeIncompatible
	}
	return ""
}

// Invalidates reports whether a set must not be started any more by a rollout that started at this
// time. A zero time stands for any other source.
func Invalidates(set *Set, started time.Time) bool {
	in := Intent{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout}, StartedAt: started}
	return set.Invalidation != "" && !startedBefore(&in, set)
}

// startedBefore: a rollout that had started when its set was invalidated with None goes on as it
// is. Invalidations are known to the second, and none starts once one is seen: the same second is
// before.
func startedBefore(in *Intent, set *Set) bool {
	return set.Invalidation == v1alpha1.CancellationNone && in.Source.Kind == v1alpha1.SourceRollout &&
		!in.StartedAt.IsZero() && (set.InvalidatedAt.IsZero() || !in.StartedAt.Truncate(time.Second).After(set.InvalidatedAt))
}

// NotServed returns why a target is given nothing, whatever update reaches it; empty: it is served.
// Every update that reaches it waits meanwhile, and is counted so.
func NotServed(t *v1alpha1.Target) string {
	for i := range t.Status.Conditions {
		if c := &t.Status.Conditions[i]; c.Type == v1alpha1.ConditionReady && c.Status == "False" {
			return c.Message
		}
	}
	if t.Status.NextActionID == 0 {
		return "Goshawk has not reconciled this target yet"
	}
	return ""
}

// IsDuplicate reports whether an older target has the same controllerID.
func IsDuplicate(t *v1alpha1.Target) bool {
	for i := range t.Status.Conditions {
		if c := &t.Status.Conditions[i]; c.Type == v1alpha1.ConditionReady {
			return c.Status == "False" && c.Reason == v1alpha1.ReasonDuplicate
		}
	}
	return false
}

// Own returns the newest action that an update created or adopted; nil: there is none.
func Own(s *v1alpha1.TargetStatus, in *Intent) *v1alpha1.Action {
	var own *v1alpha1.Action
	for i := range s.Actions {
		if a := &s.Actions[i]; IsOwn(a, in) && (own == nil || a.ID > own.ID) {
			own = a
		}
	}
	return own
}

// IsOwn reports whether an action is of this update. A rollout is known by its uid, because what it
// brings does not change; a single assignment also by its since, because the same target may be
// assigned again; an auto-assignment also by the content it offers, because it may be given another
// set.
func IsOwn(a *v1alpha1.Action, in *Intent) bool {
	if a.Source.UID != in.Source.UID || a.Source.Kind != in.Source.Kind {
		return false
	}
	switch in.Source.Kind {
	case v1alpha1.SourceTarget:
		return since(&a.Source).Equal(since(&in.Source))
	case v1alpha1.SourceAutoAssignment:
		return in.Set != nil && in.Set.ContentHash == a.ContentHash
	default:
		return true
	}
}
