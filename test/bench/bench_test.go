// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// writers is the number of parallel writes of the benchmarks: with more of them the API server ends
// slow watches on two cores.
const writers = 8

// BenchmarkDevicesFinishing runs a whole rollout over a part of the fleet, with start, five
// progress steps and a result each, against half the rate at which the bare API server patches the
// same objects with as much in each patch, in the same run. Goal: a ratio of 0.9 and at most 2.1
// writes a target. The rate of the devices is that of the middle four fifths: at both ends most
// devices wait for their next poll, and nothing is measured but that.
func BenchmarkDevicesFinishing(b *testing.B) {
	const size = 1000
	w, names := fleet(b)
	for i := range b.N {
		name := fmt.Sprintf("finishing-%d", i)
		w.Set(name, fmt.Sprintf("1.%d", i))
		rollout(w, name, names[:size], "state: Planned")
		recorder, stop := devices(w, names[:size], 5)
		waitUntilQuiet(w) // until every device has polled, which registers it
		before := shared.writes.read()
		w.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {state: Running}")
		r := w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
		stop()
		if r.Status.Targets.Succeeded != size {
			b.Fatalf("counts are %+v", *r.Status.Targets)
		}
		waitUntilQuiet(w)
		writes, sum := shared.writes.since(before)
		rate := middleRate(recorder.Of(devicesim.Closed))
		bare := barePatchRate(b, w, names[:size])
		b.Logf("bare %.0f patches/s; devices %.0f/s; writes %s", bare, rate, show(writes))
		b.ReportMetric(bare, "bare-patches/s")
		b.ReportMetric(rate, "devices/s")
		b.ReportMetric(rate/(bare/2), "ratio-of-half-bare")
		b.ReportMetric(float64(sum)/size, "writes/target")
	}
}

// middleRate returns the events per second between the first tenth and the last.
func middleRate(events []devicesim.Event) float64 {
	slices.SortFunc(events, func(a, b devicesim.Event) int { return a.At.Compare(b.At) })
	first, last := len(events)/10, len(events)*9/10
	return float64(last-first) / events[last].At.Sub(events[first].At).Seconds()
}

// barePatchRate patches the status of targets as often as Goshawk does, with the same actions in
// each patch, while only Goshawk's informer watches. It returns the patches per second.
func barePatchRate(b *testing.B, w *world.World, names []string) float64 {
	b.Helper()
	patches := make(map[string][]byte, len(names))
	for _, name := range names {
		actions, err := json.Marshal(map[string]any{"status": map[string]any{"address": "bench", "actions": w.Target(name).Status.Actions}})
		if err != nil {
			b.Fatal(err)
		}
		patches[name] = actions
	}
	work := make(chan string)
	var failed atomic.Int32
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for name := range work {
				t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace}}
				if err := w.Client.Status().Patch(b.Context(), t, client.RawPatch(types.MergePatchType, patches[name])); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	started := time.Now()
	for _, name := range names {
		work <- name
	}
	close(work)
	done.Wait()
	if n := failed.Load(); n > 0 {
		b.Fatalf("%d bare patches failed", n)
	}
	return float64(len(names)) / time.Since(started).Seconds()
}

// BenchmarkCommitToOffer measures the time from the commit that opens a group of 5 000 targets
// until the device API offers the update to its members, and the number of writes. Goal: under a
// second, at most 3 writes.
func BenchmarkCommitToOffer(b *testing.B) {
	w, names := fleet(b)
	for i := range b.N {
		name := fmt.Sprintf("offer-%d", i)
		w.Set(name, fmt.Sprintf("2.%d", i))
		rollout(w, name, names, "state: Planned")
		device, recorder := one(w, names[len(names)-1])
		waitUntilQuiet(w)
		before := shared.writes.read()
		started := time.Now()
		w.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {state: Running}")
		for len(recorder.Of(devicesim.Started)) == 0 {
			device.PollNow(names[len(names)-1])
			time.Sleep(5 * time.Millisecond)
			if time.Since(started) > time.Minute {
				b.Fatal("no update was offered within a minute")
			}
		}
		took := time.Since(started)
		writes, _ := shared.writes.since(before)
		until := opening(writes)
		time.Sleep(2 * time.Second) // later writes of group status are counted, too
		writes, _ = shared.writes.since(before)
		b.Logf("offered after %s and %d writes; all writes %s", took.Round(time.Millisecond), until, show(writes))
		b.ReportMetric(took.Seconds()*1000, "ms-to-offer")
		b.ReportMetric(float64(until), "writes-to-offer")
		b.ReportMetric(float64(opening(writes)), "writes-in-all")
		w.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {state: Stopped, stopCancellation: Force}")
	}
}

// opening returns the number of writes of rollouts and groups.
func opening(writes map[string]int) int {
	return writes["PATCH rollouts/status"] + writes["PATCH deploymentgroups/status"]
}

