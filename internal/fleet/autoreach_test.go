// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestAutoAssignmentReach: a target that a newer auto-assignment has reached is no longer offered
// an older rollout. Each change of these targets changes the version, so that the rollouts count
// again.
func TestAutoAssignmentReach(t *testing.T) {
	f := newFleet(t)
	sw := built.SoftwareModule("linux")
	old := set("old", sw)
	runs := func(t *v1alpha1.Target) {
		t.Status.Installed = &v1alpha1.InstalledSet{ContentHash: old.Status.ContentHash}
	}
	if c := f.AutoAssignmentReach("fleet"); c.HaveReached != nil {
		t.Error("without auto-assignments a target is reached")
	}
	auto := autoFrom(noon.Add(-time.Hour))
	auto.Spec.TargetExpression = `!("site" in target.labels)`
	south := func(t *v1alpha1.Target) { t.Labels = map[string]string{"site": "south"} }
	past := func(t *v1alpha1.Target) { t.Status.HadSets = []string{old.Status.ContentHash[:16]} }
	f.put(sw, old, auto, built.Target("there", runs), built.Target("elsewhere"), built.Target("past", past), built.Target("south", south))
	version := f.AutoAssignmentReach("fleet").Version
	reached := func(name string, since time.Time) bool {
		c := f.AutoAssignmentReach("fleet")
		return c.HaveReached != nil && c.HaveReached(f.Target(fleetKey(name)), since)
	}
	for name, c := range map[string]struct {
		target string
		since  time.Time
		want   bool
	}{
		"an older rollout":              {"there", noon.Add(-2 * time.Hour), true},
		"a newer rollout":               {"there", noon, false},
		"one of the same age":           {"there", noon.Add(-time.Hour), false},
		"a target that runs another":    {"elsewhere", noon.Add(-2 * time.Hour), true},
		"a target that had it once":     {"past", noon.Add(-2 * time.Hour), false},
		"a target that is not selected": {"south", noon.Add(-2 * time.Hour), false},
	} {
		if got := reached(c.target, c.since); got != c.want {
			t.Errorf("%s: reached %t", name, got)
		}
	}

	change := func(what string, counts bool, do func()) {
		t.Helper()
		do()
		now := f.AutoAssignmentReach("fleet").Version
		if (now != version) != counts {
			t.Errorf("%s: version went from %d to %d", what, version, now)
		}
		version = now
	}
	update := func(edit func(*v1alpha1.AutoAssignment)) func() {
		return func() {
			before := auto
			auto = auto.DeepCopy()
			edit(auto)
			f.setAutoAssignment(before, auto)
		}
	}
	change("counters", false, update(func(a *v1alpha1.AutoAssignment) { a.Status.Targets = &v1alpha1.AutoAssignmentTargets{Matched: 7} }))
	change("another spec", true, update(func(a *v1alpha1.AutoAssignment) { a.Generation++ }))
	change("a pause", true, update(func(a *v1alpha1.AutoAssignment) { a.Status.State = v1alpha1.AutoAssignmentPaused }))
	if reached("there", noon.Add(-2*time.Hour)) {
		t.Error("a paused auto-assignment has reached a target")
	}
	change("it continues", true, update(func(a *v1alpha1.AutoAssignment) { a.Status.State = v1alpha1.AutoAssignmentRunning }))
	change("counters of its set", false, func() {
		counted := old.DeepCopy()
		counted.Status.Targets = &v1alpha1.SetTargets{Installed: 1}
		f.put(counted)
	})
	change("another set", false, func() { f.put(set("other", sw)) })
	change("its set is invalidated", true, func() {
		invalid := old.DeepCopy()
		invalid.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft}
		f.put(invalid)
	})
	change("a valid set with the same name", true, func() { f.put(old) })
	change("a module of its set was deleted", true, func() { f.remove(sw) })
	change("the module was created again", true, func() { f.put(sw) })
	change("it was deleted", true, func() { f.setAutoAssignment(auto, nil) })
	if reached("there", noon.Add(-2*time.Hour)) {
		t.Error("a deleted auto-assignment has reached a target")
	}
}

// TestAutoAssignmentReachAndOfferAgree: an auto-assignment has reached a target if and only if the
// verdict about an older rollout is Superseded.
func TestAutoAssignmentReachAndOfferAgree(t *testing.T) {
	f := newFleet(t)
	sw := built.SoftwareModule("linux")
	fw, next := set("old", sw), set("new", built.SoftwareModule("linux-2"))
	g := group("r", 0, "there", "elsewhere", "past")
	r := running("r", next, g)
	r.Status.StartedAt = &metav1.MicroTime{Time: noon.Add(-2 * time.Hour)}
	f.put(sw, fw, built.SoftwareModule("linux-2"), next, g, r, autoFrom(noon.Add(-time.Hour)), built.Target("elsewhere"))
	f.put(built.Target("there", func(t *v1alpha1.Target) {
		t.Status.Installed = &v1alpha1.InstalledSet{ContentHash: fw.Status.ContentHash}
	}))
	f.put(built.Target("past", func(t *v1alpha1.Target) { t.Status.HadSets = []string{fw.Status.ContentHash[:16]} }))
	for name, want := range map[string]bool{"there": true, "elsewhere": true, "past": false} {
		dev := f.Target(fleetKey(name))
		if got := f.AutoAssignmentReach("fleet").HaveReached(dev, r.Status.StartedAt.Time); got != want {
			t.Errorf("%s is reached: %t", name, got)
		}
		for _, v := range offer.Judge(f.World(dev, noon.Add(time.Hour))) {
			if v.Intent.Source.Kind == v1alpha1.SourceRollout && (v.Reason.Code == eligibility.CodeSuperseded) != want {
				t.Errorf("%s: the verdict on the rollout is %s: %s", name, v.Reason.Code, v.Reason.Message)
			}
		}
	}
}
