// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience is how long a tab waits for a condition. It only passes if the test fails.
const patience = time.Minute

// Options of a tab.
type Options struct {
	// Width and Height of the page in pixels. 0: 1280 and 900.
	Width, Height int
	// Dark prefers dark colours.
	Dark bool
	// NoScript runs no script of the pages.
	NoScript bool
}

// Tab is a tab of the browser, with cookies of its own. Its methods fail the test if something is
// not as it should be within a generous time.
type Tab struct {
	t   testing.TB
	ctx context.Context
	*watch
}

// Open opens a tab, which is closed when the test ends. See Require. The test fails if the tab has
// Faults then.
func Open(t testing.TB, o Options) *Tab {
	t.Helper()
	Require(t)
	parent, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	tab := &Tab{t: t, watch: &watch{}}
	ctx, end := chromedp.NewContext(parent, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.notice))
	tab.ctx = ctx
	t.Cleanup(func() {
		tab.conclude()
		end()
	})
	tab.do("open a tab", chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, audits.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: o.NoScript})
		return err
	}))
	width, height := o.Width, o.Height
	if width == 0 {
		width, height = 1280, 900
	}
	tab.Resize(width, height)
	tab.Prefer(o.Dark)
	return tab
}

// In lets a subtest use the tab: a failure, and a fault of a page, is one of the subtest.
func (tab *Tab) In(t *testing.T, use func()) {
	t.Helper()
	outer := tab.t
	tab.t = t
	defer func() {
		tab.conclude()
		tab.forget()
		tab.t = outer
	}()
	use()
}

