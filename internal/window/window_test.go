// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestWindow covers the clock changes of Europe/Berlin: from 02:00 CET to 03:00 CEST on 2026-03-29,
// and from 03:00 CEST to 02:00 CET on 2026-10-25.
func TestWindow(t *testing.T) {
	const berlin = "Europe/Berlin"
	for name, c := range map[string]struct {
		schedule string
		length   time.Duration
		zone     string
		now      string
		open     bool
		next     string
	}{
		"at its first moment":                 {"0 2 * * *", 2 * time.Hour, berlin, "2026-01-10T02:00:00+01:00", true, ""},
		"just before":                         {"0 2 * * *", 2 * time.Hour, berlin, "2026-01-10T01:59:59+01:00", false, "2026-01-10T02:00:00+01:00"},
		"at its last moment":                  {"0 2 * * *", 2 * time.Hour, berlin, "2026-01-10T03:59:59+01:00", true, ""},
		"at its end":                          {"0 2 * * *", 2 * time.Hour, berlin, "2026-01-10T04:00:00+01:00", false, "2026-01-11T02:00:00+01:00"},
		"without a zone it is UTC":            {"0 2 * * *", time.Hour, "", "2026-01-10T02:30:00Z", true, ""},
		"over midnight":                       {"30 23 * * *", time.Hour, berlin, "2026-01-10T00:15:00+01:00", true, ""},
		"windows that overlap never close":    {"0 * * * *", 90 * time.Minute, berlin, "2026-01-10T12:59:59+01:00", true, ""},
		"a window on weekdays, on a Saturday": {"0 2 * * 1-5", time.Hour, berlin, "2026-01-10T02:30:00+01:00", false, "2026-01-12T02:00:00+01:00"},
		"a date that does not exist":          {"0 2 30 2 *", time.Hour, berlin, "2026-01-10T02:30:00+01:00", false, ""},

		"spring: it started before the gap and keeps its length":     {"0 1 * * *", 2 * time.Hour, berlin, "2026-03-29T03:59:59+02:00", true, ""},
		"spring: it started before the gap and ends on time":         {"0 1 * * *", 2 * time.Hour, berlin, "2026-03-29T04:00:00+02:00", false, "2026-03-30T01:00:00+02:00"},
		"spring: its start is skipped, so it does not open":          {"30 2 * * *", 2 * time.Hour, berlin, "2026-03-29T03:30:00+02:00", false, "2026-03-30T02:30:00+02:00"},
		"spring: it starts right after the gap":                      {"0 3 * * *", time.Hour, berlin, "2026-03-29T03:00:00+02:00", true, ""},
		"autumn: it starts before the overlap":                       {"30 1 * * *", 2 * time.Hour, berlin, "2026-10-25T02:29:59+01:00", true, ""},
		"autumn: it started before the overlap and keeps its length": {"30 1 * * *", 2 * time.Hour, berlin, "2026-10-25T02:30:00+01:00", false, "2026-10-26T01:30:00+01:00"},
		"autumn: in the overlap, the first time":                     {"0 2 * * *", 30 * time.Minute, berlin, "2026-10-25T02:15:00+02:00", true, ""},
		"autumn: in the overlap, between":                            {"0 2 * * *", 30 * time.Minute, berlin, "2026-10-25T02:45:00+02:00", false, "2026-10-25T02:00:00+01:00"},
		"autumn: in the overlap, the second time":                    {"0 2 * * *", 30 * time.Minute, berlin, "2026-10-25T02:15:00+01:00", true, ""},
		"autumn: the same hours by the wall clock":                   {"0 2 * * *", 2 * time.Hour, berlin, "2026-10-25T03:59:59+01:00", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			w := &v1alpha1.MaintenanceWindow{Schedule: c.schedule, DurationSeconds: int32(c.length / time.Second), TimeZone: c.zone}
			open, next, err := At(w, now)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if !next.IsZero() {
				got = next.Format(time.RFC3339)
			}
			if diff := cmp.Diff([]any{c.open, c.next}, []any{open, got}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheckWindow(t *testing.T) {
	for name, c := range map[string]struct{ schedule, zone, want string }{
		"it opens tomorrow":            {"0 2 * * *", "Europe/Berlin", ""},
		"it opens in a leap year":      {"0 2 29 2 *", "UTC", ""},
		"there is no such hour":        {"0 25 * * *", "UTC", `schedule "0 25 * * *" cannot be parsed (end of range (25) above maximum (23): 25): write five fields, such as '0 2 * * *'`},
		"there is no such day":         {"0 2 30 2 *", "UTC", `schedule "0 2 30 2 *" never matches: give a day that exists in the calendar`},
		"there is no such zone":        {"0 2 * * *", "Europe/Atlantis", `timeZone "Europe/Atlantis" is unknown: give a name of the IANA database, such as Europe/Berlin, or UTC`},
		"neither the zone nor the day": {"0 2 30 2 *", "Europe/Atlantis", `timeZone "Europe/Atlantis" is unknown: give a name of the IANA database, such as Europe/Berlin, or UTC`},
	} {
		t.Run(name, func(t *testing.T) {
			w := &v1alpha1.MaintenanceWindow{Schedule: c.schedule, DurationSeconds: 60, TimeZone: c.zone}
			got := ""
			if err := Check(w, time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := Check(nil, time.Time{}); err != nil {
		t.Errorf("a nil window has the error %v", err)
	}
}
