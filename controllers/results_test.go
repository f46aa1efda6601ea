// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// TestARaceIsNoError: an error is logged with a stack trace, so only errors that need action are
// returned.
func TestARaceIsNoError(t *testing.T) {
	groups := schema.GroupResource{Group: "goshawk.dev", Resource: "deploymentgroups"}
	conflict, gone := apierrors.NewConflict(groups, "a", errors.New("changed")), apierrors.NewNotFound(groups, "a")
	terminating := apierrors.NewForbidden(groups, "a", errors.New("it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	unknownKind := apierrors.NewGenericServerResponse(404, "patch", groups, "a", "404 page not found", 0, true)
	forbidden := apierrors.NewForbidden(groups, "a", errors.New("no right"))
	wrapped := func(err error) error { return fmt.Errorf("write status of deployment group a: %w", err) }
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, story := range map[string]struct {
		ctx    context.Context
		err    error
		logged bool
	}{
		"no error":                                      {ctx: t.Context()},
		"another writer was faster":                     {ctx: t.Context(), err: wrapped(conflict)},
		"the object was deleted":                        {ctx: t.Context(), err: wrapped(gone)},
		"the namespace is being deleted":                {ctx: t.Context(), err: wrapped(terminating)},
		"several races":                                 {ctx: t.Context(), err: errors.Join(wrapped(conflict), errors.Join(wrapped(gone)))},
		"a race and a missing permission":               {ctx: t.Context(), err: errors.Join(wrapped(conflict), wrapped(forbidden)), logged: true},
		"a missing permission":                          {ctx: t.Context(), err: wrapped(forbidden), logged: true},
		"the kind is not installed":                     {ctx: t.Context(), err: wrapped(unknownKind), logged: true},
		"the API server does not respond":               {ctx: t.Context(), err: wrapped(context.DeadlineExceeded), logged: true},
		"the process ends":                              {ctx: stopped, err: wrapped(context.Canceled)},
		"a call is aborted because the process ends":    {ctx: stopped, err: wrapped(errors.New("client rate limiter Wait returned an error"))},
		"a call is aborted while the process continues": {ctx: t.Context(), err: wrapped(context.Canceled), logged: true},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := ignoreRaces{reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) { return ctrl.Result{}, story.err })}.Reconcile(story.ctx, ctrl.Request{})
			if logged := err != nil; logged != story.logged {
				t.Errorf("the error is %v", err)
			}
			if again := result.RequeueAfter > 0; again != (story.err != nil && !story.logged && story.ctx.Err() == nil) {
				t.Errorf("another reconcile after %s", result.RequeueAfter)
			}
		})
	}
}
