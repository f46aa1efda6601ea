// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// DefaultOfflineAfter is Options.OfflineAfter if that is zero.
	DefaultOfflineAfter = time.Minute
	// connectGrace is the time after a connection until it is written, and featuresGrace that until
	// it is written that the device has reported no features.
	connectGrace, featuresGrace = time.Second, 10 * time.Second
	// presenceRetry is the time after which a write that was not possible is tried again.
	presenceRetry = 10 * time.Second
)

var (
	// presenceWrites limits the writes of a process that only tell that devices have a connection
	// or have lost it: a power failure may concern thousands at once.
	presenceWrites = rate.NewLimiter(50, 50)
	// takeovers limits those that only tell another process that a device has moved here.
	takeovers = rate.NewLimiter(5, 50)
)

// presence knows which devices have a connection to this process. What changes by that is written
// later, one device after the other: a device that returns within offlineAfter causes no write.
type presence struct {
	offlineAfter time.Duration
	now          func() time.Time
	queue        workqueue.TypedDelayingInterface[deviceapi.Device]
	// features is Backend.Features, or that of a test.
	features func(context.Context, deviceapi.Device) ([]deviceapi.Feature, error)

	mu      sync.Mutex
	devices map[deviceapi.Device]*connection
}

// connection is what is known about the connections of one device. It is forgotten after the loss
// of the last one is written.
type connection struct {
	// open is the number of connections. A client that connects again before the loss of its old
	// connection is noticed has two.
	open int
	// since is when the first of them was made or, if there is none, when the last one ended.
	since   time.Time
	address string
	// isNew is set until the connection is written, or is found in the condition.
	isNew bool
}

func newPresence(now func() time.Time, offlineAfter time.Duration) *presence {
	return &presence{
		offlineAfter: cmp.Or(offlineAfter, DefaultOfflineAfter), now: now, devices: map[deviceapi.Device]*connection{},
		queue: workqueue.NewTypedDelayingQueue[deviceapi.Device](),
	}
}

// Connected records that the device has a connection.
func (b *Backend) Connected(d deviceapi.Device, remoteAddr string) (disconnected func()) {
	b.presence.connect(d, remoteAddr)
	return sync.OnceFunc(func() { b.presence.disconnect(d) })
}

func (p *presence) connect(d deviceapi.Device, remoteAddr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.devices[d]
	if c == nil {
		c = &connection{isNew: true}
		p.devices[d] = c
	}
	if c.open++; c.open == 1 {
		c.since = p.now()
	}
	if remoteAddr != "" {
		c.address = remoteAddr
	}
	p.queue.AddAfter(d, connectGrace)
	p.queue.AddAfter(d, featuresGrace)
}

func (p *presence) disconnect(d deviceapi.Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.devices[d]; c != nil {
		if c.open--; c.open == 0 {
			c.since = p.now()
			p.queue.AddAfter(d, p.offlineAfter)
		}
	}
}

// lost records a device that had a connection to an earlier process and has none to this one.
func (p *presence) lost(d deviceapi.Device, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.devices[d] == nil {
		p.devices[d] = &connection{since: at}
		p.queue.Add(d)
	}
}

// get returns what is known about a device, and whether anything is.
func (p *presence) get(d deviceapi.Device) (connection, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.devices[d]; c != nil {
		return *c, true
	}
	return connection{}, false
}

// noted records that the connections of a device until now are written.
func (p *presence) noted(d deviceapi.Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.devices[d]; c != nil {
		c.isNew = false
	}
}

// forget drops a device that has no connection.
func (p *presence) forget(d deviceapi.Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.devices[d]; c != nil && c.open == 0 {
		delete(p.devices, d)
	}
}

// isOver reports whether the last connection ended too long ago to be ignored.
func (p *presence) isOver(c connection) bool {
	return c.open == 0 && !p.now().Before(c.since.Add(p.offlineAfter))
}

// presenceOf returns what this process knows about the connection of a target, for every write.
func (b *Backend) presenceOf(t *v1alpha1.Target) targetstatus.Presence {
	if !b.options.Presence {
		return targetstatus.Presence{State: targetstatus.Unused}
	}
	d := deviceOf(t)
	c, isKnown := b.presence.get(d)
	switch {
	case !isKnown, c.open == 0 && !b.presence.isOver(c): // it may return at any time
		return targetstatus.Presence{}
	case c.open == 0:
		return targetstatus.Presence{State: targetstatus.Disconnected, Since: c.since}
	}
	return targetstatus.Presence{State: targetstatus.Connected, Since: c.since, AwaitsFeatures: b.awaitsFeatures(t, c), TakenOver: b.options.Replicated && c.isNew}
}

// awaitsFeatures reports whether a connected device has had the time to report its features and has
// not done so.
func (b *Backend) awaitsFeatures(t *v1alpha1.Target, c connection) bool {
	awaits := eligibility.AwaitsFeatures(t)
	features, err := b.presence.features(context.Background(), deviceOf(t))
	if err != nil {
		return awaits
	}
	return len(features) == 0 && (awaits || !b.now().Before(c.since.Add(featuresGrace)))
}

func deviceOf(t *v1alpha1.Target) deviceapi.Device {
	return deviceapi.Device{Namespace: t.Namespace, ControllerID: t.ControllerID()}
}

// featuresChanged must be called after other features of a device are stored.
func (b *Backend) featuresChanged(d deviceapi.Device) {
	if _, isKnown := b.presence.get(d); isKnown {
		b.presence.queue.Add(d)
	}
}

// noteOnlineChanged corrects what another process has written about a device that has a connection
// to this one: it had lost the device, and did not know that it was here.
func (b *Backend) noteOnlineChanged(_, now client.Object) {
	t, ok := now.(*v1alpha1.Target)
	if !ok {
		return
	}
	d := deviceOf(t)
	if c, isKnown := b.presence.get(d); isKnown && c.open > 0 && !c.isNew && !isConnected(t) {
		b.presence.queue.Add(d)
	}
}

