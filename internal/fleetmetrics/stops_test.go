// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// invalidated returns a set with an invalidation: one that the controllers have not seen, have seen
// at a time, or have applied.
func invalidated(observed, applied time.Time) *v1alpha1.DistributionSet {
	return built.DistributionSet("firmware", func(s *v1alpha1.DistributionSet) {
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce}
		if !observed.IsZero() {
			s.Status.Invalidation = &v1alpha1.InvalidationStatus{Recorded: s.Spec.Invalidation, ObservedAt: new(metav1.NewTime(observed))}
		}
		if !applied.IsZero() {
			s.Status.Invalidation.FinishedAt = new(metav1.NewTime(applied))
		}
	})
}

// stopped is invalidated for a rollout that is stopped by its spec.
func stopped(observed, applied time.Time) *v1alpha1.Rollout {
	return built.Rollout("r", "firmware", func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Status.State = v1alpha1.IntentStopped, v1alpha1.RolloutRunning
		if !observed.IsZero() {
			r.Status.State, r.Status.Stop = v1alpha1.RolloutStopping, &v1alpha1.StopStatus{ObservedAt: metav1.NewMicroTime(observed)}
		}
		if !applied.IsZero() {
			r.Status.State = v1alpha1.RolloutStopped
		}
	})
}

// measured returns the number of observations of the histogram of stops since a call before it.
func measured(t *testing.T) func(kind string) float64 {
	before := gather(t, stopSeconds, "goshawk_stop_seconds")
	return func(kind string) float64 { return gather(t, stopSeconds, "goshawk_stop_seconds")[kind] - before[kind] }
}

// TestAStopIsMeasuredUntilItIsApplied: the time to stop starts when the cache shows the stop and
// ends when it is applied. Until then its age is exported.
func TestAStopIsMeasuredUntilItIsApplied(t *testing.T) {
	var never time.Time
	for kind, states := range map[string][4]client.Object{
		kindSet:     {built.DistributionSet("firmware"), invalidated(never, never), invalidated(noon, never), invalidated(noon, noon)},
		kindRollout: {built.Rollout("r", "firmware"), stopped(never, never), stopped(noon, never), stopped(noon, noon)},
	} {
		t.Run(kind, func(t *testing.T) {
			w, count := newWorld(t), measured(t)
			sum := sumOf(t, kind)
			w.put(states[0])
			mustBe(t, "before the stop", map[string]float64{}, w.series("goshawk_stop_pending_seconds"))
			w.put(states[1])
			w.now = noon.Add(2 * time.Second)
			w.put(states[2])
			mustBe(t, "while it is applied", map[string]float64{kind: 2}, w.series("goshawk_stop_pending_seconds"))
			if n := count(kind); n != 0 {
				t.Errorf("%v stops were measured before the end", n)
			}
			w.now = noon.Add(3 * time.Second)
			w.put(states[3])
			w.put(states[3])
			mustBe(t, "after the stop", map[string]float64{}, w.series("goshawk_stop_pending_seconds"))
			if n, took := count(kind), sumOf(t, kind)-sum; n != 1 || took != 3 {
				t.Errorf("%v stops of %v s were measured, want one of 3 s", n, took)
			}
		})
	}
}

func sumOf(t *testing.T, kind string) float64 {
	t.Helper()
	families, err := registryOf(stopSeconds).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == kind {
			return m.GetHistogram().GetSampleSum()
		}
	}
	return 0
}

// TestStopsThatAreNotMeasured: a stop that this process has not seen from its start, that is not
// applied by the controllers, or whose object is gone is not measured and not pending.
func TestStopsThatAreNotMeasured(t *testing.T) {
	var never time.Time
	finished := stopped(never, never)
	finished.Status.State = v1alpha1.RolloutFinished
	unreadable := stopped(never, never)
	unreadable.Unreadable = &v1alpha1.Unreadable{}
	deleted := invalidated(noon, never)
	deleted.DeletionTimestamp = new(metav1.NewTime(noon))
	earlier := built.DistributionSet("firmware", func(s *v1alpha1.DistributionSet) {
		s.Status.Invalidation = &v1alpha1.InvalidationStatus{ObservedAt: new(metav1.NewTime(noon))}
	})
	for name, states := range map[string][]client.Object{
		"a stop that was applied before":                       {stopped(noon, noon)},
		"an invalidation that was applied before":              {invalidated(noon, noon)},
		"a finished rollout":                                   {built.Rollout("r", "firmware"), finished},
		"a rollout that cannot be decoded":                     {built.Rollout("r", "firmware"), unreadable},
		"a set that is being deleted":                          {invalidated(noon, never), deleted},
		"a set that is invalid because of an earlier set":      {built.DistributionSet("firmware"), earlier},
		"a stop that was taken back before it was seen":        {built.Rollout("r", "firmware"), stopped(never, never), built.Rollout("r", "firmware")},
		"a valid set that is changed":                          {built.DistributionSet("firmware"), built.DistributionSet("firmware")},
		"a target, which has no stop":                          {built.Target("a"), built.Target("a")},
		"a set without invalidation after one with it (again)": {invalidated(never, never), built.DistributionSet("firmware")},
	} {
		t.Run(name, func(t *testing.T) {
			w, count := newWorld(t), measured(t)
			w.put(states...)
			w.now = noon.Add(time.Hour)
			mustBe(t, "pending stops", map[string]float64{}, w.series("goshawk_stop_pending_seconds"))
			if n := count(kindSet) + count(kindRollout); n != 0 {
				t.Errorf("%v stops were measured", n)
			}
		})
	}
	t.Run("a deleted object", func(t *testing.T) {
		w := newWorld(t)
		w.put(stopped(noon, never))
		w.remove(stopped(noon, never))
		mustBe(t, "pending stops", map[string]float64{}, w.series("goshawk_stop_pending_seconds"))
	})
}

