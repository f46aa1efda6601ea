// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestOpenTime covers the clock changes of Europe/Berlin: it loses an hour on 2026-03-29 and gains
// one on 2026-10-25.
func TestOpenTime(t *testing.T) {
	nightly := &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 7200, TimeZone: "Europe/Berlin"}
	hourly := &v1alpha1.MaintenanceWindow{Schedule: "0 * * * *", DurationSeconds: 5400}
	for name, c := range map[string]struct {
		window   *v1alpha1.MaintenanceWindow
		from, to string
		want     time.Duration
	}{
		"no window is always open":                     {nil, "2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z", 24 * time.Hour},
		"an end before the start":                      {nil, "2026-01-11T00:00:00Z", "2026-01-10T00:00:00Z", 0},
		"a night":                                      {nightly, "2026-01-10T00:00:00+01:00", "2026-01-11T00:00:00+01:00", 2 * time.Hour},
		"a week of nights":                             {nightly, "2026-01-10T00:00:00+01:00", "2026-01-17T00:00:00+01:00", 14 * time.Hour},
		"a day between two nights":                     {nightly, "2026-01-10T04:00:00+01:00", "2026-01-11T02:00:00+01:00", 0},
		"the end of a night and the start of the next": {nightly, "2026-01-10T03:30:00+01:00", "2026-01-11T02:15:00+01:00", 45 * time.Minute},
		"within a night":                               {nightly, "2026-01-10T02:30:00+01:00", "2026-01-10T02:45:00+01:00", 15 * time.Minute},
		"windows that overlap count once":              {hourly, "2026-01-10T00:20:00Z", "2026-01-11T00:20:00Z", 24 * time.Hour},
		"spring: a night whose start is skipped":       {nightly, "2026-03-28T12:00:00+01:00", "2026-03-30T12:00:00+02:00", 2 * time.Hour},
		"autumn: a night that opens twice":             {nightly, "2026-10-24T12:00:00+02:00", "2026-10-25T12:00:00+01:00", 3 * time.Hour},
		"a window that never opens":                    {&v1alpha1.MaintenanceWindow{Schedule: "0 2 30 2 *", DurationSeconds: 60}, "2026-01-10T00:00:00Z", "2027-01-10T00:00:00Z", 0},
		"a window that cannot be parsed":               {&v1alpha1.MaintenanceWindow{Schedule: "0 25 * * *", DurationSeconds: 60}, "2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := OpenTime(c.window, instant(t, c.from), instant(t, c.to)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestAfterOpenTime checks the result against OpenTime, for random windows and durations.
func TestAfterOpenTime(t *testing.T) {
	from := time.Date(2026, 3, 20, 11, 7, 0, 0, time.UTC)
	windows := []*v1alpha1.MaintenanceWindow{
		nil,
		{Schedule: "0 2 * * *", DurationSeconds: 7200, TimeZone: "Europe/Berlin"},
		{Schedule: "*/30 8-17 * * 1-5", DurationSeconds: 2700},
		{Schedule: "0 22 * * 5", DurationSeconds: 200_000, TimeZone: "America/New_York"},
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		w, long := windows[random.IntN(len(windows))], time.Duration(1+random.IntN(400_000))*time.Second
		at := AfterOpenTime(w, from, long)
		if got := OpenTime(w, from, at); got != long {
			t.Fatalf("seed %d, %+v: %s is open until %s, not %s", seed, w, got, at, long)
		}
		if got := OpenTime(w, from, at.Add(-time.Second)); got != long-time.Second {
			t.Fatalf("seed %d, %+v: %s is open until a second before %s", seed, w, got, at)
		}
	}
	for name, w := range map[string]*v1alpha1.MaintenanceWindow{
		"never opens":      {Schedule: "0 2 30 2 *", DurationSeconds: 60},
		"cannot be parsed": {Schedule: "0 25 * * *", DurationSeconds: 60},
	} {
		if at := AfterOpenTime(w, from, time.Hour); !at.IsZero() {
			t.Errorf("%s: %s", name, at)
		}
	}
	if at := AfterOpenTime(&v1alpha1.MaintenanceWindow{Schedule: "* * * * *", DurationSeconds: 60}, from, 365*24*time.Hour); !at.Equal(from.Add(maxPeriods * time.Minute)) {
		t.Errorf("far ahead: got %s, want the end of the last period", at)
	}
}

// TestNextOpening checks that only a closed window has a next opening.
func TestNextOpening(t *testing.T) {
	w := &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 7200}
	opens := time.Date(2026, 1, 10, 2, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		window    *v1alpha1.MaintenanceWindow
		now, want time.Time
	}{
		"closed":           {w, opens.Add(-time.Hour), opens},
		"open":             {w, opens, time.Time{}},
		"no window":        {nil, opens, time.Time{}},
		"cannot be parsed": {&v1alpha1.MaintenanceWindow{Schedule: "never"}, opens, time.Time{}},
	} {
		if got := NextOpening(c.window, c.now); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
