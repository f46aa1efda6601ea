// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"sync"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
)

// watch collects the faults of the pages of a tab.
type watch struct {
	mu sync.Mutex
	// host is the only one that pages may send requests to.
	host    string
	faults  []string
	allowed []*regexp.Regexp
}

// Allow accepts faults that match a regular expression: those that the test causes.
func (w *watch) Allow(pattern string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed = append(w.allowed, regexp.MustCompile(pattern))
}

// Faults returns the faults of the pages so far, without those that are allowed: errors and
// warnings of the console, exceptions, violations of the Content-Security-Policy, requests to other
// hosts, and crashes.
func (w *watch) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var faults []string
	for _, fault := range w.faults {
		if !slices.ContainsFunc(w.allowed, func(r *regexp.Regexp) bool { return r.MatchString(fault) }) {
			faults = append(faults, fault)
		}
	}
	return faults
}

// forget forgets the faults so far.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
}

// setHost makes requests to other hosts than that of the address faults.
func (w *watch) setHost(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u, err := url.Parse(address); err == nil {
		w.host = u.Host
	}
}

func (w *watch) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// isForeign reports whether a request leaves the host of the page.
func (w *watch) isForeign(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch u.Scheme {
	case "data", "about", "blob":
		return false
	}
	return w.host != "" && u.Host != w.host
}

// notice receives the events of the tab.
func (w *watch) notice(event any) {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.add("console.%s: %s", e.Type, describe(e.Args))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		w.add("exception: %s", text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			w.add("%s %s: %s (%s)", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		if details := e.Issue.Details; details != nil && details.ContentSecurityPolicyIssueDetails != nil {
			csp := details.ContentSecurityPolicyIssueDetails
			w.add("Content-Security-Policy: %s violates %s (%s)", csp.BlockedURL, csp.ViolatedDirective, csp.ContentSecurityPolicyViolationType)
		}
	case *network.EventRequestWillBeSent:
		if w.isForeign(e.Request.URL) {
			w.add("request to another host: %s", e.Request.URL)
		}
	case *inspector.EventTargetCrashed:
		w.add("the tab has crashed")
	}
}

// describe returns what was printed to the console.
func describe(arguments []*runtime.RemoteObject) string {
	text := ""
	for i, argument := range arguments {
		if i > 0 {
			text += " "
		}
		if argument.Description != "" {
			text += argument.Description
		} else {
			text += string(argument.Value)
		}
	}
	return text
}
