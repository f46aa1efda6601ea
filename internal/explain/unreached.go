// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// Codes of updates that do not reach a target, in addition to those of packages eligibility and
// offer.
const (
	// CodeNotPlanned: the rollout has no plan yet, and selects the target.
	CodeNotPlanned = "NotPlanned"
	// CodeNotAMember: the rollout selects the target, which is in none of its groups.
	CodeNotAMember = "NotAMember"
	// CodeNotSelected: the selection does not match the target.
	CodeNotSelected = "NotSelected"
	// CodeNotSeen: spec.assignment has not been recorded by the controller yet, or is for later.
	CodeNotSeen = "NotSeen"
)

// unreached returns the rollouts, auto-assignments and the assignment that name or select the
// target and do not reach it, sorted by kind and name. A rollout that is over, or that does not
// select the target, is left out unless it is asked for by its name.
func unreached(x *fleet.Index, w *offer.World, asked string) []Reach {
	t := w.Target
	var out []Reach
	if r := unseenAssignment(t, w.Now); r != nil {
		out = append(out, *r)
	}
	for _, r := range x.Rollouts(t.Namespace) {
		if isMember(x, r, t) || rollout.IsOver(r) && r.Name != asked {
			continue
		}
		if reach := notAMember(x, r, t); reach.Code != CodeNotSelected || r.Name == asked {
			out = append(out, reach)
		}
	}
	for _, a := range x.AutoAssignments(t.Namespace) {
		if isAmong(w.Intents, a) {
			continue
		}
		if reach := notStarted(x, a, t); reach.Code != CodeNotSelected {
			out = append(out, reach)
		}
	}
	return out
}

func isMember(x *fleet.Index, r *v1alpha1.Rollout, t *v1alpha1.Target) bool {
	return slices.ContainsFunc(x.Memberships(keyOf(t)), func(m fleet.Membership) bool { return grouping.BelongsTo(m.Group, r) })
}

func isAmong(intents []*eligibility.Intent, a *v1alpha1.AutoAssignment) bool {
	return slices.ContainsFunc(intents, func(in *eligibility.Intent) bool {
		return in.Source.Kind == v1alpha1.SourceAutoAssignment && in.Source.UID == a.Identity()
	})
}

// unseenAssignment returns the target's own assignment if it has no effect yet.
func unseenAssignment(t *v1alpha1.Target, now time.Time) *Reach {
	wanted := t.Spec.Assignment
	if wanted == nil || offer.IsSeen(wanted, t.Status.Assignment) && t.Status.Assignment.Since != nil {
		return nil
	}
	r := &Reach{Source: Source{Kind: v1alpha1.SourceTarget, Name: t.Name}, Update: wanted.Subject(), Code: CodeNotSeen, Message: "spec.assignment has not been recorded yet: Goshawk records it within seconds"}
	if offer.IsAhead(wanted, now) {
		r.Until = timeOrNil(wanted.AssignedAt.Time)
		r.Message = fmt.Sprintf("spec.assignment.assignedAt is %s: it has no effect before", stamp(wanted.AssignedAt.Time))
		r.Change = &Change{Kind: "Target", Name: t.Name, Field: "spec.assignment.assignedAt", Value: "now", Effect: "assigns it at once"}
	}
	return r
}

