// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deviceapi holds what every protocol of the device API needs, and no wire format: devices,
// the Backend that serves them, and its errors. A protocol, such as DDI in internal/ddi, translates
// between its wire format and these types. It contains no rule about updates.
package deviceapi

import (
	"context"
	"crypto/x509"
	"net/netip"

	"github.com/goshawk-dev/goshawk/internal/action"
)

// Device is the identity that a device sends. Both ids are not empty, contain no white space and no
// control characters, and have at most 256 characters. Namespace is in lower case. Nothing else is
// known about a device before Authorize has accepted it.
type Device struct{ Namespace, ControllerID string }

// Credentials are everything in a request that may show which device it is for. Nothing of it has
// been checked, except that the peer has the key of the first certificate.
type Credentials struct {
	// TargetToken is the token of one device, and GatewayToken that of a gateway. "": there is
	// none.
	TargetToken, GatewayToken string
	// Certificates of the TLS connection: that of the client, then intermediate ones. Empty: TLS
	// does not end here, or the client sent none.
	Certificates []*x509.Certificate
	// Peer is the address of the other end of the connection: that of the proxy, if there is one.
	Peer netip.Addr
	// Header contains the headers by canonical name. Only those of a trusted proxy are credentials.
	Header map[string][]string
}

// Namespaces returns the backend that serves a namespace. The error is ErrNotServed for a namespace
// that this device API does not serve, and Unavailable for one that it cannot serve at present. It
// is called for each request, before the device is authorized, and returns without waiting.
type Namespaces func(namespace string) (Backend, error)

