// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// auto is an auto-assignment with its compiled selection.
type auto struct {
	object *v1alpha1.AutoAssignment
	query  *query.Query
	err    error
	// removal takes the place of the set if the auto-assignment removes software.
	removal *eligibility.Set
}

// setIn returns the set that is offered, or what takes its place, or nil. The caller holds the lock
// of the index.
func (a *auto) setIn(x *Index) *eligibility.Set {
	if a.removal != nil {
		return a.removal
	}
	return x.facts[types.NamespacedName{Namespace: a.object.Namespace, Name: a.object.Spec.Update.DistributionSet}]
}

func (x *Index) setAutoAssignment(old, now client.Object) {
	x.noteAutoAssignment(old, now)
	x.tell(concernOfAutoAssignment(old, now))
}

// noteAutoAssignment applies a change of an auto-assignment.
func (x *Index) noteAutoAssignment(old, now client.Object) {
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
		x.autos[key] = &auto{a, present.query, present.err, present.removal}
		return
	}
	q, err := query.Compile(a.Spec.Selection, x.Software)
	x.autos[key] = &auto{a, q, err, x.removalOf(a.Namespace, &a.Spec.Update)}
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
	set := a.setIn(x)
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
func (x *Index) autoIntents(t *v1alpha1.Target, now time.Time) []*eligibility.Intent {
	var intents []*eligibility.Intent
	for a := range x.started(t.Namespace) {
		if !a.query.Matches(t) {
			continue
		}
		in := autoassignment.IntentOf(a.object, t, a.setIn(x))
		if in.Closed.IsZero() {
			in.Closed = rollout.WaitForRebuild(t, "auto-assignment "+a.object.Name, &in, x.candidates(t.Namespace), now)
		}
		intents = append(intents, &in)
	}
	return intents
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
