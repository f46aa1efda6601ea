// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package offer decides what one device gets if it polls now, and why. An offer is a pure function
// of one Target, the intents that reach it and the time: nothing, cancel an action, confirm an
// action, or deploy a set; always with a reason. Whether one intent may start is the rule of
// package eligibility; this package adds the order of the intents and the message.
//
// The intent with the newest Source.Since is offered. An intent that is older than the intent of
// the target's newest action never starts: a device never goes back.
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
	// Intents that reach the target, in any order. Other worlds share them: they are not changed.
	Intents []*eligibility.Intent
	// Set returns the set with this name in the target's namespace, or nil if there is none. It is
	// called for the set of the open action.
	Set func(name string) *eligibility.Set
	// Origin returns what the source of an action requires, also a deleted source. It is called for
	// the open action.
	Origin func(v1alpha1.ActionSource) cancellation.Request

	// explains is set if reasons have messages.
	explains bool
}

// reason returns a reason, with its message if that is wanted.
func (w *World) reason(code eligibility.Code, until time.Time, message func() string) eligibility.Reason {
	r := eligibility.Reason{Code: code, Until: until}
	if w.explains {
		r.Message = message()
	}
	return r
}
