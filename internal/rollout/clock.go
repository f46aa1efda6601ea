// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// The start deadline is measured by a clock of the rollout that stands still while nothing is
// offered, so that pauses and closed windows do not count and a controller that was away knows what
// it missed. Groups and batches remember what it read when they opened or joined.

// hasDeadline reports whether the clock is of use to anybody.
func (l *planner) hasDeadline() bool { return l.spec.Update.StartDeadlineSeconds != nil }

// keepClock stops or starts the clock as this look leaves the rollout.
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

// advanceClock takes what has been counted into the clock, so that the next look has fewer windows
// to go through. Only where something else is written.
func (l *planner) advanceClock() {
	c := l.status.Offering
	if c == nil || c.Since == nil || l.spec.Update.MaintenanceWindow == nil || l.Now.Sub(c.Since.Time) < 24*time.Hour {
		return
	}
	c.Seconds, c.Since, l.counted = int64(l.offered()/time.Second), micro(l.Now), nil
}

// offered is what the clock reads.
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

// reading is what the clock reads, as groups and batches remember it: a part of a second is not
// held against anybody.
func (l *planner) reading() int64 {
	return int64((l.offered() + time.Second - 1) / time.Second)
}

// until is when the clock will read so many seconds; zero: it stands still.
func (l *planner) until(seconds int64) time.Time {
	c := l.status.Offering
	if c == nil || c.Since == nil {
		return noTime
	}
	return window.AfterOpenTime(l.spec.Update.MaintenanceWindow, c.Since.Time, time.Duration(seconds-c.Seconds)*time.Second)
}
