// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
)

func TestNewCountsAloneAreNoDecision(t *testing.T) {
	w := running(t, 20, groupCount(2))
	w.startUpdate("dev-01")
	p := w.reconcile()
	if p.Decided || len(p.Events) > 0 || len(p.Mirror) > 0 {
		t.Errorf("decided %v, events %v, mirrors %d", p.Decided, p.Events, len(p.Mirror))
	}
	if p.Status.Targets.InProgress != 1 {
		t.Errorf("counts %+v", p.Status.Targets)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.MinimumReports = 1 })
	if p := w.reconcile(); !p.Decided || p.Status.ObservedGeneration != w.rollout.Generation {
		t.Error("a new generation is not acknowledged at once")
	}
}

func TestTheStatusOfAGroupIsWrittenForItsStateNotForItsCounts(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	var got []string
	for range 6 {
		for _, m := range w.reconcile().Mirror {
			got = append(got, m.Object.Spec.Group+" "+string(m.Status.State))
		}
	}
	want := []string{
		"group-1 Running", "group-2 Scheduled", // written when the first group opens
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c := w.groups[0].Status.Counts; c == nil || c.Pending != 2 {
		t.Errorf("counts in the status of the group: %+v", c)
	}
}

func TestAGroupStatusThatWasNotWrittenIsWrittenLater(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.targets["dev-01"].Status.Installed = &v1alpha1.InstalledSet{ContentHash: w.set.ContentHash}
	for w.state() != v1alpha1.RolloutRunning {
		p := Next(w.snapshot())
		p.Mirror = nil
		w.apply(p)
	}
	if w.groups[0].Status.State != "" {
		t.Fatalf("the group is %s", w.groups[0].Status.State)
	}
	w.reconcileAll()
	if s := w.groups[0].Status; s.State != v1alpha1.GroupRunning || s.OpenedAt == nil || !s.OpenedAt.Equal(w.rollout.Status.Groups[0].OpenedAt) {
		t.Errorf("the status of the group is %+v", s)
	}
	if got := w.rollout.Status.Groups[0]; got.Succeeded != 1 || got.Pending != 1 {
		t.Errorf("the members that had the set when the group opened are not counted: %+v", got.Counts)
	}
}

// The process crashes after it opened the group in the status of the rollout and before it wrote
// the status of the group. A device that installs the set in between did not have it when the group
// opened: the group ends as it would have without the crash.
func TestAGroupStatusThatIsWrittenLaterCountsUpdates(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.targets["dev-01"].Status.Installed = &v1alpha1.InstalledSet{ContentHash: w.set.ContentHash}
	for w.state() != v1alpha1.RolloutRunning {
		p := Next(w.snapshot())
		p.Mirror = nil
		w.apply(p)
	}
	w.succeed("dev-02")
	w.reconcileAll()
	if s := w.groups[0].Status; !bitmap.Has(s.AlreadyThere, 0) || bitmap.Has(s.AlreadyThere, 1) {
		t.Errorf("members marked as having had the set: %b, want the first only", s.AlreadyThere)
	}
	if got := w.rollout.Status.Groups[0]; got.Succeeded != 2 {
		t.Errorf("the counts are %+v", got.Counts)
	}
}

func TestLastTransitionTimeChangesWithTheStatusOnly(t *testing.T) {
	w := running(t, 4, groupCount(2))
	since := func() time.Time {
		return meta.FindStatusCondition(w.rollout.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime.Time
	}
	first := since()
	w.tick(time.Hour)
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	if !since().Equal(first) {
		t.Error("a new message changed lastTransitionTime")
	}
	w.set.Deployable = false
	w.reconcileAll()
	if !since().Equal(w.now) {
		t.Error("a new status did not change lastTransitionTime")
	}
}

// TestTheStatusOfALargeRolloutIsSmall: a status holds counts and no targets. With the greatest
// numbers and the longest names it stays far below the size that the API server accepts.
func TestTheStatusOfALargeRolloutIsSmall(t *testing.T) {
	const limit = 256 << 10
	w := newWorld(t, 10_000, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(500), num(100) })
	for range 3 {
		w.reconcile()
	}
	for i := range 20 {
		w.fail(fmt.Sprintf("code-%d", i), w.members(w.groups[0])[i].Name)
	}
	w.reconcile()
	status := w.rollout.Status.DeepCopy()
	if len(status.Groups) != 500 || status.Targets.Targets != 10_000 || status.Targets.Failed != 20 {
		t.Fatalf("%d groups, %+v", len(status.Groups), status.Targets)
	}
	for i := range status.Groups {
		g := &status.Groups[i]
		g.Name, g.State, g.OpenedAt, g.Passed, g.CountedFailures, g.RemovedFailures = strings.Repeat("n", 63), v1alpha1.GroupScheduled, at(w.now), true, 20_000, 20_000
		g.Counts = v1alpha1.Counts{Targets: 20_000, Scheduled: 20_000, Pending: 20_000, InProgress: 20_000, Succeeded: 20_000, Failed: 20_000, Canceled: 20_000, Skipped: 20_000, Removed: 20_000}
	}
	encoded, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > limit {
		t.Errorf("the status has %d bytes, want at most %d", len(encoded), limit)
	}
	if named := strings.Count(string(encoded), "dev-"); named > 10*5+3 { // examples of failures, and in one message
		t.Errorf("the status names %d targets", named)
	}
}

func TestEveryDecisionHasOneEvent(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	w.reconcileAll()
	w.tick(time.Second)
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.succeed("dev-03", "dev-04")
	w.reconcileAll()
	w.reconcileAll()
	var got []string
	for _, line := range w.log {
		got = append(got, strings.Fields(line)[2])
	}
	want := []string{"Planned:", "Started:", "GroupOpened:", "GroupFinished:", "GroupOpened:", "GroupFinished:", "Finished:"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMessagesAreShortened(t *testing.T) {
	if got := list([]string{"a", "b", "c", "d", "e", "f", "g"}); got != "a, b, c, d, e and 2 more" {
		t.Error(got)
	}
}

func TestTheTenMostFrequentFailures(t *testing.T) {
	w := running(t, 30, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) })
	for i := range 15 {
		w.fail(string(rune('a'+i)), w.members(w.groups[0])[i].Name)
	}
	w.fail("o", "dev-20", "dev-21")
	w.fail("n", "dev-22")
	w.reconcileAll()
	got := ""
	for _, line := range w.rollout.Status.Failures {
		got += line.StatusCode
	}
	if got != "onabcdefgh" {
		t.Errorf("codes %s", got)
	}
}

// Failed targets are deleted after the end. Their failures and the counts stay in the status.
func TestTargetsThatAreDeletedLaterDoNotChangeTheFailures(t *testing.T) {
	failures := func(w *world) string {
		var out []string
		for _, line := range w.rollout.Status.Failures {
			out = append(out, fmt.Sprintf("%d with %s (%s)", line.Count, line.StatusCode, strings.Join(line.Examples, " ")))
		}
		return strings.Join(out, ", ")
	}
	want := func(t *testing.T, w *world, want string) {
		t.Helper()
		w.reconcileAll()
		if got := failures(w); got != want {
			t.Errorf("failures are %s, want %s", got, want)
		}
	}
	t.Run("of a finished rollout", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) })
		w.fail("17", "dev-01", "dev-02")
		w.fail("flash", "dev-03")
		w.succeed("dev-04")
		want(t, w, "2 with 17 (dev-01 dev-02), 1 with flash (dev-03)")
		w.want(v1alpha1.RolloutFinished, "Finished")
		delete(w.targets, "dev-01")
		delete(w.targets, "dev-03")
		want(t, w, "2 with 17 (dev-01 dev-02), 1 with flash (dev-03)")
	})
	t.Run("of a group that has closed before other groups", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold, s.GroupCount = num(100), num(2) })
		w.fail("17", "dev-01", "dev-02")
		w.reconcileAll()
		delete(w.targets, "dev-01")
		w.fail("17", "dev-03")
		want(t, w, "3 with 17 (dev-01 dev-02 dev-03)")
		delete(w.targets, "dev-03") // its group has not closed: it is counted as removed
		want(t, w, "2 with 17 (dev-01 dev-02)")
	})
	t.Run("of a group in Error with later failures", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(20) })
		for _, name := range []string{"dev-02", "dev-03", "dev-04"} {
			w.startUpdate(name)
		}
		w.fail("17", "dev-01")
		w.reconcileAll()
		w.want(v1alpha1.RolloutPaused, "Error")
		w.report("dev-02", action.Download, "")
		w.report("dev-02", action.Succeed, "")
		w.report("dev-03", action.Fail, "flash")
		w.report("dev-04", action.Fail, "flash")
		want(t, w, "2 with flash (dev-03 dev-04), 1 with 17 (dev-01)")
		delete(w.targets, "dev-03")
		want(t, w, "2 with flash (dev-03 dev-04), 1 with 17 (dev-01)")
	})
	t.Run("but a retry does", func(t *testing.T) {
		w := running(t, 4, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) })
		w.fail("17", "dev-01", "dev-02")
		w.succeed("dev-03", "dev-04")
		w.reconcileAll()
		w.tick(time.Minute)
		w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: *second(w.now)} })
		want(t, w, "")
		w.fail("18", "dev-01")
		w.succeed("dev-02")
		want(t, w, "1 with 18 (dev-01)")
		delete(w.targets, "dev-01")
		want(t, w, "1 with 18 (dev-01)")
	})
	t.Run("also if the controller crashed when the group closed", func(t *testing.T) {
		w := running(t, 2, func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(100) })
		w.fail("17", "dev-01", "dev-02")
		w.crash = func(p Plan) Plan { p.Mirror = nil; return p }
		w.reconcile()
		w.crash = nil
		want(t, w, "2 with 17 (dev-01 dev-02)")
		delete(w.targets, "dev-01")
		want(t, w, "2 with 17 (dev-01 dev-02)")
	})
}
