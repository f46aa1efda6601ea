// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Verdict is what one intent would give the target now. A zero Reason means that it may be offered.
type Verdict struct {
	Intent *Intent
	Reason Reason
}

// Judge says of every intent whether it may be offered now, in the order in which they would be:
// required migration steps, then by weight among queued updates, then the rest, newest first. What
// stands first without a reason against it wins.
func Judge(w World) []Verdict {
	judged := judgeAll(&w)
	busy := blocking(&w)
	verdicts := make([]Verdict, len(judged))
	for i, j := range judged {
		if busy != nil && j.mayStart() && !isOwn(busy, j.in) {
			j.finding = finding{code: CodeBusy, action: busy}
		}
		verdicts[i] = Verdict{Intent: j.in, Reason: j.words(&w, j.in)}
	}
	return verdicts
}

// blocking is the action that keeps others from start: it is open, or was closed by force and its
// cancel is on offer.
func blocking(w *World) *v1alpha1.Action {
	if a := action.Open(&w.Target.Status); a != nil {
		return a
	}
	return pendingCancel(w)
}

// judged is a verdict that has not been put into words.
type judged struct {
	in *Intent
	finding
}

func (j judged) mayStart() bool { return j.code == "" }

// judgeAll asks every intent. An open action is not asked about here.
func judgeAll(w *World) []judged {
	intents := make([]*Intent, len(w.Intents))
	for i := range w.Intents {
		intents[i] = &w.Intents[i]
	}
	slices.SortFunc(intents, newestFirst)
	cover, covered := first(intents, func(in *Intent) bool { return isCover(w, in) })
	home, arrived := first(intents, func(in *Intent) bool { return isHome(w, in) })
	auto, behind := first(intents, func(in *Intent) bool { return isAutoInForce(w, in) })
	list := make([]judged, len(intents))
	for i, in := range intents {
		f := judge(w, in)
		if !isStep(in) && !since(&in.Source).IsZero() && !f.isFinal() && !isMistaken(in, f) {
			switch {
			case i > covered:
				f = finding{code: CodeSuperseded, other: cover}
			case i > arrived && !bringsSame(home, in), i < arrived && isRecreatedBeside(w, in, home):
				f = finding{code: CodeSuperseded, other: home}
			case i > behind && in.Source.Kind == v1alpha1.SourceAutoAssignment:
				f = finding{code: CodeSuperseded, other: auto}
			}
		}
		list[i] = judged{in, f}
	}
	slices.SortStableFunc(list, func(a, b judged) int { return byTurn(a.in, b.in, cover) })
	holdBehindSteps(list)
	return list
}

// bringsSame reports whether two intents are of rollouts that bring the same content.
func bringsSame(a, b *Intent) bool {
	return a.Source.Kind == b.Source.Kind && b.Set != nil && a.Set.ContentHash == b.Set.ContentHash
}

// isMistaken reports whether somebody has to fix the target's own assignment, which says so
// whatever is newer.
func isMistaken(in *Intent, f finding) bool {
	if in.Source.Kind != v1alpha1.SourceTarget {
		return false
	}
	switch f.code {
	case CodeSetNotFound, CodeSetNotReady, CodeContentChanged, CodeIncompatible:
		return true
	}
	return false
}

// rules ask one intent, from what is final to what time may change.
var rules = [...]func(*World, *Intent) finding{spent, displaced, deadIntent, closedSource, wrongSet, there, held, outsideWindow}

func judge(w *World, in *Intent) finding {
	for _, ask := range rules {
		if f := ask(w, in); f.code != "" {
			return f
		}
	}
	return finding{}
}

// spent: the intent had its action. Finished and Canceled spend it; Error unless attempts are left
// or a retry names it.
func spent(w *World, in *Intent) finding {
	a := ownAction(&w.Target.Status, in)
	if a == nil {
		if in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Set != nil && action.Had(&w.Target.Status, in.Set.ContentHash) {
			return finding{code: CodeAlreadyHad}
		}
		return finding{}
	}
	switch a.State {
	case v1alpha1.ActionFinished:
		if isOnlyDownloaded(in, a) {
			return finding{}
		}
		return finding{code: CodeDone, action: a}
	case v1alpha1.ActionCanceled:
		if isUnasked(in, a) {
			return finding{}
		}
		return finding{code: CodeCanceled, action: a}
	case v1alpha1.ActionError:
		return retry(w, in, a)
	}
	return finding{}
}

