// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package autoassignment computes the next state of an AutoAssignment: it waits for its set and its
// startAt, offers updates while it runs, and stops when its set is invalidated. Package offer
// decides which targets get the offer. Nothing is written for a target before its device starts.
package autoassignment

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Snapshot holds all facts for one reconcile of an AutoAssignment.
type Snapshot struct {
	Now            time.Time
	AutoAssignment *v1alpha1.AutoAssignment
	// Set is the set that spec.update names, or nil if it does not exist. A removal has one always.
	Set *eligibility.Set
	// SelectionError is the error of the selection, or "".
	SelectionError string
	// Counts of targets.
	Counts v1alpha1.AutoAssignmentTargets
	// Overlaps is the number of matched targets that each other running AutoAssignment of another
	// set matches as well, by name.
	Overlaps map[string]int32
}

// Plan is the wanted status, and what to do after it was written.
type Plan struct {
	Status v1alpha1.AutoAssignmentStatus
	// Events to record after the status was written.
	Events []Event
	// RecheckAfter is the delay after which time alone changes the plan. 0 means that only an event
	// can.
	RecheckAfter time.Duration
}

// Event is a Kubernetes event about one decision.
type Event struct{ Type, Reason, Message string }

// verdict is the state of an AutoAssignment, and why.
type verdict struct {
	state           v1alpha1.AutoAssignmentState
	reason, message string
	// event is the message without numbers, because an event would keep the numbers of the first
	// moment. It is "" if the message has no numbers.
	event   string
	stalled bool
	// isTransient is true if no user action is needed.
	isTransient bool
	until       time.Time
}

// Next computes the plan.
func Next(s Snapshot) Plan {
	status := *s.AutoAssignment.Status.DeepCopy()
	status.UID = s.AutoAssignment.Identity()
	if subject := s.AutoAssignment.Spec.Update.Subject(); subject != "" { // else spec.update cannot be decoded
		status.Update = subject
	}
	v := evaluate(s)
	if v.state == v1alpha1.AutoAssignmentRunning && status.StartedAt == nil {
		now := metav1.NewMicroTime(s.Now.Truncate(time.Microsecond))
		status.StartedAt = &now
	}
	if status.StartedAt != nil {
		noteOffer(&status, &s.AutoAssignment.Spec, s.Now)
	}
	before := status.State
	status.State = v.state
	status.ObservedGeneration = s.AutoAssignment.Generation
	counts := s.Counts
	status.Targets = &counts
	status.Conditions = conditions(s, v)
	plan := Plan{Status: status, Events: events(before, v)}
	if !v.until.IsZero() {
		plan.RecheckAfter = v.until.Sub(s.Now)
	}
	return plan
}

// noteOffer records since when the present set is offered, and since when with the present
// selection. The first set and selection count from the start.
func noteOffer(status *v1alpha1.AutoAssignmentStatus, spec *v1alpha1.AutoAssignmentSpec, now time.Time) {
	at := metav1.NewMicroTime(now.Truncate(time.Microsecond))
	removal := eligibility.RemovalHash(spec.Update.Remove)
	switch o := status.Offering; {
	case o == nil:
		status.Offering = &v1alpha1.OfferedSet{DistributionSet: spec.Update.DistributionSet, Removal: removal}
	case o.DistributionSet != spec.Update.DistributionSet || o.Removal != removal:
		status.Offering = &v1alpha1.OfferedSet{DistributionSet: spec.Update.DistributionSet, Removal: removal, Since: &at}
	}
	switch hash := hashOf(spec.Selection); {
	case status.Selecting == nil:
		status.Selecting = &v1alpha1.SelectionMark{Hash: hash}
	case status.Selecting.Hash != hash:
		status.Selecting = &v1alpha1.SelectionMark{Hash: hash, Since: &at}
	}
}

// hashOf returns a hash of a selection.
func hashOf(s v1alpha1.Selection) string {
	encoded, err := json.Marshal(s) // encoding/json sorts the keys of maps
	if err != nil {
		panic(err) // strings always encode
	}
	h := fnv.New64a()
	h.Write(encoded)
	return hex.EncodeToString(h.Sum(nil))
}