func isConnected(t *v1alpha1.Target) bool {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline)
	return c != nil && eligibility.IsConnected(c)
}

// RunPresence writes which devices have a connection, until ctx ends. A process without
// Options.Presence does nothing.
func (b *Backend) RunPresence(ctx context.Context) error {
	defer b.presence.queue.ShutDown()
	if !b.options.Presence || !toolscache.WaitForCacheSync(ctx.Done(), b.index.HasSynced) {
		return nil
	}
	if !b.options.Replicated { // else they may be connected to another process
		timer := time.AfterFunc(b.presence.offlineAfter, b.findLost)
		defer timer.Stop()
	}
	checkQueued(ctx, b.presence.queue, func(ctx context.Context, d deviceapi.Device) time.Duration {
		if !b.mustWritePresence(d) {
			return b.checkPresence(ctx, d)
		}
		if presenceWrites.Wait(ctx) != nil {
			return 0
		}
		return b.checkPresence(ctx, d)
	})
	return nil
}

// findLost finds the devices that had a connection to an earlier process and have not returned.
func (b *Backend) findLost() {
	for _, t := range b.index.AllTargets() {
		if isConnected(t) {
			b.presence.lost(deviceOf(t), b.opened)
		}
	}
}

// mustWritePresence reports whether checkPresence is about to write.
func (b *Backend) mustWritePresence(d deviceapi.Device) bool {
	t, err := b.find(d)
	return err == nil && targetstatus.ChangesOnline(t, b.now(), b.presenceOf(t))
}

// checkPresence writes whether a device has a connection, if that differs from its condition
// Online. It returns the time until the next check, or 0 if only an event requires one.
func (b *Backend) checkPresence(ctx context.Context, d deviceapi.Device) time.Duration {
	c, isKnown := b.presence.get(d)
	if !isKnown {
		return 0
	}
	t, err := b.find(d)
	switch {
	case errors.Is(err, deviceapi.ErrNotFound):
		b.presence.forget(d)
		return 0
	case err != nil:
		return presenceRetry
	case c.open == 0 && !b.presence.isOver(c):
		return c.since.Add(b.presence.offlineAfter).Sub(b.now())
	case c.open == 0:
		return b.checkLost(ctx, d, t, c)
	}
	return b.checkConnected(ctx, d, t, c)
}

// checkLost writes that a device has lost its connection. If it has one to another process, whose
// condition is newer than the loss, nothing is written. Of connections that were too short to be
// written, the first one and one a day are written, as of polls.
func (b *Backend) checkLost(ctx context.Context, d deviceapi.Device, t *v1alpha1.Target, c connection) time.Duration {
	isWritten := isConnected(t)
	if isWritten && !(b.options.Replicated && targetstatus.ConnectedSince(t).After(c.since)) || !isWritten && mustRecordContact(t, c.since) {
		if wait := b.writePresence(ctx, d, t); wait > 0 {
			return wait
		}
	}
	b.presence.forget(d)
	return 0
}

// checkConnected writes that a device has a connection, and once a day that it still has it.
func (b *Backend) checkConnected(ctx context.Context, d deviceapi.Device, t *v1alpha1.Target, c connection) time.Duration {
	p, now := b.presenceOf(t), b.now()
	isMove := p.TakenOver && targetstatus.ConnectedSince(t).Before(c.since)
	p.TakenOver = false
	switch {
	case targetstatus.ChangesOnline(t, now, p), mustRecordContact(t, now):
	case isMove && now.Before(c.since.Add(b.presence.offlineAfter/2)): // before the other process writes that it has lost the device
		return c.since.Add(b.presence.offlineAfter / 2).Sub(now)
	case isMove && takeovers.AllowN(now, 1):
	default:
		b.presence.noted(d)
		return b.nextCheck(t, c)
	}
	if wait := b.writePresence(ctx, d, t); wait > 0 {
		return wait
	}
	b.presence.noted(d)
	return b.nextCheck(b.targets.Get(client.ObjectKeyFromObject(t)), c)
}

// nextCheck returns the time until the features of a device must be known, or until its contact
// must be recorded again.
func (b *Backend) nextCheck(t *v1alpha1.Target, c connection) time.Duration {
	now := b.now()
	if features := c.since.Add(featuresGrace); now.Before(features) {
		return features.Sub(now)
	}
	if t == nil || t.Status.LastSeen == nil {
		return presenceRetry
	}
	return max(t.Status.LastSeen.Add(recordAfter(t)).Sub(now), time.Second)
}

// writePresence writes the condition Online of a device by what is known about its connections. If
// that is not possible now, it returns the time after which to try again.
func (b *Backend) writePresence(ctx context.Context, d deviceapi.Device, t *v1alpha1.Target) time.Duration {
	_, err := b.update(ctx, client.ObjectKeyFromObject(t), ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		c, isKnown := b.presence.get(d)
		switch {
		case !isKnown:
		case c.open > 0:
			seen(status, w.Now)
			status.Address = cmp.Or(c.address, status.Address)
		case status.LastSeen == nil || status.LastSeen.Time.Before(c.since.Truncate(time.Second)):
			seen(status, c.since)
			status.Address = cmp.Or(c.address, status.Address)
		}
		return nil
	})
	tooMany, isTooMany := errors.AsType[deviceapi.TooMany](err)
	switch {
	case err == nil, errors.Is(err, deviceapi.ErrNotFound):
		return 0
	case isTooMany:
		return max(tooMany.RetryAfter, time.Second)
	}
	return presenceRetry
}
