// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"iter"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
)

// auto is an auto-assignment with its compiled selection.
type auto struct {
	object *v1alpha1.AutoAssignment
	query  *query.Query
	err    error
}

func (x *Index) setAutoAssignment(old, now client.Object) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.noteAutos(old, now)
	if gone, ok := old.(*v1alpha1.AutoAssignment); ok && now == nil {
		key := client.ObjectKeyFromObject(gone)
		if present := x.autos[key]; present != nil && present.object.UID == gone.UID {
			delete(x.autos, key)
		}
		return
	}
	a := now.(*v1alpha1.AutoAssignment)
	key := client.ObjectKeyFromObject(a)
	present := x.autos[key]
	if a.Unreadable.Lacks("spec.targetSelector", "spec.targetExpression", "spec.update") { // its selection is not known
		x.autos[key] = &auto{object: a, err: fmt.Errorf("the auto-assignment cannot be decoded: %s", a.Unreadable.Message)}
		return
	}
	if present != nil && present.object.Unreadable == nil && present.object.UID == a.UID && present.object.Generation == a.Generation {
		x.autos[key] = &auto{a, present.query, present.err}
		return
	}
	q, err := query.Compile(a.Spec.Selection)
	x.autos[key] = &auto{a, q, err}
}

// AutoAssignment returns an auto-assignment as the index knows it, or nil if there is none.
func (x *Index) AutoAssignment(key types.NamespacedName) *v1alpha1.AutoAssignment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if a := x.autos[key]; a != nil {
		return a.object
	}
	return nil
}

// AutoAssignments returns the auto-assignments of a namespace, sorted by name.
func (x *Index) AutoAssignments(namespace string) []*v1alpha1.AutoAssignment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []*v1alpha1.AutoAssignment
	for key, a := range x.autos {
		if key.Namespace == namespace {
			list = append(list, a.object)
		}
	}
	slices.SortFunc(list, func(a, b *v1alpha1.AutoAssignment) int { return compareNames(a.Name, b.Name) })
	return list
}

// SelectionError returns the error of the selection of an auto-assignment, or nil if it can be
// evaluated.
func (x *Index) SelectionError(key types.NamespacedName) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if a := x.autos[key]; a != nil {
		return a.err
	}
	return nil
}

// Selects reports whether an auto-assignment selects the target: the selection and the type of the
// target match.
func (x *Index) Selects(key types.NamespacedName, t *v1alpha1.Target) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	a := x.autos[key]
	return a != nil && a.query != nil && a.query.Matches(t) && x.fits(a, t)
}

func (x *Index) fits(a *auto, t *v1alpha1.Target) bool {
	set := x.facts[sibling(t, a.object.Spec.Update.DistributionSet)]
	return set != nil && set.Fits(t.Spec.Type)
}

// started iterates over the auto-assignments of a namespace that have started and have a valid
// selection, in no defined order. The caller holds the lock.
func (x *Index) started(namespace string) iter.Seq[*auto] {
	return func(yield func(*auto) bool) {
		for key, a := range x.autos {
			if key.Namespace == namespace && a.object.Status.StartedAt != nil && a.query != nil && !yield(a) {
				return
			}
		}
	}
}

// autoIntents returns the intents of the auto-assignments that select a target. The caller holds
// the lock.
func (x *Index) autoIntents(t *v1alpha1.Target, now time.Time) []eligibility.Intent {
	var intents []eligibility.Intent
	for a := range x.started(t.Namespace) {
		if !a.query.Matches(t) {
			continue
		}
		in := fromAuto(a.object, t, x.facts[sibling(t, a.object.Spec.Update.DistributionSet)])
		if in.Closed.IsZero() {
			in.Closed = x.stabilizing(t, "auto-assignment "+a.object.Name, &in, now)
		}
		intents = append(intents, in)
	}
	return intents
}

func fromAuto(a *v1alpha1.AutoAssignment, t *v1alpha1.Target, set *eligibility.Set) eligibility.Intent {
	since := autoSince(a, t)
	in := eligibility.Intent{
		Source:     v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: a.Name, UID: a.Identity(), Since: &metav1.MicroTime{Time: since}},
		Update:     a.Spec.Update,
		Set:        set,
		StartedAt:  placeOf(a),
		OpenedAt:   since,
		CreatedAt:  a.CreationTimestamp.Time,
		IsUnplaced: a.Spec.StartAt == nil && placeOf(a).Sub(a.CreationTimestamp.Time) < rebuildWindow,
	}
	in.Closed, in.Stopped = AutoClosedReason(a)
	return in
}

// autoSince returns the place of an auto-assignment in the order of a target's intents. It is the
// latest of: the place of the auto-assignment itself, the creation of the target, and the time when
// it started to select the target after a change of either. If it has a startAt, the creation of a
// target that was created together with it does not count: in a cluster that is rebuilt from Git
// all targets are new, and an old set must not be newer for them than the sets of newer rollouts.
func autoSince(a *v1alpha1.AutoAssignment, t *v1alpha1.Target) time.Time {
	since := latest(placeOf(a), selectedSince(a, t))
	if a.Spec.StartAt != nil && !t.CreationTimestamp.After(a.CreationTimestamp.Add(rebuildWindow)) {
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

// Selecting returns the auto-assignments that have started and select the target as it is given,
// sorted by UID.
func (x *Index) Selecting(t *v1alpha1.Target) []*v1alpha1.AutoAssignment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []*v1alpha1.AutoAssignment
	for a := range x.started(t.Namespace) {
		if a.query.Matches(t) {
			list = append(list, a.object)
		}
	}
	slices.SortFunc(list, func(a, b *v1alpha1.AutoAssignment) int {
		return compareNames(string(a.Identity()), string(b.Identity()))
	})
	return list
}

// AutoClosedReason returns the reason why an auto-assignment offers nothing, and whether that is
// final. The spec takes precedence over the status.
func AutoClosedReason(a *v1alpha1.AutoAssignment) (closed eligibility.Reason, stopped bool) {
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
