// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// BenchmarkCommitToOffer measures the time from the commit that opens a group of 5 000 targets
// until the device API offers the update to its members, and the number of writes. Goal: under a
// second, at most 3 writes.
func BenchmarkCommitToOffer(b *testing.B) {
	w, names := fleet(b)
	names = names[:min(len(names), 5000)]
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
		_, recorder, stop := devices(w, names, 1, nil)
		w.Eventually("some hundred devices start", func() string {
			if n := len(recorder.Of(devicesim.Started)); n < min(300, len(names)/3) {
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
		_, recorder, stop := devices(w, names, 1, nil)
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

// devices runs the devices of these targets until stop, or until the benchmark ends. A transport of
// nil is the default.
func devices(w *world.World, names []string, steps int, transport http.RoundTripper) (*devicesim.Fleet, *devicesim.Recorder, func()) {
	w.T.Helper()
	fleet, recorder := makeFleet(w, names, steps, transport)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	w.T.Cleanup(stop)
	return fleet, recorder, stop
}

// one runs a single device that polls when PollNow is called.
func one(w *world.World, name string) (*devicesim.Fleet, *devicesim.Recorder) {
	w.T.Helper()
	fleet, recorder, _ := devices(w, []string{name}, 1, nil)
	return fleet, recorder
}

const (
	// concurrency is the number of connections of all devices.
	concurrency = 64
	// pollsPerSecond is the rate of polls of a fleet without updates.
	pollsPerSecond = 500
)

func makeFleet(w *world.World, names []string, steps int, transport http.RoundTripper) (*devicesim.Fleet, *devicesim.Recorder) {
	w.T.Helper()
	list := make([]devicesim.Device, len(names))
	for i, name := range names {
		list[i] = devicesim.Device{ID: name, Token: world.Token, Behavior: devicesim.Obedient, Attributes: map[string]string{"hw": "bench"}}
	}
	recorder := &devicesim.Recorder{}
	fleet, err := devicesim.New(devicesim.Config{
		BaseURL: w.DeviceAPI, Tenant: w.Namespace, Devices: list, Seed: 1, Jitter: 0.5,
		PollInterval: max(2*time.Second, time.Duration(len(names))*time.Second/pollsPerSecond),
		StepTime:     100 * time.Millisecond, Steps: steps, Concurrency: concurrency, Observer: recorder.Observe, Transport: transport,
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return fleet, recorder
}
