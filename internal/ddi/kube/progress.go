// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi"
)

const (
	// maxGathered is how many reports of one device are gathered before they are written.
	maxGathered = 100
	// maxGatheredBytes is how much text they may have.
	maxGatheredBytes = 64 << 10
	// lastFlush is how long a device API that ends may take to write what it has gathered.
	lastFlush = 5 * time.Second
	// flushWriters is how many devices are written at a time; targets.Store bounds them further.
	flushWriters = 8
)

// progress gathers intermediate reports until the device's next write takes them along: a device
// costs one write when it starts and one when it ends.
type progress struct {
	now func() time.Time

	mu      sync.Mutex
	devices map[types.NamespacedName]*gathering
	ended   bool // nobody will come by to write any more
}

type gathering struct {
	since   time.Time
	reports []action.Report
	// bytes of text in reports.
	bytes int
}

func newProgress(now func() time.Time) *progress {
	return &progress{now: now, devices: map[types.NamespacedName]*gathering{}}
}

// add keeps a condensed report. It returns whether no more should be gathered before the next
// write, and whether the report was kept: it is not when the process ends.
func (p *progress) add(key types.NamespacedName, r action.Report) (full, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false, false
	}
	g := p.devices[key]
	if g == nil {
		g = &gathering{since: p.now()}
		p.devices[key] = g
	}
	g.reports = append(g.reports, r)
	g.bytes += r.Size()
	return len(g.reports) >= maxGathered || g.bytes >= maxGatheredBytes, true
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
		delete(p.devices, key)
		return
	}
	g.reports, g.since, g.bytes = append([]action.Report(nil), g.reports[n:]...), p.now(), 0
	for _, r := range g.reports {
		g.bytes += r.Size()
	}
}

// drop forgets what was gathered for a device that is gone.
func (p *progress) drop(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.devices, key)
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

// run writes what is due until ctx ends, and then the rest.
func (p *progress) run(ctx context.Context, interval time.Duration, write func(context.Context, types.NamespacedName) error) error {
	tick := time.NewTicker(max(interval/10, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.flush(ctx, interval, write)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			p.end()
			p.flush(last, 0, write)
			return nil
		}
	}
}

// flush writes what is due. What cannot be written waits for the next time.
func (p *progress) flush(ctx context.Context, interval time.Duration, write func(context.Context, types.NamespacedName) error) {
	var writers errgroup.Group
	writers.SetLimit(flushWriters)
	for _, key := range p.due(interval) {
		writers.Go(func() error {
			if err := write(ctx, key); errors.Is(err, ddi.ErrNotFound) {
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

type targetLock struct {
	taken chan struct{}
	users int
}

func newTargetLocks() *targetLocks {
	return &targetLocks{devices: map[types.NamespacedName]*targetLock{}}
}

// take waits for the device's turn; release ends it.
func (t *targetLocks) take(ctx context.Context, key types.NamespacedName) (release func(), err error) {
	t.mu.Lock()
	mine := t.devices[key]
	if mine == nil {
		mine = &targetLock{taken: make(chan struct{}, 1)}
		t.devices[key] = mine
	}
	mine.users++
	t.mu.Unlock()
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.leave(key, mine) }, nil
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
