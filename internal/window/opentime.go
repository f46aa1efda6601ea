// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"iter"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// OpenTime is how long a maintenance window is open between two times. No window is always open;
// one that cannot be read never is.
func OpenTime(w *v1alpha1.MaintenanceWindow, from, to time.Time) time.Duration {
	if w == nil {
		return max(0, to.Sub(from))
	}
	var open time.Duration
	for started, ended := range stretches(w, from) {
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

// mostStretches is how far AfterOpenTime looks ahead: more than 27 years of nightly windows.
const mostStretches = 10_000

// AfterOpenTime is when a maintenance window will have been open for so long since a time; zero:
// never. What lies very far ahead is answered by an earlier time, at which to ask again.
func AfterOpenTime(w *v1alpha1.MaintenanceWindow, from time.Time, long time.Duration) time.Time {
	if w == nil || long <= 0 {
		return from.Add(long)
	}
	last, n := time.Time{}, 0
	for started, ended := range stretches(w, from) {
		length := ended.Sub(started)
		if length >= long {
			return started.Add(long)
		}
		long -= length
		if last, n = ended, n+1; n == mostStretches {
			break
		}
	}
	return last
}

// stretches are the times from which and until which a window is open, from a time on. Windows that
// overlap count once.
func stretches(w *v1alpha1.MaintenanceWindow, from time.Time) iter.Seq2[time.Time, time.Time] {
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
