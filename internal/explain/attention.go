// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Urgency is how soon a person should look at something; the most urgent one is the smallest.
type Urgency int

const (
	// UrgencyFailures is a rollout that was paused because too many targets failed.
	UrgencyFailures Urgency = iota
	// UrgencyDecision is a rollout that waits for a decision, such as an approval.
	UrgencyDecision
	// UrgencyCorrection is an object that has no effect until it is corrected.
	UrgencyCorrection
	// UrgencyDevices are devices that need a look.
	UrgencyDevices
	// UrgencyNone is something that goes on by itself.
	UrgencyNone
	// UrgencyEnded is a rollout that has ended.
	UrgencyEnded
)

// UrgencyOf returns how soon a person should look at a rollout.
func UrgencyOf(r *v1alpha1.Rollout) Urgency {
	switch outcome := outcomeOf(r); {
	case outcome == OutcomePausedByErrors:
		return UrgencyFailures
	case outcome == OutcomeWaitsForPerson && needsCorrection(r):
		return UrgencyCorrection
	case outcome == OutcomeWaitsForPerson:
		return UrgencyDecision
	case rollout.IsOver(r):
		return UrgencyEnded
	}
	return UrgencyNone
}

// needsCorrection reports whether a rollout that waits for a person needs another change than a
// decision to start or to continue.
func needsCorrection(r *v1alpha1.Rollout) bool {
	return r.Unreadable != nil || r.Status.PauseReason == "" && meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionStalled)
}

// SortByUrgency sorts rollouts: those that need a person first, the one that has waited longest at
// the front; then those that go on by themselves, the newest first; then those that have ended, the
// last one first.
func SortByUrgency(rollouts []*v1alpha1.Rollout) {
	type key struct {
		urgency Urgency
		at      time.Time
	}
	keys := make(map[*v1alpha1.Rollout]key, len(rollouts))
	for _, r := range rollouts {
		k := key{urgency: UrgencyOf(r)}
		switch {
		case k.urgency == UrgencyEnded && r.Status.FinishedAt != nil:
			k.at = r.Status.FinishedAt.Time
		case k.urgency >= UrgencyNone:
			k.at = rollout.Since(r)
		default:
			k.at = rollout.WaitingSince(r)
		}
		keys[r] = k
	}
	slices.SortFunc(rollouts, func(a, b *v1alpha1.Rollout) int {
		x, y := keys[a], keys[b]
		age := x.at.Compare(y.at)
		if x.urgency >= UrgencyNone {
			age = -age
		}
		return cmp.Or(cmp.Compare(x.urgency, y.urgency), age, cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// DecisionFor returns the operation that lets a rollout start or continue that waits for a decision
// of a person, with the rights that it needs. It returns nil if there is no such decision.
func DecisionFor(r *v1alpha1.Rollout, now time.Time) *operation.Change {
	if urgency := UrgencyOf(r); urgency != UrgencyFailures && urgency != UrgencyDecision {
		return nil
	}
	var change *operation.Change
	var err error
	switch {
	case r.Status.State == v1alpha1.RolloutWaitingForApproval && r.Status.Plan != nil:
		change, err = operation.Approve(r, r.Status.Plan.Hash)
	case r.Status.StartedAt == nil:
		change, err = operation.Start(r)
	default:
		change, err = operation.Resume(r, now)
	}
	if err != nil {
		return nil // the decision was made, and the controllers have not seen it
	}
	return change
}

// Task is something that a person should do.
type Task struct {
	Urgency Urgency
	// Kind, Namespace and Name are those of the object. Name is empty for the targets of a
	// namespace, and Namespace for those of several.
	Kind, Namespace, Name string
	// Problem and Count are set for targets.
	Problem fleetcounts.Problem
	Count   int
	// Action says what to do, and Message why.
	Action, Message string
	// Since is when it was noticed. Zero: that is not known.
	Since time.Time
	// Role is a ClusterRole that gives the right. Empty: it depends on what is wrong.
	Role string
}

// taskOfRollout returns what a person should do about a rollout, or nil if that is nothing.
func taskOfRollout(r *v1alpha1.Rollout, now time.Time) *Task {
	t := &Task{Urgency: UrgencyOf(r), Kind: "Rollout", Namespace: r.Namespace, Name: r.Name, Since: rollout.WaitingSince(r)}
	if t.Urgency >= UrgencyNone {
		return nil
	}
	s := Status{}
	s.explainWaiting(r)
	t.Message = s.Message
	decision := DecisionFor(r, now)
	switch {
	case t.Urgency == UrgencyCorrection:
		t.Action = "Correct the rollout"
	case decision == nil:
		return nil
	case t.Urgency == UrgencyFailures:
		t.Action = "Check the failures, then resume or stop"
	case decision.Operation == "approve":
		t.Action = "Review the plan, then approve it"
	case decision.Operation == "start":
		t.Action = "Start the rollout when it should start"
	case r.Status.PauseReason == v1alpha1.PauseBySpec:
		t.Action = "Resume the rollout when it should continue"
	default:
		t.Action = "Check the group, then resume"
	}
	if decision != nil {
		t.Role = roleFor(decision.Rights)
	}
	return t
}

// roleFor returns the ClusterRole that gives all of these rights, as far as one of them does: that
// of the most special right.
func roleFor(rights []operation.Right) string {
	if len(rights) == 0 {
		return ""
	}
	return rights[len(rights)-1].Role
}

// taskOfObject returns what a person should do about a set, a module or an auto-assignment, or nil
// if that is nothing.
func taskOfObject(o client.Object, unreadable *v1alpha1.Unreadable) *Task {
	kind, conditions := fleetcounts.ConditionsOf(o)
	t := &Task{Urgency: UrgencyCorrection, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Action: "Correct the " + kindWords[kind], Since: o.GetCreationTimestamp().Time}
	if unreadable != nil {
		t.Message = fmt.Sprintf("the stored %s cannot be decoded: %s", kind, unreadable.Message)
		return t
	}
	stalled := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Status != metav1.ConditionTrue || !o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	t.Since, t.Message = stalled.LastTransitionTime.Time, stalled.Message
	return t
}

var kindWords = map[string]string{"DistributionSet": "distribution set", "SoftwareModule": "software module", "AutoAssignment": "auto-assignment"}

// tasksOfDevices are the problems of targets that a person should look at.
var tasksOfDevices = []struct {
	problem         fleetcounts.Problem
	action, message string
}{
	{fleetcounts.Inconsistent, "Check what runs on the devices", "%s inconsistent: an update was interrupted or failed, so that it is not certain what runs on the devices"},
	{fleetcounts.NotReady, "Correct the targets", "%s not ready, and get no update: their condition Ready says why"},
	{fleetcounts.Unreadable, "Correct the targets", "%s stored in a form that cannot be decoded, and get no update"},
}

// tasksOfTargets returns what a person should do about the targets of these counts.
func tasksOfTargets(tally *fleetcounts.Tally, namespace string) []Task {
	var tasks []Task
	for _, d := range tasksOfDevices {
		if n := tally.Problems[d.problem]; n > 0 {
			are := "are"
			if n == 1 {
				are = "is"
			}
			tasks = append(tasks, Task{Urgency: UrgencyDevices, Kind: "Target", Namespace: namespace, Problem: d.problem, Count: n, Action: d.action, Message: fmt.Sprintf(d.message, text.Count(n, "target")+" "+are)})
		}
	}
	return tasks
}
