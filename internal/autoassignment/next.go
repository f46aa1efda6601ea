// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package autoassignment decides what an auto-assignment does next: it waits for its set and its
// time, offers while it runs, and stops for good when its set is invalidated. Whom it offers to is
// the business of package offer; nobody is walked over and nothing written until a device starts.
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
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Snapshot is all that one look at an auto-assignment may know.
type Snapshot struct {
	Now            time.Time
	AutoAssignment *v1alpha1.AutoAssignment
	// Set that spec.update names; nil: there is none.
	Set *offer.Set
	// SelectionError says why the selection cannot be evaluated; empty: it can.
	SelectionError string
	// Counts of targets.
	Counts v1alpha1.AutoAssignmentTargets
	// Overlaps says how many matched targets each other running auto-assignment of another set
	// matches too.
	Overlaps map[string]int32
}

// Plan is what is wanted next.
type Plan struct {
	Status v1alpha1.AutoAssignmentStatus
	// Events tell people, once the status has landed.
	Events []Event
	// RecheckAfter is when time alone changes something; zero: only an event can.
	RecheckAfter time.Duration
}

// Event is one decision, told to people.
type Event struct{ Type, Reason, Message string }

// verdict is where an auto-assignment stands, and why.
type verdict struct {
	state           v1alpha1.AutoAssignmentState
	reason, message string
	// event is the message without numbers, which would be those of the first moment for good;
	// empty: the message has none.
	event   string
	stalled bool
	// passing: nobody has to act.
	passing bool
	until   time.Time
}

