// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// SetupWithManager watches sets, their duplicates and modules, and the objects that deploy them.
// Changes of Targets reach a set only through its counters, after a delay.
func (r *DistributionSetReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Namespace == "" {
		return errors.New("--namespace is empty: set it to the namespace of the manager, which stores the record of invalidated sets")
	}
	return ctrl.NewControllerManagedBy(mgr).Named("distributionset").
		For(&v1alpha1.DistributionSet{}).
		Watches(&v1alpha1.DistributionSet{}, handler.EnqueueRequestsFromMapFunc(r.setDuplicates), builder.WithPredicates(affectsDuplicates)).
		Watches(&v1alpha1.SoftwareModule{}, handler.EnqueueRequestsFromMapFunc(r.setsOfModule), builder.WithPredicates(affectsSets)).
		Watches(&v1alpha1.Rollout{}, handler.EnqueueRequestsFromMapFunc(setOfUser), builder.WithPredicates(usedSetChanged)).
		Watches(&v1alpha1.AutoAssignment{}, handler.EnqueueRequestsFromMapFunc(setOfUser), builder.WithPredicates(usedSetChanged)).
		Watches(&v1alpha1.Target{}, handler.EnqueueRequestsFromMapFunc(setOfUser), builder.WithPredicates(usedSetChanged)).
		Watches(&v1alpha1.Target{}, r.targetEvents()).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4, NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}

// affectsDuplicates passes changes of a set that may affect its duplicates: it was created,
// deleted or invalidated.
var affectsDuplicates = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := e.ObjectOld.(*v1alpha1.DistributionSet), e.ObjectNew.(*v1alpha1.DistributionSet)
		return (old.Status.Invalidation == nil) != (now.Status.Invalidation == nil)
	},
}

// affectsSets passes changes of a module that may complete or lock a set, or make it incomplete.
var affectsSets = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := e.ObjectOld.(*v1alpha1.SoftwareModule), e.ObjectNew.(*v1alpha1.SoftwareModule)
		return old.UID != now.UID || old.Generation != now.Generation || old.Status.Locked != now.Status.Locked ||
			!equality.Semantic.DeepEqual(old.Status.Conditions, now.Status.Conditions)
	},
}

// usedSetChanged passes objects that start or stop to deploy a set, or deploy another set than
// before.
var usedSetChanged = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }, // at the start every set is reconciled
	UpdateFunc: func(e event.UpdateEvent) bool {
		return !slices.Equal(UsedSet(e.ObjectOld), UsedSet(e.ObjectNew)) ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	},
}

// setOfUser returns the set that an object deploys.
func setOfUser(_ context.Context, o client.Object) []reconcile.Request {
	return requestsFor(o.GetNamespace(), UsedSet(o))
}

// setsOfModule returns the sets that contain a module.
func (r *DistributionSetReconciler) setsOfModule(ctx context.Context, o client.Object) []reconcile.Request {
	return requestsFor(o.GetNamespace(), r.setsBy(ctx, o.GetNamespace(), SetByModule, o.GetName()))
}

// setDuplicates returns the other sets with the same identity.
func (r *DistributionSetReconciler) setDuplicates(ctx context.Context, o client.Object) []reconcile.Request {
	names := r.setsBy(ctx, o.GetNamespace(), SetByIdentity, SetIdentity(o)[0])
	return requestsFor(o.GetNamespace(), slices.DeleteFunc(names, func(name string) bool { return name == o.GetName() }))
}

func (r *DistributionSetReconciler) setsBy(ctx context.Context, namespace, index, value string) []string {
	var sets v1alpha1.DistributionSetList
	if err := r.Client.List(ctx, &sets, client.InNamespace(namespace), client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil // a cache fails to list only while it shuts down
	}
	names := make([]string, 0, len(sets.Items))
	for i := range sets.Items {
		names = append(names, sets.Items[i].Name)
	}
	return names
}

// targetEvents updates the counters with each change of a target. It enqueues the sets whose
// counters changed after a delay, so that several changes cause one reconcile.
func (r *DistributionSetReconciler) targetEvents() handler.EventHandler {
	wake := func(ctx context.Context, old, now *v1alpha1.Target, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range r.TargetChanged(ctx, old, now) {
			queue.AddAfter(request, countsInterval)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if e.IsInInitialList {
				r.counts.observe(nil, e.Object.(*v1alpha1.Target)) // at the start every set is reconciled
				return
			}
			wake(ctx, nil, e.Object.(*v1alpha1.Target), queue)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(ctx, e.ObjectOld.(*v1alpha1.Target), e.ObjectNew.(*v1alpha1.Target), queue)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(ctx, e.Object.(*v1alpha1.Target), nil, queue)
		},
	}
}

// TargetChanged counts one change of a target and returns the sets whose counters changed.
func (r *DistributionSetReconciler) TargetChanged(ctx context.Context, old, now *v1alpha1.Target) []reconcile.Request {
	sets, hashes := r.counts.observe(old, now)
	t := now
	if t == nil {
		t = old
	}
	for _, hash := range hashes {
		sets = append(sets, r.setsBy(ctx, t.Namespace, SetByContentHash, hash)...)
	}
	slices.Sort(sets)
	return requestsFor(t.Namespace, slices.Compact(sets))
}
