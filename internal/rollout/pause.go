// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// pause pauses the rollout by spec, or lifts a pause. Automatic pauses are lifted by resumedAt
// only, and not while spec.state is Paused: a pause by spec does not end an automatic pause.
func (l *planner) pause() next {
	bySpec := l.isHeldBySpec()
	switch {
	case bySpec && !l.isPaused():
		l.pauseFor(v1alpha1.PauseBySpec, "spec.state is %s; devices that have started continue", l.spec.State)
		l.event(EventPaused, "%s", l.status.PauseMessage)
	case !bySpec && l.status.PauseReason == v1alpha1.PauseBySpec:
		l.unpause()
		l.event(EventResumed, "spec.state is %s again", v1alpha1.IntentRunning)
	case !bySpec && l.status.PauseReason.IsAutomatic() && !l.held && l.isResumed():
		l.resume()
	}
	return doneIf(l.isPaused())
}

// isHeldBySpec reports whether spec.state pauses the rollout. After the start Planned counts as
// Paused.
func (l *planner) isHeldBySpec() bool {
	return l.spec.State == v1alpha1.IntentPaused || l.spec.State == v1alpha1.IntentPlanned
}

// pauseFor pauses the rollout. Every pause is recorded here.
func (l *planner) pauseFor(reason v1alpha1.PauseReason, format string, args ...any) {
	l.enter(v1alpha1.RolloutPaused)
	l.status.PausedAt = micro(l.Now)
	l.status.PauseReason = reason
	l.status.PauseMessage = text.LimitBytes(fmt.Sprintf(format, args...), 512)
}

func (l *planner) unpause() {
	l.status.PausedAt, l.status.PauseReason, l.status.PauseMessage = nil, "", ""
	if l.status.State == v1alpha1.RolloutPaused {
		l.enter(v1alpha1.RolloutRunning)
	}
}

// isResumed reports whether resumedAt lifts the present pause: it is not before the pause, it is
// not in the future, and it has lifted no earlier pause. A time in whole seconds stands for the
// whole second.
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

// resume ends an automatic pause. From then on error conditions and budget count only failures
// after resumedAt.
func (l *planner) resume() {
	lifted := l.status.PauseReason
	if n := l.opened(); n > 0 && isBehindGroup(lifted) {
		l.at(n - 1).Passed = true // stored, because an automatic pause may come before the next group opens
	}
	l.unpause()
	l.keepLost(true)
	l.handled().ResumedAt = micro(l.spec.ResumedAt.Time)
	l.event(EventResumed, "spec.resumedAt %s lifted the pause by %s; only later failures count from now on", formatTime(l.spec.ResumedAt.Time), lifted)
}

// waitForResume records what lifts the pause.
func (l *planner) waitForResume() {
	var fixes []string
	if l.isHeldBySpec() {
		fixes = append(fixes, "set spec.state to Running")
	}
	if l.status.PauseReason.IsAutomatic() {
		fixes = append(fixes, fmt.Sprintf("set spec.resumedAt to status.pausedAt (%s) or later", l.status.PausedAt.UTC().Format(time.RFC3339Nano)))
	}
	l.wait(string(l.status.PauseReason), noTime, "%s; to continue, %s", l.status.PauseMessage, strings.Join(fixes, " and "))
}
