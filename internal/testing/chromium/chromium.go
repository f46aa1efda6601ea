// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chromium runs tests in a real browser: one headless Chromium for all tests of a package,
// and a tab with cookies of its own for each Open. A tab collects the faults of its pages (see
// Faults), and a fault that the test has not allowed fails the test.
package chromium

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Require skips the test if Chromium is not installed, or fails it if GOSHAWK_REQUIRE_CHROMIUM is
// 1.
func Require(t testing.TB) {
	t.Helper()
	if program() != "" {
		return
	}
	const sentence = "this test needs Chromium, which is not installed: run `apt-get install chromium fonts-dejavu-core`"
	if os.Getenv("GOSHAWK_REQUIRE_CHROMIUM") == "1" {
		t.Fatal(sentence)
	}
	t.Skip(sentence)
}

// program returns the path of Chromium, or nothing if it is not installed.
func program() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// startsWithin is how long Chromium may take until it runs.
const startsWithin = 2 * time.Minute

// browser starts the browser of the tests of a package, once. The context ends with it.
var browser = sync.OnceValues(start)

// stop ends the browser; nil if no test has started it.
var stop func()

// Run runs the tests of a package, for its TestMain, and stops the browser that Open started.
func Run(m *testing.M) int {
	code := m.Run()
	if stop != nil {
		stop()
	}
	return code
}

// start starts Chromium. Its data are in a folder that stop removes.
func start() (context.Context, error) {
	// The sandbox of Chromium needs rights that containers, and root in them, do not have. These
	// tests only open pages of this repository.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true), chromedp.Flag("no-pings", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("lang", "en-US"))
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	stop = func() { end(); endAllocator() }
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return nil, fmt.Errorf("start Chromium: %w", err)
		}
		return ctx, nil
	case <-time.After(startsWithin):
		return nil, fmt.Errorf("the browser does not run after %s", startsWithin)
	}
}
