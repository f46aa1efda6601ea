// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var (
	noon  = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)
	built = build.At(noon)
)

// world is a fleet whose controllers run, and its clock.
type world struct {
	*Fleet
	t       testing.TB
	now     time.Time
	all     *Collector
	objects map[string]client.Object
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: noon, objects: map[string]client.Object{}}
	w.all = New(func() time.Time { return w.now })
	w.Fleet = NewFleet(func() time.Time { return w.now })
	w.all.Lead(w.Fleet)
	return w
}

// put adds objects, or replaces those of the same kind and name.
func (w *world) put(objects ...client.Object) {
	for _, o := range objects {
		key := fmt.Sprintf("%T/%s/%s", o, o.GetNamespace(), o.GetName())
		w.Changed(w.objects[key], o)
		w.objects[key] = o
	}
}

func (w *world) remove(o client.Object) {
	delete(w.objects, fmt.Sprintf("%T/%s/%s", o, o.GetNamespace(), o.GetName()))
	w.Changed(o, nil)
}

// series returns the values of a metric that are not 0, by the values of its labels in the order of
// their names.
func (w *world) series(metric string) map[string]float64 {
	w.t.Helper()
	all := gather(w.t, w.all, metric)
	maps.DeleteFunc(all, func(_ string, value float64) bool { return value == 0 })
	return all
}

// gather returns the values of a metric by the values of its labels, and of a histogram the number
// of its observations.
func gather(t testing.TB, collector prometheus.Collector, metric string) map[string]float64 {
	t.Helper()
	families, err := registryOf(collector).Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != metric {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			found[strings.Join(labels, " ")] = m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return found
}

// registryOf returns a registry that checks what the collector sends.
func registryOf(collector prometheus.Collector) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	return registry
}

func mustBe(t testing.TB, what string, want, got map[string]float64) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: want (-), got (+):\n%s", what, d)
	}
}

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))}
}

// at moves an object to another namespace.
func at[T client.Object](namespace string, o T) T {
	o.SetNamespace(namespace)
	return o
}

// TestTargetsAreCountedByStatusAndProblem: a target counts by its present state only, and no longer
// when it is deleted.
func TestTargetsAreCountedByStatusAndProblem(t *testing.T) {
	w := newWorld(t)
	synced := built.Target("a", func(o *v1alpha1.Target) { o.Status.UpdateStatus = v1alpha1.UpdateStatusInSync })
	w.put(synced, built.Target("b"), at("other", built.Target("a")))
	mustBe(t, "targets", map[string]float64{"fleet InSync": 1, "fleet Unknown": 1, "other Unknown": 1}, w.series("goshawk_targets"))
	mustBe(t, "problems", map[string]float64{}, w.series("goshawk_target_problems"))

	broken := built.Target("a", func(o *v1alpha1.Target) {
		o.Status.UpdateStatus = v1alpha1.UpdateStatusPending
		o.Status.Actions = []v1alpha1.Action{build.Action(1, "firmware", v1alpha1.ActionWaitingForConfirmation)}
		o.Status.Conditions = []metav1.Condition{
			condition(v1alpha1.ConditionOnline, metav1.ConditionFalse, v1alpha1.ReasonSilent), condition(v1alpha1.ConditionConsistent, metav1.ConditionFalse, v1alpha1.ReasonUpdateFailed),
			condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDuplicate),
		}
	})
	w.put(broken)
	mustBe(t, "targets", map[string]float64{"fleet Pending": 1, "fleet Unknown": 1, "other Unknown": 1}, w.series("goshawk_targets"))
	mustBe(t, "problems", map[string]float64{"fleet offline": 1, "fleet inconsistent": 1, "fleet notReady": 1, "fleet waitingForConfirmation": 1}, w.series("goshawk_target_problems"))

	w.remove(broken)
	w.remove(built.Target("b"))
	mustBe(t, "targets", map[string]float64{"other Unknown": 1}, w.series("goshawk_targets"))
	if all := gather(t, w.all, "goshawk_targets"); len(all) != len(updateStatuses) {
		t.Errorf("a namespace without objects still has series: %v", all)
	}
}

