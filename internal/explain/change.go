// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Change is a field that a person can change to end a wait.
type Change struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Field string `json:"field"`
	// Value to set, or "" if it depends on what is wanted. "now" stands for the present time.
	Value string `json:"value,omitempty"`
	// Effect of the change, as a verb with its object.
	Effect string `json:"effect"`
}

// presentTime is the value of a Change that sets a time.
const presentTime = "now"

// changeFor returns what a person can change about an update that does not start, or nil if there
// is nothing to do but wait.
func changeFor(x *fleet.Index, w *offer.World, v *offer.Verdict) *Change {
	in, t := v.Intent, w.Target
	r := rolloutOf(x, t, in)
	switch v.Reason.Code {
	case eligibility.CodeHold:
		return &Change{"Target", t.Name, "spec.hold", "false", "releases the target"}
	case eligibility.CodeNotStarted, eligibility.CodePaused, eligibility.CodeGroupNotOpen:
		if r != nil {
			return changeOfRollout(r, in.Source.Group)
		}
		if in.Source.Kind == v1alpha1.SourceAutoAssignment {
			return &Change{"AutoAssignment", in.Source.Name, "spec.state", string(v1alpha1.AutoAssignmentIntentRunning), "resumes the auto-assignment"}
		}
	case eligibility.CodeWindowClosed:
		return withField(in, t, "maintenanceWindow", "", "moves or removes the window")
	case eligibility.CodeSetNotFound:
		return withField(in, t, "distributionSet", "", "names a set that exists")
	case eligibility.CodeIncompatible:
		return &Change{"DistributionSet", in.Update.DistributionSet, "spec.compatibleTargetTypes", t.Spec.Type, "lets targets of this type have the set"}
	case eligibility.CodeBusy:
		if a := v.Result.Action; a != nil {
			return cancelUpTo(t, a)
		}
		return cancelOpen(t)
	case eligibility.CodeFailed, eligibility.CodeDeadlinePassed:
		return again(in, t)
	case eligibility.CodeDone, eligibility.CodeCanceled, eligibility.CodeAlreadyHad, eligibility.CodeSuperseded, eligibility.CodeSkipped, eligibility.CodeFinished:
		return assigned(in, t)
	default:
	}
	return nil
}

func rolloutOf(x *fleet.Index, t *v1alpha1.Target, in *eligibility.Intent) *v1alpha1.Rollout {
	if in.Source.Kind != v1alpha1.SourceRollout {
		return nil
	}
	return x.Rollout(types.NamespacedName{Namespace: t.Namespace, Name: in.Source.Name})
}

// changeOfRollout returns what starts, resumes or opens a rollout that does not offer its update to
// the members of a group.
func changeOfRollout(r *v1alpha1.Rollout, group string) *Change {
	set := func(field, value, effect string) *Change { return &Change{"Rollout", r.Name, field, value, effect} }
	waits := r.Status.WaitingFor
	switch {
	case r.Spec.State == v1alpha1.IntentPlanned, r.Spec.State == v1alpha1.IntentPaused:
		return set("spec.state", string(v1alpha1.IntentRunning), "starts or resumes the rollout")
	case r.Status.State == v1alpha1.RolloutWaitingForApproval && r.Status.Plan != nil:
		return set("spec.approval.planHash", r.Status.Plan.Hash, "approves the plan")
	case r.Status.StartedAt == nil && waits != nil && waits.Reason == v1alpha1.ReasonWaitingForStart:
		return set("spec.startAt", presentTime, "starts the rollout")
	case r.Status.StartedAt == nil && waits != nil && waits.Reason == v1alpha1.ReasonOrderAmbiguous:
		return set("spec.startAt", "", "says which rollout is newer")
	case r.Status.State == v1alpha1.RolloutPaused && r.Status.PauseReason.IsAutomatic():
		return set("spec.resumedAt", presentTime, "resumes the rollout")
	case r.Status.StartedAt != nil && group != "" && r.Status.State == v1alpha1.RolloutRunning:
		return set("spec.advance", fmt.Sprintf("{to: %s, at: %s}", group, presentTime), "opens the groups up to this one whatever the conditions say")
	}
	return nil
}

// withField returns a change of a field of the update.
func withField(in *eligibility.Intent, t *v1alpha1.Target, field, value, effect string) *Change {
	switch in.Source.Kind {
	case v1alpha1.SourceTarget:
		return &Change{"Target", t.Name, "spec.assignment." + field, value, effect}
	case v1alpha1.SourceRollout:
		return &Change{"Rollout", in.Source.Name, "spec.update." + field, value, effect + " (before the start only)"}
	default:
		return &Change{string(in.Source.Kind), in.Source.Name, "spec.update." + field, value, effect}
	}
}

// again returns the change that tries a failed update once more.
func again(in *eligibility.Intent, t *v1alpha1.Target) *Change {
	if in.Source.Kind == v1alpha1.SourceRollout && !in.Stopped {
		return &Change{"Rollout", in.Source.Name, "spec.retry.at", presentTime, "tries all failed targets of the rollout again"}
	}
	return assigned(in, t)
}

// assigned returns the change that brings the set of an update to this target alone.
func assigned(in *eligibility.Intent, t *v1alpha1.Target) *Change {
	switch {
	case in.Update.DistributionSet == "" || in.Set == nil || in.Set.IsInvalid():
		return nil
	case in.Source.Kind == v1alpha1.SourceTarget:
		return &Change{"Target", t.Name, "spec.assignment.assignedAt", presentTime, "assigns the set once more"}
	}
	return &Change{"Target", t.Name, "spec.assignment", fmt.Sprintf("{distributionSet: %s, assignedAt: %s}", in.Update.DistributionSet, presentTime), "brings the set to this target"}
}

// changeOfAction returns what a person can change about the open action, or nil.
func changeOfAction(t *v1alpha1.Target, o *offer.Offer) *Change {
	switch {
	case o.Kind == offer.Confirm:
		return confirmsItself(t)
	case o.Kind == offer.Deploy, o.Reason.Code == offer.CodeSetGone:
		return cancelUpTo(t, o.Action)
	case o.Kind == offer.Cancel && o.Action.State == v1alpha1.ActionCanceling && o.Action.Cancel.Cancellation != v1alpha1.CancellationForce:
		return &Change{"Target", t.Name, "spec.cancel", fmt.Sprintf("{upTo: %d, cancellation: Force}", o.Action.ID), "closes the action without waiting for the device"}
	}
	return nil
}

func confirmsItself(t *v1alpha1.Target) *Change {
	return &Change{"Target", t.Name, "spec.autoConfirm", string(v1alpha1.AutoConfirmAlways), "confirms without asking the device"}
}

func cancelUpTo(t *v1alpha1.Target, a *v1alpha1.Action) *Change {
	return &Change{"Target", t.Name, "spec.cancel.upTo", strconv.Itoa(int(a.ID)), "asks the device to cancel the action"}
}

func cancelOpen(t *v1alpha1.Target) *Change {
	for i := range t.Status.Actions {
		if a := &t.Status.Actions[i]; !a.State.IsClosed() {
			return cancelUpTo(t, a)
		}
	}
	return nil
}