// Next decides.
func Next(s Snapshot) Plan {
	status := *s.AutoAssignment.Status.DeepCopy()
	status.UID = s.AutoAssignment.Identity()
	v := judge(s)
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

// noteOffer remembers since when another set is offered, or by another selection. What was offered
// first is as old as the start.
func noteOffer(status *v1alpha1.AutoAssignmentStatus, spec *v1alpha1.AutoAssignmentSpec, now time.Time) {
	at := metav1.NewMicroTime(now.Truncate(time.Microsecond))
	switch o := status.Offering; {
	case o == nil:
		status.Offering = &v1alpha1.OfferedSet{DistributionSet: spec.Update.DistributionSet}
	case o.DistributionSet != spec.Update.DistributionSet:
		status.Offering = &v1alpha1.OfferedSet{DistributionSet: spec.Update.DistributionSet, Since: &at}
	}
	switch hash := hashOf(spec.Selection); {
	case status.Selecting == nil:
		status.Selecting = &v1alpha1.SelectionMark{Hash: hash}
	case status.Selecting.Hash != hash:
		status.Selecting = &v1alpha1.SelectionMark{Hash: hash, Since: &at}
	}
}

// hashOf is a fingerprint of a selection.
func hashOf(s v1alpha1.Selection) string {
	encoded, err := json.Marshal(s) // encoding/json sorts the keys of maps
	if err != nil {
		panic(err) // strings always encode
	}
	h := fnv.New64a()
	h.Write(encoded)
	return hex.EncodeToString(h.Sum(nil))
}

// judge asks from what is final to what time may change.
func judge(s Snapshot) verdict {
	spec, name := &s.AutoAssignment.Spec, s.AutoAssignment.Spec.Update.DistributionSet
	windowError := window.Check(spec.Update.MaintenanceWindow, s.Now)
	switch {
	case s.Set != nil && s.Set.Invalidation != "":
		return verdict{state: v1alpha1.AutoAssignmentStopped, reason: v1alpha1.ReasonDistributionSetInvalid, stalled: true,
			message: fmt.Sprintf("DistributionSet %s was invalidated (%s): stopped for good; create another AutoAssignment", name, s.Set.Invalidation)}
	case wasInvalidated(s.AutoAssignment):
		return verdict{state: v1alpha1.AutoAssignmentStopped, reason: v1alpha1.ReasonDistributionSetInvalid, stalled: true,
			message: "stopped for good because its distribution set was invalidated: create another AutoAssignment"}
	case s.SelectionError != "":
		return mistaken(v1alpha1.ReasonInvalidExpression, s.SelectionError)
	case windowError != nil:
		return mistaken(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.update.maintenanceWindow.%v", windowError))
	case s.Set == nil && s.AutoAssignment.Status.StartedAt != nil:
		return verdict{state: v1alpha1.AutoAssignmentStopped, reason: v1alpha1.ReasonReferenceNotFound, stalled: true,
			message: fmt.Sprintf("stopped: DistributionSet %s was deleted; restore it to go on, or name another in spec.update.distributionSet", name)}
	case s.Set == nil:
		return waiting(s, v1alpha1.ReasonReferenceNotFound, fmt.Sprintf("DistributionSet %s does not exist: create it, or name another in spec.update.distributionSet", name))
	case !s.Set.Deployable:
		return waiting(s, v1alpha1.ReasonDistributionSetNotReady, fmt.Sprintf("DistributionSet %s is not ready: %s", name, s.Set.NotDeployable))
	case spec.StartAt != nil && s.Now.Before(spec.StartAt.Time):
		return verdict{state: v1alpha1.AutoAssignmentReady, reason: v1alpha1.ReasonWaitingForStart, until: spec.StartAt.Time,
			message: fmt.Sprintf("waits for spec.startAt, %s", spec.StartAt.UTC().Format(time.RFC3339))}
	case spec.State == v1alpha1.AutoAssignmentIntentPaused:
		return verdict{state: v1alpha1.AutoAssignmentPaused, reason: v1alpha1.ReasonPausedBySpec,
			message: "spec.state is Paused: devices that have not started are held back; set it to Running to go on"}
	}
	message := fmt.Sprintf("offers %s to %d matching targets, present and future; %d have it by this auto-assignment, %d failed", name, s.Counts.Matched, s.Counts.Succeeded, s.Counts.Failed)
	event := fmt.Sprintf("offers %s to the matching targets, present and future; status.targets counts them", name)
	if w := spec.Update.MaintenanceWindow; w != nil {
		inWindow := "; devices start only in the maintenance window " + window.Words(w)
		message, event = message+inWindow, event+inWindow
	}
	return verdict{state: v1alpha1.AutoAssignmentRunning, reason: v1alpha1.ReasonRunning, message: message, event: event}
}

// wasInvalidated reports whether the set of an auto-assignment was invalidated, however long ago,
// and whatever has become of the set.
func wasInvalidated(a *v1alpha1.AutoAssignment) bool {
	return meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionInvalidated)
}

// grace is how long after its creation an auto-assignment may lack its set before that is a
// problem: Git applies manifests in any order.
const grace = 5 * time.Second

// mistaken is a spec that somebody has to correct.
func mistaken(reason, message string) verdict {
	return verdict{state: v1alpha1.AutoAssignmentReady, reason: reason, message: message, stalled: true}
}

// waiting is a problem that somebody has to fix and that goes away when it is fixed. What had run
// before offers nothing meanwhile. What may still be on its way is no problem yet.
func waiting(s Snapshot, reason, message string) verdict {
	v := verdict{state: v1alpha1.AutoAssignmentReady, reason: reason, message: message}
	end := s.AutoAssignment.CreationTimestamp.Add(grace)
	switch {
	case s.Now.Before(end):
		v.passing, v.until = true, end
	case s.Set != nil && s.Set.Passing:
		v.passing = true
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
	set(v1alpha1.ConditionReady, !v.stalled && !v.passing, v.reason, v.message)
	if v.passing {
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

// overlap says which others want other sets on the same targets, and what comes of it.
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
	return "targets are matched by other auto-assignments of other sets, too: " + strings.Join(parts, ", ") +
		"; on each of them the newest one goes first, each offers its set once, and none returns to an older set"
}

func events(before v1alpha1.AutoAssignmentState, v verdict) []Event {
	if before == v.state || v.passing {
		return nil
	}
	kind := "Normal"
	if v.stalled {
		kind = "Warning"
	}
	return []Event{{kind, v.reason, cmp.Or(v.event, v.message)}}
}
