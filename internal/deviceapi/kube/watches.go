// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"sync"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// watches are the devices whose changes a protocol wants to know.
type watches struct {
	mu      sync.Mutex
	devices map[deviceapi.Device]map[chan struct{}]struct{}
}

func newWatches() *watches {
	return &watches{devices: map[deviceapi.Device]map[chan struct{}]struct{}{}}
}

// Changed returns a channel that receives a value after what the device should do may have changed.
func (b *Backend) Changed(d deviceapi.Device) (<-chan struct{}, func()) { return b.watches.add(d) }

func (w *watches) add(d deviceapi.Device) (<-chan struct{}, func()) {
	changed := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.devices[d] == nil {
		w.devices[d] = map[chan struct{}]struct{}{}
	}
	w.devices[d][changed] = struct{}{}
	return changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.devices[d], changed); len(w.devices[d]) == 0 {
			delete(w.devices, d)
		}
	}
}

// has reports whether a protocol wants to know the changes of a device.
func (w *watches) has(d deviceapi.Device) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.devices[d]) > 0
}

// wakeAll sends a value to every channel that holds none.
func (w *watches) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, channels := range w.devices {
		for changed := range channels {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}

// Connected records that the device has a connection.
func (b *Backend) Connected(deviceapi.Device, string) (disconnected func()) { return func() {} }
