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

// conflictRetryDelay is how long a controller waits for its cache after another client changed the
// object first.
const conflictRetryDelay = 50 * time.Millisecond

// retryConflict turns a conflict into another reconcile, because a conflict is expected and needs
// no error in the log.
func retryConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictRetryDelay}, nil
	}
	return ctrl.Result{}, err
}

// raceRetryDelay is how long a controller waits after a race that its cache may take longer to
// show.
const raceRetryDelay = time.Second

// ignoreRaces is a reconciler that does not return races as errors: controller-runtime logs each
// error with a stack trace, and the log should contain only errors that need action.
type ignoreRaces struct{ reconcile.Reconciler }

// Reconcile returns no error when the process ends, and requests another reconcile for an error
// that consists only of races.
func (q ignoreRaces) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	result, err := q.Reconciler.Reconcile(ctx, request)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return ctrl.Result{}, nil //nolint:nilerr // the process ends: this is no error
	case isRace(err):
		return ctrl.Result{RequeueAfter: raceRetryDelay}, nil
	default:
		return ctrl.Result{}, err
	}
}

// isRace reports whether all errors in err come from another writer: it changed or deleted the
// object, or deletes the namespace. A kind that the API server does not know is not a race,
// although the API server returns "not found" for it as well.
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

// ignoreTerminating drops the error of a create in a namespace that is being deleted. The object
// that caused the create is deleted as well, and is reconciled then.
func ignoreTerminating(err error) error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// untilSynced returns the requeue delay while the index is not complete, because nothing may be
// decided before.
func untilSynced(index *fleet.Index) time.Duration {
	if index.HasSynced() {
		return 0
	}
	return 100 * time.Millisecond
}
