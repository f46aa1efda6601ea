// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
	"github.com/goshawk-dev/goshawk/internal/testing/demofleet"
)

// paths are the pages of the console, with objects of each state.
var paths = []string{
	"",
	"?namespace=lab",
	"rollouts",
	"rollouts?namespace=fleet&state=Paused&q=sensor",
	"rollouts?state=attention",
	"rollouts/fleet/gateway-2-1",
	"rollouts/fleet/sensor-1-4",
	"rollouts/fleet/sensor-1-5",
	"rollouts/fleet/gateway-2-2",
	"rollouts/fleet/camera-3-0",
	"rollouts/fleet/" + demofleet.LongName,
	"rollouts/fleet/gateway-2-1/targets?bucket=failed",
	"search",
	"search?q=gateway",
	"rollouts/fleet/sensor-1-5/targets",
	"sets",
	"sets/fleet/sensor-1-4",
	"sets/fleet/gateway-2-1",
	"sets/fleet/camera-3-0",
	"targets?namespace=fleet&state=silent&state=held",
	"targets",
	"targets/fleet/gateway-031",
	"targets/fleet/gateway-151",
	"targets/fleet/sensor-017",
	"targets/fleet/camera-" + demofleet.LongName[:56],
	"autoassignments",
	"autoassignments/fleet/gateways-baseline",
	"overlaps",
	"actions/rollouts/fleet/sensor-1-5/resume",
	"actions/rollouts/fleet/gateway-2-2/approve",
	"actions/rollouts/fleet/gateway-2-1/retry",
	"actions/rollouts/fleet/camera-2-9/stop",
	"actions/sets/fleet/camera-2-9/invalidate?type=Soft",
	"actions/rollouts/fleet/gateway-2-1/advance",
	"actions/rollouts/fleet/gateway-2-1/stop?type=Force",
	"actions/rollouts/fleet/gateway-2-1/stop/done",
	"actions/autoassignments/fleet/gateways-baseline/pause",
	"actions/targets/fleet/gateway-031/hold",
	"actions/sets/fleet/gateway-2-1/invalidate",
	"actions/sets/fleet/sensor-1-4/invalidate",
}

// TestReading: what a person sees who changes nothing. Its parts run at the same time, after the
// troubles.
func TestReading(t *testing.T) {
	s := newStage(t)
	t.Run("troubles", s.testTroubles)
	t.Run("pages", s.testPages)
	t.Run("refusals", s.testRefusals)
	t.Run("keyboard", s.testKeyboard)
	t.Run("without script", s.testWithoutScript)
	t.Run("viewer", s.testViewer)
	t.Run("silence", s.testSilence)
}

// testPages opens every page as a viewer. A page has no fault, no violation of accessibility with
// light and dark colors, and scrolls only vertically on a phone.
func (s *stage) testPages(t *testing.T) {
	t.Parallel()
	tab := s.as(t, "vera", "", chromium.Options{})
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			tab.In(t, func() {
				tab.Resize(1280, 900)
				tab.Prefer(false)
				if got := tab.Visit(s.url + path); got != http.StatusOK {
					t.Errorf("the status is %d", got)
				}
				tab.CheckAccessibility()
				tab.Resize(360, 740)
				tab.Prefer(true)
				fitsWidth(t, tab)
				tab.CheckAccessibility("color-contrast", "target-size")
			})
		})
	}
}

// fitsWidth fails the test if the page is wider than the window.
func fitsWidth(t testing.TB, tab *chromium.Tab) {
	t.Helper()
	type overflow struct {
		Width, Window int
		Elements      []string
	}
	got := chromium.Value[overflow](tab, `({Width: document.documentElement.scrollWidth, Window: innerWidth, Elements: [...document.querySelectorAll("body *")].filter(e =>
		e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility()).slice(0, 5).map(e => e.outerHTML.slice(0, 160))})`)
	if got.Width > got.Window {
		t.Errorf("the page is %d wide in a window of %d: %q", got.Width, got.Window, got.Elements)
	}
}

// testRefusals opens pages that are refused: each says what is wrong and what to do.
func (s *stage) testRefusals(t *testing.T) {
	t.Parallel()
	tab := chromium.Open(t, chromium.Options{Width: 360, Height: 740})
	tab.Allow("Failed to load resource: the server responded with a status of 4")
	for name, tt := range map[string]struct {
		person, path string
		status       int
		want         []string
	}{
		"a person without any right":    {"nora", "rollouts", http.StatusForbidden, []string{"may not list rollouts.goshawk.dev"}},
		"a namespace without rights":    {"vera", "rollouts?namespace=vault", http.StatusForbidden, []string{"may not list rollouts.goshawk.dev in namespace vault"}},
		"a browser without a session":   {"unknown", "rollouts", http.StatusUnauthorized, []string{"Your session has ended.", "Log in"}},
		"a page that does not exist":    {"vera", "rollout", http.StatusNotFound, []string{"no page at this address"}},
		"a value that a filter has not": {"vera", "rollouts?state=Sleeping", http.StatusBadRequest, []string{"Sleeping"}},
		"a part of the list beyond it":  {"vera", "rollouts?page=1000000", http.StatusOK, []string{"9 rollouts"}},
		"a filter that nothing matches": {"vera", "rollouts?q=%3Cscript%3Ealert(1)%3C/script%3E", http.StatusOK, []string{"None of the 9 rollouts matches."}},
	} {
		t.Run(name, func(t *testing.T) {
			tab.In(t, func() {
				tab.Visit(s.url + "as/" + tt.person)
				if got := tab.Visit(s.url + tt.path); got != tt.status {
					t.Errorf("the status is %d, want %d", got, tt.status)
				}
				for _, want := range tt.want {
					tab.AwaitText(want)
				}
				if tt.status != http.StatusOK && tab.Has("main table") {
					t.Error("the page has a table")
				}
				tab.CheckAccessibility()
				fitsWidth(t, tab)
			})
		})
	}
}
