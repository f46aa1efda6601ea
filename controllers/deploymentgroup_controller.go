// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// restoreQuietPeriod is how long no object of a namespace must have been created before a group
// without a Rollout is released. A restore creates groups and Rollouts one after the other, and
// their status even later.
const restoreQuietPeriod = time.Minute

// DeploymentGroupReconciler removes the finalizer of groups whose Rollout was deleted, and deletes
// them, so that no garbage collector is needed. A group is the only record of its members. It is
// therefore kept while its Rollout may still be created, for example during a restore.
type DeploymentGroupReconciler struct {
	Client  client.Client
	Live    client.Reader
	Index   *fleet.Index
	Tallies *Tallies
	Now     func() time.Time

	orphanedGroups orphanedGroups
}

// Reconcile reconciles one DeploymentGroup.
func (r *DeploymentGroupReconciler) Reconcile(ctx context.Context, g *v1alpha1.DeploymentGroup) (ctrl.Result, error) {
	if wait := untilSynced(r.Index); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	isOwned, err := r.isOwned(ctx, g)
	if err != nil || isOwned {
		return ctrl.Result{}, err
	}
	if wait := r.gracePeriod(g); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	r.Tallies.Forget(client.ObjectKeyFromObject(g))
	if err := releaseGroup(ctx, r.Client, g); err != nil {
		return retryConflict(err)
	}
	logging.Decided(logf.FromContext(ctx), logging.Decision{Reason: deleted, From: string(g.Status.State), To: deleted,
		Message: fmt.Sprintf("the deployment group was deleted: there is no Rollout %s with uid %s", g.Spec.Rollout, g.Spec.RolloutUID)})
	return ctrl.Result{}, nil
}

// isOwned asks the API server, not the cache, because the group is released if it returns false.
func (r *DeploymentGroupReconciler) isOwned(ctx context.Context, g *v1alpha1.DeploymentGroup) (bool, error) {
	key := types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.Rollout}
	if !r.orphanedGroups.has(g) && owns(r.Index.Rollout(key), g) { // the index may not have seen the deletion of the rollout yet
		return true, nil
	}
	var owner v1alpha1.Rollout
	err := r.Live.Get(ctx, key, &owner)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read rollout %s of deployment group %s: %w", key.Name, g.Name, err)
	}
	// An owner that cannot be decoded may own the group. The group is reconciled again when the
	// owner is fixed or deleted.
	return owner.Unreadable != nil || owns(&owner, g), nil
}

// owns reports whether the group belongs to the plan of the Rollout, or to an earlier plan whose
// groups the Rollout's controller deletes.
func owns(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
	return r != nil && (grouping.BelongsTo(g, r) || g.Spec.RolloutUID == r.Identity())
}

// gracePeriod returns how long to keep a group without a Rollout in case the Rollout is restored. A
// group is not kept if it is being deleted, or if this process saw the deletion of its Rollout.
func (r *DeploymentGroupReconciler) gracePeriod(g *v1alpha1.DeploymentGroup) time.Duration {
	if !g.DeletionTimestamp.IsZero() || r.orphanedGroups.has(g) {
		return 0
	}
	return restoreQuietPeriod - r.Now().Sub(r.Index.LastArrival(g.Namespace))
}

// orphanedGroups holds, by name, the UIDs of groups whose Rollout was deleted while this process
// was running.
type orphanedGroups struct {
	mu     sync.Mutex
	groups map[types.NamespacedName]types.UID
}

// update adds groups, and drops those that no longer exist.
func (b *orphanedGroups) update(groups []*v1alpha1.DeploymentGroup, index *fleet.Index) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.groups, func(key types.NamespacedName, uid types.UID) bool {
		g := index.Group(key)
		return g == nil || g.UID != uid
	})
	if b.groups == nil {
		b.groups = map[types.NamespacedName]types.UID{}
	}
	for _, g := range groups {
		b.groups[client.ObjectKeyFromObject(g)] = g.UID
	}
}

func (b *orphanedGroups) has(g *v1alpha1.DeploymentGroup) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.groups[client.ObjectKeyFromObject(g)] == g.UID
}

// ownership passes deletions of Rollouts, and updates that change which groups a Rollout owns.
var ownership = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := e.ObjectOld.(*v1alpha1.Rollout), e.ObjectNew.(*v1alpha1.Rollout)
		return old.UID != now.UID || old.Status.UID != now.Status.UID || planHash(old) != planHash(now) || old.Unreadable != nil && now.Unreadable == nil
	},
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// SetupWithManager watches DeploymentGroups, and Rollouts that are deleted or own other groups than
// before.
func (r *DeploymentGroupReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("deploymentgroup").
		For(&v1alpha1.DeploymentGroup{}).
		Watches(&v1alpha1.Rollout{}, r.groupEvents(), builder.WithPredicates(ownership)).
		WithOptions(controller.Options{NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}

// groupEvents enqueues the groups that name a changed Rollout. If the Rollout was deleted, it
// records that these groups have lost it, except groups of another Rollout with the same name.
func (r *DeploymentGroupReconciler) groupEvents() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue rolloutQueue) {
			enqueue(queue, r.Index.GroupsNaming(client.ObjectKeyFromObject(e.ObjectNew)))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue rolloutQueue) {
			lost := slices.DeleteFunc(r.Index.GroupsNaming(client.ObjectKeyFromObject(e.Object)), func(g *v1alpha1.DeploymentGroup) bool {
				return !owns(e.Object.(*v1alpha1.Rollout), g)
			})
			r.orphanedGroups.update(lost, r.Index)
			enqueue(queue, lost)
		},
	}
}

func enqueue(queue rolloutQueue, groups []*v1alpha1.DeploymentGroup) {
	for _, g := range groups {
		queue.Add(requestFor(g))
	}
}
