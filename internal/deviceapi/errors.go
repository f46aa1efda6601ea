// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import (
	"errors"
	"time"

	"github.com/goshawk-dev/goshawk/internal/action"
)

// Errors of a Backend. They may be wrapped; the text around them is logged and not sent. A protocol
// decides what a device gets for each of them; for DDI this is an HTTP status.
var (
	// ErrUnauthorized: the device is unknown, or its credentials are wrong.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrNotServed: the device API does not serve the namespace. Only Namespaces returns it.
	ErrNotServed = errors.New("namespace not served")
	// ErrNotFound: the device has no such action, module or set.
	ErrNotFound = errors.New("not found")
	// ErrNotAllowed: no cancel of the action is offered to the device.
	ErrNotAllowed = errors.New("not allowed")
	// ErrConflict: the requested state exists already.
	ErrConflict = errors.New("conflict")
	// ErrGone: the action is closed.
	ErrGone = errors.New("gone")
	// ErrTooMany: a rate or a quota is used up.
	ErrTooMany = errors.New("too many requests")
)

// ErrorOf returns the error for a device whose report had this outcome. isAwaited is true for a
// report about an installation that a download of a closed action announced: it is accepted.
func ErrorOf(o action.Outcome, isAwaited bool) error {
	switch o {
	case action.Late, action.LateFinal:
		if isAwaited {
			return nil // W-21: a downloaded update may be installed later, and that report must be accepted
		}
		return ErrGone
	case action.Unknown, action.Refused:
		return ErrNotFound
	case action.Dropped, action.FirstDropped:
		return ErrTooMany
	default:
		return nil
	}
}

// BadRequest is the error for a request with wrong content. Reason is a sentence for the developer
// of the device: it names the field and the fix, and it is sent.
type BadRequest struct{ Reason string }

func (e BadRequest) Error() string { return "bad request: " + e.Reason }

// TooMany says which quota or rate is used up. It is ErrTooMany.
type TooMany struct {
	// Reason is a sentence for the developer of the device: what is too much, and what to do. It is
	// sent.
	Reason string
	// RetryAfter is the time after which the device may try again. If it is zero, waiting does not
	// help.
	RetryAfter time.Duration
}

func (e TooMany) Error() string { return "too many requests: " + e.Reason }

// Is reports whether target is ErrTooMany.
func (e TooMany) Is(target error) bool { return target == ErrTooMany }

// Errors of Limits. They are TooMany.
var (
	// ErrDeviceRate: the device exceeds its rate.
	ErrDeviceRate = TooMany{Reason: "this device sends requests too often; keep to its poll interval", RetryAfter: time.Second}
	// ErrGatewayRate: all devices with one gateway token together exceed its rate.
	ErrGatewayRate = TooMany{Reason: "the devices with this gateway token together send requests too often; use longer poll intervals, or more than one token", RetryAfter: 10 * time.Second}
	// ErrNamespaceRate: all devices of one namespace together exceed its rate.
	ErrNamespaceRate = TooMany{Reason: "the devices of this tenant together send requests too often; use longer poll intervals, or more replicas of the device API", RetryAfter: 10 * time.Second}
	// ErrGlobalRate: all devices together exceed the rate of this process.
	ErrGlobalRate = TooMany{Reason: "the device API is busy; try again later", RetryAfter: 10 * time.Second}
)

// Unavailable asks the device to try again later: the backend has not synced yet, or its storage
// does not respond.
type Unavailable struct {
	// RetryAfter is the time after which the device may try again. If it is zero, the protocol
	// decides.
	RetryAfter time.Duration
	// Cause is logged and not sent.
	Cause error
}

func (e Unavailable) Error() string {
	if e.Cause == nil {
		return "unavailable"
	}
	return "unavailable: " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e Unavailable) Unwrap() error { return e.Cause }
