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
	// maxGathered is how many reports of one device are gathered before they are written.
	maxGathered = 100
	// maxGatheredBytes is how much memory they may take.
	maxGatheredBytes = 32 << 10
	// maxBuffer is how much memory the gathered reports of all devices of a process may take.
	maxBuffer = 64 << 20
	// gatheringSize, reportSize and lineSize are what a device, a report and a line of it take in
	// memory beside their texts.
	gatheringSize, reportSize, lineSize = 512, 256, 32
	// lastFlush is how long a device API that ends may take to write what it has gathered.
	lastFlush = 5 * time.Second
	// flushWriters is how many devices are written at a time; targets.Store bounds them further.
	flushWriters = 8
)

// ReportBuffer bounds the memory of the gathered reports of all backends that share it.
type ReportBuffer struct {
	limit int64
	used  atomic.Int64
}

// NewReportBuffer makes the buffer of a process: it holds 64 MiB.
func NewReportBuffer() *ReportBuffer { return &ReportBuffer{limit: maxBuffer} }

// take reports whether there is room for so many bytes, and takes it.
func (b *ReportBuffer) take(bytes int) bool {
	if b.used.Add(int64(bytes)) > b.limit {
		b.give(bytes)
		return false
	}
	return true
}

func (b *ReportBuffer) give(bytes int) { b.used.Add(-int64(bytes)) }

// progress gathers intermediate reports until the device's next write takes them along: a device
// costs one write when it starts and one when it ends.
type progress struct {
	now    func() time.Time
	buffer *ReportBuffer

	mu      sync.Mutex
	devices map[types.NamespacedName]*gathering
	ended   bool // nobody will come by to write any more
}

type gathering struct {
	since   time.Time
	reports []action.Report
	// bytes that it takes in memory.
	bytes int
}

func newProgress(now func() time.Time, buffer *ReportBuffer) *progress {
	if buffer == nil {
		buffer = NewReportBuffer()
	}
	return &progress{now: now, buffer: buffer, devices: map[types.NamespacedName]*gathering{}}
}

// sizeOf returns how many bytes a condensed report takes in memory.
func sizeOf(r action.Report) int { return reportSize + r.Size() + lineSize*len(r.Details) }

// add keeps a condensed report. It returns whether no more should be gathered before the next
// write, and whether the report was kept: it is not when the process ends, when what was gathered
// of the device is full, or when there is no room for more of all devices.
func (p *progress) add(key types.NamespacedName, r action.Report) (full, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, size := p.devices[key], sizeOf(r)
	if g == nil {
		size += gatheringSize
	}
	if p.ended || g.isFull() || !p.buffer.take(size) {
		return false, false
	}
	if g == nil {
		g = &gathering{since: p.now()}
		p.devices[key] = g
	}
	g.reports = append(g.reports, r)
	g.bytes += size
	return g.isFull(), true
}

func (g *gathering) isFull() bool {
	return g != nil && (len(g.reports) >= maxGathered || g.bytes >= maxGatheredBytes)
}

// end keeps nothing from now on.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

func (p *progress) count(key types.NamespacedName) int { return len(p.of(key)) }

// showsDownload reports whether a gathered report on the action shows a download. Of what is
// gathered only a warning does not.
func (p *progress) showsDownload(key types.NamespacedName, id int32) bool {
	return slices.ContainsFunc(p.of(key), func(r action.Report) bool { return r.ID == id && r.Event != action.Warn })
}

// of are the reports gathered for a device, oldest first.
func (p *progress) of(key types.NamespacedName) []action.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.devices[key]; g != nil {
		return g.reports
	}
	return nil
}

// done drops the first n reports: they are stored.
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
	g.reports, g.since, g.bytes = append([]action.Report(nil), g.reports[n:]...), p.now(), gatheringSize
	for _, r := range g.reports {
		g.bytes += sizeOf(r)
	}
	p.buffer.give(before - g.bytes)
}

// drop forgets what was gathered for a device that is gone.
func (p *progress) drop(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.devices[key]; g != nil {
		p.remove(key, g)
	}
}

func (p *progress) remove(key types.NamespacedName, g *gathering) {
	delete(p.devices, key)
	p.buffer.give(g.bytes)
}

// due are the devices whose oldest report has waited for this long.
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

// flushWrite writes what was gathered about a device. isLast: it is the last chance to do so.
type flushWrite func(ctx context.Context, key types.NamespacedName, isLast bool) error

// run writes what is due until ctx ends, and then the rest. What could not be written by then is
// lost.
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

// flush writes what is due. What cannot be written waits for the next time.
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

// targetLocks lets one writer at a time go to a device: two at once would both take along what was
// gathered, and count it twice or drop what came between.
type targetLocks struct {
	mu      sync.Mutex
	devices map[types.NamespacedName]*targetLock
}

// targetLock is one writer's turn at a device.
type targetLock struct {
	taken chan struct{}
	users int
	// hurry is closed once a writer that goes first waits: the one whose turn it is must not keep
	// it waiting.
	hurry   chan struct{}
	hurried bool
	release func()
}

func newTargetLocks() *targetLocks {
	return &targetLocks{devices: map[types.NamespacedName]*targetLock{}}
}

// take waits for the device's turn, whose release ends it. A writer that goes first hurries the one
// before it.
func (t *targetLocks) take(ctx context.Context, key types.NamespacedName, isFirst bool) (*targetLock, error) {
	t.mu.Lock()
	mine := t.devices[key]
	if mine == nil {
		mine = &targetLock{taken: make(chan struct{}, 1), hurry: make(chan struct{})}
		mine.release = func() { <-mine.taken; t.leave(key, mine) }
		t.devices[key] = mine
	}
	if mine.users++; isFirst && mine.users > 1 && !mine.hurried {
		mine.hurried = true
		close(mine.hurry)
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