// conclude fails the test for the faults of the tab. If the test failed it logs what the page
// shows, and writes a picture of it, which `go test -artifacts` keeps.
func (tab *Tab) conclude() {
	if _, err := chromedp.Run(tab.ctx, chromedp.Title()); err != nil { // all events before this answer were received
		tab.t.Errorf("the tab does not answer: %v", err)
	}
	for _, fault := range tab.Faults() {
		tab.t.Errorf("the page has a fault: %s", fault)
	}
	if !tab.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(tab.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.title + "\n" + (document.body ? document.body.innerText : "").slice(0, 3000)`))
	if err != nil {
		tab.t.Logf("the page cannot be read: %v", err)
		return
	}
	tab.t.Logf("the page when the test failed:\n%s", text)
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		file := filepath.Join(tab.t.ArtifactDir(), fmt.Sprintf("tab-%p.png", tab))
		err = os.WriteFile(file, picture, 0o644)
		tab.t.Logf("a picture of it is in %s (kept with go test -artifacts)", file)
	}
	if err != nil {
		tab.t.Logf("the page has no picture: %v", err)
	}
}

// do runs actions within patience.
func (tab *Tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	// The first action of a tab creates it, and the tab ends with the context of this action.
	if chromedp.FromContext(tab.ctx).Target == nil {
		if err := chromedp.Do(tab.ctx); err != nil {
			tab.t.Fatalf("%s: %v", what, err)
		}
	}
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		tab.t.Fatalf("%s: %v", what, err)
	}
}

// Resize gives the page another size.
func (tab *Tab) Resize(width, height int) {
	tab.t.Helper()
	tab.do("resize the page", chromedp.EmulateViewport(int64(width), int64(height)))
}

// Prefer says whether the person prefers dark colours.
func (tab *Tab) Prefer(dark bool) {
	tab.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	tab.media("", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme})
}

// Print shows the page as it is printed.
func (tab *Tab) Print() {
	tab.t.Helper()
	tab.media("print", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "light"})
}

func (tab *Tab) media(media string, features ...*emulation.MediaFeature) {
	tab.t.Helper()
	// Nothing moves in tests: a transition of colours would be a moment to wait for.
	features = append(features, &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	tab.do("set the medium", chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media, Features: features})
		return err
	}))
}

// Visit opens an address and returns the HTTP status of the page. Requests to hosts other than that
// of the address are faults from then on.
func (tab *Tab) Visit(address string) int {
	tab.t.Helper()
	tab.setHost(address)
	return tab.load("open "+address, chromedp.Navigate(address))
}

// Reload loads the page again, and returns its HTTP status.
func (tab *Tab) Reload() int {
	tab.t.Helper()
	return tab.load("reload the page", chromedp.Reload())
}

// load runs actions that load a page, waits for it, and returns its HTTP status.
func (tab *Tab) load(what string, actions ...chromedp.Action[chromedp.Void]) int {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, actions...)
	if err != nil {
		tab.t.Fatalf("%s: %v", what, err)
	}
	if response == nil { // not of a server, such as about:blank
		return 0
	}
	return int(response.Status)
}

// ClickTo clicks the first element of a CSS selector, waits for the page that this loads, and
// returns its HTTP status.
func (tab *Tab) ClickTo(selector string) int {
	tab.t.Helper()
	return tab.load("follow "+selector, tab.click(selector))
}

// Click clicks the first element of a CSS selector with the mouse, as soon as it can be clicked.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.do("click "+selector, tab.click(selector))
}

// click waits until the first visible element of the selector is what the mouse would hit, and
// clicks it.
func (tab *Tab) click(selector string) chromedp.Action[chromedp.Void] {
	script := fmt.Sprintf(`(() => {
		for (const element of document.querySelectorAll(%s)) {
			if (element.disabled || !element.checkVisibility()) continue;
			element.scrollIntoView({block: "center", behavior: "instant"});
			const box = element.getClientRects()[0];
			if (!box) continue;
			const x = box.left + box.width / 2, y = box.top + box.height / 2;
			const hit = document.elementFromPoint(x, y);
			if (hit && (element.contains(hit) || hit.contains(element))) return [x, y];
		}
		return null;
	})()`, quoted(selector))
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for {
			place, err := chromedp.Evaluate[[]float64](script)(ctx, target)
			if err == nil && len(place) == 2 {
				_, err = chromedp.MouseClickXY(place[0], place[1])(ctx, target)
				return err
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("no element can be clicked: %w", err)
			}
		}
	})
}

// Type types text with the keyboard, into the element that has the focus.
func (tab *Tab) Type(text string) {
	tab.t.Helper()
	tab.do("type "+text, keys(text))
}

// Press presses a key of package kb, or a letter, with modifiers.
func (tab *Tab) Press(key string, modifiers ...chromedp.Modifier) {
	tab.t.Helper()
	tab.do("press a key", keys(key, modifiers...))
}

// PressTo presses a key, waits for the page that this loads, and returns its HTTP status.
func (tab *Tab) PressTo(key string) int {
	tab.t.Helper()
	return tab.load("press a key", keys(key))
}

// keys presses keys. The character of a key comes with its "keydown", so that a page that handles
// the key can prevent that it is typed, as with a keyboard.
func keys(text string, modifiers ...chromedp.Modifier) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, r := range text {
			events := kb.Encode(r)
			down, up := events[0], events[len(events)-1]
			for _, m := range modifiers {
				down.Modifiers |= int64(m)
				up.Modifiers |= int64(m)
			}
			if len(events) == 3 && down.Modifiers&^int64(chromedp.ModifierShift) == 0 {
				down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
			}
			for _, e := range []*input.DispatchKeyEventParams{down, up} {
				if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, *e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Fill replaces the text of a field: it clicks the field, selects its text and types.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	tab.Click(selector)
	tab.do("select the text of "+selector, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelector(%s).select()", quoted(selector))))
	tab.Type(text)
}

// Await waits until a JavaScript expression is true. While a page is being loaded it is not.
func (tab *Tab) Await(expression string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && ok {
			return
		}
		if pause(ctx) != nil {
			tab.t.Fatalf("after %s this is not true: %s (last error: %v)", patience, expression, err)
		}
	}
}

// AwaitText waits until the page shows this text.
func (tab *Tab) AwaitText(text string) {
	tab.t.Helper()
	tab.Await(fmt.Sprintf("document.body && document.body.innerText.includes(%s)", quoted(text)))
}

// AwaitFault waits until the tab has a fault with this text.
func (tab *Tab) AwaitFault(text string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for !slices.ContainsFunc(tab.Faults(), func(fault string) bool { return strings.Contains(fault, text) }) {
		if pause(ctx) != nil {
			tab.t.Fatalf("after %s the tab has no fault with %q: %q", patience, text, tab.Faults())
		}
	}
}

// Text returns the text that the first element of a CSS selector shows.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return Value[string](tab, fmt.Sprintf("document.querySelector(%s).innerText", quoted(selector)))
}

// Has reports whether the page has an element of a CSS selector.
func (tab *Tab) Has(selector string) bool {
	tab.t.Helper()
	return Value[bool](tab, fmt.Sprintf("document.querySelector(%s) !== null", quoted(selector)))
}

// Value returns the value of a JavaScript expression, of its promise if it is one.
func Value[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("evaluate %.200s: %v", expression, err)
	}
	return value
}

// Screenshot returns a picture (PNG) of the visible part of the page.
func (tab *Tab) Screenshot() []byte {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.Action[[]byte](func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
		result, err := cdp.Call(ctx, target, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
		if err != nil {
			return nil, err
		}
		return result.Data, nil
	}))
	if err != nil {
		tab.t.Fatalf("take a picture: %v", err)
	}
	return picture
}

// pause waits a little before a condition is read again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// quoted returns a text as a JavaScript literal.
func quoted(text string) string {
	literal, _ := json.Marshal(text)
	return string(literal)
}
