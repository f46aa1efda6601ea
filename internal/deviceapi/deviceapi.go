// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deviceapi holds what every protocol of the device API needs, and no wire format: devices,
// the Backend that they are served by, and its errors. A protocol, such as DDI in internal/ddi,
// translates between its wire format and these types. It contains no rule about updates.
package deviceapi

import (
	"context"

	"github.com/goshawk-dev/goshawk/internal/action"
)

// Device is a device as it identifies itself. Both ids are not empty, contain no white space and no
// control characters, and have at most 256 characters. Namespace is in lower case. Nothing else is
// known about a device before Authorize has accepted it.
type Device struct{ Namespace, ControllerID string }

// Namespaces returns the backend that serves a namespace. The error is ErrNotServed for a namespace
// that this device API does not serve, and Unavailable for one that it cannot serve at present. It
// is called for each request, before the device is authorized, and returns without waiting.
type Namespaces func(namespace string) (Backend, error)

// Backend is what the protocols of the device API ask for.
//
// Its methods are called by many requests at once, and every one but Authorize only for a device
// that has been authorized. They return one of the errors of this package. Any other error is a
// failure of the device API: it is logged, and not sent to the device. The id of an action is
// between 1 and 2147483647.
type Backend interface {
	// Authorize returns ErrUnauthorized alike for an unknown device and for a wrong token, and
	// compares in constant time.
	Authorize(ctx context.Context, device Device, token string) error

	// State returns what the device should do next. An idle fleet calls it all day: it writes
	// nothing when nothing is new. remoteAddr is an IP address without port, or empty.
	State(ctx context.Context, device Device, remoteAddr string) (State, error)

	// Deployment returns an open action. The first call creates it: when it returns without error,
	// the action has started and is stored.
	Deployment(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Installed returns a closed action as it was offered.
	Installed(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Cancel returns nil if the cancel of the action is on offer, and otherwise ErrNotFound.
	Cancel(ctx context.Context, device Device, actionID int32) error

	// Report processes a report on an action. A result is stored when it returns. The backend sets
	// report.Now, as in AnswerCancel and Confirm.
	Report(ctx context.Context, device Device, report action.Report) error

	// AnswerCancel takes the response to a cancel; it is stored when it returns.
	AnswerCancel(ctx context.Context, device Device, report action.Report) error

	// Consent returns whether the device confirms updates by itself, and the action that waits for
	// confirmation. The contact is recorded as by State.
	Consent(ctx context.Context, device Device, remoteAddr string) (Consent, error)

	// Confirmation returns an action that waits for confirmation. The first call creates it;
	// nothing starts by it.
	Confirmation(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Confirm takes a report with action.Confirm, with which the action starts, or action.Deny,
	// with which it goes on waiting; it is stored when it returns.
	Confirm(ctx context.Context, device Device, report action.Report) error

	// ActivateAutoConfirm makes the device confirm every update by itself, and the one that waits
	// now. It returns ErrConflict if that is so already.
	ActivateAutoConfirm(ctx context.Context, device Device, auto AutoConfirm) error

	// DeactivateAutoConfirm makes updates wait for confirmation again, from the next one on.
	DeactivateAutoConfirm(ctx context.Context, device Device) error

	// Attributes takes what the device reports about itself. Names and values that cannot be stored
	// are a BadRequest; too many of them, or too frequent ones, are TooMany.
	Attributes(ctx context.Context, device Device, attributes Attributes) error

	// ReportInstalled takes the set that the device reports to run. created is false if that was
	// known already.
	ReportInstalled(ctx context.Context, device Device, name, version string) (created bool, err error)

	// Artifacts returns a module of the open action, or of the installed set if an action brought
	// it.
	Artifacts(ctx context.Context, device Device, moduleID string) (Module, error)

	// ArtifactFetched records that the device fetches an artifact of this module: the download has
	// started.
	ArtifactFetched(ctx context.Context, device Device, moduleID string) error
}
