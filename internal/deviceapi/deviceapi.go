// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deviceapi holds what every protocol of the device API needs, and no wire format: devices,
// the Backend that serves them, and its errors. A protocol, such as DDI in internal/ddi, translates
// between its wire format and these types. It contains no rule about updates.
package deviceapi

import (
	"context"

	"github.com/goshawk-dev/goshawk/internal/action"
)

// Device is the identity that a device sends. Both ids are not empty, contain no white space and no
// control characters, and have at most 256 characters. Namespace is in lower case. Nothing else is
// known about a device before Authorize has accepted it.
type Device struct{ Namespace, ControllerID string }

// Namespaces returns the backend that serves a namespace. The error is ErrNotServed for a namespace
// that this device API does not serve, and Unavailable for one that it cannot serve at present. It
// is called for each request, before the device is authorized, and returns without waiting.
type Namespaces func(namespace string) (Backend, error)

// Backend serves the requests of devices for all protocols of the device API.
//
// Its methods are called concurrently. All of them except Authorize are called only for a device
// that has been authorized. They return one of the errors of this package. Any other error is a
// failure of the device API: it is logged, and not sent to the device. The id of an action is
// between 1 and 2147483647.
type Backend interface {
	// Authorize returns ErrUnauthorized both for an unknown device and for a wrong token, and
	// compares in constant time.
	Authorize(ctx context.Context, device Device, token string) error

	// State returns what the device should do next. Idle devices call it at every poll, so it
	// writes nothing when nothing has changed. remoteAddr is an IP address without port, or empty.
	State(ctx context.Context, device Device, remoteAddr string) (State, error)

	// Deployment returns an open action. The first call creates it: when it returns without error,
	// the action has started and is stored.
	Deployment(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Installed returns a closed action as it was offered.
	Installed(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Cancel returns nil if the cancel of the action is offered to the device, and otherwise
	// ErrNotFound.
	Cancel(ctx context.Context, device Device, actionID int32) error

	// Report processes a report on an action. A result is stored when it returns. The backend sets
	// report.Now, as in AnswerCancel and Confirm.
	Report(ctx context.Context, device Device, report action.Report) error

	// AnswerCancel processes the answer to a cancel. The answer is stored when AnswerCancel
	// returns.
	AnswerCancel(ctx context.Context, device Device, report action.Report) error

	// Consent returns whether the device confirms updates automatically, and the action that waits
	// for confirmation. The contact is recorded as by State.
	Consent(ctx context.Context, device Device, remoteAddr string) (Consent, error)

	// Confirmation returns an action that waits for confirmation. The first call creates the
	// action, but does not start it.
	Confirmation(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Confirm processes a report with action.Confirm, which starts the action, or action.Deny,
	// after which the action still waits. The report is stored when Confirm returns.
	Confirm(ctx context.Context, device Device, report action.Report) error

	// ActivateAutoConfirm makes the device confirm all updates automatically, including the one
	// that waits now. It returns ErrConflict if auto-confirm is active already.
	ActivateAutoConfirm(ctx context.Context, device Device, auto AutoConfirm) error

	// DeactivateAutoConfirm makes updates wait for confirmation again, from the next one on.
	DeactivateAutoConfirm(ctx context.Context, device Device) error

	// Attributes stores the attributes that the device reports. The error is BadRequest for names
	// and values that cannot be stored, and TooMany for too many or too frequent ones.
	Attributes(ctx context.Context, device Device, attributes Attributes) error

	// ReportInstalled stores the set that the device reports to run. created is false if that was
	// stored already.
	ReportInstalled(ctx context.Context, device Device, name, version string) (created bool, err error)

	// Artifacts returns a module of the open action, or of the installed set if an action installed
	// it.
	Artifacts(ctx context.Context, device Device, moduleID string) (Module, error)

	// ArtifactFetched records that the device fetches an artifact of this module: the download has
	// started.
	ArtifactFetched(ctx context.Context, device Device, moduleID string) error
}
