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

// tolerance is the time after the commit within which a device may still fetch the update. A later
// fetch is an error.
const tolerance = time.Second

// verdict is what the devices and Goshawk recorded about a stop.
type verdict struct {
	// devices is the number of devices, of which polling use DDI.
	devices, polling int
	// started is the number of devices that got the update. Of them, finished reported a result
	// before the cancel reached them, canceled accepted the cancel, and the others reported a
	// result after the action was closed.
	started, finished, canceled int
	// lastStart is when the last device got the update, or zero if none did.
	lastStart time.Time
	// late is the number of devices that sent their request for the update after the commit was
	// acknowledged, and got it. lastAsked is when the last device that got the update sent its
	// request.
	late      int
	lastAsked time.Time
	// polls is the number of polls since the commit, and askedTwice the number of devices with at
	// least two of them.
	polls, askedTwice int
	record            record
}

// evaluate returns the verdict for the events since the start of the update, without record.
func evaluate(events []devicesim.Event, devices, polling int, startTime time.Time, c stopCommit) verdict {
	v := verdict{devices: devices, polling: polling}
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
			v.canceled++
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

// text returns the verdict for people. stopped is when the rollout was Stopped.
func (v verdict) text(c stopCommit, stopped time.Time) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Devices:\n  %4d had started: %s\n", v.started, v.results())
	if n := v.record.started - v.started; n > 0 {
		fmt.Fprintf(&out, "  %4d were fetching the deployment at that moment and got 404\n", n)
	}
	fmt.Fprintf(&out, "  %4d had not asked for it\n", v.devices-max(v.started, v.record.started))
	fmt.Fprintf(&out, "  %4d started after the commit; since then %d of %d devices with DDI have polled at least twice, %d polls in all\n", v.late, v.askedTwice, v.polling, v.polls)
	fmt.Fprintf(&out, "After the commit was sent (the API server had stored it after %s):\n", seconds(c.acknowledged.Sub(c.sent)))
	fmt.Fprintf(&out, "  %s until the last device started\n", seconds(max(v.lastStart.Sub(c.sent), 0)))
	fmt.Fprintf(&out, "  %s until the rollout was Stopped", seconds(stopped.Sub(c.sent)))
	return out.String()
}

func (v verdict) results() string {
	text := fmt.Sprintf("%d finished before the cancel, %d canceled", v.finished, v.canceled)
	if n := v.started - v.canceled - v.finished; n > 0 {
		text += fmt.Sprintf(", %d reported a result after the action was closed", n)
	}
	return text
}

// err returns an error if the stop did not work or shows nothing.
func (v verdict) err(c stopCommit) error {
	switch after := v.lastAsked.Sub(c.acknowledged); {
	case after > tolerance:
		return fmt.Errorf("the stop failed: a device asked for the update %s after the commit, and got it", seconds(after))
	case v.record.open > 0:
		return fmt.Errorf("the stop failed: %d actions of the invalidated set are still open", v.record.open)
	case v.started == 0 || v.started == v.devices:
		return errors.New("the demo shows no stop: no device, or every device, had started before the commit")
	}
	return nil
}
