// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// The start deadline is measured with a clock of the rollout that is stopped while nothing is
// offered, so that pauses and closed windows do not count. It is stored, so that it is right also
// after the controller was down. Groups and batches store its value at the time when they opened or
// joined.

// hasDeadline reports whether the clock is needed.
func (l *planner) hasDeadline() bool { return l.spec.Update.StartDeadlineSeconds != nil }

// keepClock stops or starts the clock according to the new state of the rollout.
func (l *planner) keepClock() {
	isOffering := l.status.State == v1alpha1.RolloutRunning && !l.held
	if !l.hasDeadline() || l.status.Offering == nil && !isOffering {
		return
	}
	if l.status.Offering == nil {
		l.status.Offering = &v1alpha1.OfferingClock{}
	}
	switch c := l.status.Offering; {
	case isOffering && c.Since == nil:
		c.Since, c.RunningSince, l.counted = micro(l.Now), micro(l.Now), nil
	case !isOffering && c.Since != nil:
		c.Seconds, c.Since, c.RunningSince, l.counted = int64(l.offered()/time.Second), nil, nil, nil
	}
}

// advanceClock moves the start of the clock to now and adds the measured time to its value, so that
// the next reconcile has fewer windows to go through. It is called only if the status is written
// anyway.
func (l *planner) advanceClock() {
	c := l.status.Offering
	if c == nil || c.Since == nil || l.spec.Update.MaintenanceWindow == nil || l.Now.Sub(c.Since.Time) < 24*time.Hour {
		return
	}
	c.Seconds, c.Since, l.counted = int64(l.offered()/time.Second), micro(l.Now), nil
}

// offered returns the value of the clock.
func (l *planner) offered() time.Duration {
	c := l.status.Offering
	switch {
	case c == nil:
		return 0
	case l.counted != nil:
		return *l.counted
	}
	counted := time.Duration(c.Seconds) * time.Second
	if c.Since != nil {
		counted += window.OpenTime(l.spec.Update.MaintenanceWindow, c.Since.Time, l.Now)
	}
	l.counted = &counted
	return counted
}

// reading returns the value of the clock as groups and batches store it: rounded up to whole
// seconds, so that no deadline is too early.
func (l *planner) reading() int64 {
	return int64((l.offered() + time.Second - 1) / time.Second)
}

// until returns when the clock will have this value, or the zero time if it is stopped.
func (l *planner) until(seconds int64) time.Time {
	c := l.status.Offering
	if c == nil || c.Since == nil {
		return noTime
	}
	return window.AfterOpenTime(l.spec.Update.MaintenanceWindow, c.Since.Time, time.Duration(seconds-c.Seconds)*time.Second)
}
