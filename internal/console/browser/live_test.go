// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
	"github.com/goshawk-dev/goshawk/internal/testing/demofleet"
)

// stays makes a mark in a page, which is gone after the page was loaded again.
func stays(tab *chromium.Tab) (check func(t *testing.T)) {
	chromium.Value[bool](tab, "(window.isMarked = true)")
	return func(t *testing.T) {
		t.Helper()
		if !chromium.Value[bool](tab, "window.isMarked === true") {
			t.Error("the page was loaded again")
		}
	}
}

// pause pauses a rollout, or ends the pause.
func (s *stage) pause(name string, state v1alpha1.RolloutIntent) {
	demofleet.Edit(s.world, demofleet.Kubectl, demofleet.Rollout(name), func(r *v1alpha1.Rollout) { r.Spec.State = state })
	s.world.Pass(time.Minute)
}

// rowOf is a JavaScript expression of the text of the row of a rollout.
const rowOf = `[...document.querySelectorAll("main tbody tr")].find(row => row.querySelector("a").textContent === "gateway-2-1").innerText`

// TestChanging: what people see while the fleet changes, and what they change. The parts of the
// test share a fleet, one after the other.
func TestChanging(t *testing.T) {
	s := newStage(t)
	t.Run("live", s.testLive)
	t.Run("proposal", s.testProposal)
	t.Run("stop", s.testStop)
	t.Run("without script", s.testChangesWithoutScript)
	t.Run("invalidation", s.testInvalidation)
}

// testLive: an open page follows the fleet and the console.
func (s *stage) testLive(t *testing.T) {
	tab := s.as(t, "vera", "rollouts", chromium.Options{})
	tab.Await(rowOf + `.includes("Running")`)
	tab.Await(`document.getElementById("asof").textContent === "live"`)

	t.Log("a change is shown, and what the person does stays")
	check := stays(tab)
	other := s.as(t, "vera", "rollouts/fleet/gateway-2-1", chromium.Options{Height: 500, Width: 900})
	checkOther := stays(other)
	other.Click("#actions-not-possible summary")
	other.Await(`document.querySelector("#actions-not-possible[open]") !== null && document.getElementById("asof").textContent === "live"`)
	chromium.Value[bool](other, `(scrollTo(0, 300), scrollY === 300)`)
	tab.Fill(`main input[name="q"]`, "gatew")
	chromium.Value[bool](tab, `(document.querySelector('main input[name="q"]').setSelectionRange(2, 4), true)`)
	s.pause("gateway-2-1", v1alpha1.IntentPaused)
	tab.Await(rowOf + `.includes("Paused")`)
	tab.Await(`document.activeElement.name === "q" && document.activeElement.value === "gatew" && document.activeElement.selectionStart === 2`)
	tab.Type("XY")
	tab.Await(`document.activeElement.value === "gaXYw"`)
	other.Await(`document.querySelector("h1").innerText.includes("Paused")`)
	other.Await(`document.querySelector("#actions-not-possible[open]") !== null && Math.abs(scrollY - 300) < 100`)
	checkOther(t)
	other.Allow("Failed to load resource") // it stays open during the troubles below

	t.Log("the console cannot be reached")
	tab.Allow("Failed to load resource: net::ERR_")
	s.disconnect()
	tab.AwaitText("The console cannot be reached since")
	tab.AwaitText("gateway-2-1")
	tab.Await(`document.getElementById("asof").textContent.startsWith("not live")`)
	tab.CheckAccessibility()

	t.Log("it is restarted, and something has changed")
	s.pause("gateway-2-1", v1alpha1.IntentRunning)
	s.restart()
	tab.Await(`document.getElementById("asof").textContent === "live"`)
	tab.Await(rowOf + `.includes("Running") && !document.body.innerText.includes("cannot be reached")`)
	tab.Await(`document.querySelector('main input[name="q"]').value === "gaXYw"`)
	check(t)

	t.Log("the session ends while the page is open")
	tab.Allow("status of 401")
	s.logOut("vera")
	s.pause("gateway-2-1", v1alpha1.IntentPaused)
	tab.AwaitText("The session has ended.")
	tab.AwaitText("Your session has ended.")
	if got := chromium.Value[string](tab, rowOf); got == "" {
		t.Error("what the page has shown is gone")
	}
	s.logIn("vera")
	tab.Click("h1") // leaves the field
	tab.Press("r")
	tab.Await(rowOf + `.includes("Paused") && !document.body.innerText.includes("session has ended")`)
	check(t)
	s.pause("gateway-2-1", v1alpha1.IntentRunning)
	tab.Await(rowOf + `.includes("Running")`)
}
