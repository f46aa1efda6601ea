// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// readable skips objects that cannot be decoded: fields that could not be decoded must not be taken
// for absent, and such objects are never written. When a change makes an object decodable again, it
// is reconciled.
func readable[O client.Object](c client.Client, r reconcile.ObjectReconciler[O]) reconcile.Reconciler {
	return reconcile.AsReconciler(c, readableOnly[O]{r})
}

type readableOnly[O client.Object] struct{ reconcile.ObjectReconciler[O] }

// Reconcile reconciles an object that was decoded completely.
func (r readableOnly[O]) Reconcile(ctx context.Context, object O) (ctrl.Result, error) {
	if v1alpha1.UnreadableOf(object) != nil {
		return ctrl.Result{}, nil
	}
	return r.ObjectReconciler.Reconcile(ctx, object)
}
