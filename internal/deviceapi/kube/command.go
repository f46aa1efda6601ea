// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Command returns an action as it was sent to its device.
func (b *Backend) Command(ctx context.Context, d deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	a := action.ByID(&s.target().Status, id)
	if a == nil && b.options.Replicated { // another replica may have created it
		if s, err = b.fresh(ctx, d, s); err != nil {
			return deviceapi.Deployment{}, err
		}
		a = action.ByID(&s.target().Status, id)
	}
	if a == nil || a.State == v1alpha1.ActionWaitingForConfirmation {
		return deviceapi.Deployment{}, deviceapi.ErrNotFound
	}
	return b.document(s, a)
}

// Acknowledge stores that the device has received the command of an action. For an action about
// which a report is stored, nothing is written.
func (b *Backend) Acknowledge(ctx context.Context, d deviceapi.Device, id int32, message string) error {
	t, err := b.find(d)
	if err != nil {
		return err
	}
	a := action.ByID(&t.Status, id)
	if a == nil && b.options.Replicated { // another replica may have created it
		s, err := b.stateOf(ctx, d)
		if err != nil {
			return err
		}
		if s, err = b.fresh(ctx, d, s); err != nil {
			return err
		}
		a = action.ByID(&s.target().Status, id)
	}
	switch {
	case a == nil, a.State == v1alpha1.ActionWaitingForConfirmation:
		return deviceapi.ErrNotFound
	case a.State.IsClosed():
		return deviceapi.ErrGone
	case !action.HasNoReport(a):
		return nil
	}
	return b.applyNow(ctx, client.ObjectKeyFromObject(t), decisive, action.Report{ID: id, Event: action.Start, Details: []string{message}})
}

// Refuse closes an action that the device cannot carry out, and creates it before if it is only
// offered.
func (b *Backend) Refuse(ctx context.Context, d deviceapi.Device, id int32, refusal deviceapi.Refusal) error {
	t, err := b.find(d)
	if err != nil {
		return err
	}
	created := false
	stored, err := b.update(ctx, client.ObjectKeyFromObject(t), decisive, func(w offer.World, status *v1alpha1.TargetStatus) error {
		created = false
		if o := offer.For(w); o.Intent != nil && o.ActionID == id {
			creation := o.Creation(w)
			creation.Confirm = false
			if action.Create(status, creation) != nil {
				created = true
			}
		}
		if !action.CloseAsRefused(status, id, refusal.Code, refusal.Message, w.Now) {
			return notRefused(action.ByID(status, id))
		}
		seen(status, w.Now)
		return nil
	})
	if err != nil {
		return err
	}
	if created {
		actionsStarted.Inc()
	}
	if a := action.ByID(&stored.Status, id); a != nil {
		actionsClosed.WithLabelValues(string(a.State)).Inc()
		b.recordFailure(stored, a)
	}
	return nil
}

// notRefused returns the error for an action that CloseAsRefused does not change.
func notRefused(a *v1alpha1.Action) error {
	switch {
	case a == nil, a.State == v1alpha1.ActionWaitingForConfirmation:
		return deviceapi.ErrNotFound
	case a.State.IsClosed():
		return deviceapi.ErrGone
	}
	return deviceapi.ErrNotAllowed
}
