// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package eligibility is the one rule about an update and a target: may this update go to this
// target now, and if not, why not. Check returns the result as a code, without a message.
//
// Every other package uses this result. Package offer checks all updates that reach a target, and
// adds their order and the message. Package rollout maps the result to the bucket that a member of
// a group is counted in. So a device never gets an update that the counters count as closed, and a
// member that is counted as awaited can still get its update.
//
// A result is lasting or passing. A lasting result follows from the target's actions, the member's
// bits and newer updates. A passing result ends by time or by a change that a person makes: a
// pause, a set that is not ready, a hold, a maintenance window. The bucket follows from lasting
// results only.
package eligibility

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Result says whether an update may start on a target. The zero Code says that it may.
type Result struct {
	Code Code
	// Until is when time alone changes the result; zero if only an event can.
	Until time.Time
	// Action and Other are what the code refers to, if it refers to one of them: an action of the
	// target, another update.
	Action *v1alpha1.Action
	Other  *Intent
	// Own is the newest action that the update created or adopted; nil if there is none.
	Own *v1alpha1.Action
	// Again is true when the newest action of the update failed and update.retries allows another
	// attempt.
	Again bool
	// Brought is true with CodeSuperseded when the newer update brings the same content as this
	// one: the target gets it without this update.
	Brought bool
}

// MayStart reports whether the update may start.
func (r *Result) MayStart() bool { return r.Code == "" }

// IsFinal reports whether the update will never start on the target.
func (r *Result) IsFinal() bool { return r.Code.IsFinal() }

// Check returns whether an update may start on a target now, and if not, why not. It does not check
// whether another action of the target is open, or whether a required migration step must be
// carried out first: package offer adds the order of updates.
func Check(t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) Result {
	r := Result{Own: Own(&t.Status, in)}
	lasting(&r, t, in, newer, now)
	if r.Code == "" {
		passing(&r, t, in, now)
	}
	replaced(&r, t, in, newer)
	return r
}

// Lasting returns the lasting result, which the counters need. It does not depend on the state of
// the set, a pause, a hold or a maintenance window, nor on whether the backoff before the next
// attempt is over: Again is true in both cases. If the device has started the update, only Own is
// set.
func Lasting(t *v1alpha1.Target, in *Intent, newer *Newer) Result {
	r := Result{Own: Own(&t.Status, in)}
	if r.Own == nil || r.Own.State.IsClosed() || !r.Own.State.HasStarted() {
		lasting(&r, t, in, newer, time.Time{})
		replaced(&r, t, in, newer)
	}
	return r
}

// lasting checks, in this order: has the update had its action; do the member's bits end it; was
// the set installed before the group opened; has the target started a newer update; was the source
// stopped; has the planned content been installed in another way.
func lasting(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) {
	if consumed(r, t, in, newer, now); r.Code != "" {
		return
	}
	endedByMember(r, in, newer)
	switch {
	case r.Code != "":
	case in.AlreadyThere && r.Own == nil:
		r.Code = CodeAlreadyThere
	default:
		overtaken(r, t, in, newer)
	}
}

// overtaken sets the code if a newer update has started, the source was stopped, or the planned
// content was installed in another way. A newer update with the same content does not supersede
// this one once the content is installed.
func overtaken(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer) {
	newerAction, brought := olderThanStarted(t, in, newer)
	switch {
	case newerAction != nil && !brought:
		r.Code, r.Action = CodeSuperseded, newerAction
	case in.Closed.Code == CodeStopped:
		r.Code, r.Until = CodeStopped, in.Closed.Until
	case isThereAsPlanned(t, in):
		r.Code = CodeAlreadyThere
	case newerAction != nil:
		r.Code, r.Action, r.Brought = CodeSuperseded, newerAction, true
	}
}

// passing sets the code of a passing result. It checks, in this order: the state of the source,
// whether the set can be given to this target, whether it is installed, spec.hold, whether the
// features of the device are known, and the maintenance window.
func passing(r *Result, t *v1alpha1.Target, in *Intent, now time.Time) {
	if in.Closed.Code != "" {
		r.Code, r.Until = in.Closed.Code, in.Closed.Until
		return
	}
	if r.Code = setProblem(in, t); r.Code != "" {
		return
	}
	if in.AlreadyThere || !in.Update.Reinstall && in.Set.IsThere(t) {
		r.Code = CodeAlreadyThere
		return
	}
	if t.Spec.Hold {
		r.Code = CodeHold
		return
	}
	if AwaitsFeatures(t) {
		r.Code = CodeAwaitingFeatures
		return
	}
	if open, next, _ := window.At(in.Update.MaintenanceWindow, now); !open { // also an invalid window
		r.Code, r.Until = CodeWindowClosed, next
	}
}