// Backend serves the requests of devices for all protocols of the device API. deviceapitest.Run
// tests it.
//
// Its methods are called concurrently. All of them except Authorize are called only for a device
// that has been authorized. They return one of the errors of this package. Any other error is a
// failure of the device API: it is logged, and not sent to the device. The id of an action is
// between 1 and 2147483647.
//
// Each method returns Unavailable while the backend cannot serve the device, and each one except
// Authorize returns ErrNotFound for a device that was deleted meanwhile. Further errors are
// documented with the method. A method that writes what the device may send at any time returns
// TooMany, with a time after which to try again, if the device causes too many writes. The result
// of an open action and the answer to a cancel are never refused for that reason.
type Backend interface {
	// Authorize returns nil if one of the credentials may act for the device. It returns
	// ErrUnauthorized alike, and after the same time, for an unknown device, for wrong credentials
	// and for those of another device. An unknown device may be registered by it.
	Authorize(ctx context.Context, device Device, credentials Credentials) error

	// State returns what the device should do next. Idle devices call it at every poll, so it
	// writes nothing when nothing has changed. remoteAddr is an IP address without port, or empty.
	// The call counts as a contact of the device, except if remoteAddr is empty and Changed was
	// called for the device: then the protocol asks by itself.
	State(ctx context.Context, device Device, remoteAddr string) (State, error)

	// Deployment returns an action that is offered or open, or that has finished or failed. The
	// first call creates it: when it returns without error, the action has started and is stored.
	// The error is ErrNotFound for any other action, and TooMany if it would create one.
	Deployment(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Acknowledge records that the device has received the command of an open action: it has
	// accepted it, or it has reported about the action. That is stored when Acknowledge returns, so
	// that no process sends the command again. If it was stored before, nothing is written. The
	// message is kept with the action. The error is ErrNotFound for an unknown action and for one
	// that waits for confirmation, and ErrGone for a closed one.
	Acknowledge(ctx context.Context, device Device, actionID int32, message string) error

	// Refuse closes an action as Error because the device cannot carry it out. The device has not
	// got the command. An action that is only offered, for a confirmation as well, is created for
	// that. The error is ErrNotFound for an unknown action and for one that waits for
	// confirmation, ErrGone for a closed one, and ErrNotAllowed for one that the device has
	// reported about.
	Refuse(ctx context.Context, device Device, actionID int32, refusal Refusal) error

	// Preview returns what Deployment, or Confirmation if isConfirmation is set, would return now,
	// with the same errors except TooMany. It creates nothing, so Created is not set.
	Preview(ctx context.Context, device Device, actionID int32, isConfirmation bool) (Deployment, error)

	// Command returns an action that is stored, whatever its state, as it was sent to its device.
	// It creates nothing. The error is ErrNotFound for an action that is not stored or has not
	// started, and for one whose content has changed.
	Command(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Installed returns an action that has finished or failed, as it was offered. The error is
	// ErrNotFound for any other action.
	Installed(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Cancel returns nil if the cancel of the action is offered to the device, or if the action is
	// canceled, and otherwise ErrNotFound.
	Cancel(ctx context.Context, device Device, actionID int32) error

	// PendingCancel returns the action, as Command does, whose cancel State would return now as
	// CancelID; ok is false if there is none, or if that is not known from memory. It writes and
	// waits for nothing, so a cancel reaches many devices at once. The cancel may not be stored
	// yet: State, Report and AnswerCancel store it first. PendingCancel may be repeated.
	PendingCancel(device Device) (canceled Deployment, ok bool)

	// Report processes a report on an action. A result is stored when it returns. The backend sets
	// report.Now, as in AnswerCancel and Confirm. The error is ErrNotFound for an unknown action
	// and for one that waits for confirmation, ErrGone for a closed action, unless it was a
	// download whose installation is reported, and ErrTooMany for an intermediate report beyond the
	// quota of the action.
	Report(ctx context.Context, device Device, report action.Report) error

	// AnswerCancel processes the answer to a cancel. The answer is stored when AnswerCancel
	// returns. The error is ErrNotFound for an unknown action, ErrNotAllowed if no cancel of the
	// action is offered, and TooMany for an intermediate report.
	AnswerCancel(ctx context.Context, device Device, report action.Report) error

	// Consent returns whether the device confirms updates automatically, and the action that waits
	// for confirmation. The contact is recorded as by State.
	Consent(ctx context.Context, device Device, remoteAddr string) (Consent, error)

	// Confirmation returns an action that waits for confirmation. The first call creates the
	// action (Created), but does not start it. The error is ErrNotFound for any other action, and
	// TooMany if it would create one.
	Confirmation(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Confirm processes a report with action.Confirm, which starts the action, or action.Deny,
	// after which the action still waits. The report is stored when Confirm returns. The error is
	// ErrNotFound for an action that does not wait for confirmation, ErrGone for one that is
	// closed, and TooMany for a denial, or if it would create the action.
	Confirm(ctx context.Context, device Device, report action.Report) error

	// ActivateAutoConfirm makes the device confirm all updates automatically, including the one
	// that waits now. It returns ErrConflict if auto-confirm is active already, and
	// TooMany.
	ActivateAutoConfirm(ctx context.Context, device Device, auto AutoConfirm) error

	// DeactivateAutoConfirm makes updates wait for confirmation again, from the next one on. It
	// returns TooMany.
	DeactivateAutoConfirm(ctx context.Context, device Device) error

	// Attributes stores the attributes that the device reports. The error is BadRequest for names
	// and values that cannot be stored. It is TooMany, without a time after which to try again, for
	// too many of them, and with one for too frequent ones.
	Attributes(ctx context.Context, device Device, attributes Attributes) error

	// Inventory takes what the device reports about one of its features; Features has it when
	// Inventory returns. It is stored soon after, without delaying reports about actions. Entries
	// that do not fit are left out and counted. The error is BadRequest for a report without a
	// feature, and TooMany for too many features or, with a time after which to try again, if too
	// many devices report at the same time.
	Inventory(ctx context.Context, device Device, inventory Inventory) error

	// Features returns the features that the device has reported, sorted by id. Without a report
	// there are none. Of an operation, only correlation id, status and module are certain.
	Features(ctx context.Context, device Device) ([]Feature, error)

	// ReportInstalled stores the set that the device reports to run. created is false if that was
	// stored already. The error is ErrNotFound for an unknown set, BadRequest for one that is not
	// complete or is invalidated, and TooMany.
	ReportInstalled(ctx context.Context, device Device, name, version string) (created bool, err error)

	// Artifacts returns a module of the open action, or of the installed set if an action installed
	// it. The error is ErrNotFound for any other module.
	Artifacts(ctx context.Context, device Device, moduleID string) (Module, error)

	// ArtifactFetched records that the device fetches an artifact of this module: the download has
	// started. It has no effect for a module that the open action does not have.
	ArtifactFetched(ctx context.Context, device Device, moduleID string) error

	// ArtifactFailed makes visible to the owner of a module that the source of a file does not send
	// the file, and why.
	ArtifactFailed(ctx context.Context, device Device, moduleID, fileName, reason string)

	// Changed is for protocols that send commands to devices. It calls notify after the results of
	// State, Deployment and Cancel may have changed by anything but the time (see
	// State.NextChange), or those of Authorize from accepted to refused; also, at times, when
	// nothing has changed. notify must return at once, and may be called by several goroutines.
	// stop ends this and must be called. The device need not exist: notify is then called when it
	// does. Changed never waits.
	Changed(device Device, notify func()) (stop func())

	// Connected records that the device has a connection until disconnected is called. It is called
	// by protocols that know this. remoteAddr is an IP address without port, or empty. Connected
	// never waits; what changes by it is written later.
	Connected(device Device, remoteAddr string) (disconnected func())
}
