package controllers

import (
	"context"
	"fmt"

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
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/intents"
)

// DeploymentGroupReconciler lets groups go whose Rollout is gone: it does for them what a garbage collector would, so that none is needed.
type DeploymentGroupReconciler struct {
	Client  client.Client
	Live    client.Reader
	Index   *intents.Index
	Tallies *Tallies
}

// Reconcile looks at one group.
func (r *DeploymentGroupReconciler) Reconcile(ctx context.Context, g *v1alpha1.DeploymentGroup) (ctrl.Result, error) {
	if wait := untilSynced(r.Index); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	orphaned, err := r.isOrphaned(ctx, g)
	if err != nil || !orphaned {
		return ctrl.Result{}, err
	}
	r.Tallies.Forget(client.ObjectKeyFromObject(g))
	return retryConflict(releaseGroup(ctx, r.Client, g))
}

// isOrphaned asks the API server, not the cache, before anything is let go.
func (r *DeploymentGroupReconciler) isOrphaned(ctx context.Context, g *v1alpha1.DeploymentGroup) (bool, error) {
	key := types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.Rollout}
	if owner := r.Index.Rollout(key); owner != nil && owner.UID == g.Spec.RolloutUID {
		return false, nil
	}
	var owner v1alpha1.Rollout
	err := r.Live.Get(ctx, key, &owner)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read rollout %s of deployment group %s: %w", key.Name, g.Name, err)
	}
	return owner.UID != g.Spec.RolloutUID, nil
}

// onlyDeletions lets through what is gone.
var onlyDeletions = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// SetupWithManager watches groups, and rollouts that vanish.
func (r *DeploymentGroupReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("deploymentgroup").
		For(&v1alpha1.DeploymentGroup{}).
		Watches(&v1alpha1.Rollout{}, handler.EnqueueRequestsFromMapFunc(r.groupsOf), builder.WithPredicates(onlyDeletions)).
		WithOptions(controller.Options{NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(quiet{readable(mgr.GetClient(), r)})
}

func (r *DeploymentGroupReconciler) groupsOf(_ context.Context, o client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, g := range r.Index.Groups(o.GetUID()) {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(g)})
	}
	return requests
}
