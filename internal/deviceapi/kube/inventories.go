// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/inventory"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// inventoryDelay is the time between a change and its write. A device reports its new software
	// and the end of the operation one after the other; they are written together.
	inventoryDelay = time.Second
	// inventoryRetry is the time after which a write that failed is tried again.
	inventoryRetry = 10 * time.Second
	// inventoryTick is how often due inventories are looked for.
	inventoryTick = 250 * time.Millisecond
	// inventoryTries is how often a write is tried against other writers.
	inventoryTries = 5
)

// inventories collects what devices report about their software, and writes it to their
// TargetInventory. Only a change is written, within a budget for each device and with the lowest
// priority. Reports that change nothing are dropped, and intermediate states of operations are kept
// until something else is written.
type inventories struct {
	index   *fleet.Index
	targets *targetstatus.Store
	live    client.Reader
	now     func() time.Time
	buffer  *ReportBuffer
	budgets *writeBudgets

	mu      sync.Mutex
	devices map[types.NamespacedName]*deviceInventory
}

// deviceInventory is what is known of one device and not in the caches.
type deviceInventory struct {
	target types.UID
	// collected reports, and those that are being written now.
	collected, writing inventory.Batch
	isWriting          bool
	// bytes of the collected reports that are taken from the buffer.
	bytes int
	// due is when to write. Zero: nothing has changed.
	due time.Time
	// cause and changedAt are those of the last change.
	cause     inventory.Cause
	changedAt time.Time
	// stored is the last write of this process until the caches have it, compressed.
	stored *v1alpha1.TargetInventory
}

func newInventories(index *fleet.Index, targets *targetstatus.Store, live client.Reader, buffer *ReportBuffer) *inventories {
	n := &inventories{
		index: index, targets: targets, live: live, now: targets.Now, buffer: buffer, budgets: newWriteBudgets(), devices: map[types.NamespacedName]*deviceInventory{},
	}
	index.Watch(n.changed)
	return n
}

// changed forgets deleted devices, and own writes that the caches have.
func (n *inventories) changed(old, now client.Object) {
	switch o := now.(type) {
	case *v1alpha1.TargetInventory:
		n.mu.Lock()
		defer n.mu.Unlock()
		key := client.ObjectKeyFromObject(o)
		if d := n.devices[key]; d != nil && d.stored != nil && !isOlder(o, d.stored) {
			d.stored = nil
			n.release(key, d)
		}
	case nil:
		n.mu.Lock()
		defer n.mu.Unlock()
		key := client.ObjectKeyFromObject(old)
		d := n.devices[key]
		switch o := old.(type) {
		case *v1alpha1.Target:
			if d != nil && d.target == o.UID {
				n.drop(key, d)
			}
		case *v1alpha1.TargetInventory:
			if d != nil && d.stored != nil && d.stored.UID == o.UID {
				d.stored = nil
				n.release(key, d)
			}
		}
	}
}

func isOlder(a, b *v1alpha1.TargetInventory) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order < 0
}

// drop forgets everything about a device.
func (n *inventories) drop(key types.NamespacedName, d *deviceInventory) {
	n.buffer.give(d.bytes)
	delete(n.devices, key)
}

// release forgets a device if nothing is left to remember.
func (n *inventories) release(key types.NamespacedName, d *deviceInventory) {
	if d.collected.IsEmpty() && !d.isWriting && d.stored == nil {
		n.drop(key, d)
	}
}

// known returns what is stored for a device, as far as this process knows. The caller holds the
// lock.
func (n *inventories) known(t *v1alpha1.Target, d *deviceInventory) inventory.Facts {
	if d != nil && d.stored != nil {
		return inventory.FactsOf(t, d.stored)
	}
	return n.index.Inventory(t)
}

// has reports whether reports of a device wait to be written.
func (n *inventories) has(key types.NamespacedName) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.devices[key] != nil
}

// features returns the features of a device, with the reports that are not written yet.
func (n *inventories) features(t *v1alpha1.Target) []v1alpha1.InventoryFeature {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.devices[client.ObjectKeyFromObject(t)]
	known := n.known(t, d)
	if d == nil {
		return known.Features()
	}
	return d.writing.Followed(d.collected).Effect(known).Features
}

// add collects one report of a device.
func (n *inventories) add(t *v1alpha1.Target, r inventory.Report) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := client.ObjectKeyFromObject(t)
	d := n.devices[key]
	if d != nil && d.target != t.UID { // the Target was created again
		n.drop(key, d)
		d = nil
	}
	known := n.known(t, d)
	if d == nil {
		d = &deviceInventory{target: t.UID}
	}
	next := d.collected.Add(r)
	effect := d.writing.Followed(next).Effect(known)
	if effect.Exceeds {
		return tooManyFeatures()
	}
	changes := d.isWriting || effect.Changes
	if !changes {
		next = next.Progress()
	}
	bytes := 0
	if !next.IsEmpty() {
		bytes = next.Size()
	}
	if bytes > d.bytes && !n.buffer.take(bytes-d.bytes) {
		return deviceapi.TooMany{Reason: "too many devices report their software at the same time; report it again later", RetryAfter: inventoryRetry}
	}
	if bytes < d.bytes {
		n.buffer.give(d.bytes - bytes)
	}
	d.collected, d.bytes = next, bytes
	if n.devices[key] = d; !changes {
		d.due = time.Time{}
		n.release(key, d)
		return nil
	}
	now := n.now()
	if d.due.IsZero() {
		d.due = now.Add(inventoryDelay)
	}
	d.cause, d.changedAt = inventory.CauseOf(&t.Status, now), now
	return nil
}

