// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
)

// testTroubles: what the console shows while something does not work.
func (s *stage) testTroubles(t *testing.T) {
	tab := s.as(t, "vera", "rollouts", chromium.Options{})
	tab.AwaitText("gateway-2-1")

	t.Log("the API server cannot be reached")
	s.source.set(func(src *source) {
		src.contact = console.Contact{LostSince: s.world.Now().Add(-5 * time.Minute), Message: "dial tcp 10.96.0.1:443: connect: no route to host"}
	})
	tab.Reload()
	tab.AwaitText("The API server was reached last 5m ago")
	tab.AwaitText("no route to host")
	tab.Await(`/^not live, as of/.test(document.querySelector("#asof").innerText)`)
	tab.AwaitText("gateway-2-1")
	tab.CheckAccessibility()
	s.source.set(func(src *source) { src.contact = console.Contact{} })
	tab.Reload()
	tab.Await(`!document.body.innerText.includes("The API server was reached")`)
	tab.Await(`document.querySelector("#asof").innerText === "live"`)

	t.Log("the console is served under another name, such as after a change of --console-base-url")
	tab.Allow("status of 421")
	s.isMisdirected.Store(true)
	tab.Press("r")
	tab.AwaitText("The console answered with status 421: The console is not served under this name. Open the address")
	tab.AwaitText("gateway-2-1")
	s.isMisdirected.Store(false)
	tab.Press("r")
	tab.Await(`document.querySelector("#asof").innerText === "live" && !document.body.innerText.includes("421")`)

	t.Log("the console has not read the objects yet")
	s.source.set(func(src *source) { src.readings[console.Rollouts] = console.Reading{Objects: 41} })
	tab.Allow("status of 503")
	if got := tab.Reload(); got != http.StatusServiceUnavailable {
		t.Errorf("the status is %d", got)
	}
	s.source.set(func(src *source) { delete(src.readings, console.Rollouts) })
	tab.Reload()
	tab.AwaitText("gateway-2-1")

	t.Log("the session ends")
	s.logOut("vera")
	tab.Allow("status of 401")
	if got := tab.Reload(); got != http.StatusUnauthorized {
		t.Errorf("the status is %d", got)
	}
	tab.AwaitText("Your session has ended.")
	tab.CheckAccessibility()
	s.logIn("vera")
	tab.ClickTo("main a")
	tab.AwaitText("Goshawk")
}

// testSilence: a network that drops packets ends no connection. The page notices that the console
// sends nothing any more, and says how old its data are.
func (s *stage) testSilence(t *testing.T) {
	t.Parallel()
	tab := s.as(t, "oscar", "rollouts", chromium.Options{})
	tab.Await(`document.querySelector("#asof").innerText === "live"`)
	tab.Allow("Failed to load resource")
	t.Log("20 seconds of the page last one second, so that its stream is silent for minutes")
	chromium.Value[bool](tab, `(window.clock = Date.now, window.start = clock(), Date.now = () => start + (clock() - start) * 20, true)`)
	s.silence("oscar", true)
	tab.Await(`/^not live, as of/.test(document.querySelector("#asof").innerText)`)
	tab.AwaitText("The console cannot be reached since")
	tab.AwaitText("gateway-2-1")
	chromium.Value[bool](tab, `(Date.now = clock, true)`)
	s.silence("oscar", false)
	tab.Await(`document.querySelector("#asof").innerText === "live" && !document.body.innerText.includes("cannot be reached")`)
}
