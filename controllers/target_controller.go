// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

// TargetReconciler initializes the status of a target, records its own assignment, and applies
// pending changes to its open action while the device is offline.
type TargetReconciler struct {
	Client  client.Client
	Index   *fleet.Index
	Targets *targetstatus.Store
	Now     func() time.Time
}

// Reconcile reconciles one Target.
func (r *TargetReconciler) Reconcile(ctx context.Context, target *v1alpha1.Target) (ctrl.Result, error) {
	if !target.DeletionTimestamp.IsZero() || !r.Index.HasSynced() {
		return ctrl.Result{RequeueAfter: untilSynced(r.Index)}, nil
	}
	stored, err := r.Targets.Update(ctx, client.ObjectKeyFromObject(target), r.plan)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		return retryConflict(err)
	}
	if action.Open(&stored.Status) != nil { // a change that was just recorded, such as an assignment, may supersede it
		if stored, err = r.Targets.ApplyPending(ctx, client.ObjectKeyFromObject(target)); err != nil {
			return retryConflict(err)
		}
	}
	return ctrl.Result{RequeueAfter: r.recheck(stored)}, nil
}

// plan updates all fields of a target's status that this controller owns.
func (r *TargetReconciler) plan(w offer.World, status *v1alpha1.TargetStatus) error {
	t := w.Target
	firstReconcile(t, status, w.Now)
	targetstatus.NoteSelection(t, status, r.Index.SelectionFingerprint(t), w.Now)
	status.Assignment = offer.NoteAssignment(t.Spec.Assignment, status.Assignment, w.Now)
	targetstatus.NoteReady(t, status, r.Index.NamesWithControllerID(t.Namespace, t.ControllerID()), w.Now)
	setOrRemove(&status.Conditions, v1alpha1.ConditionAssigned, offer.Assigned(r.Index.World(t, w.Now))) // after the changes above
	status.ObservedGeneration = t.Generation
	setObservedGeneration(status.Conditions, t.Generation)
	return nil
}

// setObservedGeneration sets observedGeneration on all conditions, for example Consistent: kubectl
// wait ignores conditions of older generations.
func setObservedGeneration(conditions []metav1.Condition, generation int64) {
	for i := range conditions {
		conditions[i].ObservedGeneration = generation
	}
}

// firstReconcile sets the fields that the device API needs before it serves a target: an ID for the
// target, and a first action number that no earlier target of this name has used.
func firstReconcile(t *v1alpha1.Target, status *v1alpha1.TargetStatus, now time.Time) {
	status.ControllerID, status.UID = t.ControllerID(), t.Identity()
	if status.UpdateStatus == "" {
		status.UpdateStatus = v1alpha1.UpdateStatusUnknown
	}
	action.StartIDs(status, now)
}

// recheck returns when time alone changes the status of a target: a deadline of its open action,
// the message about its assignment, or the time since its last contact.
func (r *TargetReconciler) recheck(t *v1alpha1.Target) time.Duration {
	now := r.Now()
	var times []time.Time
	if a := action.Open(&t.Status); a != nil {
		times = append(times, action.ProgressDeadline(a), action.CancelDeadline(a), offer.For(r.Index.World(t, now)).Reason.Until)
	}
	if t.Spec.Assignment != nil {
		times = append(times, offer.AssignedUntil(r.Index.World(t, now)))
	}
	if seen := t.Status.LastSeen; seen != nil && now.Sub(seen.Time) < targetstatus.OfflineAfter {
		times = append(times, seen.Add(targetstatus.OfflineAfter))
	}
	times = slices.DeleteFunc(times, time.Time.IsZero)
	if len(times) == 0 {
		return 0
	}
	return max(slices.MinFunc(times, time.Time.Compare).Sub(now), time.Second)
}