// run writes due inventories until ctx ends, and then all others.
func (n *inventories) run(ctx context.Context) {
	tick := time.NewTicker(inventoryTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.flush(ctx, false)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			n.flush(last, true)
			return
		}
	}
}

// flush writes the inventories that are due, or all that have changed.
func (n *inventories) flush(ctx context.Context, isLast bool) {
	var writers errgroup.Group
	writers.SetLimit(flushWriters)
	for _, key := range n.takeDue(isLast) {
		writers.Go(func() error {
			n.done(key, n.write(ctx, key))
			return nil
		})
	}
	_ = writers.Wait() // no writer returns an error
}

// takeDue returns the devices whose reports are to be written now.
func (n *inventories) takeDue(isLast bool) []types.NamespacedName {
	n.mu.Lock()
	defer n.mu.Unlock()
	var due []types.NamespacedName
	now := n.now()
	for key, d := range n.devices {
		if d.due.IsZero() || d.isWriting || !isLast && d.due.After(now) {
			continue
		}
		if wait := n.budgets.wait(key, now); wait > 0 && !isLast {
			d.due = now.Add(wait)
			continue
		}
		d.writing, d.collected, d.isWriting, d.due = d.collected, inventory.Batch{}, true, time.Time{}
		due = append(due, key)
	}
	return due
}

// errUnreadable is the error for an inventory that cannot be decoded, and is not changed until it
// is fixed.
var errUnreadable = errors.New("the TargetInventory cannot be decoded")

// done keeps reports that could not be written for another try.
func (n *inventories) done(key types.NamespacedName, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.devices[key]
	if d == nil {
		return
	}
	d.isWriting = false
	if err == nil || errors.Is(err, deviceapi.ErrNotFound) {
		d.writing = inventory.Batch{}
		bytes := 0
		if !d.collected.IsEmpty() {
			bytes = d.collected.Size()
		}
		n.buffer.give(d.bytes - bytes)
		d.bytes = bytes
		n.release(key, d)
		return
	}
	d.collected, d.writing = d.writing.Followed(d.collected), inventory.Batch{}
	d.due = n.now().Add(inventoryRetry)
	if errors.Is(err, errUnreadable) {
		d.due = n.now().Add(unreadablePause)
		return
	}
	deviceLog.Info("the inventory of a device was not written and is tried again", "namespace", key.Namespace, "target", key.Name, "reason", err.Error())
}

// write writes the taken reports of a device.
func (n *inventories) write(ctx context.Context, key types.NamespacedName) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	release, err := n.targets.TakeSlot(ctx)
	if err != nil {
		return err
	}
	defer release()
	t := n.targets.Get(key)
	n.mu.Lock()
	d := n.devices[key]
	if d == nil || t == nil || t.UID != d.target {
		if d != nil {
			n.drop(key, d)
		}
		n.mu.Unlock()
		return deviceapi.ErrNotFound
	}
	batch, cause, at := d.writing, d.cause, d.changedAt
	n.mu.Unlock()
	for try := 1; ; try++ {
		stored, err := n.try(ctx, t, &batch, cause, at)
		if err == nil {
			stored.Compress()
			n.remember(key, stored)
			return nil
		}
		if try == inventoryTries || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
}

func (n *inventories) remember(key types.NamespacedName, stored *v1alpha1.TargetInventory) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.devices[key]
	if cached := n.index.InventoryObject(key); d != nil && (cached == nil || isOlder(cached, stored)) {
		d.stored = stored
	}
}

// try reads the inventory, applies the reports and writes it. It returns the stored object.
func (n *inventories) try(ctx context.Context, t *v1alpha1.Target, batch *inventory.Batch, cause inventory.Cause, at time.Time) (*v1alpha1.TargetInventory, error) {
	o := &v1alpha1.TargetInventory{}
	err := n.live.Get(ctx, client.ObjectKeyFromObject(t), o)
	isNew := apierrors.IsNotFound(err)
	if err != nil && !isNew {
		return nil, fmt.Errorf("read TargetInventory %s: %w", t.Name, err)
	}
	switch {
	case isNew:
		o = newInventory(t)
		if err := n.targets.Client.Create(ctx, o, client.FieldOwner("goshawk")); err != nil {
			return nil, fmt.Errorf("create TargetInventory %s: %w", t.Name, err)
		}
	case o.Unreadable != nil:
		return nil, errUnreadable
	case !metav1.IsControlledBy(o, t): // of an earlier Target with the same name, or restored
		before := o.DeepCopy()
		o.OwnerReferences = newInventory(t).OwnerReferences
		if err := n.targets.Client.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
			return nil, fmt.Errorf("take over TargetInventory %s: %w", t.Name, err)
		}
	}
	base := o.DeepCopy()
	if o.Status.TargetUID != t.Identity() {
		o.Status = v1alpha1.TargetInventoryStatus{TargetUID: t.Identity()}
	}
	batch.Apply(&o.Status, cause, at)
	if equality.Semantic.DeepEqual(base.Status, o.Status) {
		return o, nil
	}
	if err := n.targets.Client.Status().Patch(ctx, o, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return nil, fmt.Errorf("write status of TargetInventory %s: %w", t.Name, err)
	}
	n.budgets.count(client.ObjectKeyFromObject(t), n.now())
	return o, nil
}

// newInventory returns the empty inventory of a Target.
func newInventory(t *v1alpha1.Target) *v1alpha1.TargetInventory {
	return &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{
		Namespace: t.Namespace, Name: t.Name,
		Labels:          map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue},
		Annotations:     map[string]string{v1alpha1.ArgoIgnoreAnnotation: "true"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Target", Name: t.Name, UID: t.UID, Controller: new(true)}},
	}}
}
