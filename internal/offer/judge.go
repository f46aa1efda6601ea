package offer

import (
	"cmp"
	"fmt"
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

// Judge asks of every intent whether it may be offered now, in the order in which they would be: required migration steps, then by weight among
// queued updates, then the rest, newest first. What stands first without a reason against it wins.
//
// An open action is not asked about here: For does that first.
func Judge(w World) []Verdict {
	intents := newestFirst(w.Intents)
	verdicts := make([]Verdict, len(intents))
	cover, covered := coverOf(w, intents)
	for i := range intents {
		verdicts[i] = Verdict{Intent: &intents[i], Reason: judge(w, &intents[i])}
		if i > covered && !isStep(&intents[i]) && !verdicts[i].Reason.isFinal() {
			verdicts[i].Reason = supersededBy(cover)
		}
	}
	slices.SortStableFunc(verdicts, func(a, b Verdict) int { return byTurn(a.Intent, b.Intent, cover) })
	holdBehindSteps(verdicts)
	return verdicts
}

// newestFirst sorts a copy by since, then by source, so that the same world always gives the same answer.
func newestFirst(intents []Intent) []Intent {
	sorted := slices.Clone(intents)
	slices.SortFunc(sorted, func(a, b Intent) int {
		return cmp.Or(
			since(b.Source).Compare(since(a.Source)),
			cmp.Compare(a.Source.Kind, b.Source.Kind),
			cmp.Compare(a.Source.Name, b.Source.Name),
		)
	})
	return sorted
}

// coverOf finds the newest intent that replaces everything older, and its place; older ones than that are superseded.
func coverOf(w World, intents []Intent) (*Intent, int) {
	for i := range intents {
		if in := &intents[i]; in.Update.Superseding != v1alpha1.SupersedingQueue && hasReached(w, in) {
			return in, i
		}
	}
	return nil, len(intents)
}

// hasReached tells whether an intent has come as far as this target, so that older ones give way even while it waits for a window or is paused.
func hasReached(w World, in *Intent) bool {
	if in.Stopped || in.Superseded || in.Skipped {
		return false
	}
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return !in.OpenedAt.IsZero()
	case v1alpha1.SourceAutoAssignment:
		return in.Closed.IsZero() && setProblem(in, w.Target).IsZero() && !action.Had(&w.Target.Status, in.Set.ContentHash)
	default:
		return setProblem(in, w.Target).IsZero()
	}
}

// byTurn puts required migration steps first, then what is queued by weight and age, then the newest.
func byTurn(a, b *Intent, cover *Intent) int {
	if x, y := isStep(a), isStep(b); x != y {
		if x {
			return -1
		}
		return 1
	}
	if isQueued(a, cover) && isQueued(b, cover) {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), since(a.Source).Compare(since(b.Source)))
	}
	return since(b.Source).Compare(since(a.Source))
}

// isQueued tells whether an intent lives beside others: it asks for that itself, or it is the one that the queued ones came after.
func isQueued(in, cover *Intent) bool {
	return in.Update.Superseding == v1alpha1.SupersedingQueue || in == cover || cover != nil && in.Source == cover.Source
}

func isStep(in *Intent) bool { return in.Set != nil && in.Set.RequiredMigrationStep }

// holdBehindSteps makes everything wait for a required migration step that has reached the target and is not done.
func holdBehindSteps(verdicts []Verdict) {
	for _, step := range verdicts {
		if !isStep(step.Intent) || step.Intent.OpenedAt.IsZero() && step.Intent.Source.Kind == v1alpha1.SourceRollout || step.Reason.isFinal() {
			continue
		}
		for i := range verdicts {
			if v := &verdicts[i]; v.Reason.IsZero() && !isStep(v.Intent) {
				v.Reason = Reason{Code: CodeWaitingForStep, Message: fmt.Sprintf(
					"%s waits for the required migration step %s of %s", v.Intent.label(), step.Intent.Update.DistributionSet, step.Intent.label())}
			}
		}
		return
	}
}

// judge asks one intent, from what is settled for good to what time may change.
func judge(w World, in *Intent) Reason {
	for _, ask := range []func(World, *Intent) Reason{spent, displaced, deadIntent, closedSource, wrongSet, there, held, outsideWindow} {
		if r := ask(w, in); !r.IsZero() {
			return r
		}
	}
	return Reason{}
}

