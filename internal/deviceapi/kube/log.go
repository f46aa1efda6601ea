// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

var deviceLog = logf.Log.WithName("device-api")

// logLimits limits the log lines that devices can cause.
type logLimits struct{ offers, failures *rate.Limiter }

func newLogLimits() logLimits {
	return logLimits{offers: rate.NewLimiter(100, 1000), failures: rate.NewLimiter(1, 10)}
}

// notOffered is the error for a request for an action that is not offered to the device. The
// response is "not found"; the log at V(1) contains the reason.
func notOffered(w offer.World, id int32) error {
	o := offer.For(w)
	given := "nothing"
	if o.Kind != offer.Nothing {
		given = fmt.Sprintf("%s of action %d", o.Kind, o.ActionID)
	}
	return fmt.Errorf("action %d is not offered, but %s (%s: %s): %w", id, given, o.Reason.Code, o.Reason.Message, deviceapi.ErrNotFound)
}

// logNothing logs at V(1) why the device is not offered an update that reaches it.
func (b *Backend) logNothing(s deviceState) {
	if log := deviceLog.V(1); log.Enabled() && s.offer.Reason.Code != offer.CodeNothingWanted && b.logLimits.offers.AllowN(s.world.Now, 1) {
		log.Info("Offered nothing", "target", s.key, "reason", s.offer.Reason.Code, "message", offer.For(s.world).Reason.Message)
	}
}

// logWithdrawn logs that an action was removed directly after its creation, because its source or
// its set was stopped. Without a cause, its source is paused.
func logWithdrawn(key types.NamespacedName, a *v1alpha1.Action, cause v1alpha1.CancelCause) {
	reason := string(cause)
	if reason == "" {
		reason = "HeldBack"
	}
	logging.Decided(deviceLog.WithValues("target", key, "action", a.ID), logging.Decision{Reason: reason, From: string(a.State), To: "Withdrawn",
		Message: fmt.Sprintf("the source or the set of action %d was stopped; the device does not get the action", a.ID)})
}

// logFailed logs an error that causes a 503, and returns it. A disconnected device and a conflict
// with another writer are not logged.
func (b *Backend) logFailed(key types.NamespacedName, err error) error {
	var unavailable deviceapi.Unavailable
	if errors.As(err, &unavailable) && !errors.Is(err, context.Canceled) && !apierrors.IsConflict(err) && b.logLimits.failures.Allow() {
		deviceLog.Error(err, "A write for a device failed; the device gets 503 and retries", "target", key)
	}
	return err
}
