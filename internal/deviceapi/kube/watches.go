// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"slices"
	"sync"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// watches are the devices whose changes a protocol wants to know.
type watches struct {
	mu      sync.Mutex
	devices map[deviceapi.Device][]*watch
}

// watch has the function that is called after a change.
type watch struct{ notify func() }

func newWatches() *watches { return &watches{devices: map[deviceapi.Device][]*watch{}} }

// Changed calls notify after what the device should do may have changed.
func (b *Backend) Changed(d deviceapi.Device, notify func()) (stop func()) {
	return b.watches.add(d, notify)
}

func (w *watches) add(d deviceapi.Device, notify func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	added := &watch{notify}
	w.devices[d] = append(w.devices[d], added)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		left := slices.DeleteFunc(w.devices[d], func(other *watch) bool { return other == added })
		if w.devices[d] = left; len(left) == 0 {
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

// wakeAll calls every function.
func (w *watches) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, watching := range w.devices {
		for _, one := range watching {
			one.notify()
		}
	}
}

// Connected records that the device has a connection.
func (b *Backend) Connected(deviceapi.Device, string) (disconnected func()) { return func() {} }
