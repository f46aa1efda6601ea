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
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// arrivalQuiet is how long nothing of a namespace must have been created before a group that no
// rollout owns is let go: a restore brings groups and rollouts one after the other, and status
// after its object.
const arrivalQuiet = time.Minute

// DeploymentGroupReconciler lets groups go whose Rollout is gone: it does for them what a garbage
// collector would, so that none is needed. A group is the only record of its members, so it stays
// while its rollout may still be on its way, as after a restore.
type DeploymentGroupReconciler struct {
	Client  client.Client
	Live    client.Reader
	Index   *fleet.Index
	Tallies *Tallies
	Now     func() time.Time

	bereaved bereaved
}

// Reconcile looks at one group.
func (r *DeploymentGroupReconciler) Reconcile(ctx context.Context, g *v1alpha1.DeploymentGroup) (ctrl.Result, error) {
	if wait := untilSynced(r.Index); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	isOwned, err := r.isOwned(ctx, g)
	if err != nil || isOwned {
		return ctrl.Result{}, err
	}
	if wait := r.patience(g); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	r.Tallies.Forget(client.ObjectKeyFromObject(g))
	return retryConflict(releaseGroup(ctx, r.Client, g))
}

// isOwned asks the API server, not the cache, before anything is let go.
func (r *DeploymentGroupReconciler) isOwned(ctx context.Context, g *v1alpha1.DeploymentGroup) (bool, error) {
	key := types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.Rollout}
	if !r.bereaved.has(g) && owns(r.Index.Rollout(key), g) { // the index may not have heard yet that the rollout is gone
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
	return owns(&owner, g), nil
}

// owns reports whether a group is in the care of a rollout: it belongs to its plan, or is a
// leftover of another one, which the rollout's controller deletes.
func owns(r *v1alpha1.Rollout, g *v1alpha1.DeploymentGroup) bool {
	return r != nil && (fleet.Exists(g, r) || g.Spec.RolloutUID == r.Identity())
}

// patience is how long a group that no rollout owns is kept for one that may come. One that has
// lost its rollout before the eyes of this process, or is being deleted, is not kept.
func (r *DeploymentGroupReconciler) patience(g *v1alpha1.DeploymentGroup) time.Duration {
	if !g.DeletionTimestamp.IsZero() || r.bereaved.has(g) {
		return 0
	}
	return arrivalQuiet - r.Now().Sub(r.Index.LastArrival(g.Namespace))
}

// bereaved remembers, by name, the uids of groups that have lost their rollout.
type bereaved struct {
	mu     sync.Mutex
	groups map[types.NamespacedName]types.UID
}

// note adds groups and drops those that are gone.
func (b *bereaved) note(groups []*v1alpha1.DeploymentGroup, index *fleet.Index) {
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

func (b *bereaved) has(g *v1alpha1.DeploymentGroup) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.groups[client.ObjectKeyFromObject(g)] == g.UID
}

// ownership lets through a rollout that is gone, and one that owns other groups than before.
var ownership = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := e.ObjectOld.(*v1alpha1.Rollout), e.ObjectNew.(*v1alpha1.Rollout)
		return old.UID != now.UID || old.Status.UID != now.Status.UID || planHash(old) != planHash(now)
	},
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// SetupWithManager watches groups, and rollouts that vanish or own other groups.
func (r *DeploymentGroupReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("deploymentgroup").
		For(&v1alpha1.DeploymentGroup{}).
		Watches(&v1alpha1.Rollout{}, r.naming(), builder.WithPredicates(ownership)).
		WithOptions(controller.Options{NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(quiet{readable(mgr.GetClient(), r)})
}

// naming looks again at the groups that name a rollout. Those of one that is gone have lost it,
// unless they were created for another one.
func (r *DeploymentGroupReconciler) naming() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue rolloutQueue) {
			enqueue(queue, r.Index.GroupsNaming(client.ObjectKeyFromObject(e.ObjectNew)))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue rolloutQueue) {
			lost := slices.DeleteFunc(r.Index.GroupsNaming(client.ObjectKeyFromObject(e.Object)), func(g *v1alpha1.DeploymentGroup) bool {
				return !owns(e.Object.(*v1alpha1.Rollout), g)
			})
			r.bereaved.note(lost, r.Index)
			enqueue(queue, lost)
		},
	}
}

func enqueue(queue rolloutQueue, groups []*v1alpha1.DeploymentGroup) {
	for _, g := range groups {
		queue.Add(requestFor(g))
	}
}
