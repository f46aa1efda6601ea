// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package offer decides what one device gets now, and why. An offer is a pure function of one
// Target, the intents that reach it and the time: nothing, cancel an action, ask to confirm, or
// deploy a set; always with the reason. Whether one intent may start is the rule of package
// eligibility; this package adds the order of the intents and the message.
//
// The newest since wins. An intent that is older than the intent of the target's newest action
// never starts: a device never goes back.
package offer

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// World is everything an offer depends on.
type World struct {
	Now    time.Time
	Target *v1alpha1.Target
	// Intents that reach the target, in any order.
	Intents []eligibility.Intent
	// Set by name in the target's namespace; nil: there is none. Asked for the set of an open
	// action.
	Set func(name string) *eligibility.Set
	// Origin returns what the source of an open action requires, also when the source is gone.
	Origin func(v1alpha1.ActionSource) cancellation.Request
}
