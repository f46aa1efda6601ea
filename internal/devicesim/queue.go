// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"container/heap"
	"time"
)

// queue orders devices by due time: a min-heap in which each device has its index.
type queue []*device

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	d := x.(*device)
	d.index = len(*q)
	*q = append(*q, d)
}

func (q *queue) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	d.index = notQueued
	return d
}

// notQueued is the index of a device that is not queued.
const notQueued = -1

func (q *queue) put(d *device) {
	if d.index == notQueued {
		heap.Push(q, d)
	} else {
		heap.Fix(q, d.index)
	}
}

func (q *queue) take() *device { return heap.Pop(q).(*device) }

// schedule has each device in one of two queues, unless it is being visited or isInactive. Of the
// devices that are due, those with a next step of an update go first. So if there are too few
// workers for all, an update takes as long as if the device had its own connection, and the polls
// of other devices wait.
type schedule struct {
	updating, polling queue
}

func (s *schedule) put(d *device) {
	if d.work != nil && !d.work.waits() {
		s.updating.put(d)
	} else {
		s.polling.put(d)
	}
}

// take returns the first device that is due, or the time until one is.
func (s *schedule) take(now time.Time) (*device, time.Duration) {
	wait := longWait
	for _, q := range []*queue{&s.updating, &s.polling} {
		if len(*q) == 0 {
			continue
		}
		until := (*q)[0].due.Sub(now)
		if until <= 0 {
			return q.take(), 0
		}
		wait = min(wait, until)
	}
	return nil, wait
}
