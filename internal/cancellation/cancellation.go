// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cancellation says what None, Soft and Force do.
//
// The package is pure: it knows no client, no clock and no log.
package cancellation

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// Request is what the source of an open action requires for the action.
type Request struct {
	// Cause of the request; empty: the source is not stopped, and requires nothing.
	Cause v1alpha1.CancelCause
	// Cancellation of actions that have started. An action that has not started ends with any
	// request, also with None.
	Cancellation v1alpha1.Cancellation
}

var strength = map[v1alpha1.Cancellation]int{
	"": 0, v1alpha1.CancellationNone: 0, v1alpha1.CancellationSoft: 1, v1alpha1.CancellationForce: 2,
}

// Stronger reports whether a does more to actions that have started than b. An empty cancellation
// is None.
func Stronger(a, b v1alpha1.Cancellation) bool { return strength[a] > strength[b] }
