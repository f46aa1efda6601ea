// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Limits of the schema for an activation of auto-confirm, in characters.
const (
	maxInitiator = 64
	maxRemark    = 512
)

// Consent returns whether the device confirms updates automatically, and which action waits for
// confirmation.
func (b *Backend) Consent(ctx context.Context, d deviceapi.Device, remoteAddr string) (deviceapi.Consent, error) {
	s, err := b.recordContact(ctx, d, remoteAddr)
	if err != nil {
		return deviceapi.Consent{}, err
	}
	var c deviceapi.Consent
	if auto := s.target().Status.AutoConfirm; isActive(auto) {
		c = deviceapi.Consent{Active: true, Initiator: auto.Initiator, Remark: auto.Remark, ActivatedAt: timeOf(auto.ActivatedAt)}
	}
	if s.offer.Kind == offer.Confirm {
		c.ConfirmID, c.CacheBuster = s.offer.ActionID, cacheBuster(s)
	}
	return c, nil
}

func isActive(auto *v1alpha1.AutoConfirmStatus) bool { return auto != nil && auto.Active }

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// Confirmation returns an action that waits for confirmation. The first request creates it. It does
// not start the action, so nothing is read from the API server.
func (b *Backend) Confirmation(ctx context.Context, d deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	s, a, isNew, err := b.waitingAction(ctx, s, id)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	doc, err := b.document(s, a)
	doc.Created = isNew && err == nil
	return doc, err
}

// waitingAction returns the action that waits for confirmation, and creates it if it does not exist
// yet; then isNew is true.
func (b *Backend) waitingAction(ctx context.Context, s deviceState, id int32) (after deviceState, a *v1alpha1.Action, isNew bool, err error) {
	switch {
	case s.offer.Kind != offer.Confirm || s.offer.ActionID != id:
		return s, nil, false, notOffered(s.world, id)
	case s.offer.Action != nil:
		return s, s.offer.Action, false, nil
	}
	return b.created(ctx, s, id, offer.Confirm)
}

// Confirm stores the answer to a confirmation. A denial is always accepted, a
// confirmation only while the action may start.
func (b *Backend) Confirm(ctx context.Context, d deviceapi.Device, r action.Report) error {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return err
	}
	a := action.ByID(&s.target().Status, r.ID)
	if a == nil && !s.offers(offer.Confirm, r.ID) {
		if s, err = b.fresh(ctx, d, s); err != nil {
			return err
		}
		a = action.ByID(&s.target().Status, r.ID)
	}
	if a == nil && s.offers(offer.Confirm, r.ID) { // offered, and answered before the device has fetched it
		if s, a, _, err = b.waitingAction(ctx, s, r.ID); err != nil {
			return err
		}
	}
	switch {
	case a == nil:
		return b.applyNow(ctx, s.key, ordinary, r)
	case a.State != v1alpha1.ActionWaitingForConfirmation:
		return notAwaited(a)
	case r.Event == action.Deny:
		return b.applyNow(ctx, s.key, ordinary, r)
	default:
		return b.storeConfirmation(ctx, s, r)
	}
}

// notAwaited returns the error for an answer to an action that does not wait for confirmation.
func notAwaited(a *v1alpha1.Action) error {
	if a.State.IsClosed() {
		return deviceapi.ErrGone
	}
	return deviceapi.ErrNotFound
}

// storeConfirmation stores the confirmation, with which the action starts. Then it reads source and
// set from the API server as for a new action: if they were stopped, the action is closed, and if
// they were paused, it waits for confirmation again. In both cases the device is not asked to
// start.
func (b *Backend) storeConfirmation(ctx context.Context, s deviceState, r action.Report) error {
	t, err := b.update(ctx, s.key, decisive, func(w offer.World, status *v1alpha1.TargetStatus) error {
		r.Now = w.Now
		if o := offer.For(w); o.Kind != offer.Confirm || o.ActionID != r.ID {
			return refused(status, r.ID)
		}
		action.Apply(status, r)
		seen(status, w.Now)
		return nil
	})
	if err != nil {
		return err
	}
	return b.verifyConfirmed(ctx, s.key, t)
}

// refused returns why an action cannot be confirmed: it is closed, or its source is held.
func refused(status *v1alpha1.TargetStatus, id int32) error {
	if a := action.ByID(status, id); a != nil {
		return notAwaited(a)
	}
	return deviceapi.ErrNotFound
}

// verifyConfirmed undoes a confirmation if its source or set was stopped.
func (b *Backend) verifyConfirmed(ctx context.Context, key types.NamespacedName, t *v1alpha1.Target) error {
	a := action.Open(&t.Status)
	if a == nil || !action.HasNoReport(a) {
		return nil
	}
	actionsStarted.Inc()
	err := b.verifyStillOffered(ctx, deviceState{key: key, world: b.index.World(t, b.now())}, a)
	if now := b.targets.Get(key); errors.Is(err, deviceapi.ErrNotFound) && now != nil {
		return refused(&now.Status, a.ID)
	}
	return err
}

// ActivateAutoConfirm makes the device confirm all updates automatically, including the one that
// waits now. If that confirmation must be undone, auto-confirm stays active: the action is closed,
// or waits until its source continues.
func (b *Backend) ActivateAutoConfirm(ctx context.Context, d deviceapi.Device, auto deviceapi.AutoConfirm) error {
	t, err := b.findAutoConfirm(ctx, d, true)
	if err != nil {
		return err
	}
	var confirmed bool
	key := client.ObjectKeyFromObject(t)
	t, err = b.update(ctx, key, ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		if isActive(status.AutoConfirm) {
			return deviceapi.ErrConflict
		}
		at := metav1.NewTime(w.Now.Truncate(time.Second))
		status.AutoConfirm = &v1alpha1.AutoConfirmStatus{
			Active: true, Initiator: text.Clean(auto.Initiator, maxInitiator), Remark: text.Clean(auto.Remark, maxRemark), ActivatedAt: &at}
		seen(status, w.Now)
		var next *v1alpha1.TargetStatus
		if next, confirmed = offer.ApplyPending(w); confirmed {
			*status = *next
		}
		return nil
	})
	if err != nil || !confirmed {
		return err
	}
	if err := b.verifyConfirmed(ctx, key, t); err != nil && !errors.Is(err, deviceapi.ErrNotFound) && !errors.Is(err, deviceapi.ErrGone) {
		return err
	}
	return nil
}

// DeactivateAutoConfirm ends auto-confirm. Confirmed actions stay confirmed.
func (b *Backend) DeactivateAutoConfirm(ctx context.Context, d deviceapi.Device) error {
	t, err := b.findAutoConfirm(ctx, d, false)
	if err != nil || t.Status.AutoConfirm == nil {
		return err
	}
	_, err = b.update(ctx, client.ObjectKeyFromObject(t), ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		status.AutoConfirm = nil
		seen(status, w.Now)
		return nil
	})
	return err
}

// findAutoConfirm is find for a request to activate or deactivate auto-confirm. If the target seems
// to be in that state already, it is read again, because another replica may have changed it.
func (b *Backend) findAutoConfirm(ctx context.Context, d deviceapi.Device, activate bool) (*v1alpha1.Target, error) {
	t, err := b.find(d)
	if err != nil || isActive(t.Status.AutoConfirm) != activate {
		return t, err
	}
	if read, err := b.reload(ctx, client.ObjectKeyFromObject(t)); err != nil || !read {
		return t, err
	}
	return b.find(d)
}
