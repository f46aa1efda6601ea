// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

func TestListOfAutoAssignments(t *testing.T) {
	w := newWorld(t, append(fleetOfTests(), objects.AutoAssignment("stalled", "firmware-9", func(a *v1alpha1.AutoAssignment) {
		a.Status.State = v1alpha1.AutoAssignmentReady
		a.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonReferenceNotFound, Message: "DistributionSet firmware-9 does not exist"},
			{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReferenceNotFound},
		}
	}))...)
	rows := w.get("/autoassignments").wantStatus(http.StatusOK).rows("auto-assignment")
	if got := firstCells(rows); got != "baseline stalled" {
		t.Fatalf("auto-assignments %s", got)
	}
	if got, want := strings.Join(rows[0][1:7], " | "), "› Running | firmware-1 | 9 | 0 | 8 | 1"; got != want {
		t.Errorf("baseline: %s, want %s", got, want)
	}
	if !strings.Contains(rows[1][1], "stalled") || rows[1][7] != "DistributionSet firmware-9 does not exist" {
		t.Errorf("stalled: %v", rows[1])
	}
	if got := firstCells(w.get("/autoassignments?state=Ready").rows("auto-assignment")); got != "stalled" {
		t.Errorf("auto-assignments that are ready: %s", got)
	}
	w.get("/autoassignments?state=Broken").wantStatus(http.StatusBadRequest)
	w.get("/autoassignments?q=nothing").wantText("There are no auto-assignments that match.")
}

func TestPageOfAnAutoAssignment(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	auto := w.source.index.AutoAssignment(client.ObjectKey{Namespace: "fleet", Name: "baseline"})
	w.source.put(objects.Target("dev-7", func(t *v1alpha1.Target) {
		t.Status.Actions = []v1alpha1.Action{{ID: 1, State: v1alpha1.ActionError, FailureGroup: markup, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: auto.Name, UID: auto.UID}}}
	}))
	p := w.get("/autoassignments/fleet/baseline").wantStatus(http.StatusOK)
	p.wantText("offering firmware-1 to 9 matching targets", "9 selected", "8 succeeded", "1 failed", "all targets of the namespace", "What else wants its targets")
	if rows := p.rows("Failed targets"); len(rows) != 1 || !strings.Contains(rows[0][0], markup) || rows[0][1] != "1" || rows[0][2] != "dev-7" {
		t.Errorf("failures: %v", rows)
	}
	w.get("/autoassignments/fleet/none").wantStatus(http.StatusNotFound)
	w.rights.deny(Access{Resource: Targets})
	w.get("/autoassignments/fleet/baseline").wantStatus(http.StatusOK).wantNoText("dev-7", markup, "What else wants its targets")
}

func TestPageOfOverlaps(t *testing.T) {
	w := newWorld(t, append(fleetOfTests(), objects.Rollout("unplanned", "firmware-2"))...)
	p := w.get("/overlaps").wantStatus(http.StatusOK).wantText("Not counted, because they have no plan yet: unplanned")
	rows := p.rows("overlap")
	if len(rows) != 1 || !strings.HasPrefix(rows[0][0], "newest rollout, fleet") || rows[0][1] != "6" || !strings.HasPrefix(rows[0][2], "Rollout newest wins on 4 targets") {
		t.Errorf("overlaps: %v", rows)
	}
	w.get("/overlaps?q=other").wantText("There are no overlaps that match")
	w.source.put(objects.AutoAssignment("second", "firmware-2", func(a *v1alpha1.AutoAssignment) {
		at := metav1.NewMicroTime(worldTime.Add(-time.Hour))
		a.Status.State, a.Status.StartedAt = v1alpha1.AutoAssignmentRunning, &at
	}))
	w.now = w.now.Add(time.Minute)
	if rows := w.get("/overlaps").rows("overlap"); len(rows) != 2 {
		t.Errorf("overlaps after a change: %v", rows)
	}
	w.rights.deny(Access{Resource: AutoAssignments})
	w.get("/overlaps").wantText("The auto-assignments are not shown.", "There are no overlaps that match")
}

// TestOverlapsAreComputedFromTimeToTime: computing the overlaps of a large fleet takes at most a
// twentieth of the time, and not at all while nothing changes.
func TestOverlapsAreComputedFromTimeToTime(t *testing.T) {
	now := worldTime
	index := newFakeSource(t, fleetOfTests()...).index
	duration := 2 * time.Second // of a computation: the clock moves each time it is read
	c := newOverlapCache(index, func() time.Time { now = now.Add(duration / 2); return now })
	of := func() (*explain.Overlaps, time.Time) {
		t.Helper()
		overlaps, at, err := c.of("fleet")
		if err != nil {
			t.Fatal(err)
		}
		return overlaps, at
	}
	first, at := of()
	now = now.Add(time.Hour)
	if again, same := of(); again != first || !same.Equal(at) {
		t.Error("computed again without a change")
	}
	change := func() {
		if err := index.Put(objects.Target("dev-9")); err != nil {
			t.Fatal(err)
		}
	}
	change()
	second, _ := of()
	if second == first {
		t.Error("not computed again after a change")
	}
	change()
	if third, _ := of(); third != second {
		t.Error("computed again too soon")
	}
	now = now.Add(overlapShare * duration)
	if fourth, _ := of(); fourth == second {
		t.Error("the last change was forgotten")
	}
}