// spent: the intent had its action. Finished and Canceled spend it; Error unless attempts are left or a retry names it.
func spent(w World, in *Intent) Reason {
	a := ownAction(&w.Target.Status, in)
	if a == nil {
		if in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Set != nil && action.Had(&w.Target.Status, in.Set.ContentHash) {
			return Reason{Code: CodeAlreadyHad, Message: fmt.Sprintf("%s offers a set once, and this target already had %s", in.label(), in.Update.DistributionSet)}
		}
		return Reason{}
	}
	switch a.State {
	case v1alpha1.ActionFinished:
		return Reason{Code: CodeDone, Message: fmt.Sprintf("%s was carried out as action %d", in.label(), a.ID)}
	case v1alpha1.ActionCanceled:
		return Reason{Code: CodeCanceled, Message: fmt.Sprintf("action %d of %s was canceled", a.ID, in.label())}
	case v1alpha1.ActionError:
		return retry(w, in, a)
	default:
		return Reason{}
	}
}

// retry: a failed action is tried again while attempts are left, after the backoff, or when the rollout's retry names it.
func retry(w World, in *Intent, a *v1alpha1.Action) Reason {
	closed := timeOf(a.ClosedAt)
	if !in.RetryAt.IsZero() && closed.Before(in.RetryAt) && codeMatches(in.RetryCodes, a.StatusCode) {
		return Reason{}
	}
	r := in.Update.Retries
	if r == nil || max(a.Source.Attempt, 1) > r.Limit || !codeMatches(r.StatusCodes, a.StatusCode) {
		return Reason{Code: CodeFailed, Message: fmt.Sprintf("action %d of %s failed with code %q and is not tried again", a.ID, in.label(), a.StatusCode)}
	}
	next := closed.Add(backoff(r))
	if w.Now.Before(next) {
		return Reason{Code: CodeRetrying, Until: next, Message: fmt.Sprintf("action %d of %s failed; the next attempt is at %s", a.ID, in.label(), stamp(next))}
	}
	return Reason{}
}

// displaced: the group's bits say that this member was taken over or left behind for good.
func displaced(_ World, in *Intent) Reason {
	switch {
	case in.Superseded:
		return Reason{Code: CodeSuperseded, Message: fmt.Sprintf("a newer rollout took this target over from %s", in.label())}
	case in.Skipped:
		return Reason{Code: CodeSkipped, Message: fmt.Sprintf("this target did not begin within startDeadlineSeconds of %s and left its group", in.label())}
	}
	return Reason{}
}

// deadIntent: a device never falls back behind the newest update it has begun. A required migration step is dead only once a newer set has succeeded.
func deadIntent(w World, in *Intent) Reason {
	for i := range w.Target.Status.Actions {
		a := &w.Target.Status.Actions[i]
		if a.Update.Superseding == v1alpha1.SupersedingQueue || isOwn(a, in) || isStep(in) && a.State != v1alpha1.ActionFinished {
			continue
		}
		if c := since(in.Source).Compare(since(a.Source)); c < 0 || c == 0 && a.Source.UID != in.Source.UID {
			return Reason{Code: CodeSuperseded, Message: fmt.Sprintf("%s is older than action %d (%s), which this target has begun", in.label(), a.ID, a.DistributionSet)}
		}
	}
	return Reason{}
}

func closedSource(_ World, in *Intent) Reason { return in.Closed }

func wrongSet(w World, in *Intent) Reason { return setProblem(in, w.Target) }

// setProblem says what keeps the set from being given to this target.
func setProblem(in *Intent, t *v1alpha1.Target) Reason {
	set, name := in.Set, in.Update.DistributionSet
	switch {
	case set == nil:
		return Reason{Code: CodeSetNotFound, Message: fmt.Sprintf("DistributionSet %s does not exist: create it, or name another in %s", name, in.label())}
	case set.Invalidation != "" && !startedBefore(in, set):
		return Reason{Code: CodeSetInvalid, Message: fmt.Sprintf("DistributionSet %s is invalidated (%s)%s and is never given to a device again", name, set.Invalidation, because(set.InvalidationReason))}
	case !set.Deployable:
		return Reason{Code: CodeSetNotReady, Message: fmt.Sprintf("DistributionSet %s is not ready: %s", name, set.NotDeployable)}
	case in.PlannedHash != "" && in.PlannedHash != set.ContentHash:
		return Reason{Code: CodeContentChanged, Message: fmt.Sprintf("DistributionSet %s no longer has the content that %s planned", name, in.label())}
	case !set.Fits(t.Spec.Type):
		return Reason{Code: CodeIncompatible, Message: fmt.Sprintf("DistributionSet %s does not fit target type %q: its compatibleTargetTypes are %v", name, t.Spec.Type, set.CompatibleTargetTypes)}
	}
	return Reason{}
}

