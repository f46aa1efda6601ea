// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"iter"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// OpenTime returns how long a maintenance window is open between two times. A nil window is always
// open; a window that cannot be parsed is never open.
func OpenTime(w *v1alpha1.MaintenanceWindow, from, to time.Time) time.Duration {
	if w == nil {
		return max(0, to.Sub(from))
	}
	var open time.Duration
	for started, ended := range periods(w, from) {
		if !started.Before(to) {
			break
		}
		if ended.After(to) {
			ended = to
		}
		open += ended.Sub(started)
	}
	return open
}

// maxPeriods bounds how far AfterOpenTime looks ahead: more than 27 years of nightly windows.
const maxPeriods = 10_000

// AfterOpenTime returns when a maintenance window will have been open for this long since a time,
// or the zero time if it never will. If that is more than maxPeriods ahead, it returns an earlier
// time, at which the caller calls it again.
func AfterOpenTime(w *v1alpha1.MaintenanceWindow, from time.Time, long time.Duration) time.Time {
	if w == nil || long <= 0 {
		return from.Add(long)
	}
	last, n := time.Time{}, 0
	for started, ended := range periods(w, from) {
		length := ended.Sub(started)
		if length >= long {
			return started.Add(long)
		}
		long -= length
		if last, n = ended, n+1; n == maxPeriods {
			break
		}
	}
	return last
}

// periods iterates over the periods in which a window is open, from a time on, each with its start
// and its end. Periods that overlap count once.
func periods(w *v1alpha1.MaintenanceWindow, from time.Time) iter.Seq2[time.Time, time.Time] {
	return func(yield func(time.Time, time.Time) bool) {
		openings, err := openingsOf(w)
		if err != nil {
			return
		}
		length := time.Duration(w.DurationSeconds) * time.Second
		reached := from
		for opens := openings.schedule.Next(from.In(openings.zone).Add(-length)); !opens.IsZero(); opens = openings.schedule.Next(opens) {
			started, ends := opens, opens.Add(length)
			if started.Before(reached) {
				started = reached
			}
			if started.Before(ends) && !yield(started, ends) {
				return
			}
			reached = ends
		}
	}
}
