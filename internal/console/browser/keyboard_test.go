// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
)

// focused is a JavaScript expression of the element with the focus.
const focused = "document.activeElement"

// testKeyboard uses the console without a mouse.
func (s *stage) testKeyboard(t *testing.T) {
	t.Parallel()
	tab := s.as(t, "vera", "rollouts", chromium.Options{})
	tab.Press(kb.Tab)
	tab.Await(focused + `.className === "skip"`)
	tab.Press(kb.Enter)
	tab.Await(focused + `.id === "main"`)

	tab.Press("?")
	tab.Await(`document.querySelector("dialog[open]") !== null`)
	tab.CheckAccessibility()
	tab.Press("j") // does nothing behind the help
	tab.Press(kb.Escape)
	tab.Await(`document.querySelector("dialog[open]") === null`)

	tab.Press("/")
	tab.Await(focused + `.id === "search"`)
	tab.Type("j/?") // text, and not keys of the console
	tab.Await(focused + `.value === "j/?"`)
	tab.Press(kb.Escape)
	tab.Await(focused + `.id !== "search"`)

	tab.Press("f")
	tab.Await(focused + `.closest("form.filter") !== null`)
	tab.Press(kb.Escape)

	tab.Press("j")
	tab.Await(focused + ` === document.querySelector("main tbody tr:nth-child(1) a")`)
	tab.Press("j")
	tab.Press("j")
	tab.Press("k")
	tab.Await(focused + ` === document.querySelector("main tbody tr:nth-child(2) a")`)
	second := chromium.Value[string](tab, focused+`.pathname`)
	if got := tab.PressTo(kb.Enter); got != http.StatusOK {
		t.Errorf("the page of the rollout has status %d", got)
	}
	tab.Await(`location.pathname === "` + second + `"`)

	t.Log("the keys are switched off in this browser")
	tab.Press("?")
	tab.Await(`document.querySelector("dialog[open]") !== null`)
	tab.Click("#keys-allowed")
	tab.Press(kb.Escape)
	tab.Reload()
	tab.Press("/")
	tab.Press(kb.Tab)
	tab.Await(focused + `.className === "skip"`)
}

// testWithoutScript uses the console in a browser that runs no script.
func (s *stage) testWithoutScript(t *testing.T) {
	t.Parallel()
	tab := s.as(t, "vera", "rollouts", chromium.Options{NoScript: true})
	tab.AwaitText("9 rollouts")
	if tab.Has("#asof:not(:empty)") {
		t.Error("a script has run")
	}
	tab.Fill(`main input[name="q"]`, "gateway-2-2")
	tab.PressTo(kb.Enter)
	tab.AwaitText("3 rollouts")
	for _, hidden := range []string{"[data-opens]", "[data-copy]"} {
		if chromium.Value[int](tab, `[...document.querySelectorAll("`+hidden+`")].filter(e => e.checkVisibility()).length`) > 0 {
			t.Errorf("the page shows %s, which does nothing without a script", hidden)
		}
	}
}
