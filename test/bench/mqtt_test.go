// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// BenchmarkCommitToLastCommand measures the time from the commit that opens a group of 2 000
// connected devices until the last of them has its command. An action is stored before its command
// is sent, and its acknowledgement after that, so half the rate of the bare API server, which is
// measured in the same run, is the bound.
// Then it measures the time from the commit that stops the rollout until the last device has its
// cancel, and the writes for each target.
func BenchmarkCommitToLastCommand(b *testing.B) {
	w, names := fleet(b)
	names = names[:min(2000, len(names))]
	connectedSize := len(names)
	recorder, stop := agents(w, names)
	defer stop()
	w.Eventually("all devices are connected", func() string {
		if n := len(recorder.Of(devicesim.Connected)); n < connectedSize {
			return fmt.Sprintf("%d", n)
		}
		return ""
	})
	for i := range b.N {
		name := fmt.Sprintf("command-%d", i)
		w.Set(name, fmt.Sprintf("4.%d", i))
		rollout(w, name, names, "state: Planned")
		waitUntilQuiet(w)
		before, done := shared.writes.read(), len(recorder.Of(devicesim.Started))
		committed := time.Now()
		w.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {state: Running}")
		commanded := lastOf(w, recorder, devicesim.Started, done+connectedSize).Sub(committed)
		waitUntilQuiet(w)
		writes, sum := shared.writes.since(before)
		b.Logf("%d devices have their commands %s after the commit; writes %s", connectedSize, commanded.Round(time.Millisecond), show(writes))

		canceling := len(cancels(recorder))
		committed = time.Now()
		w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {invalidation: {cancellation: Soft, reason: bench}}")
		w.Eventually("all devices have their cancels", func() string {
			if n := len(cancels(recorder)) - canceling; n < connectedSize {
				return fmt.Sprintf("%d", n)
			}
			return ""
		})
		var canceled time.Duration // until the last one reports it, not until that is stored
		for _, e := range cancels(recorder) {
			canceled = max(canceled, e.Asked.Sub(committed))
		}
		bare := barePatchRate(b, w, names)
		b.Logf("%d devices have their cancels %s after the commit; bare %.0f patches/s", connectedSize, canceled.Round(time.Millisecond), bare)
		b.ReportMetric(commanded.Seconds()*1000, "ms-to-last-command")
		b.ReportMetric(float64(connectedSize)/commanded.Seconds()/bare, "commands-per-bare-patch")
		b.ReportMetric(canceled.Seconds()*1000, "ms-to-last-cancel")
		b.ReportMetric(float64(sum)/float64(connectedSize), "writes/target")
	}
}

// cancels returns the reports with which devices start to cancel.
func cancels(recorder *devicesim.Recorder) (events []devicesim.Event) {
	for _, e := range recorder.Of(devicesim.Reported) {
		if e.Operation.Status == "CANCELING" {
			events = append(events, e)
		}
	}
	return events
}

// lastOf waits for n events of a kind, and returns the time of the last one.
func lastOf(w *world.World, recorder *devicesim.Recorder, kind devicesim.Kind, n int) time.Time {
	w.T.Helper()
	w.Eventually(fmt.Sprintf("%d events %s", n, kind), func() string {
		if got := len(recorder.Of(kind)); got < n {
			return fmt.Sprintf("%d", got)
		}
		return ""
	})
	events := recorder.Of(kind)
	return events[len(events)-1].At
}

// agents runs devices with MQTT that take an hour for each step of an update, until stop.
func agents(w *world.World, names []string) (*devicesim.Recorder, func()) {
	w.T.Helper()
	list := make([]devicesim.Device, len(names))
	for i, name := range names {
		list[i] = devicesim.Device{ID: name, Token: world.Token, ModuleTypes: []string{"os"}}
	}
	recorder := &devicesim.Recorder{}
	fleet, err := devicesim.New(devicesim.Config{
		MQTT: devicesim.MQTT{Address: w.MQTT}, Tenant: w.Namespace, Devices: list, Seed: 1, PollInterval: 10 * time.Second,
		StepTime: time.Hour, Steps: 1, Observer: recorder.Observe,
	})
	if err != nil {
		w.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	return recorder, func() { cancel(); <-ended }
}