// TestANewLeaderContinuesTheMeasurement: a process that starts while a stop is applied measures it
// from the stored time, and only the leader measures.
func TestANewLeaderContinuesTheMeasurement(t *testing.T) {
	var never time.Time
	now := noon.Add(5 * time.Second)
	clock := func() time.Time { return now }
	all, leader, standby := New(clock), NewFleet(clock), NewFleet(clock)
	end := all.Lead(leader)
	count, sum := measured(t), sumOf(t, kindRollout)
	for _, f := range []*Fleet{leader, standby} {
		f.Changed(nil, stopped(noon, never))
	}
	mustBe(t, "age", map[string]float64{kindRollout: 5, kindSet: 0}, gather(t, all, "goshawk_stop_pending_seconds"))
	for _, f := range []*Fleet{leader, standby} {
		f.Changed(stopped(noon, never), stopped(noon, noon))
	}
	if n, took := count(kindRollout), sumOf(t, kindRollout)-sum; n != 1 || took != 5 {
		t.Errorf("%v stops of %v s were measured, want one of 5 s", n, took)
	}
	end()
	leader.Changed(nil, invalidated(noon, never))
	leader.Changed(invalidated(noon, never), invalidated(noon, noon))
	if n := count(kindSet); n != 0 {
		t.Errorf("%v stops were measured after the end of the lease", n)
	}
}

// TestTheDelayOfADeviceAPIIsMeasured: how much later than the controllers this process saw a stop.
func TestTheDelayOfADeviceAPIIsMeasured(t *testing.T) {
	var never time.Time
	seen, valid := noon.Add(3*time.Second), built.DistributionSet("firmware")
	running := built.Rollout("r", "firmware")
	for _, row := range []struct {
		name    string
		changes [][2]client.Object
		want    []float64
	}{
		{"the stop first, then that the controllers saw it", [][2]client.Object{{valid, invalidated(never, never)}, {invalidated(never, never), invalidated(noon, never)}}, []float64{3}},
		{"both in one event of a slow watch", [][2]client.Object{{running, stopped(noon, noon)}}, []float64{3}},
		{"before the controllers", [][2]client.Object{{running, stopped(never, never)}, {stopped(never, never), stopped(noon.Add(time.Hour), never)}}, []float64{0}},
		{"further changes", [][2]client.Object{{running, stopped(noon, never)}, {stopped(noon, never), stopped(noon, noon)}}, []float64{3}},
		{"at the start of the process", [][2]client.Object{{nil, stopped(noon, never)}, {stopped(noon, never), stopped(noon, noon)}}, nil},
		{"taken back before the controllers saw it", [][2]client.Object{{running, stopped(never, never)}, {stopped(never, never), running}, {running, running}}, nil},
		{"deleted before the controllers saw it", [][2]client.Object{{running, stopped(never, never)}, {stopped(never, never), nil}}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			stopDelay.Reset()
			d := NewDelays(func() time.Time { return seen })
			for _, change := range row.changes {
				d.Changed(change[0], change[1])
			}
			var got []float64
			families, err := registryOf(stopDelay).Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range families[0].GetMetric() {
				for range m.GetHistogram().GetSampleCount() {
					got = append(got, m.GetHistogram().GetSampleSum())
				}
			}
			if len(got) != len(row.want) || len(got) > 0 && got[0] != row.want[0] {
				t.Errorf("measured %v s, want %v", got, row.want)
			}
			if len(d.seen) > 0 {
				t.Errorf("%d stops are kept", len(d.seen))
			}
		})
	}
}
