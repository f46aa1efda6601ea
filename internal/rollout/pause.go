// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// pause holds back everybody who has not started. Goshawk's own pauses are lifted by resumedAt
// only, and not while spec.state is Paused: a person's pause on top of a automatic pause does not
// forget the automatic pause.
func (l *planner) pause() next {
	bySpec := l.isHeldBySpec()
	switch {
	case bySpec && !l.isPaused():
		l.pauseFor(v1alpha1.PauseBySpec, "spec.state is %s; devices that have started go on", l.spec.State)
		l.event(EventPaused, "%s", l.status.PauseMessage)
	case !bySpec && l.status.PauseReason == v1alpha1.PauseBySpec:
		l.unpause()
		l.event(EventResumed, "spec.state is %s again", v1alpha1.IntentRunning)
	case !bySpec && l.status.PauseReason.IsAutomatic() && !l.held && l.isResumed():
		l.resume()
	}
	return doneIf(l.isPaused())
}

// isHeldBySpec: Planned, on a rollout that has started, cannot mean less than Paused.
func (l *planner) isHeldBySpec() bool {
	return l.spec.State == v1alpha1.IntentPaused || l.spec.State == v1alpha1.IntentPlanned
}

// pauseFor is the latch of every pause.
func (l *planner) pauseFor(reason v1alpha1.PauseReason, format string, args ...any) {
	l.enter(v1alpha1.RolloutPaused)
	l.status.PausedAt = micro(l.Now)
	l.status.PauseReason = reason
	l.status.PauseMessage = truncate(fmt.Sprintf(format, args...), 512)
}

func (l *planner) unpause() {
	l.status.PausedAt, l.status.PauseReason, l.status.PauseMessage = nil, "", ""
	if l.status.State == v1alpha1.RolloutPaused {
		l.enter(v1alpha1.RolloutRunning)
	}
}

// isResumed reports whether resumedAt lifts the present pause: it lies at or after the pause, its
// time has come, and it has lifted none before. A time given in whole seconds means the whole
// second.
func (l *planner) isResumed() bool {
	if l.spec.ResumedAt == nil {
		return false
	}
	at, pausedAt := requested(*l.spec.ResumedAt), l.status.PausedAt.Time
	if at.Nanosecond() == 0 {
		pausedAt = pausedAt.Truncate(time.Second)
	}
	if h := l.status.Handled; at.Before(pausedAt) || h != nil && h.ResumedAt != nil && !at.After(h.ResumedAt.Time) {
		return false
	}
	if at.After(l.Now) {
		l.wait(string(l.status.PauseReason), at, "%s; spec.resumedAt lifts the pause at %s", l.status.PauseMessage, formatTime(at))
		return false
	}
	return true
}

// resume ends an automatic pause. From here on error conditions and budget count only what fails
// after resumedAt.
func (l *planner) resume() {
	lifted := l.status.PauseReason
	if n := l.opened(); n > 0 && isBehindGroup(lifted) {
		l.at(n - 1).Passed = true // remembered, since a automatic pause may come before the next group
	}
	l.unpause()
	l.keepLost(true)
	l.handled().ResumedAt = micro(l.spec.ResumedAt.Time)
	l.event(EventResumed, "spec.resumedAt %s lifted the pause by %s; only failures after it count from here on", formatTime(l.spec.ResumedAt.Time), lifted)
}

// waitForResume says what lifts a pause.
func (l *planner) waitForResume() {
	var cures []string
	if l.isHeldBySpec() {
		cures = append(cures, "set spec.state to Running")
	}
	if l.status.PauseReason.IsAutomatic() {
		cures = append(cures, fmt.Sprintf("set spec.resumedAt to status.pausedAt (%s) or later", l.status.PausedAt.UTC().Format(time.RFC3339Nano)))
	}
	l.wait(string(l.status.PauseReason), noTime, "%s; to go on, %s", l.status.PauseMessage, strings.Join(cures, " and "))
}
