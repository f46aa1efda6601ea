// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// findings is what the steps have found, for the status. Each field is written by one function
// below.
type findings struct {
	// problem is the cause of the condition Stalled; nil if there is none.
	problem *grouping.Problem
	// reconciling is the reason of the condition Reconciling, or "" if the spec has been processed.
	reconciling string
	// waiting is what the rollout waits for, if a step has recorded it.
	waiting *v1alpha1.WaitingFor
	// held is true if no group may open in this reconcile.
	held bool
	// invalid is true if the invalidation of the set affects this rollout.
	invalid bool
}

// stall records a problem that a person has to fix. If there are several, the first one counts.
func (l *planner) stall(reason, format string, args ...any) {
	if l.problem == nil {
		l.problem = &grouping.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// reconcile records that the spec is still being processed, at most until the given time, without
// an action of a person. It removes a problem with the same reason.
func (l *planner) reconcile(reason string, until time.Time, format string, args ...any) {
	l.reconciling = reason
	l.wait(reason, until, format, args...)
	if l.problem != nil && l.problem.Reason == reason {
		l.problem = nil
	}
}

// wait records what the rollout waits for and until when, and requests a reconcile at that time.
func (l *planner) wait(reason string, until time.Time, format string, args ...any) {
	l.waitUntil(reason, until, fmt.Sprintf(format, args...))
	if !until.IsZero() {
		l.recheck(until)
	}
}

// waitUntil records what the rollout waits for and until when.
func (l *planner) waitUntil(reason string, until time.Time, message string) {
	l.waiting = &v1alpha1.WaitingFor{Reason: reason, Message: message}
	if !until.IsZero() {
		l.waiting.Until = second(until)
	}
}

// hold keeps groups from opening in this reconcile.
func (l *planner) hold() { l.held = true }

// noteInvalid records whether the invalidation of the set affects this rollout.
func (l *planner) noteInvalid() { l.invalid = l.isConcerned() }
