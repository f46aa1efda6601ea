// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
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
)

// TargetInventoryReconciler deletes inventories whose Target was deleted, so that no garbage
// collector is needed. It writes nothing else: the device API writes inventories.
type TargetInventoryReconciler struct {
	Client client.Client
	Live   client.Reader
	Index  *fleet.Index
	Now    func() time.Time
}

// Reconcile reconciles one TargetInventory.
func (r *TargetInventoryReconciler) Reconcile(ctx context.Context, i *v1alpha1.TargetInventory) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(i)
	if wait := untilSynced(r.Index); wait > 0 || !i.DeletionTimestamp.IsZero() || r.Index.Target(key) != nil {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if wait := restoreQuietPeriod - r.Now().Sub(i.CreationTimestamp.Time); wait > 0 { // a restore may create it before its Target
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if err := r.Live.Get(ctx, key, &v1alpha1.Target{}); !apierrors.IsNotFound(err) {
		return ctrl.Result{}, err
	}
	if err := r.Client.Delete(ctx, &v1alpha1.TargetInventory{ObjectMeta: *i.ObjectMeta.DeepCopy()}, client.Preconditions{UID: &i.UID}); client.IgnoreNotFound(err) != nil {
		return retryConflict(fmt.Errorf("delete TargetInventory %s: %w", i.Name, err))
	}
	logging.Decided(logf.FromContext(ctx), logging.Decision{Reason: deleted, To: deleted, Message: fmt.Sprintf("the inventory was deleted: there is no Target %s", i.Name)})
	return ctrl.Result{}, nil
}

// SetupWithManager watches Targets that are deleted, and inventories that exist at the start.
func (r *TargetInventoryReconciler) SetupWithManager(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("targetinventory").
		For(&v1alpha1.TargetInventory{}, builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(event.UpdateEvent) bool { return false }, DeleteFunc: func(event.DeleteEvent) bool { return false },
		})).
		Watches(&v1alpha1.Target{}, handler.Funcs{
			DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue rolloutQueue) {
				queue.Add(ctrl.Request{NamespacedName: types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: e.Object.GetName()}})
			},
		}).
		WithOptions(controller.Options{NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}
