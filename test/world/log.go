// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
)

// errorLog is a log sink that keeps the lines of level error and drops the others. An error in the
// log needs an action, so a story that causes one fails unless it has called ExpectErrors.
type errorLog struct {
	*errorLines
	context string
}

type errorLines struct {
	mu       sync.Mutex
	lines    []string
	expected []string
}

var logged = &errorLines{}

var _ logr.LogSink = (*errorLog)(nil)

func (l *errorLog) Init(logr.RuntimeInfo)    {}
func (l *errorLog) Enabled(int) bool         { return false }
func (l *errorLog) Info(int, string, ...any) {}
func (l *errorLog) WithName(name string) logr.LogSink {
	return &errorLog{l.errorLines, l.context + " " + name}
}
func (l *errorLog) WithValues(values ...any) logr.LogSink {
	return &errorLog{l.errorLines, l.context + fmt.Sprintf(" %+v", values)}
}

// atEnd are the starts of client-go's lines about requests that Goshawk cancels when a process
// ends: responses that were being read, and events that were being written.
var atEnd = []string{"Unexpected error when reading response body", "Unable to write event"}

// Error keeps the line, with two exceptions: those of atEnd with a canceled request; and a request
// that reached its time limit, because the machine may be busy.
func (l *errorLog) Error(err error, message string, values ...any) {
	isAtEnd := errors.Is(err, context.Canceled) && slices.ContainsFunc(atEnd, func(start string) bool { return strings.HasPrefix(message, start) })
	if isAtEnd || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%s: %v%s %+v", message, err, l.context, values))
}

// ExpectErrors names a part of the error lines that a story causes on purpose. Lines with it fail
// no story of the test binary.
func ExpectErrors(part string) {
	logged.mu.Lock()
	defer logged.mu.Unlock()
	logged.expected = append(logged.expected, part)
}

// take returns and removes the lines that match and that no story has expected.
func (l *errorLines) take(match func(line string) bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	l.lines = slices.DeleteFunc(l.lines, func(line string) bool {
		if slices.ContainsFunc(l.expected, func(part string) bool { return strings.Contains(line, part) }) {
			return true
		}
		if match(line) {
			out = append(out, line)
			return true
		}
		return false
	})
	return out
}

// failOnErrors fails the test for each error line about its namespace.
func failOnErrors(t testing.TB, namespace string) {
	about := regexp.MustCompile(regexp.QuoteMeta(namespace) + `(\D|$)`)
	for _, line := range logged.take(about.MatchString) {
		t.Errorf("an error was logged: %s", line)
	}
}

// otherErrors returns an error for the error lines that belong to no test.
func otherErrors() error {
	if lines := logged.take(func(string) bool { return true }); len(lines) > 0 {
		return fmt.Errorf("%d errors were logged:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	return nil
}
