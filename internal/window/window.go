// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package window computes when a maintenance window is open. The time is a parameter.
package window

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// At reports whether a maintenance window is open, and if not, when it opens next, or the zero time
// if it never does. A nil window is always open. At a change of the clock, a window whose start is
// skipped does not open, a window that opened before the change keeps its length, and a window
// whose start is repeated opens twice.
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

// NextOpening returns when a closed window opens, or the zero time if it is open or never opens.
func NextOpening(w *v1alpha1.MaintenanceWindow, now time.Time) time.Time {
	if open, next, err := At(w, now); !open && err == nil {
		return next
	}
	return time.Time{}
}

// NextChange returns when a window opens if it is closed, or closes if it is open; zero: it never
// does. If windows overlap, it may return the end of the first one.
func NextChange(w *v1alpha1.MaintenanceWindow, now time.Time) time.Time {
	if w == nil {
		return time.Time{}
	}
	found, err := openingsOf(w)
	if err != nil {
		return time.Time{}
	}
	local, length := now.In(found.zone), time.Duration(w.DurationSeconds)*time.Second
	opened := found.schedule.Next(local.Add(-length))
	if opened.IsZero() || opened.After(local) {
		return opened
	}
	return opened.Add(length)
}

// minInterval is the shortest interval between openings at which messages name the times of an
// opening: each change of such a message costs a write.
const minInterval = time.Hour

// Opening returns from when to when a window is open, now or next. It returns zero times if the
// window never opens, never closes, or opens more often than once an hour.
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
	if next := found.schedule.Next(opens); !next.IsZero() && (next.Sub(opens) < minInterval || !next.After(closes)) {
		return time.Time{}, time.Time{}
	}
	return opens, closes
}

// Check returns an error if a window never opens again, with the field that is wrong and how to fix
// it.
func Check(w *v1alpha1.MaintenanceWindow, now time.Time) error {
	open, next, err := At(w, now)
	if open || !next.IsZero() {
		return nil
	}
	if _, unknown := time.LoadLocation(w.TimeZone); unknown != nil {
		return fmt.Errorf("timeZone %q is unknown: give a name of the IANA database, such as Europe/Berlin, or UTC", w.TimeZone)
	}
	if err != nil {
		return fmt.Errorf("schedule %q cannot be parsed (%w): write five fields, such as '0 2 * * *'", w.Schedule, err)
	}
	return fmt.Errorf("schedule %q never matches: give a day that exists in the calendar", w.Schedule)
}

// Describe returns the text for a window in messages. It does not depend on the time.
func Describe(w *v1alpha1.MaintenanceWindow) string {
	return fmt.Sprintf("%q (%s, %s)", w.Schedule, cmp.Or(w.TimeZone, "UTC"), time.Duration(w.DurationSeconds)*time.Second)
}

// openings is a parsed schedule: when windows with it open.
type openings struct {
	zone     *time.Location
	schedule cron.Schedule
}

// parsed caches schedules, because every poll of a device needs one. There is an entry for each
// different schedule and time zone in a manifest.
var parsed sync.Map // [2]string{timeZone, schedule} to openings

func openingsOf(w *v1alpha1.MaintenanceWindow) (openings, error) {
	key := [2]string{w.TimeZone, w.Schedule}
	if known, ok := parsed.Load(key); ok {
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
	parsed.Store(key, found)
	return found, nil
}
