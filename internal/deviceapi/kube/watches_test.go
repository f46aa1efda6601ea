// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/testing/timing"
)

// watched are some devices, each with a channel that receives a value after a change.
type watched map[string]<-chan struct{}

func (d *deviceAPI) watch(ids ...string) watched {
	w := watched{}
	for _, id := range ids {
		changed, stop := d.changes(deviceapi.Device{Namespace: fleetNamespace, ControllerID: id})
		d.w.t.Cleanup(stop)
		w[id] = changed
	}
	return w
}

// changes returns a channel that receives a value after a change, and holds one value at most.
func (b *Backend) changes(d deviceapi.Device) (changed chan struct{}, stop func()) {
	changed = make(chan struct{}, 1)
	return changed, b.Changed(d, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
}

// woken returns the devices whose channel holds a value, sorted, and takes the values.
func (w watched) woken() []string {
	var ids []string
	for id, changed := range w {
		select {
		case <-changed:
			ids = append(ids, id)
		default:
		}
	}
	slices.Sort(ids)
	return ids
}

// TestWokenDevices: a change wakes the devices that it concerns, when the caches show it.
func TestWokenDevices(t *testing.T) {
	everyone := []string{"dev-0", "dev-1", "dev-2"}
	for name, tc := range map[string]struct {
		change func(w *world, d *deviceAPI)
		want   []string
	}{
		"counters of the rollout": {func(w *world, _ *deviceAPI) {
			w.editRollout(func(r *v1alpha1.Rollout) { r.Status.Targets = &v1alpha1.Counts{Targets: 3} })
		}, nil},
		"a stop":          {func(w *world, _ *deviceAPI) { w.editRollout(stop(v1alpha1.CancellationForce)) }, everyone},
		"an invalidation": {func(w *world, _ *deviceAPI) { w.editSet(invalidate(v1alpha1.CancellationForce)) }, everyone},
		"a target":        {func(w *world, _ *deviceAPI) { w.editTarget(func(t *v1alpha1.Target) { t.Spec.Hold = true }) }, everyone[:1]},
		"a report to another process": {func(w *world, _ *deviceAPI) {
			other := w.deviceAPI(Options{})
			other.wantReport(nil, other.start().ID, succeeded)
		}, everyone[:1]},
		"the token of one device": {func(w *world, _ *deviceAPI) {
			edit(w, "tokens", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["own"] = []byte("mine") })
			w.editTarget(func(t *v1alpha1.Target) { t.Spec.TokenSecretRef.Key = "own" })
		}, everyone[:1]},
		"the token of all devices": {func(w *world, _ *deviceAPI) {
			edit(w, "tokens", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["all"] = []byte("another") })
		}, everyone},
		"a token of no device": {func(w *world, _ *deviceAPI) {
			edit(w, "tokens", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["empty"] = []byte("filled") })
		}, nil},
		"another key": {func(w *world, _ *deviceAPI) {
			edit(w, "tokens", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["more"] = []byte("added") })
		}, nil},
		"the deletion of the Secret": {func(w *world, _ *deviceAPI) {
			if err := w.server.Delete(context.Background(), tokens("tokens", TokenSecretType)); err != nil {
				t.Error(err)
			}
		}, everyone},
		"a new DeviceAccess": {func(w *world, _ *deviceAPI) {
			if err := w.server.Create(context.Background(), &v1alpha1.DeviceAccess{ObjectMeta: built("factory")}); err != nil {
				t.Error(err)
			}
		}, everyone},
		"the deletion of a target": {func(w *world, _ *deviceAPI) {
			if err := w.server.Delete(context.Background(), w.target("dev-2")); err != nil {
				t.Error(err)
			}
		}, everyone[2:]},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3)
			d := w.deviceAPI(Options{})
			d.watches.grace = 0
			watched := d.watch(everyone...)
			d.sync()
			if got := watched.woken(); len(got) > 0 {
				t.Fatalf("without a change %q are woken", got)
			}
			tc.change(w, d)
			d.sync()
			var got []string
			for deadline := time.Now().Add(5 * time.Second); len(got) < len(tc.want) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				got = slices.Compact(slices.Sorted(slices.Values(append(got, watched.woken()...))))
			}
			if len(tc.want) == 0 {
				time.Sleep(20 * time.Millisecond)
				got = watched.woken()
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q are woken, want %q", got, tc.want)
			}
		})
	}
}

// TestRotationWakesOnce: a Secret that is deleted and created again within the grace wakes the
// devices after it, when their token is accepted again.
func TestRotationWakesOnce(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.watches.grace = 200 * time.Millisecond
	changed, stop := d.changes(dev0)
	defer stop()
	secret := tokens("tokens", TokenSecretType)
	for _, change := range []func() error{
		func() error { return w.server.Delete(t.Context(), secret) },
		func() error { return w.server.Create(t.Context(), tokens("tokens", TokenSecretType)) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		d.sync()
	}
	<-changed
	if err := d.Authorize(t.Context(), dev0, deviceapi.Credentials{TargetToken: "let-me-in"}); err != nil {
		t.Errorf("when the device is woken, its token is refused: %v", err)
	}
}

// TestStopWakesAWholeFleet: a stop wakes 20 000 devices in far less than a second, and a change of
// counters wakes none. A watched device needs little memory and no goroutine.
func TestStopWakesAWholeFleet(t *testing.T) {
	const devices = 20_000
	index := fleet.New()
	b := New(targetstatus.NewStore(index, nil, nil, time.Now, 8), nil, nil, Options{})
	var memory [2]runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory[0])
	goroutines := runtime.NumGoroutine()
	woken := make([]bool, devices)
	names := make([]v1alpha1.TargetName, devices)
	for i := range woken {
		names[i] = v1alpha1.TargetName(fmt.Sprintf("dev-%05d", i))
		b.Changed(deviceapi.Device{Namespace: fleetNamespace, ControllerID: string(names[i])}, func() { woken[i] = true })
	}
	runtime.GC()
	runtime.ReadMemStats(&memory[1])
	if each := (memory[1].HeapAlloc - memory[0].HeapAlloc) / devices; each > 512 {
		t.Errorf("a watched device needs %d bytes", each)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines were started", now-goroutines)
	}
	timing.Within(t, 500*time.Millisecond, func() {
		clear(woken)
		b.wakeConcerned(fleet.Concern{Namespace: fleetNamespace, Targets: names, Rollout: "rollout"})
		if i := slices.Index(woken, false); i >= 0 {
			t.Fatalf("device %d is not woken", i)
		}
	})
}

// TestNextChangeIsSetForWatchedDevices: the time costs work at each poll, so DDI devices do not get
// it.
func TestNextChangeIsSetForWatchedDevices(t *testing.T) {
	deadline := int32(600)
	w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
		r.Spec.Update.ProgressDeadlineSeconds = &deadline
	})
	d := w.deviceAPI(Options{})
	id := d.start().ID
	if at := d.poll().NextChange; !at.IsZero() {
		t.Errorf("a device that is not watched gets %s", at)
	}
	stop := d.Changed(dev0, func() {})
	want := action.ProgressDeadline(action.ByID(&w.target("dev-0").Status, id))
	if at := d.poll().NextChange; !at.Equal(want) || at.IsZero() {
		t.Errorf("the state may change at %s, want the progress deadline %s", at, want)
	}
	stop()
	if at := d.poll().NextChange; !at.IsZero() {
		t.Errorf("after the end of the watch the device gets %s", at)
	}
}
