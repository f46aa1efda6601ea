// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

const (
	// maxBuffered is the maximum number of reports of one device in the buffer.
	maxBuffered = 100
	// maxBufferedBytes is the maximum memory of these reports.
	maxBufferedBytes = 32 << 10
	// maxBuffer is the maximum memory of the buffered reports of all devices of a process.
	maxBuffer = 64 << 20
	// deviceBufferSize, reportSize and lineSize are the memory of a device, a report and a line in
	// addition to their texts.
	deviceBufferSize, reportSize, lineSize = 512, 256, 32
	// lastFlush is the time that a process has at its end to write the buffered reports.
	lastFlush = 5 * time.Second
	// flushWriters is the number of devices that are written in parallel; targetstatus.Store limits
	// them further.
	flushWriters = 8
)

// ReportBuffer limits the memory of the buffered reports of all backends that share it.
type ReportBuffer struct {
	limit int64
	used  atomic.Int64
}

// NewReportBuffer returns the buffer of a process, which holds 64 MiB.
func NewReportBuffer() *ReportBuffer { return &ReportBuffer{limit: maxBuffer} }

// take reserves the given number of bytes, and reports whether there was room.
func (b *ReportBuffer) take(bytes int) bool {
	if b.used.Add(int64(bytes)) > b.limit {
		b.give(bytes)
		return false
	}
	return true
}

func (b *ReportBuffer) give(bytes int) { b.used.Add(-int64(bytes)) }

// progress buffers intermediate reports until the next write of the device, so that an action costs
// one write at its start and one at its end.
type progress struct {
	now    func() time.Time
	buffer *ReportBuffer

	mu      sync.Mutex
	devices map[types.NamespacedName]*deviceBuffer
	ended   bool // no further write will happen
}

type deviceBuffer struct {
	since   time.Time
	reports []action.Report
	// bytes is its size in memory.
	bytes int
}

func newProgress(now func() time.Time, buffer *ReportBuffer) *progress {
	if buffer == nil {
		buffer = NewReportBuffer()
	}
	return &progress{now: now, buffer: buffer, devices: map[types.NamespacedName]*deviceBuffer{}}
}

// sizeOf returns the size of a condensed report in memory.
func sizeOf(r action.Report) int { return reportSize + r.Size() + lineSize*len(r.Details) }

// add buffers a condensed report. It returns whether the buffer should be written before further
// reports are added, and whether the report was kept. It is not kept when the process ends, when
// the buffer of the device is full, or when there is no room for more reports of all devices.
func (p *progress) add(key types.NamespacedName, r action.Report) (full, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, size := p.devices[key], sizeOf(r)
	if g == nil {
		size += deviceBufferSize
	}
	if p.ended || g.isFull() || !p.buffer.take(size) {
		return false, false
	}
	if g == nil {
		g = &deviceBuffer{since: p.now()}
		p.devices[key] = g
	}
	g.reports = append(g.reports, r)
	g.bytes += size
	return g.isFull(), true
}

func (g *deviceBuffer) isFull() bool {
	return g != nil && (len(g.reports) >= maxBuffered || g.bytes >= maxBufferedBytes)
}

// end stops buffering.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

func (p *progress) count(key types.NamespacedName) int { return len(p.of(key)) }

// showsDownload reports whether a buffered report on the action indicates a download. Of the
// buffered events only a warning does not.
func (p *progress) showsDownload(key types.NamespacedName, id int32) bool {
	return slices.ContainsFunc(p.of(key), func(r action.Report) bool { return r.ID == id && r.Event != action.Warn })
}

// of returns the buffered reports of a device, oldest first.
func (p *progress) of(key types.NamespacedName) []action.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.devices[key]; g != nil {
		return g.reports
	}
	return nil
}

// done drops the first n reports, because they are stored.
func (p *progress) done(key types.NamespacedName, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.devices[key]
	if g == nil || n == 0 {
		return
	}
	if n >= len(g.reports) {
		p.remove(key, g)
		return
	}
	before := g.bytes
	g.reports, g.since, g.bytes = append([]action.Report(nil), g.reports[n:]...), p.now(), deviceBufferSize
	for _, r := range g.reports {
		g.bytes += sizeOf(r)
	}
	p.buffer.give(before - g.bytes)
}

// drop drops the reports of a deleted device.
func (p *progress) drop(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.devices[key]; g != nil {
		p.remove(key, g)
	}
}

func (p *progress) remove(key types.NamespacedName, g *deviceBuffer) {
	delete(p.devices, key)
	p.buffer.give(g.bytes)
}

// due returns the devices whose oldest report was buffered for this long.
func (p *progress) due(interval time.Duration) []types.NamespacedName {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []types.NamespacedName
	for key, g := range p.devices {
		if p.now().Sub(g.since) >= interval {
			due = append(due, key)
		}
	}
	return due
}

// flushWrite writes the buffered reports of a device. isLast means that there is no later attempt.
type flushWrite func(ctx context.Context, key types.NamespacedName, isLast bool) error

// run writes due reports until ctx ends, and then all others. Reports that could not be written by
// then are lost.
func (p *progress) run(ctx context.Context, interval time.Duration, write flushWrite) error {
	tick := time.NewTicker(max(interval/10, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.flush(ctx, interval, false, write)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			p.end()
			p.flush(last, 0, true, write)
			for _, key := range p.due(0) {
				p.drop(key)
			}
			return nil
		}
	}
}

// flush writes due reports. Reports that cannot be written are retried the next time.
func (p *progress) flush(ctx context.Context, interval time.Duration, isLast bool, write flushWrite) {
	var writers errgroup.Group
	writers.SetLimit(flushWriters)
	for _, key := range p.due(interval) {
		writers.Go(func() error {
			if err := write(ctx, key, isLast); errors.Is(err, deviceapi.ErrNotFound) {
				p.drop(key)
			}
			return nil
		})
	}
	_ = writers.Wait() // no writer returns an error
}

// targetLocks is a lock for each device, so that only one writer writes the buffered reports. Two
// writers would both include them, and count them twice or drop reports that arrived in between.
type targetLocks struct {
	mu      sync.Mutex
	devices map[types.NamespacedName]*targetLock
}

// targetLock is the lock of one writer for a device.
type targetLock struct {
	taken chan struct{}
	users int
	// urgent is closed when a writer with priority waits, so that the present writer finishes soon.
	urgent   chan struct{}
	isUrgent bool
	release  func()
}

func newTargetLocks() *targetLocks {
	return &targetLocks{devices: map[types.NamespacedName]*targetLock{}}
}

// take waits for the lock of the device; the caller must call release of the returned lock. A
// writer with priority closes urgent of the writer before it.
func (t *targetLocks) take(ctx context.Context, key types.NamespacedName, isFirst bool) (*targetLock, error) {
	t.mu.Lock()
	mine := t.devices[key]
	if mine == nil {
		mine = &targetLock{taken: make(chan struct{}, 1), urgent: make(chan struct{})}
		mine.release = func() { <-mine.taken; t.leave(key, mine) }
		t.devices[key] = mine
	}
	if mine.users++; isFirst && mine.users > 1 && !mine.isUrgent {
		mine.isUrgent = true
		close(mine.urgent)
	}
	t.mu.Unlock()
	select {
	case mine.taken <- struct{}{}:
		return mine, nil
	case <-ctx.Done():
		t.leave(key, mine)
		return nil, ctx.Err()
	}
}

func (t *targetLocks) leave(key types.NamespacedName, mine *targetLock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.devices, key)
	}
}
