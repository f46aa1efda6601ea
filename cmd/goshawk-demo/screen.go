// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/progress"
)

const (
	// frameInterval is the time between two drawings in a terminal, and logInterval the time
	// between two lines in a log.
	frameInterval = 200 * time.Millisecond
	logInterval   = time.Second
)

// screen shows the progress of the demo: in a terminal the view is redrawn in place, in a log lines
// are written.
type screen struct {
	out       *os.File
	terminal  bool
	getenv    func(string) string
	live      progress.Live
	printed   string // last line of a log, without its time
	printedAt time.Time
}

func newScreen(out *os.File, terminal bool, getenv func(string) string) *screen {
	return &screen{
		out: out, terminal: terminal && getenv("TERM") != "dumb", getenv: getenv,
		live: progress.Live{Out: out},
	}
}

// style returns the style for the present size of the terminal.
func (s *screen) style() progress.Style {
	width, height := 100, 0
	if s.terminal {
		if w, h, err := term.GetSize(int(s.out.Fd())); err == nil {
			width, height = w, h
		}
	}
	style := progress.StyleFor(s.getenv, width, height)
	style.Color = style.Color && s.terminal
	return style
}

// print writes lines that are not redrawn.
func (s *screen) print(format string, arguments ...any) {
	s.live.Keep()
	fmt.Fprintf(s.out, format+"\n", arguments...)
}

// title prints the title of a part of the demo.
func (s *screen) title(text string) {
	if s.style().Color {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	s.print("\n%s", text)
}

// show shows the present state of the rollout. A log gets one line in each logInterval if the line
// has changed, and otherwise one in five.
func (s *screen) show(r *v1alpha1.Rollout, now time.Time) {
	if s.terminal {
		_ = s.live.Show(progress.Progress(explain.StatusOf(explain.StatusWorld{Rollout: r, Now: now}), now, s.style()))
		return
	}
	text := progress.Line(explain.StatusOf(explain.StatusWorld{Rollout: r, Now: now}))
	if quiet := now.Sub(s.printedAt); quiet < logInterval || text == s.printed && quiet < 5*logInterval {
		return
	}
	s.printed, s.printedAt = text, now
	fmt.Fprintln(s.out, now.Format("15:04:05"), text)
}

// finish shows the final state of the rollout.
func (s *screen) finish(r *v1alpha1.Rollout, now time.Time) {
	if s.terminal {
		_ = s.live.Show(progress.Progress(explain.StatusOf(explain.StatusWorld{Rollout: r, Now: now}), now, s.style()))
	} else {
		fmt.Fprint(s.out, progress.Progress(explain.StatusOf(explain.StatusWorld{Rollout: r, Now: now}), now, s.style()))
	}
	s.live.Keep()
}
