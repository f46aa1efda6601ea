// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"context"
	"errors"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Device is where a request comes from. Both ids come unescaped from the path,
// are not empty, hold no blanks and have at most 256 characters; the tenant is
// in lower case. Nothing else is known about them before Authorize has agreed.
type Device struct{ Tenant, ControllerID string }

// Tenants returns the backend that serves a tenant. The error is ErrNotServed
// for a tenant that this device API does not serve, and Unavailable for one
// that it cannot serve at present. It is called for each request, before
// anything is known about the device, and returns without waiting.
type Tenants func(tenant string) (Backend, error)

// Backend is what the device API asks of the world behind it.
//
// Its methods are called by many requests at once, and every one but Authorize
// only for a device that has been authorized. They answer with one of the
// errors below; any other error becomes 500, is logged, and is not told to the
// device. An id of an action is between 1 and 2147483647.
type Backend interface {
	// Authorize returns ErrUnauthorized alike for an unknown device and for a
	// wrong token, and compares in constant time.
	Authorize(ctx context.Context, device Device, token string) error

	// Poll says what the device should do next. It is the one method that an
	// idle fleet calls all day: it writes nothing when nothing is new.
	// remoteAddr is an IP address without port, or empty.
	Poll(ctx context.Context, device Device, remoteAddr string) (Poll, error)

	// Deployment returns an open action. The first call is its creation: when it
	// returns without error, the action has started.
	Deployment(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Installed returns a closed action as it was offered.
	Installed(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// Cancel returns nil if the cancel of the action is on offer.
	Cancel(ctx context.Context, device Device, actionID int32) error

	// Feedback takes a report on an action; a result is stored when it returns.
	Feedback(ctx context.Context, device Device, actionID int32, feedback wire.Feedback) error

	// CancelFeedback takes the answer to a cancel; it is stored when it returns.
	CancelFeedback(ctx context.Context, device Device, actionID int32, feedback wire.Feedback) error

	// Consent says whether the device agrees to updates by itself, and what waits
	// for its word if it does not. The device is heard of as by a Poll.
	Consent(ctx context.Context, device Device, remoteAddr string) (Consent, error)

	// Confirmation returns an action that waits for the consent of somebody at
	// the device. The first call is its creation; nothing starts by it.
	Confirmation(ctx context.Context, device Device, actionID int32) (Deployment, error)

	// ConfirmationFeedback takes a yes, with which the action starts, or a no,
	// with which it goes on waiting; it is stored when it returns.
	ConfirmationFeedback(ctx context.Context, device Device, actionID int32, feedback wire.ConfirmationFeedback) error

	// ActivateAutoConfirm makes the device agree to everything by itself, also
	// to what waits now. ErrConflict: it does already.
	ActivateAutoConfirm(ctx context.Context, device Device, request wire.ActivateAutoConfirm) error

	// DeactivateAutoConfirm asks the device again from the next update on.
	DeactivateAutoConfirm(ctx context.Context, device Device) error

	// Attributes takes what the device says about itself. Names and values that
	// cannot be stored are a BadRequest, too many of them or too often TooMany.
	Attributes(ctx context.Context, device Device, data wire.ConfigData) error

	// ReportInstalled takes the device's word on the set it runs. created is
	// false if that was known already.
	ReportInstalled(ctx context.Context, device Device, name, version string) (created bool, err error)

	// Artifacts returns a module of the open action, or of the installed set if an
	// action brought it.
	Artifacts(ctx context.Context, device Device, moduleID string) (Module, error)

	// ArtifactFetched notes that the device fetches an artifact of this module: it has come to the
	// download.
	ArtifactFetched(ctx context.Context, device Device, moduleID string) error
}

// Errors of a Backend and what the device gets. They may be wrapped; the text
// around them is logged, not sent.
var (
	ErrUnauthorized = errors.New("unauthorized")      // 401
	ErrNotServed    = errors.New("tenant not served") // 404, from Tenants only
	ErrNotFound     = errors.New("not found")         // 404
	ErrNotAllowed   = errors.New("not allowed")       // 405: no cancel is on offer
	ErrConflict     = errors.New("conflict")          // 409
	ErrGone         = errors.New("gone")              // 410: the action is closed
	ErrTooMany      = errors.New("too many requests") // 429: a rate or a quota
)

// BadRequest answers 400. Reason is a sentence for whoever debugs the device:
// it names the field and the fix, and it is sent.
type BadRequest struct{ Reason string }

func (e BadRequest) Error() string { return "bad request: " + e.Reason }

// TooMany answers 429, with a sentence that says which quota or rate is used up. It is ErrTooMany.
type TooMany struct {
	// Reason is a sentence for the person who debugs the device: what is too much, and what to do.
	// It is sent.
	Reason string
	// RetryAfter is rounded up to whole seconds; zero: waiting does not help.
	RetryAfter time.Duration
}

func (e TooMany) Error() string { return "too many requests: " + e.Reason }

// Is reports whether target is ErrTooMany.
func (e TooMany) Is(target error) bool { return target == ErrTooMany }

// Unavailable answers 503 and asks the device to come back: the backend has
// not synced yet, or what it stores to does not answer.
type Unavailable struct {
	// RetryAfter is rounded up to whole seconds; zero means ten.
	RetryAfter time.Duration
	// Cause is logged, not sent.
	Cause error
}

func (e Unavailable) Error() string {
	if e.Cause == nil {
		return "unavailable"
	}
	return "unavailable: " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e Unavailable) Unwrap() error { return e.Cause }

// Poll is the answer to "what now?". Of CancelID, ConfirmID and DeployID the
// first that is not zero is announced; a device never gets two of them.
type Poll struct {
	// Sleep is the time until the next poll, as it shall be written; whoever
	// wants jitter has added it.
	Sleep                         time.Duration
	CancelID, ConfirmID, DeployID int32
	// InstalledID is the action that installed what the device runs.
	InstalledID int32
	// CacheBuster changes when the content of the announced deployment does.
	CacheBuster string
	// WantAttributes asks the device for its attributes.
	WantAttributes bool
}

// Consent is how a device stands to updates that need somebody's consent.
type Consent struct {
	// Active: the device agrees to everything by itself, since ActivatedAt,
	// because Initiator wanted it so for the reason in Remark.
	Active            bool
	Initiator, Remark string
	ActivatedAt       time.Time
	// ConfirmID is the action that waits, or zero; CacheBuster is as in a Poll.
	ConfirmID   int32
	CacheBuster string
}

// Deployment is one action as its device may see it.
type Deployment struct {
	ID               int32
	Download, Update wire.Handling
	// Window is empty for an action without a maintenance window.
	Window wire.MaintenanceWindow
	Chunks []Module
	// History is sent, as far as asked for, to a device that asks.
	History *History
}

// History is how far an action has come, with its messages, newest first.
type History struct {
	Status   string
	Messages []string
}

// Module is one software module.
type Module struct {
	// ID names the module in paths of the device API.
	ID string
	// Part is the module's type. The device API gives two of them the names that DDI
	// has always given them.
	Part, Name, Version string
	Artifacts           []Artifact
	// Metadata is what the device may see.
	Metadata []wire.Metadata
}

// Artifact is one file of a module.
type Artifact struct {
	FileName          string
	Size              int64
	SHA1, MD5, SHA256 string
	Downloads         []Download
}

// Download is one place where an artifact lies.
type Download struct {
	Protocol Protocol
	URL      string
	// MD5URL is where a file with the MD5 sum lies, if there is one.
	MD5URL string
}

// Protocol is how a download is fetched, in capitals. The device API knows two and
// hands on others as they are.
type Protocol string

// The protocols of DDI's own links.
const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
)
