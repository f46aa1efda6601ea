// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
)

// manyTargets is the number of targets of a large fleet.
const manyTargets = 100_000

// newLargeStage returns a stage with many targets, every hundredth of which is inconsistent.
func newLargeStage(t *testing.T) *stage {
	t.Helper()
	chromium.Require(t)
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	built := build.At(now.Add(-time.Hour))
	s := &stage{t: t, source: newSource(), loggedOut: map[string]bool{}, now: func() time.Time { return now }}
	index, err := fleet.Of(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.source.index = index
	inconsistent := []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUpdateFailed, LastTransitionTime: metav1.NewTime(now)}}
	for i := range manyTargets {
		o := built.Target(fmt.Sprintf("device-%06d", i), func(o *v1alpha1.Target) {
			o.Status.UpdateStatus = v1alpha1.UpdateStatusInSync
			if i%100 == 7 {
				o.Status.UpdateStatus, o.Status.Conditions = v1alpha1.UpdateStatusError, inconsistent
			}
		})
		if err := index.Put(o); err != nil {
			t.Fatal(err)
		}
		s.source.changed(nil, o)
	}
	s.serve()
	return s
}

// total is a JavaScript expression of the number of matching objects of a list.
const total = `document.querySelector("main caption").innerText.replace(/\D+of.*/, "").replace(/\D/g, "")`

// TestLargeFleet: a page never has more of a large fleet than a person can read.
func TestLargeFleet(t *testing.T) {
	if isRace {
		t.Skip("the race detector needs a minute for so many targets, and the other tests have the same goroutines")
	}
	s := newLargeStage(t)
	tab := s.as(t, "vera", "", chromium.Options{})
	for _, tt := range []struct{ path, total, first string }{
		{"targets?namespace=fleet", "100000", "device-000000"},
		{"targets?namespace=fleet&page=2000", "100000", "device-099950"},
		{"targets?namespace=fleet&state=inconsistent", "1000", "device-000007"},
		{"targets?namespace=fleet&q=device-0423", "100", "device-042300"},
		{"targets?namespace=fleet&q=device-042424", "1", "device-042424"},
	} {
		tab.Visit(s.url + tt.path)
		tab.Await(total + ` === "` + tt.total + `"`)
		if got := tab.Text("main tbody th a"); got != tt.first {
			t.Errorf("%s starts with %s, want %s", tt.path, got, tt.first)
		}
		s.checkSize(t, tab)
	}
	tab.Visit(s.url + "targets?namespace=fleet&state=inconsistent")
	tab.ClickTo(`main a[rel="next"]`)
	if got := tab.Text("main tbody th a"); got != "device-005007" {
		t.Errorf("the second part starts with %s", got)
	}
	for _, path := range []string{"", "rollouts", "sets", "overlaps", "autoassignments"} {
		tab.Visit(s.url + path)
		s.checkSize(t, tab)
	}
}

// checkSize fails the test if a page is larger than a page may be.
func (s *stage) checkSize(t *testing.T, tab *chromium.Tab) {
	t.Helper()
	type size struct{ Rows, Elements, Bytes int }
	got := chromium.Value[size](tab, `({Rows: document.querySelectorAll("main tbody tr").length, Elements: document.querySelectorAll("*").length, Bytes: document.documentElement.outerHTML.length})`)
	if got.Rows > 50 || got.Elements > 3000 || got.Bytes > 60<<10 {
		t.Errorf("%s is too large: %+v", chromium.Value[string](tab, "location.href"), got)
	}
}
