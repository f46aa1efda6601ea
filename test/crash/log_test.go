// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// complaints has the error lines that the processes of this binary have logged.
var complaints = &errorLog{book: &book{}}

// errorLog is a sink that keeps errors and drops other lines.
type errorLog struct {
	*book
	context string
}

type book struct {
	mu    sync.Mutex
	lines []string
	// read are the lines that a run has checked.
	read map[int]bool
}

var _ logr.LogSink = (*errorLog)(nil)

func (l *errorLog) Init(logr.RuntimeInfo)          {}
func (l *errorLog) Enabled(int) bool               { return false }
func (l *errorLog) Info(int, string, ...any)       {}
func (l *errorLog) WithName(n string) logr.LogSink { return &errorLog{l.book, l.context + " " + n} }
func (l *errorLog) WithValues(values ...any) logr.LogSink {
	return &errorLog{l.book, l.context + fmt.Sprintf(" %+v", values)}
}

func (l *errorLog) Error(err error, message string, values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%s: %v%s %+v", message, err, l.context, values))
}

// explained are parts of error lines about the fault, about the end of a process, whose calls are
// canceled and whose device API is closed, and about requests that reach their time limit because
// the machine is busy.
var explained = []string{injected, context.Canceled.Error(), net.ErrClosed.Error(), context.DeadlineExceeded.Error()}

// isExplained reports whether an error line has one of these causes.
func isExplained(line string) bool {
	return slices.ContainsFunc(explained, func(part string) bool { return strings.Contains(line, part) })
}

// of returns the error lines about a namespace that no fault explains.
func (b *book) of(namespace string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	about := regexp.MustCompile(regexp.QuoteMeta(namespace) + `(\D|$)`)
	var bad []string
	for i, line := range b.lines {
		if !about.MatchString(line) {
			continue
		}
		if b.read == nil {
			b.read = map[int]bool{}
		}
		b.read[i] = true
		if !isExplained(line) {
			bad = append(bad, line)
		}
	}
	return bad
}

// withoutRun returns an error if there are error lines that belong to no run.
func (b *book) withoutRun() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var bad []string
	for i, line := range b.lines {
		if !b.read[i] && !isExplained(line) {
			bad = append(bad, line)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("errors were logged that no fault explains:\n%s", strings.Join(bad, "\n"))
	}
	return nil
}
