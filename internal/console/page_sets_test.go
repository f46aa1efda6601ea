// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestListOfSets(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	rows := w.get("/sets").wantStatus(http.StatusOK).rows("set")
	if got := firstCells(rows); got != "firmware-1 firmware-2" {
		t.Fatalf("sets %s", got)
	}
	if got, want := strings.Join(rows[0][1:6], " | "), "✓ valid | 8 | 0 | 0 | 1 auto-assignment (1 running)"; got != want {
		t.Errorf("firmware-1: %s, want %s", got, want)
	}
	if got, want := strings.Join(rows[1][1:6], " | "), "✓ valid | 1 | 0 | 0 | 1 rollout (1 not ended)"; got != want {
		t.Errorf("firmware-2: %s, want %s", got, want)
	}
	if got := firstCells(w.get(w.get("/sets").link("8")).rows("target")); got != "dev-2 dev-3 dev-4 dev-5 dev-6 dev-7 dev-8 dev-9" {
		t.Errorf("targets that run firmware-1: %s", got)
	}
	w.get("/sets?state=Invalidated").wantText("There are no sets that match.")
	if got := firstCells(w.get("/sets?state=Valid&q=WARE-2").rows("set")); got != "firmware-2" {
		t.Errorf("sets that match: %s", got)
	}
	w.get("/sets?state=Broken").wantStatus(http.StatusBadRequest)
}

func TestPageOfASet(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	p := w.get("/sets/fleet/firmware-2").wantStatus(http.StatusOK)
	p.wantText("firmware firmware-2 (full-image)", "1 run it", "os-2.swu", "3.0 MiB", strings.Repeat("ab", 32), "HTTPS cdn.example.com", "type os, from acme", "1 rollout of this set")
	if rows := p.rows("rollout of this set"); len(rows) != 1 || rows[0][0] != "newest" {
		t.Errorf("rollouts: %v", rows)
	}
	if rows := w.get("/sets/fleet/firmware-1").rows("auto-assignment of this set"); len(rows) != 1 || rows[0][0] != "baseline" {
		t.Errorf("auto-assignments: %v", rows)
	}
	w.get("/sets/fleet/firmware-0").wantStatus(http.StatusNotFound)
}

func TestPageOfAnInvalidatedSet(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	at := metav1.NewTime(worldTime.Add(-time.Hour))
	w.source.put(objects.DistributionSet("bad", func(s *v1alpha1.DistributionSet) {
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft, Reason: markup}
		s.Spec.Modules = []v1alpha1.ModuleReference{{Name: "missing"}}
		s.Status.Invalidation = &v1alpha1.InvalidationStatus{Recorded: s.Spec.Invalidation, Cancellation: v1alpha1.CancellationSoft, ObservedAt: &at,
			Actions: &v1alpha1.InvalidatedActions{Total: 7, Canceling: 2, Canceled: 3, Refused: 1}}
	}))
	p := w.get("/sets/fleet/bad").wantStatus(http.StatusOK)
	p.wantText("Invalidated with Soft", markup, "No device gets this set again.",
		"7 devices had started the set: 3 canceled, 1 refused to cancel or finished first, 2 asked to cancel and not answered yet, 1 not asked yet.", "The cancellation is still being applied.",
		"Devices that had started are asked to cancel, which they may refuse.", "SoftwareModule missing does not exist", "No rollout, auto-assignment or assignment that you may see uses this set.")
	if rows := w.get("/sets?state=Invalidated").rows("set"); len(rows) != 1 || !strings.Contains(rows[0][1], "invalidated") {
		t.Errorf("invalidated sets: %v", rows)
	}
}

// TestSetsWithoutRights: what the viewer may not see is neither counted nor named.
func TestSetsWithoutRights(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	w.rights.deny(Access{Resource: Targets})
	w.rights.deny(Access{Resource: Rollouts})
	w.rights.deny(Access{Resource: SoftwareModules})
	w.get("/sets").wantText("The targets are not shown.").wantNoText("8")
	w.get("/sets/fleet/firmware-2").wantText("The targets are not shown.", "The rollouts are not shown.").wantNoText("newest", "os-2.swu", "run it")
	w.rights.deny(Access{Resource: DistributionSets})
	w.get("/sets/fleet/firmware-2").wantStatus(http.StatusForbidden)
}
