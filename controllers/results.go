package controllers

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/goshawk-dev/goshawk/internal/intents"
)

// conflictPause is how long a controller waits for its cache after somebody else was faster.
const conflictPause = 50 * time.Millisecond

// retryConflict turns a lost race into another look: it is no error, and nobody needs to read of it.
func retryConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	return ctrl.Result{}, err
}

// ignoreTerminating drops the refusal to create something in a namespace that is being deleted: whoever wanted it goes, too, and is looked at again when it does.
func ignoreTerminating(err error) error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// untilSynced asks for another look while the index is not complete: nothing is decided before.
func untilSynced(index *intents.Index) time.Duration {
	if index.HasSynced() {
		return 0
	}
	return 100 * time.Millisecond
}
