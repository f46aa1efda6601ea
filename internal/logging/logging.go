// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package logging has the lines that all components write to the log in the same form: decisions at
// level info, and writes to the API server at V(1). The object of a line is in the logger of the
// context: controller-runtime adds it for each reconcile.
package logging

import "github.com/go-logr/logr"

// Decision is one decision about an object: the reason and the message are those of the event or
// condition that shows it, From and To are the state of the object before and after.
type Decision struct{ Reason, From, To, Message string }

// Decided logs a decision at level info. It is called once, after the decision was stored.
func Decided(log logr.Logger, d Decision) {
	log.Info("Decided", "reason", d.Reason, "from", d.From, "to", d.To, "message", d.Message)
}
