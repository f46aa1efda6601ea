package offer

import (
	"time"

	"github.com/robfig/cron/v3"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// windowAt tells whether a maintenance window is open, and otherwise when the next one opens. No window is always open. A window that the clock
// change swallows is not made up for; one that began before the change keeps its length.
func windowAt(w *v1alpha1.MaintenanceWindow, now time.Time) (open bool, next time.Time, err error) {
	if w == nil {
		return true, time.Time{}, nil
	}
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return false, time.Time{}, err
	}
	schedule, err := cron.ParseStandard(w.Schedule)
	if err != nil {
		return false, time.Time{}, err
	}
	local := now.In(zone)
	length := time.Duration(w.DurationSeconds) * time.Second
	if began := schedule.Next(local.Add(-length)); !began.IsZero() && !began.After(local) {
		return true, time.Time{}, nil
	}
	return false, schedule.Next(local), nil
}