// TestARolloutIsExportedUntilOneHourAfterItsEnd: groups, targets and the wait of a rollout have
// series that end with the rollout; the number of rollouts by state does not.
func TestARolloutIsExportedUntilOneHourAfterItsEnd(t *testing.T) {
	running := built.Rollout("r", "firmware", build.Running(noon, "hash"), func(r *v1alpha1.Rollout) {
		opened := metav1.NewTime(noon.Add(time.Minute))
		r.Status.Groups = []v1alpha1.GroupStatus{{Name: "a", State: v1alpha1.GroupFinished}, {Name: "b", State: v1alpha1.GroupRunning, OpenedAt: &opened}, {Name: "c", State: v1alpha1.GroupScheduled}}
		r.Status.Targets = &v1alpha1.Counts{Targets: 36, Scheduled: 1, Pending: 2, InProgress: 3, Succeeded: 4, Failed: 5, Canceled: 6, Skipped: 7, Removed: 8}
		r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing}
	})
	w := newWorld(t)
	w.put(running)
	w.now = noon.Add(10 * time.Minute)
	mustBe(t, "rollouts", map[string]float64{"fleet Running": 1}, w.series("goshawk_rollouts"))
	mustBe(t, "groups", map[string]float64{"fleet r Finished": 1, "fleet r Running": 1, "fleet r Scheduled": 1}, w.series("goshawk_rollout_groups"))
	mustBe(t, "targets", map[string]float64{
		"scheduled fleet r": 1, "pending fleet r": 2, "inProgress fleet r": 3, "succeeded fleet r": 4, "failed fleet r": 5, "canceled fleet r": 6, "skipped fleet r": 7, "removed fleet r": 8,
	}, w.series("goshawk_rollout_targets"))
	mustBe(t, "wait", map[string]float64{"fleet Progressing r": 540}, w.series("goshawk_rollout_wait_seconds"))

	finished := running.DeepCopy()
	end := metav1.NewMicroTime(w.now)
	finished.Status.State, finished.Status.FinishedAt, finished.Status.WaitingFor = v1alpha1.RolloutFinished, &end, nil
	w.put(finished)
	w.now = w.now.Add(exportedAfterEnd)
	if got := w.series("goshawk_rollout_targets"); len(got) != 8 {
		t.Errorf("an hour after its end the rollout has the series %v", got)
	}
	w.now = w.now.Add(time.Second)
	mustBe(t, "targets after more than an hour", map[string]float64{}, w.series("goshawk_rollout_targets"))
	mustBe(t, "rollouts after more than an hour", map[string]float64{"fleet Finished": 1}, w.series("goshawk_rollouts"))

	w.remove(finished)
	w.put(running)
	again := running.DeepCopy()
	again.UID = "another"
	w.put(again)
	w.Changed(running, nil) // the deletion of the earlier object of this name
	if got := w.series("goshawk_rollout_targets"); len(got) != 8 {
		t.Errorf("a rollout that was created again has the series %v", got)
	}
	w.remove(again)
	if all := gather(t, w.all, "goshawk_rollout_targets"); len(all) != 0 {
		t.Errorf("a deleted rollout has the series %v", all)
	}
}