// evaluate checks the final states first, and last those that time may change.
func evaluate(s Snapshot) verdict {
	spec, name := &s.AutoAssignment.Spec, s.AutoAssignment.Spec.Update.DistributionSet
	windowError := window.Check(spec.Update.MaintenanceWindow, s.Now)
	switch {
	case s.Set != nil && cancellation.Of(s.Set.Invalidation).AutoAssignments == cancellation.Stop:
		return verdict{state: v1alpha1.AutoAssignmentStopped, reason: v1alpha1.ReasonDistributionSetInvalid, stalled: true,
			message: fmt.Sprintf("DistributionSet %s was invalidated (%s), so this AutoAssignment cannot run again: create another AutoAssignment", name, s.Set.Invalidation)}
	case wasInvalidated(s.AutoAssignment):
		return verdict{state: v1alpha1.AutoAssignmentStopped, reason: v1alpha1.ReasonDistributionSetInvalid, stalled: true,
			message: "its DistributionSet was invalidated, so this AutoAssignment cannot run again: create another AutoAssignment"}
	case s.SelectionError != "":
		return invalidSpec(v1alpha1.ReasonInvalidExpression, s.SelectionError)
	case windowError != nil:
		return invalidSpec(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.update.maintenanceWindow.%v", windowError))
	case s.Set == nil && s.AutoAssignment.Status.StartedAt != nil:
		return verdict{state: v1alpha1.AutoAssignmentStopped, reason: v1alpha1.ReasonReferenceNotFound, stalled: true,
			message: fmt.Sprintf("stopped: DistributionSet %s was deleted; create it again, or name another one in spec.update.distributionSet", name)}
	case s.Set == nil:
		return waiting(s, v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("DistributionSet %s does not exist: create it, or name another one in spec.update.distributionSet", name))
	case !s.Set.Deployable:
		return waiting(s, v1alpha1.ReasonDistributionSetNotReady, fmt.Sprintf("DistributionSet %s is not ready: %s", name, s.Set.NotDeployable))
	case spec.StartAt != nil && s.Now.Before(spec.StartAt.Time):
		return verdict{state: v1alpha1.AutoAssignmentReady, reason: v1alpha1.ReasonWaitingForStart, until: spec.StartAt.Time,
			message: fmt.Sprintf("waiting for spec.startAt (%s)", spec.StartAt.UTC().Format(time.RFC3339))}
	case spec.State == v1alpha1.AutoAssignmentIntentPaused:
		return verdict{state: v1alpha1.AutoAssignmentPaused, reason: v1alpha1.ReasonPausedBySpec,
			message: "spec.state is Paused: no further device starts; set it to Running to continue"}
	}
	subject, done := spec.Update.Subject(), "installed it"
	if s.Set.Removes() {
		done = "succeeded"
	}
	message := fmt.Sprintf("offering %s to %d matching targets and to future ones; %d %s, %d failed", subject, s.Counts.Matched, s.Counts.Succeeded, done, s.Counts.Failed)
	event := fmt.Sprintf("offering %s to all present and future matching targets; see status.targets", subject)
	if w := spec.Update.MaintenanceWindow; w != nil {
		inWindow := "; devices start only in the maintenance window " + window.Describe(w)
		message, event = message+inWindow, event+inWindow
	}
	return verdict{state: v1alpha1.AutoAssignmentRunning, reason: v1alpha1.ReasonRunning, message: message, event: event}
}

// wasInvalidated reports whether the set of an AutoAssignment was ever invalidated, also if the set
// was deleted since.
func wasInvalidated(a *v1alpha1.AutoAssignment) bool {
	return meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionInvalidated)
}

// applyGrace is how long after its creation an AutoAssignment may lack its set without being
// Stalled: GitOps tools apply manifests in any order.
const applyGrace = 5 * time.Second

// invalidSpec is a problem in the spec that a user must correct.
func invalidSpec(reason, message string) verdict {
	return verdict{state: v1alpha1.AutoAssignmentReady, reason: reason, message: message, stalled: true}
}

// waiting is a problem that a user must fix. The AutoAssignment continues when it is fixed, and
// offers nothing meanwhile. While the set may still be applied, it is not Stalled.
func waiting(s Snapshot, reason, message string) verdict {
	v := verdict{state: v1alpha1.AutoAssignmentReady, reason: reason, message: message}
	end := s.AutoAssignment.CreationTimestamp.Add(applyGrace)
	switch {
	case s.Now.Before(end):
		v.isTransient, v.until = true, end
	case s.Set != nil && s.Set.Transient:
		v.isTransient = true
	default:
		v.stalled = true
	}
	return v
}

func conditions(s Snapshot, v verdict) []metav1.Condition {
	list := slices.Clone(s.AutoAssignment.Status.Conditions)
	set := func(kind string, holds bool, reason, message string) {
		status := metav1.ConditionFalse
		if holds {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&list, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message,
			ObservedGeneration: s.AutoAssignment.Generation, LastTransitionTime: metav1.NewTime(s.Now.Truncate(time.Second))})
	}
	set(v1alpha1.ConditionReady, !v.stalled && !v.isTransient, v.reason, v.message)
	if v.isTransient {
		set(v1alpha1.ConditionReconciling, true, v.reason, v.message)
	} else {
		meta.RemoveStatusCondition(&list, v1alpha1.ConditionReconciling)
	}
	set(v1alpha1.ConditionPaused, v.state == v1alpha1.AutoAssignmentPaused, v.reason, v.message)
	if v.stalled {
		set(v1alpha1.ConditionStalled, true, v.reason, v.message)
	} else {
		meta.RemoveStatusCondition(&list, v1alpha1.ConditionStalled)
	}
	if v.reason == v1alpha1.ReasonDistributionSetInvalid {
		set(v1alpha1.ConditionInvalidated, true, v.reason, v.message)
	}
	if message := overlap(s); message != "" && v.state == v1alpha1.AutoAssignmentRunning {
		set(v1alpha1.ConditionOverlapping, true, v1alpha1.ReasonSharedTargets, message)
	} else {
		meta.RemoveStatusCondition(&list, v1alpha1.ConditionOverlapping)
	}
	slices.SortFunc(list, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return list
}

// overlap returns a message about other AutoAssignments with other sets for the same targets, or
// "".
func overlap(s Snapshot) string {
	var parts []string
	for name, n := range s.Overlaps {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", name, n))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "targets also match other auto-assignments with other sets: " + strings.Join(parts, ", ") +
		"; on each target the newest auto-assignment goes first, each offers its set once, and no target returns to an older set"
}

func events(before v1alpha1.AutoAssignmentState, v verdict) []Event {
	if before == v.state || v.isTransient {
		return nil
	}
	kind := "Normal"
	if v.stalled {
		kind = "Warning"
	}
	return []Event{{kind, v.reason, cmp.Or(v.event, v.message)}}
}
