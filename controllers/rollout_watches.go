// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/inventory"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// reportDelay is the delay after a report of a device, so that many reports cause one reconcile of
// their rollout. Changes of a spec are not delayed.
const reportDelay = 100 * time.Millisecond

// SetupWithManager watches all objects that may change the plan of a rollout. All except the
// Rollout itself are watched through the index, so that a reconcile never uses an index that has
// not seen the change that caused it.
func (r *RolloutReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("rollout").
		For(&v1alpha1.Rollout{}).
		WatchesRawSource(source.Func(func(_ context.Context, queue rolloutQueue) error {
			r.Index.Watch(func(old, now client.Object) { r.wake(queue, old, now) })
			return nil
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}

type rolloutQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// wake enqueues the rollouts that a change may affect.
func (r *RolloutReconciler) wake(queue rolloutQueue, old, now client.Object) {
	object := now
	if object == nil {
		object = old
	}
	switch object := object.(type) {
	case *v1alpha1.Target:
		r.wakeForTarget(queue, asTarget(old), asTarget(now), object)
	case *v1alpha1.TargetInventory:
		r.wakeForInventory(queue, old, now, object)
	case *v1alpha1.Rollout:
		queue.Add(requestFor(object))
		if r.affectsOthers(old, now) {
			r.joinCandidates.reconsider(object.Namespace)
			r.addRollouts(queue, object.Namespace, func(other *v1alpha1.Rollout) bool { return other.Name != object.Name })
		}
	case *v1alpha1.DeploymentGroup:
		if now == nil {
			r.Tallies.Forget(client.ObjectKeyFromObject(object))
		}
		if old == nil {
			r.wakeRolloutsBeforeStart(queue, object.Namespace)
		}
		r.addRollouts(queue, object.Namespace, func(other *v1alpha1.Rollout) bool {
			return other.Name == object.Spec.Rollout || other.Status.State == v1alpha1.RolloutStarting || // it waits for groups to give up targets
				hasGrown(old, now) && !rollout.IsOver(other)
		})
	case *v1alpha1.AutoAssignment:
		if before, ok := old.(*v1alpha1.AutoAssignment); !ok || now == nil || !autoassignment.OffersSame(before, object) {
			r.addRollouts(queue, object.Namespace, func(other *v1alpha1.Rollout) bool { return !rollout.IsOver(other) })
		}
	case *v1alpha1.DistributionSet:
		r.joinCandidates.reconsider(object.Namespace)
		r.addRollouts(queue, object.Namespace, func(other *v1alpha1.Rollout) bool { return other.Spec.Update.DistributionSet == object.Name })
	}
}

func (r *RolloutReconciler) addRollouts(queue rolloutQueue, namespace string, concerned func(*v1alpha1.Rollout) bool) {
	for _, ro := range r.Index.Rollouts(namespace) {
		if concerned(ro) {
			queue.Add(requestFor(ro))
		}
	}
}

// wakeRolloutsBeforeStart enqueues the rollouts that may wait for the plan of another rollout,
// after a delay, because a plan has many groups.
func (r *RolloutReconciler) wakeRolloutsBeforeStart(queue rolloutQueue, namespace string) {
	for _, ro := range r.Index.Rollouts(namespace) {
		if ro.Status.Plan != nil && ro.Status.StartedAt == nil {
			queue.AddAfter(requestFor(ro), reportDelay)
		}
	}
}

// hasGrown reports whether targets joined a dynamic group. These may be targets of an older
// rollout.
func hasGrown(old, now client.Object) bool {
	before, was := old.(*v1alpha1.DeploymentGroup)
	after, is := now.(*v1alpha1.DeploymentGroup)
	return was && is && len(before.Spec.Targets) != len(after.Spec.Targets)
}

// affectsOthers reports whether a change of a rollout may affect other rollouts: its spec or plan
// has changed, it has started, opened a group, stopped growing, ended or is being deleted, or it
// became able or unable to start. A change of counters alone does not.
func (r *RolloutReconciler) affectsOthers(old, now client.Object) bool {
	before, ok := old.(*v1alpha1.Rollout)
	after, still := now.(*v1alpha1.Rollout)
	return !ok || !still || before.Generation != after.Generation || planHash(before) != planHash(after) ||
		before.Status.State != after.Status.State || openGroups(before) != openGroups(after) ||
		rollout.AcceptsTargets(before, r.Now()) != rollout.AcceptsTargets(after, r.Now()) ||
		before.Status.StartedAt == nil && isStalled(before) != isStalled(after) ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero()
}

func isStalled(r *v1alpha1.Rollout) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionStalled)
}

func planHash(r *v1alpha1.Rollout) string {
	if r.Status.Plan == nil {
		return ""
	}
	return r.Status.Plan.Hash
}

// wakeForTarget counts a change of a target and enqueues, after a delay: the rollouts whose
// counters changed; rollouts without a plan, if the change may affect their selection; and dynamic
// rollouts that the target may join. For these every change counts, because a selection expression
// may use any field.
func (r *RolloutReconciler) wakeForTarget(queue rolloutQueue, old, now, object *v1alpha1.Target) {
	for _, key := range r.Tallies.TargetChanged(client.ObjectKeyFromObject(object)) {
		queue.AddAfter(reconcile.Request{NamespacedName: key}, reportDelay)
	}
	changed := changesSelection(old, now)
	for _, ro := range r.Index.Rollouts(object.Namespace) {
		switch {
		case ro.Status.Plan == nil && changed, now != nil && rollout.AcceptsTargets(ro, r.Now()) && r.joinCandidates.consider(ro, r.Index, now, changed):
			queue.AddAfter(requestFor(ro), reportDelay)
		}
	}
}

// wakeForInventory enqueues, after a delay: the rollouts whose counters changed, because a removal
// has nothing to do on the target, or something again, or because an auto-assignment has reached
// it; rollouts without a plan that may select the target by its software; and dynamic rollouts that
// it may join now. Only expressions that read software are evaluated again.
func (r *RolloutReconciler) wakeForInventory(queue rolloutQueue, old, now client.Object, object *v1alpha1.TargetInventory) {
	key := client.ObjectKeyFromObject(object)
	for _, rollout := range r.Tallies.TargetChanged(key) {
		queue.AddAfter(reconcile.Request{NamespacedName: rollout}, reportDelay)
	}
	t := r.Index.Target(key)
	if t == nil || sameSoftware(old, now) {
		return
	}
	for _, ro := range r.Index.Rollouts(t.Namespace) {
		if mentionsSoftware(ro) && (ro.Status.Plan == nil || rollout.AcceptsTargets(ro, r.Now()) && r.joinCandidates.consider(ro, r.Index, t, true)) {
			queue.AddAfter(requestFor(ro), reportDelay)
		}
	}
}

// mentionsSoftware reports whether an expression of a rollout may read software, without compiling
// it.
func mentionsSoftware(r *v1alpha1.Rollout) bool {
	mentions := func(expression string) bool {
		return strings.Contains(expression, "software") || strings.Contains(expression, "context")
	}
	return mentions(r.Spec.TargetExpression) || slices.ContainsFunc(r.Spec.Groups, func(g v1alpha1.Group) bool { return mentions(g.TargetExpression) })
}

func sameSoftware(old, now client.Object) bool {
	before, _ := old.(*v1alpha1.TargetInventory)
	after, _ := now.(*v1alpha1.TargetInventory)
	return inventory.SameSoftware(before, after)
}

func changesSelection(old, now *v1alpha1.Target) bool {
	return old == nil || now == nil || old.Generation != now.Generation ||
		!equality.Semantic.DeepEqual(old.Labels, now.Labels) || !equality.Semantic.DeepEqual(old.Status.Attributes, now.Status.Attributes)
}

func asTarget(o client.Object) *v1alpha1.Target {
	t, _ := o.(*v1alpha1.Target)
	return t
}

func requestFor(o client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)}
}
