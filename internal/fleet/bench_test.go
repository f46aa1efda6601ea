// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// fleetOf returns an index with n targets and ten rollouts over all of them, in groups of at most
// 20 000.
func fleetOf(b *testing.B, n int) *fleet {
	const maxGroup = 20000
	f := newFleet(b)
	sw := built.SoftwareModule("linux")
	f.put(sw)
	names := make([]string, n)
	for i := range n {
		names[i] = fmt.Sprintf("dev-%06d", i)
		f.put(built.Target(names[i]))
	}
	for i := range 10 {
		fw := set(fmt.Sprintf("fw-%d", i), sw)
		name := fmt.Sprintf("rollout-%d", i)
		var groups []*v1alpha1.DeploymentGroup
		for left := names; len(left) > 0; left = left[min(maxGroup, len(left)):] {
			groups = append(groups, group(name, int32(len(groups)), left[:min(maxGroup, len(left))]...))
			f.put(groups[len(groups)-1])
		}
		r := running(name, fw, groups...)
		r.Status.StartedAt.Time = noon.Add(time.Duration(i) * time.Minute)
		f.put(fw, r)
	}
	return f
}

// poll does what the device API does for one poll of a device.
func poll(b *testing.B, f *fleet, i int) {
	t := f.Device("fleet", fmt.Sprintf("dev-%06d", i))
	w := f.World(t, noon.Add(time.Hour))
	if _, changed := offer.ApplyPending(w); changed {
		b.Fatal("the status has pending changes")
	}
	if o := offer.For(w); o.Kind != offer.Deploy || o.Set.Name != "fw-9" {
		b.Fatalf("%s: %s", o.Kind, o.Reason.Message)
	}
}

// BenchmarkWorldAndOffer reports, beside the time of one poll among 100 000 targets, the ratio to
// the time among 1 000. It uses medians because the machine may be busy.
func BenchmarkWorldAndOffer(b *testing.B) {
	const few, many = 1000, 100000
	small, large := fleetOf(b, few), fleetOf(b, many)
	var inLarge, inSmall []time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		// The same number of devices in both, so that the caches of the processor have the same
		// effect.
		started := time.Now()
		poll(b, large, i%few*(many/few))
		half := time.Now()
		poll(b, small, i%few)
		inLarge, inSmall = append(inLarge, half.Sub(started)), append(inSmall, time.Since(half))
	}
	b.ReportMetric(float64(median(inLarge).Nanoseconds()), "ns/poll")
	b.ReportMetric(float64(median(inLarge))/float64(median(inSmall)), "ratio")
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}
