// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// verdict is what the steps find and hand over to the status. Each field has one writer, below; it
// is read anywhere.
type verdict struct {
	// problem that does not go away by itself: condition Stalled. nil: there is none.
	problem *grouping.Problem
	// reconciling is why the spec has not been taken over yet, which passes by itself: condition
	// Reconciling. Empty: it has been.
	reconciling string
	// waiting is what moves the rollout next, where a step knows it better than the counts.
	waiting *v1alpha1.WaitingFor
	// held: no group may open in this pass.
	held bool
	// invalid: the invalidation of the set concerns this rollout.
	invalid bool
}

// stall records a problem that does not go away by itself. The first one counts.
func (l *planner) stall(reason, format string, args ...any) {
	if l.problem == nil {
		l.problem = &grouping.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// reconcile records that the spec has not been taken over yet, for a reason that passes by itself,
// at the given time at the latest. A problem of this reason is none then.
func (l *planner) reconcile(reason string, until time.Time, format string, args ...any) {
	l.reconciling = reason
	l.wait(reason, until, format, args...)
	if l.problem != nil && l.problem.Reason == reason {
		l.problem = nil
	}
}

// wait records what moves the rollout next, and when time alone moves it.
func (l *planner) wait(reason string, until time.Time, format string, args ...any) {
	l.waitUntil(reason, until, fmt.Sprintf(format, args...))
	if !until.IsZero() {
		l.recheck(until)
	}
}

// waitUntil records what moves the rollout next, and until when it waits at most.
func (l *planner) waitUntil(reason string, until time.Time, message string) {
	l.waiting = &v1alpha1.WaitingFor{Reason: reason, Message: message}
	if !until.IsZero() {
		l.waiting.Until = second(until)
	}
}

// hold keeps groups from opening in this pass.
func (l *planner) hold() { l.held = true }

// noteInvalid records whether the invalidation of the set concerns this rollout.
func (l *planner) noteInvalid() { l.invalid = l.isConcerned() }
