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

// readable keeps a reconciler away from objects that cannot be decoded: what is missing of them
// must not be taken for absent, and nothing is written to them. The change that makes one readable
// wakes its reconciler.
func readable[O client.Object](c client.Client, r reconcile.ObjectReconciler[O]) reconcile.Reconciler {
	return reconcile.AsReconciler(c, readableOnly[O]{r})
}

type readableOnly[O client.Object] struct{ reconcile.ObjectReconciler[O] }

// Reconcile looks at an object if it was decoded as a whole.
func (r readableOnly[O]) Reconcile(ctx context.Context, object O) (ctrl.Result, error) {
	if v1alpha1.UnreadableOf(object) != nil {
		return ctrl.Result{}, nil
	}
	return r.ObjectReconciler.Reconcile(ctx, object)
}
