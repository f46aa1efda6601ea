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