// isOnlyDownloaded reports whether an assignment wants installed what its action only downloaded:
// its type was changed from DownloadOnly.
func isOnlyDownloaded(in *Intent, a *v1alpha1.Action) bool {
	return in.Source.Kind == v1alpha1.SourceTarget && a.Update.Type == v1alpha1.UpdateTypeDownloadOnly && in.Update.Type != v1alpha1.UpdateTypeDownloadOnly
}

// isUnasked reports whether a question that was taken back spends nothing: a required migration
// step went first, or nobody agreed in time and a retry gives more time.
func isUnasked(in *Intent, a *v1alpha1.Action) bool {
	if a.Cancel == nil || a.Cancel.From != v1alpha1.ActionWaitingForConfirmation {
		return false
	}
	return a.Cancel.Cause == v1alpha1.CauseMigrationStep || in.Forgiven && a.Cancel.Cause == v1alpha1.CauseStopped
}

// retry: a failed action is tried again while attempts are left, after the backoff, or when the
// rollout's retry names it.
func retry(w *World, in *Intent, a *v1alpha1.Action) finding {
	closed := timeOf(a.ClosedAt)
	if in.Abandoned {
		return finding{code: CodeFailed, action: a}
	}
	if !in.RetryAt.IsZero() && closed.Before(in.RetryAt) && in.RetryFailures.Name(action.FailureOf(a)) {
		return finding{}
	}
	r := in.Update.Retries
	if in.Stopped || in.Superseded || r == nil || max(a.Source.Attempt, 1) > r.Limit || !NamedBy(r).Name(action.FailureOf(a)) {
		return finding{code: CodeFailed, action: a}
	}
	switch d := deadIntent(w, in); {
	case !in.Update.Reinstall && action.Installed(&w.Target.Status, a.ContentHash): // it came by the set in another way
		return finding{code: CodeAlreadyThere}
	case d.code != "" && (d.action.State.IsClosed() || d.action.ContentHash != a.ContentHash): // something newer has started, which does not bring the same
		return finding{code: CodeFailed, action: a}
	}
	if next := NextAttempt(r, a); w.Now.Before(next) {
		return finding{code: CodeRetrying, action: a, until: next}
	}
	return finding{}
}

// displaced: the group's bits say that this member was taken over or left behind for good.
func displaced(w *World, in *Intent) finding {
	switch {
	case in.Superseded:
		return finding{code: CodeSuperseded, other: successor(w, in)}
	case in.Skipped && !hasStarted(w, in):
		return finding{code: CodeSkipped}
	case in.Expired && !hasStarted(w, in):
		return finding{code: CodeDeadlinePassed}
	}
	return finding{}
}

// successor is the newest rollout that reaches the target beside an older one that gave it up; nil:
// it is gone.
func successor(w *World, in *Intent) *Intent {
	var newest *Intent
	for i := range w.Intents {
		o := &w.Intents[i]
		if o.Source.Kind == v1alpha1.SourceRollout && !o.Stopped && since(&o.Source).After(since(&in.Source)) && (newest == nil || newestFirst(o, newest) < 0) {
			newest = o
		}
	}
	return newest
}

// hasStarted reports whether the target has started what the intent brings: it was in time,
// whatever a bit says that was written meanwhile.
func hasStarted(w *World, in *Intent) bool {
	a := ownAction(&w.Target.Status, in)
	return a != nil && a.State.HasStarted()
}

// deadIntent: a device never falls back behind the newest update it has started. A required
// migration step is dead only once a newer set has succeeded. What has not started has no age yet.
func deadIntent(w *World, in *Intent) finding {
	age := since(&in.Source)
	if age.IsZero() {
		return finding{}
	}
	for i := range w.Target.Status.Actions {
		a := &w.Target.Status.Actions[i]
		if a.Update.Superseding == v1alpha1.SupersedingQueue || isOwn(a, in) || isStep(in) && a.State != v1alpha1.ActionFinished {
			continue
		}
		if c := age.Compare(since(&a.Source)); c < 0 || c == 0 && !isRecreated(a, in) && !isNewerAuto(w, in, a) {
			return finding{code: CodeSuperseded, action: a}
		}
	}
	return finding{}
}

