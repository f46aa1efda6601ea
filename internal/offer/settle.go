package offer

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Settle folds whatever stop, invalidation, cancel, newer update or deadline applies to the target's open action, also when no controller has
// come by yet. It leaves w.Target alone: when something changed, the new status is returned and must be stored before anything is answered.
func Settle(w World) (*v1alpha1.TargetStatus, bool) {
	a := action.Open(&w.Target.Status)
	if a == nil {
		return &w.Target.Status, false
	}
	adopter := adopterOf(w, a)
	demands := demandsOn(w, a, adopter != nil)
	expired := expiredDeadline(a, w.Now)
	if adopter == nil && len(demands) == 0 && expired == nil {
		return &w.Target.Status, false
	}
	status := w.Target.Status.DeepCopy()
	changed := false
	if adopter != nil {
		changed = action.Adopt(status, a.ID, adopted(a, adopter), lasting(adopter))
	}
	for _, d := range demands {
		changed = action.Cancel(status, a.ID, d.cause, d.cancelation, w.Now) || changed
	}
	if expired != nil {
		changed = expired(status, a.ID, w.Now) || changed
	}
	return status, changed
}

// demand is one cause to cancel an open action.
type demand struct {
	cause       v1alpha1.CancelCause
	cancelation v1alpha1.Cancelation
}

// demandsOn lists the causes to cancel an action. An adopted action is not canceled for the sake of its old source.
func demandsOn(w World, a *v1alpha1.Action, isAdopted bool) []demand {
	var demands []demand
	ask := func(cause v1alpha1.CancelCause, c v1alpha1.Cancelation) {
		if (c == v1alpha1.CancelationSoft || c == v1alpha1.CancelationForce) && isNews(a, cause, c) {
			demands = append(demands, demand{cause, c})
		}
	}
	if c := w.Target.Spec.Cancel; c != nil && covers(c, a, &w.Target.Status) {
		ask(v1alpha1.CauseRequested, softUnlessSaid(c.Cancelation))
	}
	set := w.Set(a.DistributionSet)
	if set != nil {
		ask(v1alpha1.CauseInvalidated, set.Invalidation)
	}
	if isAdopted {
		return demands
	}
	if o := w.Origin(a.Source); o.Stop != "" {
		ask(o.Cause, o.Stop)
	}
	if !sameContent(set, a) {
		ask(v1alpha1.CauseSetGone, v1alpha1.CancelationSoft)
	}
	if supersedes(w, a) {
		ask(v1alpha1.CauseSuperseded, v1alpha1.CancelationSoft)
	}
	return demands
}

// isNews: a cancel is asked once per cause; only a stronger cancelation asks again.
func isNews(a *v1alpha1.Action, cause v1alpha1.CancelCause, c v1alpha1.Cancelation) bool {
	if a.Cancel == nil || c == v1alpha1.CancelationForce && a.Cancel.Cancelation != v1alpha1.CancelationForce {
		return true
	}
	for _, asked := range a.Cancel.Causes {
		if asked == cause {
			return false
		}
	}
	return true
}

// covers: a request counts for ids that were given; one that names the future is ignored, so that it cannot cancel what nobody has seen.
func covers(c *v1alpha1.CancelRequest, a *v1alpha1.Action, s *v1alpha1.TargetStatus) bool {
	return c.UpTo >= a.ID && c.UpTo < s.NextActionID
}

func softUnlessSaid(c v1alpha1.Cancelation) v1alpha1.Cancelation {
	if c == "" {
		return v1alpha1.CancelationSoft
	}
	return c
}

// supersedes tells whether a newer update that would begin now replaces the open action. An auto-assignment waits instead, and a required migration step is never replaced.
func supersedes(w World, a *v1alpha1.Action) bool {
	if a.Update.RequiredMigrationStep {
		return false
	}
	in := winner(w)
	return in != nil && in.Source.Kind != v1alpha1.SourceAutoAssignment && in.Update.Superseding != v1alpha1.SupersedingQueue &&
		in.Set.ContentHash != a.ContentHash && since(in.Source).After(since(a.Source))
}

// adopterOf finds the newer intent that wants just what the open action brings: it takes the action over instead of canceling and installing the same again.
func adopterOf(w World, a *v1alpha1.Action) *Intent {
	if a.State == v1alpha1.ActionCanceling || !a.State.HasBegun() {
		return nil
	}
	in := winner(w)
	if in == nil || in.Set.ContentHash != a.ContentHash || isOwn(a, in) || !since(in.Source).After(since(a.Source)) {
		return nil
	}
	return in
}

func adopted(a *v1alpha1.Action, in *Intent) v1alpha1.ActionSource {
	source := in.Source
	source.Attempt = max(a.Source.Attempt, 1)
	return source
}

// winner is the intent that would begin now if nothing were open.
func winner(w World) *Intent {
	if !unserved(w.Target).IsZero() {
		return nil
	}
	for _, v := range Judge(w) {
		if v.Reason.IsZero() {
			return v.Intent
		}
	}
	return nil
}

// expiredDeadline is the fold of the deadline that has passed, if any.
func expiredDeadline(a *v1alpha1.Action, now time.Time) func(*v1alpha1.TargetStatus, int32, time.Time) bool {
	passed := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	switch {
	case passed(action.CancelDeadline(a)):
		return action.ExpireCancel
	case passed(action.ProgressDeadline(a)):
		return action.ExpireProgress
	}
	return nil
}
