// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package autoassignment

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// IntentOf returns the update of an auto-assignment that has started, as it reaches a target that
// it selects. The set may be nil.
func IntentOf(a *v1alpha1.AutoAssignment, t *v1alpha1.Target, set *eligibility.Set) eligibility.Intent {
	since := sinceOf(a, t)
	in := eligibility.Intent{
		Source:     v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: a.Name, UID: a.Identity(), Since: &metav1.MicroTime{Time: since}},
		Update:     a.Spec.Update,
		Set:        set,
		StartedAt:  placeOf(a),
		OpenedAt:   since,
		CreatedAt:  a.CreationTimestamp.Time,
		IsUnplaced: a.Spec.StartAt == nil && placeOf(a).Sub(a.CreationTimestamp.Time) < eligibility.AppliedTogether,
	}
	in.Closed, in.Stopped = ClosedReason(a)
	return in
}

// sinceOf returns the place of an auto-assignment in the order of a target's intents. It is the
// latest of: the place of the auto-assignment itself, the creation of the target, and the time when
// it started to select the target after a change of either. If it has a startAt, the creation of a
// target that was created together with it does not count: in a cluster that is rebuilt from Git
// all targets are new, and an old set must not be newer for them than the sets of newer rollouts.
func sinceOf(a *v1alpha1.AutoAssignment, t *v1alpha1.Target) time.Time {
	since := latest(placeOf(a), selectedSince(a, t))
	if a.Spec.StartAt != nil && !t.CreationTimestamp.After(a.CreationTimestamp.Add(eligibility.AppliedTogether)) {
		return since
	}
	return latest(since, t.CreationTimestamp.Time)
}

// placeOf returns an auto-assignment's own place in the order of updates: startAt if given, else
// the time of its start or of the last change of its set.
func placeOf(a *v1alpha1.AutoAssignment) time.Time {
	place := a.Status.StartedAt.Time
	if a.Spec.StartAt != nil {
		place = a.Spec.StartAt.Time
	}
	if o := a.Status.Offering; o != nil && o.Since != nil {
		place = latest(place, o.Since.Time)
	}
	return place
}

// selectedSince returns when a running auto-assignment started to select a target, or zero if it
// has selected the target since its own start.
func selectedSince(a *v1alpha1.AutoAssignment, t *v1alpha1.Target) time.Time {
	for i := range t.Status.SelectedBy {
		if s := &t.Status.SelectedBy[i]; s.UID == a.Identity() {
			return microTime(s.Since)
		}
	}
	if at := t.Status.SelectedAt; at == nil || at.Time.Before(a.Status.StartedAt.Time) || a.Status.Selecting == nil {
		return time.Time{} // no selection was evaluated since the start
	}
	return microTime(a.Status.Selecting.Since)
}

func microTime(t *metav1.MicroTime) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ClosedReason returns the reason why an auto-assignment offers nothing, and whether that is
// final. The spec takes precedence over the status.
func ClosedReason(a *v1alpha1.AutoAssignment) (closed eligibility.Reason, stopped bool) {
	switch {
	case !a.DeletionTimestamp.IsZero(), a.Status.State == v1alpha1.AutoAssignmentStopped:
		return eligibility.Reason{Code: eligibility.CodeStopped, Message: fmt.Sprintf("auto-assignment %s was stopped", a.Name)}, true
	case a.Unreadable != nil:
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("auto-assignment %s cannot be decoded and is treated as paused: %s", a.Name, a.Unreadable.Message)}, false
	case a.Spec.State == v1alpha1.AutoAssignmentIntentPaused, a.Status.State == v1alpha1.AutoAssignmentPaused:
		return eligibility.Reason{Code: eligibility.CodePaused, Message: fmt.Sprintf("auto-assignment %s is paused: spec.state is Paused", a.Name)}, false
	case a.Status.State != v1alpha1.AutoAssignmentRunning:
		return eligibility.Reason{Code: eligibility.CodeNotStarted, Message: fmt.Sprintf("auto-assignment %s has not started yet", a.Name)}, false
	}
	return eligibility.Reason{}, false
}

// OffersSame reports whether two versions of an auto-assignment offer the same to the
// same targets.
func OffersSame(a, b *v1alpha1.AutoAssignment) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.Status.State == b.Status.State && a.Status.StartedAt.Equal(b.Status.StartedAt) &&
		equality.Semantic.DeepEqual(a.Status.Offering, b.Status.Offering) && equality.Semantic.DeepEqual(a.Status.Selecting, b.Status.Selecting) &&
		a.DeletionTimestamp.Equal(b.DeletionTimestamp)
}