// notAMember explains why a target is in no group of a rollout.
func notAMember(x *fleet.Index, r *v1alpha1.Rollout, t *v1alpha1.Target) Reach {
	out := Reach{Source: Source{Kind: v1alpha1.SourceRollout, Name: r.Name}, Update: r.Spec.Update.Subject(), Code: CodeNotSelected, Final: r.Status.StartedAt != nil}
	why, err := whyNotSelected(x, r.Spec.Selection, t)
	set := x.SetOf(r.Namespace, &r.Spec.Update)
	switch {
	case err != nil:
		out.Message = fmt.Sprintf("the selection of rollout %s cannot be evaluated: spec.%v", r.Name, err)
		return out
	case why != "":
		out.Message = fmt.Sprintf("rollout %s does not select this target: %s", r.Name, why)
		return out
	case set != nil && !set.Fits(t.Spec.Type):
		out.Code, out.Message = string(eligibility.CodeIncompatible), fmt.Sprintf("DistributionSet %s does not fit target type %q: its compatibleTargetTypes are %v", set.Name, t.Spec.Type, set.CompatibleTargetTypes)
		out.Change = &Change{Kind: "DistributionSet", Name: set.Name, Field: "spec.compatibleTargetTypes", Value: t.Spec.Type, Effect: "lets targets of this type become members of plans that are made later"}
		return out
	}
	if r.Status.StartedAt == nil && (r.Status.Plan == nil || r.Status.Plan.SpecHash != grouping.SpecHash(r)) {
		out.Code, out.Message = CodeNotPlanned, fmt.Sprintf("rollout %s selects this target and has no plan yet%s", r.Name, awaited(r))
		out.Change = changeOfRollout(r, "")
		return out
	}
	out.Code, out.Message = CodeNotAMember, fmt.Sprintf("rollout %s selects this target, which is in none of its groups: the plan was made %swithout it", r.Name, planTime(r))
	if d := r.Spec.Dynamic; d != nil && !rollout.IsOver(r) {
		out.Final, out.Message = false, out.Message+"; the rollout is dynamic, and the target joins a group when there is room and no newer rollout has it"
	} else {
		out.Message += ", and spec.dynamic is absent"
		out.Change = &Change{Kind: "Target", Name: t.Name, Field: "spec.assignment.distributionSet", Value: r.Spec.Update.DistributionSet, Effect: "brings the set to this target"}
		if r.Spec.Update.DistributionSet == "" {
			out.Change = nil
		}
	}
	return out
}

func planTime(r *v1alpha1.Rollout) string {
	if r.Status.Plan == nil || r.Status.Plan.CreatedAt == nil {
		return ""
	}
	return "at " + stamp(r.Status.Plan.CreatedAt.Time) + " "
}

// notStarted explains an auto-assignment that does not reach the target.
func notStarted(x *fleet.Index, a *v1alpha1.AutoAssignment, t *v1alpha1.Target) Reach {
	out := Reach{Source: Source{Kind: v1alpha1.SourceAutoAssignment, Name: a.Name}, Update: a.Spec.Update.Subject(), Code: CodeNotSelected}
	why, err := whyNotSelected(x, a.Spec.Selection, t)
	switch {
	case err != nil:
		out.Message = fmt.Sprintf("the selection of auto-assignment %s cannot be evaluated: spec.%v", a.Name, err)
	case why != "":
		out.Message = fmt.Sprintf("auto-assignment %s does not select this target: %s", a.Name, why)
	case a.Status.State == v1alpha1.AutoAssignmentStopped:
		out.Code, out.Message, out.Final = string(eligibility.CodeStopped), fmt.Sprintf("auto-assignment %s was stopped before it started", a.Name), true
		if c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); c != nil {
			out.Message += ": " + c.Message
		}
	default:
		out.Code, out.Message = string(eligibility.CodeNotStarted), fmt.Sprintf("auto-assignment %s has not started", a.Name)
		if c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); c != nil {
			out.Message += ": " + c.Message
		}
		if a.Spec.State == v1alpha1.AutoAssignmentIntentPaused {
			out.Change = &Change{Kind: "AutoAssignment", Name: a.Name, Field: "spec.state", Value: string(v1alpha1.AutoAssignmentIntentRunning), Effect: "starts it"}
		}
	}
	return out
}

// whyNotSelected returns which part of a selection does not match the target, or "" if it matches.
func whyNotSelected(x *fleet.Index, s v1alpha1.Selection, t *v1alpha1.Target) (string, error) {
	q, err := query.Compile(s, x.Software)
	if err != nil {
		return "", err
	}
	labels, err := query.Compile(v1alpha1.Selection{TargetSelector: s.TargetSelector}, nil)
	if err != nil {
		return "", err
	}
	switch {
	case eligibility.IsDuplicate(t):
		return "an older target has the same controllerID", nil
	case t.Unreadable != nil:
		return "it cannot be decoded", nil
	case !t.DeletionTimestamp.IsZero():
		return "it is being deleted", nil
	case !labels.Matches(t):
		return fmt.Sprintf("spec.targetSelector %q does not match its labels (%s)", labels, labelText(t.Labels)), nil
	case !q.Matches(t):
		return fmt.Sprintf("spec.targetExpression %s is not true for it", strings.Join(strings.Fields(s.TargetExpression), " ")), nil
	}
	return "", nil
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return "none"
	}
	var out []string
	for k, v := range labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func awaited(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return ""
	}
	return ": " + r.Status.WaitingFor.Message
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
