// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import "container/heap"

// queue orders devices by due time: a min-heap in which each device has its index. A device is in
// it unless it is being visited or isInactive.
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