// TestTheAgeOfAWaitComesFromStoredTimes: the wait has the same age in a process that has just
// started.
func TestTheAgeOfAWaitComesFromStoredTimes(t *testing.T) {
	micro := func(before time.Duration) *metav1.MicroTime { return new(metav1.NewMicroTime(noon.Add(-before))) }
	seconds := func(before time.Duration) *metav1.Time { return new(metav1.NewTime(noon.Add(-before))) }
	planned := func(r *v1alpha1.Rollout) { r.Status.Plan = &v1alpha1.PlanStatus{CreatedAt: seconds(7 * time.Second)} }
	for _, row := range []struct {
		name, reason string
		edit         func(*v1alpha1.Rollout)
		want         float64
	}{
		{"an automatic pause", v1alpha1.ReasonErrorThresholdExceeded, func(r *v1alpha1.Rollout) {
			r.Status.PausedAt, r.Status.StartedAt = micro(5*time.Second), micro(time.Hour)
		}, 5},
		{"a pause after a group", v1alpha1.ReasonSuccessActionPause, func(r *v1alpha1.Rollout) { r.Status.PausedAt = micro(6 * time.Second) }, 6},
		{"an approval", v1alpha1.ReasonAwaitingApproval, planned, 7},
		{"a start by spec.state", v1alpha1.ReasonPlanned, planned, 7},
		{"a start at a time", v1alpha1.ReasonWaitingForStart, planned, 7},
		{"a pause before the start", v1alpha1.ReasonPausedBySpec, planned, 7},
		{"targets that change", v1alpha1.ReasonStabilizing, func(r *v1alpha1.Rollout) {
			r.Status.Stabilizing = &v1alpha1.Stabilizing{Started: *micro(8 * time.Second)}
		}, 8},
		{"a group", v1alpha1.ReasonProgressing, func(r *v1alpha1.Rollout) {
			r.Status.StartedAt, r.Status.Groups = micro(time.Minute), []v1alpha1.GroupStatus{{OpenedAt: seconds(30 * time.Second)}, {OpenedAt: seconds(9 * time.Second)}, {}}
		}, 9},
		{"a stop by spec", v1alpha1.ReasonStopping, func(r *v1alpha1.Rollout) {
			r.Status.StartedAt, r.Status.Stop = micro(time.Minute), &v1alpha1.StopStatus{ObservedAt: *micro(10 * time.Second)}
		}, 10},
		{"results after a stop by invalidation", v1alpha1.ReasonStopped, func(r *v1alpha1.Rollout) {
			r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutStopped, micro(11*time.Second)
		}, 11},
		{"a set that does not exist", v1alpha1.ReasonReferenceNotFound, func(r *v1alpha1.Rollout) {
			r.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound)}
		}, 3600},
		{"anything, without a condition", v1alpha1.ReasonPlanning, func(r *v1alpha1.Rollout) { r.CreationTimestamp = *seconds(12 * time.Second) }, 12},
		{"a pause that the clock of another process dates into the future", v1alpha1.ReasonPausedBySpec, func(r *v1alpha1.Rollout) { r.Status.PausedAt = micro(-time.Minute) }, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.put(built.Rollout("r", "firmware", row.edit, func(r *v1alpha1.Rollout) { r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: row.reason} }))
			mustBe(t, "wait", map[string]float64{"fleet " + row.reason + " r": row.want}, gather(t, w.all, "goshawk_rollout_wait_seconds"))
		})
	}
}

// TestBeyondTheBoundTheRestIsSummed: the number of series is bounded, sums over all series stay
// right, and rollouts that are not over have their own series before the others.
func TestBeyondTheBoundTheRestIsSummed(t *testing.T) {
	w := newWorld(t)
	targets := &v1alpha1.Counts{Targets: 3, Pending: 3}
	finished := metav1.NewMicroTime(noon)
	for i := range maxRollouts + 20 {
		w.put(at(fmt.Sprintf("tenant-%03d", i), built.Rollout(fmt.Sprintf("rollout-%03d", i), "firmware", func(r *v1alpha1.Rollout) {
			r.CreationTimestamp = metav1.NewTime(noon.Add(time.Duration(i) * time.Second))
			r.Status.State, r.Status.Targets, r.Status.WaitingFor = v1alpha1.RolloutRunning, targets, &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing}
			if i >= maxRollouts+10 { // the newest ones
				r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutFinished, &finished
			}
		})))
	}
	own := w.series("goshawk_rollout_targets")
	if len(own) != maxRollouts+1 || own["pending _others _others"] != 60 {
		t.Errorf("%d series, in all others are %v pending targets", len(own), own["pending _others _others"])
	}
	if own["pending tenant-509 rollout-509"] != 3 || own["pending tenant-010 rollout-010"] != 3 || own["pending tenant-009 rollout-009"] != 0 {
		t.Error("the newest rollouts that are not over have no series of their own")
	}
	for metric, n := range map[string]int{
		"goshawk_rollouts": (maxNamespaces + 1) * len(rolloutStates), "goshawk_targets": (maxNamespaces + 1) * len(updateStatuses), "goshawk_target_problems": (maxNamespaces + 1) * len(problems),
		"goshawk_rollout_groups": (maxRollouts + 1) * len(groupStates), "goshawk_rollout_targets": (maxRollouts + 1) * len(buckets), "goshawk_rollout_wait_seconds": maxRollouts + 1,
	} {
		if got := gather(t, w.all, metric); len(got) != n {
			t.Errorf("%s has %d series, want %d", metric, len(got), n)
		}
	}
	sum := 0.0
	for n := range maps.Values(w.series("goshawk_rollouts")) {
		sum += n
	}
	if sum != maxRollouts+20 {
		t.Errorf("the series of all rollouts add up to %v", sum)
	}
}

