// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
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
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// reportDelay gathers the reports of many devices into one look at their rollout; edits of specs
// wait for nothing.
const reportDelay = 100 * time.Millisecond

// SetupWithManager watches all that may change a rollout's next step. All but the rollout itself is
// watched through the index, so that a reconcile never asks an index that has not heard yet of what
// woke it.
func (r *RolloutReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("rollout").
		For(&v1alpha1.Rollout{}).
		WatchesRawSource(source.Func(func(_ context.Context, queue rolloutQueue) error {
			r.Index.Watch(func(old, now client.Object) { r.wake(queue, old, now) })
			return nil
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(quiet{readable(mgr.GetClient(), r)})
}

type rolloutQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// wake looks again at the rollouts that a change concerns.
func (r *RolloutReconciler) wake(queue rolloutQueue, old, now client.Object) {
	any := now
	if any == nil {
		any = old
	}
	switch any := any.(type) {
	case *v1alpha1.Target:
		r.wakeForTarget(queue, asTarget(old), asTarget(now), any)
	case *v1alpha1.Rollout:
		queue.Add(requestFor(any))
		if r.concernsOthers(old, now) {
			r.joinCandidates.reconsider(any.Namespace)
			r.addRollouts(queue, any.Namespace, func(other *v1alpha1.Rollout) bool { return other.Name != any.Name })
		}
	case *v1alpha1.DeploymentGroup:
		if now == nil {
			r.Tallies.Forget(client.ObjectKeyFromObject(any))
		}
		if old == nil {
			r.wakeComparing(queue, any.Namespace)
		}
		r.addRollouts(queue, any.Namespace, func(other *v1alpha1.Rollout) bool {
			return other.Name == any.Spec.Rollout || other.Status.State == v1alpha1.RolloutStarting || // which waits for groups to give targets up
				hasGrown(old, now) && !rollout.IsOver(other)
		})
	case *v1alpha1.AutoAssignment:
		if before, ok := old.(*v1alpha1.AutoAssignment); !ok || now == nil || !fleet.OffersAlike(before, any) {
			r.addRollouts(queue, any.Namespace, func(other *v1alpha1.Rollout) bool { return !rollout.IsOver(other) })
		}
	case *v1alpha1.DistributionSet:
		r.joinCandidates.reconsider(any.Namespace)
		r.addRollouts(queue, any.Namespace, func(other *v1alpha1.Rollout) bool { return other.Spec.Update.DistributionSet == any.Name })
	}
}

func (r *RolloutReconciler) addRollouts(queue rolloutQueue, namespace string, concerned func(*v1alpha1.Rollout) bool) {
	for _, ro := range r.Index.Rollouts(namespace) {
		if concerned(ro) {
			queue.Add(requestFor(ro))
		}
	}
}

// wakeComparing wakes, after a delay, for a plan has many groups, the rollouts that may wait for
// what another one has planned.
func (r *RolloutReconciler) wakeComparing(queue rolloutQueue, namespace string) {
	for _, ro := range r.Index.Rollouts(namespace) {
		if ro.Status.Plan != nil && ro.Status.StartedAt == nil {
			queue.AddAfter(requestFor(ro), reportDelay)
		}
	}
}

// hasGrown reports whether targets joined a dynamic group: they may be taken from an older rollout.
func hasGrown(old, now client.Object) bool {
	before, was := old.(*v1alpha1.DeploymentGroup)
	after, is := now.(*v1alpha1.DeploymentGroup)
	return was && is && len(before.Spec.Targets) != len(after.Spec.Targets)
}

// concernsOthers reports whether a change of a rollout may change what its neighbors do: its spec
// or plan is another one, it has started, opened a group, stopped growing, ended or is going away,
// or it can or cannot start any more. Mere counts do not.
func (r *RolloutReconciler) concernsOthers(old, now client.Object) bool {
	before, ok := old.(*v1alpha1.Rollout)
	after, still := now.(*v1alpha1.Rollout)
	return !ok || !still || before.Generation != after.Generation || planHash(before) != planHash(after) ||
		before.Status.State != after.Status.State || openGroups(before) != openGroups(after) ||
		rollout.Grows(before, r.Now()) != rollout.Grows(after, r.Now()) ||
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

// wakeForTarget tallies a change of a target and wakes, after a delay, the rollouts whose counts
// changed; those without a plan when it may change whom they select; and dynamic ones that it may
// join, whatever it was that changed: an expression may ask for anything.
func (r *RolloutReconciler) wakeForTarget(queue rolloutQueue, old, now, any *v1alpha1.Target) {
	for _, key := range r.Tallies.TargetChanged(client.ObjectKeyFromObject(any)) {
		queue.AddAfter(reconcile.Request{NamespacedName: key}, reportDelay)
	}
	changed := changesSelection(old, now)
	for _, ro := range r.Index.Rollouts(any.Namespace) {
		switch {
		case ro.Status.Plan == nil && changed, now != nil && rollout.Grows(ro, r.Now()) && r.joinCandidates.consider(ro, r.Index, now, changed):
			queue.AddAfter(requestFor(ro), reportDelay)
		}
	}
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
