// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/cmd/goshawk-demo/progress"
)

const (
	// frame is how often a terminal is drawn, and pulse how often a line is written where there is
	// none.
	frame = 200 * time.Millisecond
	pulse = time.Second
)

// screen shows the demo: in a terminal the view is redrawn in place, in a log a line is written now
// and then.
type screen struct {
	out      *os.File
	terminal bool
	getenv   func(string) string
	live     progress.Live
	said     string // last line of a log, without its time
	saidAt   time.Time
}

func newScreen(out *os.File, terminal bool, getenv func(string) string) *screen {
	return &screen{
		out: out, terminal: terminal && getenv("TERM") != "dumb", getenv: getenv,
		live: progress.Live{Out: out},
	}
}

// style asks for the size each time: people resize windows.
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

// say writes lines that stay.
func (s *screen) say(format string, arguments ...any) {
	s.live.Keep()
	fmt.Fprintf(s.out, format+"\n", arguments...)
}

// title starts a chapter.
func (s *screen) title(text string) {
	if s.style().Color {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	s.say("\n%s", text)
}

// show draws the rollout as it stands. A log gets a line a pulse while something changes, and a
// rarer sign of life else.
func (s *screen) show(r *v1alpha1.Rollout, now time.Time) {
	if s.terminal {
		_ = s.live.Show(progress.Progress(r, now, s.style()))
		return
	}
	text := progress.Line(r)
	if quiet := now.Sub(s.saidAt); quiet < pulse || text == s.said && quiet < 5*pulse {
		return
	}
	s.said, s.saidAt = text, now
	fmt.Fprintln(s.out, now.Format("15:04:05"), text)
}

// finish draws the rollout for the last time.
func (s *screen) finish(r *v1alpha1.Rollout, now time.Time) {
	if s.terminal {
		_ = s.live.Show(progress.Progress(r, now, s.style()))
	} else {
		fmt.Fprint(s.out, progress.Progress(r, now, s.style()))
	}
	s.live.Keep()
}