// TestStalledObjectsAreCountedByReason: an object counts while its condition Stalled is True.
func TestStalledObjectsAreCountedByReason(t *testing.T) {
	w := newWorld(t)
	stalled := []metav1.Condition{condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonOrderAmbiguous)}
	bad := built.Rollout("a", "firmware", func(r *v1alpha1.Rollout) { r.Status.Conditions = stalled })
	w.put(bad, built.Rollout("b", "firmware"), built.AutoAssignment("a", "firmware", func(o *v1alpha1.AutoAssignment) { o.Status.Conditions = stalled }),
		built.DistributionSet("a", func(o *v1alpha1.DistributionSet) { o.Status.Conditions = stalled }), built.SoftwareModule("a", func(o *v1alpha1.SoftwareModule) { o.Status.Conditions = stalled }))
	mustBe(t, "stalled objects", map[string]float64{
		"AutoAssignment fleet OrderAmbiguous": 1, "DistributionSet fleet OrderAmbiguous": 1, "Rollout fleet OrderAmbiguous": 1, "SoftwareModule fleet OrderAmbiguous": 1,
	}, w.series("goshawk_stalled_objects"))
	w.put(built.Rollout("a", "firmware"))
	if got := gather(t, w.all, "goshawk_stalled_objects"); len(got) != 3 {
		t.Errorf("after one of four was fixed: %v", got)
	}
}

// TestOnlyTheLeaderExports: a process whose controllers do not run exports nothing, and neither
// does one whose lease has ended.
func TestOnlyTheLeaderExports(t *testing.T) {
	now := func() time.Time { return noon }
	all, f := New(now), NewFleet(now)
	f.Changed(nil, built.Target("a"))
	if got := gather(t, all, "goshawk_targets"); len(got) != 0 {
		t.Errorf("before it leads: %v", got)
	}
	end := all.Lead(f)
	mustBe(t, "while it leads", map[string]float64{"fleet Unknown": 1, "fleet Registered": 0, "fleet Pending": 0, "fleet InSync": 0, "fleet Error": 0}, gather(t, all, "goshawk_targets"))
	end()
	if got := gather(t, all, "goshawk_targets"); len(got) != 0 {
		t.Errorf("after the end: %v", got)
	}
}

// BenchmarkScrape measures a scrape of a fleet with 100 000 targets and 20 rollouts of 50 groups,
// and what the metrics add to the change of one target.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		w := newWorld(b)
		for i := range n {
			w.Changed(nil, built.Target(fmt.Sprintf("device-%06d", i)))
		}
		for i := range 20 {
			w.put(built.Rollout(fmt.Sprintf("rollout-%d", i), "firmware", build.Running(noon, "hash", slices.Repeat([]*v1alpha1.DeploymentGroup{{}}, 50)...), func(r *v1alpha1.Rollout) {
				r.Status.Targets = &v1alpha1.Counts{Targets: int32(n)}
			}))
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(w.all)
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("change/targets=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			old, now := built.Target("device-000000"), built.Target("device-000000", func(t *v1alpha1.Target) { t.Status.UpdateStatus = v1alpha1.UpdateStatusInSync })
			for b.Loop() {
				w.Changed(old, now)
				w.Changed(now, old)
			}
		})
	}
}