// startedBefore: a rollout that had started when its set was invalidated with None goes on as it is.
func startedBefore(in *Intent, set *Set) bool {
	return set.Invalidation == v1alpha1.CancelationNone && in.Source.Kind == v1alpha1.SourceRollout &&
		!in.StartedAt.IsZero() && (set.InvalidatedAt.IsZero() || in.StartedAt.Before(set.InvalidatedAt))
}

// there: the set is installed, the target consistent, and nobody asks for a reinstallation.
func there(w World, in *Intent) Reason {
	if in.AlreadyThere || !in.Update.Reinstall && action.Installed(&w.Target.Status, in.Set.ContentHash) {
		return Reason{Code: CodeAlreadyThere, Message: fmt.Sprintf("%s is already installed", in.Update.DistributionSet)}
	}
	return Reason{}
}

// held: the target itself is kept from beginning anything.
func held(w World, _ *Intent) Reason {
	if w.Target.Spec.Hold {
		return Reason{Code: CodeHold, Message: "spec.hold keeps this target from beginning anything; set it to false to release it"}
	}
	return Reason{}
}

func outsideWindow(w World, in *Intent) Reason {
	open, next, err := windowAt(in.Update.MaintenanceWindow, w.Now)
	switch {
	case err != nil:
		return Reason{Code: CodeWindowClosed, Message: fmt.Sprintf("maintenanceWindow of %s cannot be read: %v", in.label(), err)}
	case !open:
		return Reason{Code: CodeWindowClosed, Until: next, Message: fmt.Sprintf("the maintenance window of %s is closed; it opens at %s", in.label(), stamp(next))}
	}
	return Reason{}
}

func supersededBy(cover *Intent) Reason {
	return Reason{Code: CodeSuperseded, Message: fmt.Sprintf("the newer %s replaces it", cover.label())}
}

// isFinal tells whether a reason is settled for good.
func (r Reason) isFinal() bool {
	switch r.Code {
	case CodeDone, CodeCanceled, CodeFailed, CodeSuperseded, CodeSkipped, CodeAlreadyHad, CodeAlreadyThere, CodeStopped:
		return true
	}
	return false
}

// label names an intent as people know it.
func (in *Intent) label() string {
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return fmt.Sprintf("rollout %s (group %s)", in.Source.Name, in.Source.Group)
	case v1alpha1.SourceAutoAssignment:
		return "auto-assignment " + in.Source.Name
	default:
		return "spec.assignment"
	}
}

// ownAction is the newest action that an intent gave birth to, or adopted.
func ownAction(s *v1alpha1.TargetStatus, in *Intent) *v1alpha1.Action {
	var own *v1alpha1.Action
	for i := range s.Actions {
		if a := &s.Actions[i]; isOwn(a, in) && (own == nil || a.ID > own.ID) {
			own = a
		}
	}
	return own
}

// isOwn: a rollout is known by its uid; a single assignment also by its since, for the same target may be assigned again.
func isOwn(a *v1alpha1.Action, in *Intent) bool {
	return a.Source.Kind == in.Source.Kind && a.Source.UID == in.Source.UID &&
		(in.Source.Kind != v1alpha1.SourceTarget || since(a.Source).Equal(since(in.Source)))
}

func codeMatches(codes []string, code string) bool {
	return len(codes) == 0 || slices.Contains(codes, code)
}

func backoff(r *v1alpha1.Retries) time.Duration {
	if r.BackoffSeconds == nil {
		return 600 * time.Second
	}
	return time.Duration(*r.BackoffSeconds) * time.Second
}

func weight(in *Intent) int32 {
	if in.Update.Weight == nil {
		return 1000
	}
	return *in.Update.Weight
}

func since(s v1alpha1.ActionSource) time.Time {
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

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " because: " + reason
}
