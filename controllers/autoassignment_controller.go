// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// AutoAssignmentReconciler applies the decisions of internal/autoassignment. It never iterates over
// the fleet to assign updates: the device API computes the offers.
type AutoAssignmentReconciler struct {
	Client client.Client
	Index  *fleet.Index
	Counts *AutoCounts
	Events events.EventRecorder
	Now    func() time.Time

	statusThrottle statusThrottle
}

// Reconcile reconciles one AutoAssignment.
func (r *AutoAssignmentReconciler) Reconcile(ctx context.Context, a *v1alpha1.AutoAssignment) (ctrl.Result, error) {
	if !a.DeletionTimestamp.IsZero() || !r.Index.HasSynced() {
		return ctrl.Result{RequeueAfter: untilSynced(r.Index)}, nil
	}
	plan := autoassignment.Next(r.snapshot(a))
	if wait := r.counterDelay(a, plan.Status); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if err := r.writeStatus(ctx, a, plan); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	return ctrl.Result{RequeueAfter: plan.RecheckAfter}, nil
}

func (r *AutoAssignmentReconciler) snapshot(a *v1alpha1.AutoAssignment) autoassignment.Snapshot {
	key := client.ObjectKeyFromObject(a)
	s := autoassignment.Snapshot{
		Now:            r.Now(),
		AutoAssignment: a,
		Set:            r.Index.SetOf(a.Namespace, &a.Spec.Update),
		Overlaps:       map[string]int32{},
	}
	if err := r.Index.SelectionError(key); err != nil {
		s.SelectionError = fmt.Sprintf("spec.%v", err)
	}
	counts, shared := r.Counts.of(a)
	s.Counts = counts
	for _, other := range r.Index.AutoAssignments(a.Namespace) {
		if other.Status.State == v1alpha1.AutoAssignmentRunning && !eligibility.IsSameSubject(&other.Spec.Update, &a.Spec.Update) {
			s.Overlaps[other.Name] = shared[other.Name]
		}
	}
	return s
}

// writeStatus writes the status with the resource version that was read, and records the events
// after the write has succeeded.
func (r *AutoAssignmentReconciler) writeStatus(ctx context.Context, a *v1alpha1.AutoAssignment, plan autoassignment.Plan) error {
	if equality.Semantic.DeepEqual(a.Status, plan.Status) {
		return nil
	}
	next := a.DeepCopy()
	next.Status = plan.Status
	started := r.Now()
	if err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(a, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return fmt.Errorf("write status of auto-assignment %s: %w", a.Name, err)
	}
	r.statusThrottle.start(a.UID, started.Add(counterInterval(r.Now().Sub(started))))
	r.announce(ctx, a, plan)
	return nil
}

// announce announces what was stored: the events or, if there is none, a change of Ready.
func (r *AutoAssignmentReconciler) announce(ctx context.Context, obj *v1alpha1.AutoAssignment, plan autoassignment.Plan) {
	a := announcement{ctx: ctx, events: r.Events, object: obj, from: string(obj.Status.State), to: string(plan.Status.State)}
	for _, e := range plan.Events {
		a.event(e.Type, e.Reason, "AutoAssign", e.Message)
	}
	if ready := meta.FindStatusCondition(plan.Status.Conditions, v1alpha1.ConditionReady); ready != nil && !a.announced && readyReason(obj.Status.Conditions) != ready.Reason {
		a.log(ready.Reason, ready.Message)
	}
}

// SetupWithManager watches AutoAssignments and, through the index, their DistributionSets and
// Targets. Changes of Targets are delivered after a delay.
func (r *AutoAssignmentReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("autoassignment").
		For(&v1alpha1.AutoAssignment{}).
		WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			r.Index.Watch(func(old, now client.Object) { r.wake(queue, old, now) })
			return nil
		})).
		WithOptions(controller.Options{NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}

func (r *AutoAssignmentReconciler) wake(queue workqueue.TypedRateLimitingInterface[reconcile.Request], old, now client.Object) {
	changed := now
	if changed == nil {
		changed = old
	}
	switch changed.(type) {
	case *v1alpha1.Target, *v1alpha1.TargetInventory:
		if _, isSoftware := changed.(*v1alpha1.TargetInventory); isSoftware && (sameSoftware(old, now) || !r.Index.ReadsInventory(changed.GetNamespace())) {
			return
		}
		for _, key := range r.Counts.TargetChanged(client.ObjectKeyFromObject(changed)) {
			queue.AddAfter(reconcile.Request{NamespacedName: key}, reportDelay)
		}
	case *v1alpha1.AutoAssignment:
		if now == nil {
			r.Counts.forget(client.ObjectKeyFromObject(old))
		}
		for _, a := range r.Index.AutoAssignments(changed.GetNamespace()) {
			queue.Add(requestFor(a)) // the two may select a common target now, or no longer
		}
	case *v1alpha1.DistributionSet:
		for _, a := range r.Index.AutoAssignments(changed.GetNamespace()) {
			if a.Spec.Update.DistributionSet == changed.GetName() {
				queue.Add(requestFor(a))
			}
		}
	}
}

// counterDelay returns how long a write that changes only counters has to wait, or 0 to write now.
func (r *AutoAssignmentReconciler) counterDelay(a *v1alpha1.AutoAssignment, status v1alpha1.AutoAssignmentStatus) time.Duration {
	if equality.Semantic.DeepEqual(a.Status, status) || !equality.Semantic.DeepEqual(withoutAutoCounts(a.Status), withoutAutoCounts(status)) {
		return 0
	}
	return r.statusThrottle.left(a.UID, r.Now())
}

// withoutAutoCounts returns the status without its counters and without the messages that contain
// them.
func withoutAutoCounts(s v1alpha1.AutoAssignmentStatus) v1alpha1.AutoAssignmentStatus {
	s = *s.DeepCopy()
	s.Targets = nil
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	return s
}
