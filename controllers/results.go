// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// conflictPause is how long a controller waits for its cache after somebody else was faster.
const conflictPause = 50 * time.Millisecond

// retryConflict turns a lost race into another look: it is no error, and nobody needs to read of
// it.
func retryConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	return ctrl.Result{}, err
}

// racePause is how long a controller waits after a race that its cache may take longer to learn of.
const racePause = time.Second

// quiet is a reconciler whose races are no errors: controller-runtime logs every error with its
// stack, and an error in the log is something to act on.
type quiet struct{ reconcile.Reconciler }

// Reconcile turns the end of the process into no error, and an error that consists of races alone
// into another reconcile.
func (q quiet) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	result, err := q.Reconciler.Reconcile(ctx, request)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return ctrl.Result{}, nil
	case isRace(err):
		return ctrl.Result{RequeueAfter: racePause}, nil
	default:
		return ctrl.Result{}, err
	}
}

// isRace reports whether everything in err comes from another writer that was faster: it has
// changed or deleted the object, or deletes the namespace. A kind that the API server does not know
// is none, although it answers "not found" for that, too.
func isRace(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, part := range joined.Unwrap() {
			if !isRace(part) {
				return false
			}
		}
		return true
	}
	if inner := errors.Unwrap(err); inner != nil {
		return isRace(inner)
	}
	isGone := apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
	return isGone || apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// ignoreTerminating drops the refusal to create something in a namespace that is being deleted:
// whoever wanted it goes, too, and is looked at again when it does.
func ignoreTerminating(err error) error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// untilSynced asks for another look while the index is not complete: nothing is decided before.
func untilSynced(index *fleet.Index) time.Duration {
	if index.HasSynced() {
		return 0
	}
	return 100 * time.Millisecond
}