// consumed sets the code if the update has had its action. After Finished and Canceled there is no
// further action; after Error there is one if attempts are left or a retry request covers the
// failure.
func consumed(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) {
	own := r.Own
	if own == nil {
		if in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Set != nil && action.HadContent(&t.Status, in.Set.ContentHash) {
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

// isOnlyDownloaded reports whether the action of an assignment only downloaded the set and the type
// of the assignment has been changed since, so that the set is to be installed.
func isOnlyDownloaded(in *Intent, a *v1alpha1.Action) bool {
	return in.Source.Kind == v1alpha1.SourceTarget && a.Update.Type == v1alpha1.UpdateTypeDownloadOnly && in.Update.Type != v1alpha1.UpdateTypeDownloadOnly
}

// IsTakenBack reports whether an action was closed while it waited for confirmation, and does not
// count as an attempt: a required migration step had to be carried out first, or the confirmation
// did not come in time and a retry request gives more time.
func IsTakenBack(in *Intent, a *v1alpha1.Action) bool {
	if a.Cancel == nil || a.Cancel.From != v1alpha1.ActionWaitingForConfirmation {
		return false
	}
	return a.Cancel.Cause == v1alpha1.CauseMigrationStep || in.Forgiven && a.Cancel.Cause == v1alpha1.CauseStopped
}

// afterFailure sets the code for a failed action. It is retried after the backoff while attempts
// are left, or when the rollout's retry request covers it.
func afterFailure(r *Result, t *v1alpha1.Target, in *Intent, newer *Newer, now time.Time) {
	own, retries := r.Own, in.Update.Retries
	fail := func() { r.Code, r.Action, r.Again = CodeFailed, own, false }
	if in.Abandoned {
		fail()
		return
	}
	r.Again = retries != nil && max(own.Source.Attempt, 1) <= retries.Limit && RetriedFailures(retries).Name(action.FailureOf(own))
	if !in.RetryAt.IsZero() && timeOf(own.ClosedAt).Before(in.RetryAt) && in.RetryFailures.Name(action.FailureOf(own)) {
		return
	}
	if in.Stopped || in.Superseded || !r.Again {
		fail()
		return
	}
	if !in.Update.Reinstall && isThere(t, in, own.ContentHash) { // installed or removed in another way
		r.Code = CodeAlreadyThere
		return
	}
	if newerAction, brought := olderThanStarted(t, in, newer); newerAction != nil && !brought {
		fail()
		return
	}
	if next := NextAttempt(retries, own); now.Before(next) {
		r.Code, r.Action, r.Until = CodeRetrying, own, next
	}
}

// RetriedFailures returns the failures that update.retries covers.
func RetriedFailures(r *v1alpha1.Retries) action.Failures {
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

// endedByMember sets the code if the member's bits end its part in the rollout. Expired is checked
// before Superseded, because the member had failed before the newer update came. A member whose
// action has started is neither expired nor skipped, even if a bit was written meanwhile.
func endedByMember(r *Result, in *Intent, newer *Newer) {
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

// olderThanStarted returns an action of the target that is as new as the update or newer, or nil if
// there is none: a device never goes back to an older update. A required migration step is
// overtaken only by a newer update that has succeeded. An update that has not started has no age
// yet, and is not overtaken. Brought is true when all such actions bring, or have brought, the
// content of the update.
func olderThanStarted(t *v1alpha1.Target, in *Intent, newer *Newer) (newerAction *v1alpha1.Action, brought bool) {
	age := since(&in.Source)
	if age.IsZero() {
		return nil, false
	}
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if !isOvertakenBy(in, a, newer) {
			continue
		}
		if newerAction == nil {
			newerAction, brought = a, true
		}
		brought = brought && brings(t, in, a)
	}
	return newerAction, brought && newerAction != nil
}

// isOvertakenBy reports whether an action of another update has the place of this update in the
// order of updates, or a later one.
func isOvertakenBy(in *Intent, a *v1alpha1.Action, newer *Newer) bool {
	c := since(&in.Source).Compare(since(&a.Source))
	switch {
	case c > 0, a.Update.Superseding == v1alpha1.SupersedingQueue, IsOwn(a, in), IsMigrationStep(in) && a.State != v1alpha1.ActionFinished:
		return false
	case c == 0:
		return !IsRecreated(a, in) && !newer.isNewerAuto(in, a)
	}
	return true
}

// ActionInPlaceOf returns an action of another rollout with the same place in the order of updates
// as this update of a rollout, which the target would therefore not get. It returns nil if there is
// none. The other rollout may be stopped or deleted.
func ActionInPlaceOf(t *v1alpha1.Target, in *Intent) *v1alpha1.Action {
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if a.Source.Kind == v1alpha1.SourceRollout && since(&a.Source).Equal(since(&in.Source)) && isOvertakenBy(in, a, &Newer{}) && !brings(t, in, a) {
			return a
		}
	}
	return nil
}

// brings reports whether an action of another update brings, or has brought, the planned content of
// this update.
func brings(t *v1alpha1.Target, in *Intent, a *v1alpha1.Action) bool {
	return in.PlannedHash != "" && a.ContentHash == in.PlannedHash && !in.Update.Reinstall &&
		(!a.State.IsClosed() || isThere(t, in, in.PlannedHash))
}

// IsRecreated reports whether the source of an update has the kind and name of the source of an
// action: the manifest was deleted and applied again.
func IsRecreated(a *v1alpha1.Action, in *Intent) bool {
	return a.Source.Kind == in.Source.Kind && a.Source.Name == in.Source.Name
}

// isThere reports whether content of this update is installed or, of a removal, removed. The set of
// the update may not exist any more, or may have another content.
func isThere(t *v1alpha1.Target, in *Intent, hash string) bool {
	if in.Set.Removes() {
		return in.Set.ContentHash == hash && in.Set.IsThere(t)
	}
	return action.Installed(&t.Status, hash)
}

// isThereAsPlanned reports whether the content that the rollout planned is installed, and the group
// has opened. That counts also while the rollout is paused, and after a change or deletion of the
// set.
func isThereAsPlanned(t *v1alpha1.Target, in *Intent) bool {
	return in.PlannedHash != "" && !in.OpenedAt.IsZero() && !in.Update.Reinstall && isThere(t, in, in.PlannedHash)
}

// setProblem returns why the set cannot be given to this target, or "" if it can.
func setProblem(in *Intent, t *v1alpha1.Target) Code {
	set := in.Set
	switch {
	case set == nil:
		return CodeSetNotFound
	case Invalidates(set, rolloutStart(in)):
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

// rolloutStart returns when a rollout started, or zero for any other source.
func rolloutStart(in *Intent) time.Time {
	if in.Source.Kind != v1alpha1.SourceRollout {
		return time.Time{}
	}
	return in.StartedAt
}

// Invalidates reports whether the invalidation of a set keeps a rollout that started at this time
// from starting it on further targets. A zero time stands for any other source.
func Invalidates(set *Set, started time.Time) bool {
	return set.IsInvalid() && (started.IsZero() || set.invalidation().OnRollout(time.Time{}, started) != cancellation.Continue)
}

// NotServed returns why a target gets no update at all, or "" if it may get one. Every update that
// reaches such a target waits, and is counted as waiting.
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

// AwaitsFeatures reports whether the device is connected by MQTT and has not reported which
// features it has.
func AwaitsFeatures(t *v1alpha1.Target) bool {
	for i := range t.Status.Conditions {
		if c := &t.Status.Conditions[i]; c.Type == v1alpha1.ConditionOnline {
			return c.Reason == v1alpha1.ReasonAwaitingFeatures
		}
	}
	return false
}

// IsConnected reports whether the condition Online of a target shows a connection, by MQTT.
func IsConnected(online *metav1.Condition) bool {
	return online.Status == metav1.ConditionTrue && (online.Reason == v1alpha1.ReasonConnected || online.Reason == v1alpha1.ReasonAwaitingFeatures)
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

// Own returns the newest action that an update created or adopted, or nil if there is none.
func Own(s *v1alpha1.TargetStatus, in *Intent) *v1alpha1.Action {
	var own *v1alpha1.Action
	for i := range s.Actions {
		if a := &s.Actions[i]; IsOwn(a, in) && (own == nil || a.ID > own.ID) {
			own = a
		}
	}
	return own
}

// IsOwn reports whether an action belongs to this update. For a rollout the uid of the source
// decides, because its set does not change; for an assignment also since, because the same target
// may be assigned another set; for an auto-assignment also the content, because its set may be
// changed.
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
