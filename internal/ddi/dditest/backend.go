// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dditest holds a Backend that answers what it is told and remembers
// what it was asked, for tests of the device API.
package dditest

import (
	"context"
	"sync"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Call is one question of the device API.
type Call struct {
	Method string
	Device ddi.Device
	Args   []any
}

// Backend is a script. Whatever Errors names by method fails.
type Backend struct {
	Tokens  map[ddi.Device]string
	Offer   ddi.Poll
	Action  ddi.Deployment
	Stance  ddi.Consent
	Module  ddi.Module
	Created bool
	Errors  map[string]error

	mu    sync.Mutex
	calls []Call
}

var _ ddi.Backend = (*Backend)(nil)

// Calls are all questions so far, without those for authorization.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Call(nil), b.calls...)
}

func (b *Backend) asked(method string, device ddi.Device, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, Call{method, device, args})
	return b.Errors[method]
}

// Authorize knows the devices in Tokens.
func (b *Backend) Authorize(_ context.Context, device ddi.Device, token string) error {
	if known, ok := b.Tokens[device]; !ok || known != token {
		return ddi.ErrUnauthorized
	}
	return b.Errors["Authorize"]
}

// Poll answers Offer.
func (b *Backend) Poll(_ context.Context, device ddi.Device, remoteAddr string) (ddi.Poll, error) {
	return b.Offer, b.asked("Poll", device, remoteAddr)
}

// Deployment answers Action.
func (b *Backend) Deployment(_ context.Context, device ddi.Device, id int32) (ddi.Deployment, error) {
	return b.Action, b.asked("Deployment", device, id)
}

// Installed answers Action.
func (b *Backend) Installed(_ context.Context, device ddi.Device, id int32) (ddi.Deployment, error) {
	return b.Action, b.asked("Installed", device, id)
}

// Cancel agrees.
func (b *Backend) Cancel(_ context.Context, device ddi.Device, id int32) error {
	return b.asked("Cancel", device, id)
}

// Feedback agrees.
func (b *Backend) Feedback(_ context.Context, device ddi.Device, id int32, feedback wire.Feedback) error {
	return b.asked("Feedback", device, id, feedback)
}

// CancelFeedback agrees.
func (b *Backend) CancelFeedback(_ context.Context, device ddi.Device, id int32, feedback wire.Feedback) error {
	return b.asked("CancelFeedback", device, id, feedback)
}

// Consent answers Stance.
func (b *Backend) Consent(_ context.Context, device ddi.Device, remoteAddr string) (ddi.Consent, error) {
	return b.Stance, b.asked("Consent", device, remoteAddr)
}

// Confirmation answers Action.
func (b *Backend) Confirmation(_ context.Context, device ddi.Device, id int32) (ddi.Deployment, error) {
	return b.Action, b.asked("Confirmation", device, id)
}

// ConfirmationFeedback agrees.
func (b *Backend) ConfirmationFeedback(_ context.Context, device ddi.Device, id int32, feedback wire.ConfirmationFeedback) error {
	return b.asked("ConfirmationFeedback", device, id, feedback)
}

// ActivateAutoConfirm agrees.
func (b *Backend) ActivateAutoConfirm(_ context.Context, device ddi.Device, request wire.ActivateAutoConfirm) error {
	return b.asked("ActivateAutoConfirm", device, request)
}

// DeactivateAutoConfirm agrees.
func (b *Backend) DeactivateAutoConfirm(_ context.Context, device ddi.Device) error {
	return b.asked("DeactivateAutoConfirm", device)
}

// Attributes agrees.
func (b *Backend) Attributes(_ context.Context, device ddi.Device, data wire.ConfigData) error {
	return b.asked("Attributes", device, data)
}

// ReportInstalled answers Created.
func (b *Backend) ReportInstalled(_ context.Context, device ddi.Device, name, version string) (bool, error) {
	return b.Created, b.asked("ReportInstalled", device, name, version)
}

// ArtifactFetched agrees.
func (b *Backend) ArtifactFetched(_ context.Context, device ddi.Device, moduleID string) error {
	return b.asked("ArtifactFetched", device, moduleID)
}

// Artifacts answers Module, if it has that id.
func (b *Backend) Artifacts(_ context.Context, device ddi.Device, moduleID string) (ddi.Module, error) {
	if moduleID != b.Module.ID {
		return ddi.Module{}, ddi.ErrNotFound
	}
	return b.Module, b.asked("Artifacts", device, moduleID)
}
