// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

// tolerance is how long after the commit a device may still ask for the update and get it before
// the demo calls the stop broken.
const tolerance = time.Second

// verdict is what the devices saw of a stop, and what Goshawk has written down of it.
type verdict struct {
	devices int
	// started devices got the update. Of them, finished were done before they heard of the stop,
	// gaveUp canceled it; others reported their result when it was too late.
	started, finished, gaveUp int
	// lastStart is when the last device got the update; zero: none did.
	lastStart time.Time
	// late is how many asked for the update after the commit was acknowledged, and got it;
	// lastAsked is when the last that got it had asked.
	late      int
	lastAsked time.Time
	// polls is how often devices asked for work since, and askedTwice how many of them did so at
	// least twice.
	polls, askedTwice int
	books             books
}

// judge looks at what the devices recorded since the update started.
func judge(events []devicesim.Event, devices int, startTime time.Time, c stopCommit) verdict {
	v := verdict{devices: devices}
	started, polls := map[string]bool{}, map[string]int{}
	for _, e := range events {
		if e.At.Before(startTime) {
			continue
		}
		late := e.Asked.After(c.acknowledged)
		switch {
		case e.Kind == devicesim.Started:
			started[e.Device] = true
			v.lastStart, v.lastAsked = latest(v.lastStart, e.At), latest(v.lastAsked, e.Asked)
			if late {
				v.late++
			}
		case e.Kind == devicesim.Closed && started[e.Device]:
			v.finished++
		case e.Kind == devicesim.Canceled && started[e.Device]:
			v.gaveUp++
		case e.Kind == devicesim.Polled && late:
			v.polls++
			polls[e.Device]++
			if polls[e.Device] == 2 {
				v.askedTwice++
			}
		}
	}
	v.started = len(started)
	return v
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// text is the verdict in words; stopped is when the rollout was Stopped.
func (v verdict) text(c stopCommit, stopped time.Time) string {
	var out strings.Builder
	fmt.Fprintf(&out, "What the devices saw:\n  %4d had started: %s\n", v.started, v.fates())
	if n := v.books.started - v.started; n > 0 {
		fmt.Fprintf(&out, "  %4d were just asking: Goshawk took their start back and gave them nothing\n", n)
	}
	fmt.Fprintf(&out, "  %4d never came that far\n", v.devices-max(v.started, v.books.started))
	fmt.Fprintf(&out, "  %4d started after the commit, in %d polls: %d of %d devices asked twice since\n", v.late, v.polls, v.askedTwice, v.devices)
	fmt.Fprintf(&out, "From sending the commit, which the API server had after %s:\n", seconds(c.acknowledged.Sub(c.sent)))
	fmt.Fprintf(&out, "  %s until the last device started\n", seconds(max(v.lastStart.Sub(c.sent), 0)))
	fmt.Fprintf(&out, "  %s until the rollout was Stopped", seconds(stopped.Sub(c.sent)))
	return out.String()
}

func (v verdict) fates() string {
	text := fmt.Sprintf("%d were done, %d canceled when asked", v.finished, v.gaveUp)
	if n := v.started - v.gaveUp - v.finished; n > 0 {
		text += fmt.Sprintf(", %d reported their result too late", n)
	}
	return text
}

// err says what is wrong with the stop.
func (v verdict) err(c stopCommit) error {
	switch after := v.lastAsked.Sub(c.acknowledged); {
	case after > tolerance:
		return fmt.Errorf("the stop failed: a device asked for the update %s after the commit, and got it", seconds(after))
	case v.books.open > 0:
		return fmt.Errorf("the stop failed: %d actions of the invalidated set are still open", v.books.open)
	case v.started == 0 || v.started == v.devices:
		return errors.New("the stop shows nothing: no device, or every device, had started before it")
	}
	return nil
}
