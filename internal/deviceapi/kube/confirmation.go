// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// What the schema allows of an activation of auto-confirm, in characters.
const (
	maxInitiator = 64
	maxRemark    = 512
)

// Consent says whether the device agrees to updates by itself, and what waits for its word.
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

// Confirmation returns an action that waits for consent; the first fetch is its creation. Nothing
// starts by it, so the API server is not asked.
func (b *Backend) Confirmation(ctx context.Context, d deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	s, a, err := b.question(ctx, s, id)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	return b.document(s, a)
}

// question is the action that the device is asked about now; it is created if nobody has asked
// before.
func (b *Backend) question(ctx context.Context, s deviceState, id int32) (deviceState, *v1alpha1.Action, error) {
	switch {
	case s.offer.Kind != offer.Confirm || s.offer.ActionID != id:
		return s, nil, notOffered(s.offer, id)
	case s.offer.Action != nil:
		return s, s.offer.Action, nil
	}
	return b.created(ctx, s, id, offer.Confirm)
}

// ConfirmationFeedback takes somebody's word on an action that waits for it. A no is always taken;
// a yes only while the action may start.
func (b *Backend) ConfirmationFeedback(ctx context.Context, d deviceapi.Device, id int32, f wire.ConfirmationFeedback) error {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return err
	}
	a := action.ByID(&s.target().Status, id)
	if a == nil && s.offer.Kind == offer.Confirm && s.offer.ActionID == id { // announced, and answered without a look at it
		if s, a, err = b.question(ctx, s, id); err != nil {
			return err
		}
	}
	switch r := b.word(id, f); {
	case a == nil:
		return b.applyNow(ctx, s.key, ordinary, r)
	case a.State != v1alpha1.ActionWaitingForConfirmation:
		return notAwaited(a)
	case r.Event == action.Deny:
		return b.applyNow(ctx, s.key, ordinary, r)
	default:
		return b.agree(ctx, s, r)
	}
}

// notAwaited is the answer to a word on an action that does not wait for one.
func notAwaited(a *v1alpha1.Action) error {
	if a.State.IsClosed() {
		return deviceapi.ErrGone
	}
	return deviceapi.ErrNotFound
}

// word is somebody's answer in the words of the rules.
func (b *Backend) word(id int32, f wire.ConfirmationFeedback) action.Report {
	e := action.Deny
	if f.Confirmation == wire.Confirmed {
		e = action.Confirm
	}
	return action.Report{ID: id, Event: e, Stage: string(f.Confirmation), StatusCode: string(f.Code), Details: f.Details, Now: b.now()}
}

// agree stores the consent, with which the action starts, then looks at source and set past the
// cache as at a creation: what has been stopped meanwhile is closed, and what has been paused waits
// for consent again. The device is told neither way that it may start.
func (b *Backend) agree(ctx context.Context, s deviceState, r action.Report) error {
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

// refused is why there is nothing to agree to: it is closed, or held back.
func refused(status *v1alpha1.TargetStatus, id int32) error {
	if a := action.ByID(status, id); a != nil {
		return notAwaited(a)
	}
	return deviceapi.ErrNotFound
}

// verifyConfirmed takes back what has just been confirmed if its source or set no longer stands.
func (b *Backend) verifyConfirmed(ctx context.Context, key types.NamespacedName, t *v1alpha1.Target) error {
	a := action.Open(&t.Status)
	if a == nil || !action.IsSilent(a) {
		return nil
	}
	actionsStarted.Inc()
	err := b.verifyStillOffered(ctx, deviceState{key: key, world: b.index.World(t, b.now())}, a)
	if now := b.targets.Get(key); errors.Is(err, deviceapi.ErrNotFound) && now != nil {
		return refused(&now.Status, a.ID)
	}
	return err
}

// ActivateAutoConfirm makes the device agree to everything by itself, from what waits now on. A
// confirmation that turns out to be void takes nothing back of that: the action is closed, or waits
// until its source goes on.
func (b *Backend) ActivateAutoConfirm(ctx context.Context, d deviceapi.Device, request wire.ActivateAutoConfirm) error {
	t, err := b.find(d)
	if err != nil {
		return err
	}
	var confirmed bool
	key := types.NamespacedName{Namespace: t.Namespace, Name: t.Name}
	t, err = b.update(ctx, key, ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		if isActive(status.AutoConfirm) {
			return deviceapi.ErrConflict
		}
		at := metav1.NewTime(w.Now.Truncate(time.Second))
		status.AutoConfirm = &v1alpha1.AutoConfirmStatus{
			Active: true, Initiator: text.Clean(request.Initiator, maxInitiator), Remark: text.Clean(request.Remark, maxRemark), ActivatedAt: &at}
		seen(status, w.Now)
		var settled *v1alpha1.TargetStatus
		if settled, confirmed = offer.ApplyPending(w); confirmed {
			*status = *settled
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

// DeactivateAutoConfirm asks the device again. What has been agreed to stays so.
func (b *Backend) DeactivateAutoConfirm(ctx context.Context, d deviceapi.Device) error {
	t, err := b.find(d)
	if err != nil || t.Status.AutoConfirm == nil {
		return err
	}
	_, err = b.update(ctx, types.NamespacedName{Namespace: t.Namespace, Name: t.Name}, ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		status.AutoConfirm = nil
		seen(status, w.Now)
		return nil
	})
	return err
}