// isNewerAuto reports whether an auto-assignment has a later place than the one that an action came
// from, though both came by the target at once.
func isNewerAuto(w *World, in *Intent, a *v1alpha1.Action) bool {
	if in.Source.Kind != v1alpha1.SourceAutoAssignment || a.Source.Kind != v1alpha1.SourceAutoAssignment {
		return false
	}
	return slices.ContainsFunc(w.Intents, func(o Intent) bool { return o.Source.UID == a.Source.UID && o.StartedAt.Before(in.StartedAt) })
}

// isRecreated reports whether an intent has the name of the source of an action: the manifest was
// removed and applied again, with the same startAt.
func isRecreated(a *v1alpha1.Action, in *Intent) bool {
	return a.Source.Kind == in.Source.Kind && a.Source.Name == in.Source.Name
}

func closedSource(_ *World, in *Intent) finding {
	return finding{code: in.Closed.Code, until: in.Closed.Until}
}

func wrongSet(w *World, in *Intent) finding { return finding{code: setProblem(in, w.Target)} }

// setProblem says what keeps the set from being given to this target; empty: nothing.
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

// startedBefore: a rollout that had started when its set was invalidated with None goes on as it
// is. Invalidations are known to the second, and none starts once one is seen: the same second is
// before.
func startedBefore(in *Intent, set *Set) bool {
	return set.Invalidation == v1alpha1.CancellationNone && in.Source.Kind == v1alpha1.SourceRollout &&
		!in.StartedAt.IsZero() && (set.InvalidatedAt.IsZero() || !in.StartedAt.Truncate(time.Second).After(set.InvalidatedAt))
}

// there: the set is installed, the target consistent, and nobody asks for a reinstallation.
func there(w *World, in *Intent) finding {
	if in.AlreadyThere || !in.Update.Reinstall && action.Installed(&w.Target.Status, in.Set.ContentHash) {
		return finding{code: CodeAlreadyThere}
	}
	return finding{}
}

// held: the target itself is kept from start anything.
func held(w *World, _ *Intent) finding {
	if w.Target.Spec.Hold {
		return finding{code: CodeHold}
	}
	return finding{}
}

func outsideWindow(w *World, in *Intent) finding {
	open, next, err := windowAt(in.Update.MaintenanceWindow, w.Now)
	if open {
		return finding{}
	}
	return finding{code: CodeWindowClosed, until: next, err: err}
}

// ownAction is the newest action that an intent created, or adopted.
func ownAction(s *v1alpha1.TargetStatus, in *Intent) *v1alpha1.Action {
	var own *v1alpha1.Action
	for i := range s.Actions {
		if a := &s.Actions[i]; isOwn(a, in) && (own == nil || a.ID > own.ID) {
			own = a
		}
	}
	return own
}

// isOwn: a rollout is known by its uid, for what it brings is frozen; a single assignment also by
// its since, for the same target may be assigned again; an auto-assignment also by the content it
// offers, for it may be given another set.
func isOwn(a *v1alpha1.Action, in *Intent) bool {
	if a.Source.UID != in.Source.UID || a.Source.Kind != in.Source.Kind {
		return false
	}
	switch in.Source.Kind {
	case v1alpha1.SourceTarget:
		return since(&a.Source).Equal(since(&in.Source))
	case v1alpha1.SourceAutoAssignment:
		return in.Set != nil && in.Set.ContentHash == a.ContentHash
	}
	return true
}

// NamedBy returns the failures after which retries tries again.
func NamedBy(r *v1alpha1.Retries) action.Failures {
	return action.Failures{Codes: r.StatusCodes, Messages: r.Messages}
}

// NextAttempt is when a failed action may be tried again: backoffSeconds after it closed, ten
// minutes unless that says otherwise.
func NextAttempt(r *v1alpha1.Retries, a *v1alpha1.Action) time.Time {
	backoff := 600 * time.Second
	if r.BackoffSeconds != nil {
		backoff = time.Duration(*r.BackoffSeconds) * time.Second
	}
	return timeOf(a.ClosedAt).Add(backoff)
}

func weight(in *Intent) int32 {
	if in.Update.Weight == nil {
		return 1000
	}
	return *in.Update.Weight
}

func since(s *v1alpha1.ActionSource) time.Time {
	if s.Since == nil {
		return time.Time{}
	}
	return s.Since.Time
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
