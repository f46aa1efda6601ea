// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deviceapitest holds a Backend for tests of the device API. It returns configured values
// and records its calls.
package deviceapitest

import (
	"context"
	"sync"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Call is one call of a method of the Backend.
type Call struct {
	Method string
	Device deviceapi.Device
	Args   []any
}

// Backend returns its fields. A method whose name is in Errors returns that error.
type Backend struct {
	Tokens  map[deviceapi.Device]string
	Offer   deviceapi.State
	Action  deviceapi.Deployment
	Stance  deviceapi.Consent
	Module  deviceapi.Module
	Created bool
	Errors  map[string]error

	mu    sync.Mutex
	calls []Call
}

var _ deviceapi.Backend = (*Backend)(nil)

// Calls returns all calls so far, without those of Authorize.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Call(nil), b.calls...)
}

func (b *Backend) asked(method string, device deviceapi.Device, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, Call{method, device, args})
	return b.Errors[method]
}

// Authorize accepts the devices in Tokens with their tokens.
func (b *Backend) Authorize(_ context.Context, device deviceapi.Device, token string) error {
	if known, ok := b.Tokens[device]; !ok || known != token {
		return deviceapi.ErrUnauthorized
	}
	return b.Errors["Authorize"]
}

// State returns Offer.
func (b *Backend) State(_ context.Context, device deviceapi.Device, remoteAddr string) (deviceapi.State, error) {
	return b.Offer, b.asked("State", device, remoteAddr)
}

// Deployment returns Action.
func (b *Backend) Deployment(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	return b.Action, b.asked("Deployment", device, id)
}

// Installed returns Action.
func (b *Backend) Installed(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	return b.Action, b.asked("Installed", device, id)
}

// Cancel records the call.
func (b *Backend) Cancel(_ context.Context, device deviceapi.Device, id int32) error {
	return b.asked("Cancel", device, id)
}

// Report records the call.
func (b *Backend) Report(_ context.Context, device deviceapi.Device, report action.Report) error {
	return b.asked("Report", device, report)
}

// AnswerCancel records the call.
func (b *Backend) AnswerCancel(_ context.Context, device deviceapi.Device, report action.Report) error {
	return b.asked("AnswerCancel", device, report)
}

// Consent returns Stance.
func (b *Backend) Consent(_ context.Context, device deviceapi.Device, remoteAddr string) (deviceapi.Consent, error) {
	return b.Stance, b.asked("Consent", device, remoteAddr)
}

// Confirmation returns Action.
func (b *Backend) Confirmation(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	return b.Action, b.asked("Confirmation", device, id)
}

// Confirm records the call.
func (b *Backend) Confirm(_ context.Context, device deviceapi.Device, report action.Report) error {
	return b.asked("Confirm", device, report)
}

// ActivateAutoConfirm records the call.
func (b *Backend) ActivateAutoConfirm(_ context.Context, device deviceapi.Device, auto deviceapi.AutoConfirm) error {
	return b.asked("ActivateAutoConfirm", device, auto)
}

// DeactivateAutoConfirm records the call.
func (b *Backend) DeactivateAutoConfirm(_ context.Context, device deviceapi.Device) error {
	return b.asked("DeactivateAutoConfirm", device)
}

// Attributes records the call.
func (b *Backend) Attributes(_ context.Context, device deviceapi.Device, attributes deviceapi.Attributes) error {
	return b.asked("Attributes", device, attributes)
}

// ReportInstalled returns Created.
func (b *Backend) ReportInstalled(_ context.Context, device deviceapi.Device, name, version string) (bool, error) {
	return b.Created, b.asked("ReportInstalled", device, name, version)
}

// ArtifactFetched records the call.
func (b *Backend) ArtifactFetched(_ context.Context, device deviceapi.Device, moduleID string) error {
	return b.asked("ArtifactFetched", device, moduleID)
}

// Artifacts returns Module if it has that id, and otherwise ErrNotFound.
func (b *Backend) Artifacts(_ context.Context, device deviceapi.Device, moduleID string) (deviceapi.Module, error) {
	if moduleID != b.Module.ID {
		return deviceapi.Module{}, deviceapi.ErrNotFound
	}
	return b.Module, b.asked("Artifacts", device, moduleID)
}