// BenchmarkInvalidationToLastStart measures the time from the commit of a Force invalidation until
// the last device starts, while the fleet starts as fast as it can. Goal: under a second for a
// fleet of any size.
func BenchmarkInvalidationToLastStart(b *testing.B) {
	w, names := fleet(b)
	for i := range b.N {
		name := fmt.Sprintf("invalid-%d", i)
		w.Set(name, fmt.Sprintf("3.%d", i))
		rollout(w, name, names, "state: Running")
		recorder, stop := devices(w, names, 1)
		w.Eventually("some hundred devices start", func() string {
			if n := len(recorder.Of(devicesim.Started)); n < 300 {
				return fmt.Sprintf("%d", n)
			}
			return ""
		})
		committed := time.Now()
		w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {invalidation: {cancellation: Force, reason: bench}}")
		answered := time.Now()
		time.Sleep(5 * time.Second)
		stop()
		last := time.Duration(0)
		for _, e := range recorder.Of(devicesim.Started) {
			last = max(last, e.At.Sub(committed))
		}
		b.Logf("%d of %d had started; the commit took %s, the last start came %s after it was sent", len(recorder.Of(devicesim.Started)), len(names),
			answered.Sub(committed).Round(time.Millisecond), last.Round(time.Millisecond))
		b.ReportMetric(last.Seconds()*1000, "ms-to-last-start")
		b.ReportMetric(float64(len(recorder.StartedAfter(answered.Add(time.Second)))), "started-after-1s")
	}
}

// BenchmarkMemoryPerIdleTarget measures the memory of controllers and device API together for an
// idle target. Goal: at most 4 KiB.
func BenchmarkMemoryPerIdleTarget(b *testing.B) {
	fleet(b)
	for range b.N {
	}
	b.ReportMetric(shared.bytesPerTarget, "bytes/target")
}

// BenchmarkIdlePollsWriteNothing lets the whole fleet poll for a while. Goal: no write at all.
func BenchmarkIdlePollsWriteNothing(b *testing.B) {
	w, names := fleet(b)
	for range b.N {
		recorder, stop := devices(w, names, 1)
		w.Eventually("every device has polled twice", func() string {
			if n := len(recorder.Of(devicesim.Polled)); n < 2*len(names) {
				return fmt.Sprintf("%d polls", n)
			}
			return ""
		})
		waitUntilQuiet(w) // until devices that were asked to cancel have answered
		before, polls := shared.writes.read(), len(recorder.Of(devicesim.Polled))
		time.Sleep(5 * time.Second)
		writes, sum := shared.writes.since(before)
		b.Logf("%d idle polls; writes %s", len(recorder.Of(devicesim.Polled))-polls, show(writes))
		b.ReportMetric(float64(sum), "writes")
		stop()
	}
}

// rollout creates a rollout with one group over these targets, which a label selects, and waits for
// its plan.
func rollout(w *world.World, name string, names []string, intent string) {
	w.T.Helper()
	w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %s}
spec:
  update: {distributionSet: %s, reinstall: true}
  targetExpression: 'target.name <= "%s"'
  stabilizationSeconds: 0
  startAt: %q
  %s
`, name, name, names[len(names)-1], time.Now().UTC().Format(time.RFC3339), intent))
	w.EventuallyRollout(name, "has a plan", func(r *v1alpha1.Rollout) bool { return r.Status.Plan != nil })
}

// devices runs the devices of these targets until stop.
func devices(w *world.World, names []string, steps int) (*devicesim.Recorder, func()) {
	w.T.Helper()
	fleet, recorder := makeFleet(w, names, steps)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	return recorder, func() { cancel(); <-ended }
}

// one runs a single device that polls when PollNow is called.
func one(w *world.World, name string) (*devicesim.Fleet, *devicesim.Recorder) {
	w.T.Helper()
	fleet, recorder := makeFleet(w, []string{name}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	w.T.Cleanup(func() { cancel(); <-ended })
	return fleet, recorder
}

func makeFleet(w *world.World, names []string, steps int) (*devicesim.Fleet, *devicesim.Recorder) {
	list := make([]devicesim.Device, len(names))
	for i, name := range names {
		list[i] = devicesim.Device{ID: name, Token: world.Token, Behavior: devicesim.Obedient, Attributes: map[string]string{"hw": "bench"}}
	}
	recorder := &devicesim.Recorder{}
	fleet, err := devicesim.New(devicesim.Config{
		BaseURL: w.DeviceAPI, Tenant: w.Namespace, Devices: list, Seed: 1, PollInterval: 2 * time.Second, Jitter: 0.5,
		StepTime: 100 * time.Millisecond, Steps: steps, Concurrency: 64, Observer: recorder.Observe,
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return fleet, recorder
}
