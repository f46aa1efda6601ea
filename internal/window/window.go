// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package window answers when a maintenance window is open. The time is a value that it is given.
package window

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// At reports whether a maintenance window is open, and otherwise when the next one opens;
// zero: never. No window is always open. A window whose start the clock change swallows is not made
// up for; one that started before the change keeps its length; one that the change repeats opens
// again.
func At(w *v1alpha1.MaintenanceWindow, now time.Time) (open bool, next time.Time, err error) {
	if w == nil {
		return true, time.Time{}, nil
	}
	openings, err := openingsOf(w)
	if err != nil {
		return false, time.Time{}, err
	}
	local := now.In(openings.zone)
	length := time.Duration(w.DurationSeconds) * time.Second
	if started := openings.schedule.Next(local.Add(-length)); !started.IsZero() && !started.After(local) {
		return true, time.Time{}, nil
	}
	return false, openings.schedule.Next(local), nil
}

// NextOpening is when a window that is closed opens; zero: it is open, or never opens.
func NextOpening(w *v1alpha1.MaintenanceWindow, now time.Time) time.Time {
	if open, next, err := At(w, now); !open && err == nil {
		return next
	}
	return time.Time{}
}

// seldom is how far apart the openings of a window are at least for a sentence to name them: each
// costs a write.
const seldom = time.Hour

// Opening is when a window is open: the present opening, or the next one. Zero: it never opens,
// never closes, or opens more often than once an hour.
func Opening(w *v1alpha1.MaintenanceWindow, now time.Time) (opens, closes time.Time) {
	found, err := openingsOf(w)
	if err != nil {
		return time.Time{}, time.Time{}
	}
	local, length := now.In(found.zone), time.Duration(w.DurationSeconds)*time.Second
	opens = found.schedule.Next(local.Add(-length))
	if opens.IsZero() {
		return time.Time{}, time.Time{}
	}
	closes = opens.Add(length)
	if next := found.schedule.Next(opens); !next.IsZero() && (next.Sub(opens) < seldom || !next.After(closes)) {
		return time.Time{}, time.Time{}
	}
	return opens, closes
}

// Check returns what keeps a window from ever opening again, with the fix, or nil. The sentence
// starts with the field at fault.
func Check(w *v1alpha1.MaintenanceWindow, now time.Time) error {
	open, next, err := At(w, now)
	if open || !next.IsZero() {
		return nil
	}
	if _, unknown := time.LoadLocation(w.TimeZone); unknown != nil {
		return fmt.Errorf("timeZone %q is unknown: give a name of the IANA database, such as Europe/Berlin, or UTC", w.TimeZone)
	}
	if err != nil {
		return fmt.Errorf("schedule %q cannot be read (%w): correct it; five fields are wanted, such as '0 2 * * *'", w.Schedule, err)
	}
	return fmt.Errorf("schedule %q never comes: name a day that the calendar has", w.Schedule)
}

// Words describe a window, the same at any hour.
func Words(w *v1alpha1.MaintenanceWindow) string {
	return fmt.Sprintf("%q (%s, %s)", w.Schedule, cmp.Or(w.TimeZone, "UTC"), time.Duration(w.DurationSeconds)*time.Second)
}

// openings are when windows start.
type openings struct {
	zone     *time.Location
	schedule cron.Schedule
}

// read remembers what a schedule and a zone mean, since every poll asks. There are as many as
// people write.
var read sync.Map // [2]string{timeZone, schedule} to openings

func openingsOf(w *v1alpha1.MaintenanceWindow) (openings, error) {
	key := [2]string{w.TimeZone, w.Schedule}
	if known, ok := read.Load(key); ok {
		return known.(openings), nil
	}
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return openings{}, err
	}
	schedule, err := cron.ParseStandard(w.Schedule)
	if err != nil {
		return openings{}, err
	}
	found := openings{zone: zone, schedule: schedule}
	read.Store(key, found)
	return found, nil
}
