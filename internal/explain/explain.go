// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package explain says of one target and one rollout which group it is in and what it waits for, or
// the exact reason why it is in none. Bucket and reason follow from the result of package
// eligibility.
package explain

import (
	"fmt"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// Codes of targets that are in no group, beside those of offers.
const (
	CodeNotPlanned      offer.Code = "NotPlanned"      // the rollout has no plan yet
	CodeSelector        offer.Code = "Selector"        // targetSelector does not match
	CodeExpression      offer.Code = "Expression"      // targetExpression is not true
	CodeInvalid         offer.Code = "Invalid"         // the selection cannot be evaluated
	CodeDuplicate       offer.Code = "Duplicate"       // an older target has the controllerID
	CodeLaterThanPlan   offer.Code = "LaterThanPlan"   // it started to match after membership was frozen
	CodeGrowthEnded     offer.Code = "GrowthEnded"     // a dynamic rollout takes in nobody any more
	CodeJoinsLater      offer.Code = "JoinsLater"      // a dynamic rollout takes it in
	CodeBudgetExhausted offer.Code = "BudgetExhausted" // the rollout's error budget has tripped
)

// Explanation is the answer.
type Explanation struct {
	// Group that the target is in; empty: none.
	Group string
	// Bucket that it is counted in; only with Group.
	Bucket rollout.Bucket
	// Winning is true when the device is offered just this.
	Winning bool
	// Reason why.
	Reason offer.Reason
}

// String is the explanation in one sentence.
func (e Explanation) String() string {
	if e.Group == "" {
		return "in no group: " + e.Reason.Message
	}
	return fmt.Sprintf("in group %s, %s: %s", e.Group, e.Bucket, e.Reason.Message)
}

// Of explains a target of world w and a rollout with the groups of its plan and its set; nil: there
// is none.
func Of(w offer.World, r *v1alpha1.Rollout, groups []*v1alpha1.DeploymentGroup, set *offer.Set) Explanation {
	for _, g := range groups {
		for i, name := range g.Spec.Targets {
			if string(name) == w.Target.Name {
				return member(w, r, g, i, set)
			}
		}
	}
	return Explanation{Reason: absent(w, r, set)}
}

// member explains a target that is in a group: what the device is given now if it comes from this
// rollout, else what the rule says about this rollout's update. The bucket follows from the same
// result.
func member(w offer.World, r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup, i int, set *offer.Set) Explanation {
	e, o := Explanation{Group: g.Spec.Group}, offer.For(w)
	if v := verdictOn(w, r); v != nil {
		e.Bucket, e.Reason = rollout.BucketOf(&v.Result, !v.Intent.OpenedAt.IsZero()), v.Reason
	} else { // the caller's groups are ahead of its intents
		rule := rollout.RuleOf(r, set, int(g.Spec.Index))
		e.Bucket = rule.BucketOf(w.Target, rollout.MemberOf(g, i))
	}
	switch {
	case o.Action != nil && o.Action.Source.UID == r.Identity():
		e.Winning, e.Reason = o.Kind != offer.Nothing, o.Reason
		return e
	case o.Intent != nil && o.Intent.Source.UID == r.Identity():
		e.Winning, e.Reason = true, o.Reason
	case e.Reason.IsZero(): // something else goes first, and says why
		e.Reason = o.Reason
	}
	if e.Reason.Code == offer.CodePaused && r.Status.PauseReason == v1alpha1.PauseByErrorBudget {
		e.Reason.Code = CodeBudgetExhausted
	}
	return e
}

// verdictOn returns the verdict on the update of a rollout; nil: it does not reach the target.
func verdictOn(w offer.World, r *v1alpha1.Rollout) *offer.Verdict {
	for _, v := range offer.Judge(w) {
		if v.Intent.Source.UID == r.Identity() {
			return &v
		}
	}
	return nil
}

// absent explains one who is in no group, from what keeps everybody out to what keeps this one out.
func absent(w offer.World, r *v1alpha1.Rollout, set *offer.Set) offer.Reason {
	t := w.Target
	labels, err := query.Compile(v1alpha1.Selection{TargetSelector: r.Spec.TargetSelector})
	if err != nil {
		return reason(CodeInvalid, "rollout %s: spec.%v", r.Name, err)
	}
	expression, err := query.Compile(v1alpha1.Selection{TargetExpression: r.Spec.TargetExpression})
	if err != nil {
		return reason(CodeInvalid, "rollout %s: spec.%v", r.Name, err)
	}
	switch {
	case set == nil:
		return reason(offer.CodeSetNotFound, "DistributionSet %s does not exist: create it, or name another in rollout %s", r.Spec.Update.DistributionSet, r.Name)
	case !labels.Matches(t):
		return reason(CodeSelector, "the target's labels do not match spec.targetSelector of rollout %s", r.Name)
	case !expression.Matches(t):
		return reason(CodeExpression, "spec.targetExpression of rollout %s is not true for this target: %s", r.Name, r.Spec.TargetExpression)
	case !set.Fits(t.Spec.Type):
		return reason(offer.CodeIncompatible, "DistributionSet %s does not fit target type %q: its compatibleTargetTypes are %v", set.Name, t.Spec.Type, set.CompatibleTargetTypes)
	case isDuplicate(t):
		return reason(CodeDuplicate, "an older target has the same controllerID: delete one of the two")
	case r.Status.Plan == nil:
		return reason(CodeNotPlanned, "rollout %s has no plan yet%s", r.Name, waiting(r))
	case r.Spec.Dynamic != nil:
		return outsider(w, r, set)
	}
	return reason(CodeLaterThanPlan, "the target started to match after the plan of rollout %s was made at %s: membership is frozen; use spec.dynamic, an AutoAssignment or another Rollout",
		r.Name, r.Status.Plan.CreatedAt.UTC().Format("2006-01-02T15:04:05Z"))
}

// outsider explains one who is selected by a dynamic rollout and has not joined it.
func outsider(w offer.World, r *v1alpha1.Rollout, set *offer.Set) offer.Reason {
	intake, err := rollout.NewIntake(r)
	switch {
	case err != nil:
		return reason(CodeInvalid, "rollout %s: %v", r.Name, err)
	case set.Invalidation != "":
		return reason(offer.CodeSetInvalid, "DistributionSet %s is invalidated (%s): nobody joins rollout %s any more", set.Name, set.Invalidation, r.Name)
	case r.Status.StartedAt == nil:
		return reason(offer.CodeNotStarted, "rollout %s has not started%s", r.Name, waiting(r))
	case !rollout.Grows(r, w.Now):
		return reason(CodeGrowthEnded, "rollout %s takes in nobody any more: it has ended, or spec.dynamic.until or maxTargets is reached", r.Name)
	case !intake.Takes(r, set, w.Target) || belongsToNewer(w, r, set):
		return reason(offer.CodeSuperseded, "a newer rollout has this target: it wins for good")
	case r.Status.State == v1alpha1.RolloutPaused:
		return reason(offer.CodePaused, "rollout %s is paused, and nobody joins meanwhile: %s", r.Name, r.Status.PauseMessage)
	}
	return reason(CodeJoinsLater, "rollout %s is dynamic: the target joins its last group when there is room", r.Name)
}

// belongsToNewer reports whether the target is a member of a rollout that replaces this one, though
// it may not have started.
func belongsToNewer(w offer.World, r *v1alpha1.Rollout, set *offer.Set) bool {
	return !set.RequiredMigrationStep && slices.ContainsFunc(w.Intents, func(in offer.Intent) bool {
		return in.Source.Kind == v1alpha1.SourceRollout && in.Update.Superseding != v1alpha1.SupersedingQueue && in.Source.Since != nil && in.Source.Since.After(rollout.Since(r))
	})
}

func reason(code offer.Code, format string, args ...any) offer.Reason {
	return offer.Reason{Code: code, Message: fmt.Sprintf(format, args...)}
}

func isDuplicate(t *v1alpha1.Target) bool {
	for _, c := range t.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Reason == v1alpha1.ReasonDuplicate {
			return true
		}
	}
	return false
}

func waiting(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return ""
	}
	return ": " + r.Status.WaitingFor.Message
}
