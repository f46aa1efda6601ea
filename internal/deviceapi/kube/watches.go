// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// credentialGrace is the time after a change of credentials until the devices that it concerns are
// woken: a rotation may delete a Secret and create it again, and must not end their connections.
const credentialGrace = 3 * time.Second

// watches are the devices whose changes a protocol wants to know, by namespace and controllerID. A
// device costs about 200 bytes and no goroutine.
type watches struct {
	grace time.Duration

	mu      sync.RWMutex
	devices map[string]map[string][]*watch
	// revoked are the changes of credentials by namespace that were made during the grace.
	revoked map[string][]func(controllerID string) bool
}

// watch has the function that is called after a change.
type watch struct{ notify func() }

func newWatches() *watches {
	return &watches{grace: credentialGrace, devices: map[string]map[string][]*watch{}, revoked: map[string][]func(string) bool{}}
}

// Changed calls notify after what the device should do may have changed.
func (b *Backend) Changed(d deviceapi.Device, notify func()) (stop func()) {
	return b.watches.add(d, notify)
}

func (w *watches) add(d deviceapi.Device, notify func()) (stop func()) {
	added := &watch{notify}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.devices[d.Namespace] == nil {
		w.devices[d.Namespace] = map[string][]*watch{}
	}
	w.devices[d.Namespace][d.ControllerID] = append(w.devices[d.Namespace][d.ControllerID], added)
	return func() { w.remove(d, added) }
}

func (w *watches) remove(d deviceapi.Device, gone *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := w.devices[d.Namespace]
	left := slices.DeleteFunc(slices.Clone(ids[d.ControllerID]), func(other *watch) bool { return other == gone })
	if len(left) > 0 {
		ids[d.ControllerID] = left
		return
	}
	if delete(ids, d.ControllerID); len(ids) == 0 {
		delete(w.devices, d.Namespace)
	}
}

// has reports whether a protocol wants to know the changes of a device.
func (w *watches) has(d deviceapi.Device) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return len(w.devices[d.Namespace][d.ControllerID]) > 0
}

// hasAny reports whether a protocol wants to know the changes of any device of a namespace.
func (w *watches) hasAny(namespace string) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return len(w.devices[namespace]) > 0
}

// ids returns the controllerIDs of the devices of a namespace.
func (w *watches) ids(namespace string) []string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	ids := make([]string, 0, len(w.devices[namespace]))
	for id := range w.devices[namespace] {
		ids = append(ids, id)
	}
	return ids
}

// wake calls the functions of some devices of a namespace. It holds no lock meanwhile.
func (w *watches) wake(namespace string, ids ...string) {
	for _, id := range ids {
		w.mu.RLock()
		watching := w.devices[namespace][id] // replaced when it changes
		w.mu.RUnlock()
		for _, one := range watching {
			one.notify()
		}
	}
}

// wakeConcerned wakes the devices that a change concerns. It is called by informers and only reads
// memory.
func (b *Backend) wakeConcerned(c fleet.Concern) {
	if !b.watches.hasAny(c.Namespace) {
		return
	}
	if c.All {
		b.watches.wake(c.Namespace, b.watches.ids(c.Namespace)...)
		return
	}
	b.watches.wake(c.Namespace, c.Devices...)
	for _, name := range c.Targets {
		id := string(name)
		if t := b.index.Target(types.NamespacedName{Namespace: c.Namespace, Name: id}); t != nil {
			id = t.ControllerID()
		}
		b.watches.wake(c.Namespace, id)
	}
	if c.Rollout == "" {
		return
	}
	for _, id := range b.watches.ids(c.Namespace) {
		if t := b.index.Device(c.Namespace, id); t != nil && c.HasOpenAction(t) {
			b.watches.wake(c.Namespace, id)
		}
	}
}

// wakeRevoked wakes the devices of a namespace whose credentials may not be accepted any more,
// after the grace. isConcerned reports whether a device is one of them; nil: all are.
func (b *Backend) wakeRevoked(namespace string, isConcerned func(controllerID string) bool) {
	w := b.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.devices[namespace]) == 0 {
		return
	}
	if isConcerned == nil {
		isConcerned = func(string) bool { return true }
	}
	if w.revoked[namespace] = append(w.revoked[namespace], isConcerned); len(w.revoked[namespace]) > 1 {
		return // the first one has started the grace
	}
	time.AfterFunc(w.grace, func() {
		w.mu.Lock()
		changes := w.revoked[namespace]
		delete(w.revoked, namespace)
		w.mu.Unlock()
		for _, id := range w.ids(namespace) {
			if slices.ContainsFunc(changes, func(is func(string) bool) bool { return is(id) }) {
				w.wake(namespace, id)
			}
		}
	})
}

// wakeWithToken wakes the devices whose token is one that was changed or removed.
func (b *Backend) wakeWithToken(secret types.NamespacedName, isLost func(key string) bool) {
	b.wakeRevoked(secret.Namespace, func(id string) bool {
		t := b.index.Device(secret.Namespace, id)
		return t != nil && t.Spec.TokenSecretRef != nil && t.Spec.TokenSecretRef.Name == secret.Name && isLost(t.Spec.TokenSecretRef.Key)
	})
}
