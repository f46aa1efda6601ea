// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A fleet of 20 agents, which are killed and started again at random moments, goes through all that
// rollouts do. Whenever it is quiet, Goshawk shows of each device what its own files and commands
// say. Rollouts on the two halves of the fleet run at the same time.
func TestFleetOfAgents(t *testing.T) {
	f := newFleet(t, 20)
	for version := 1; version <= 6; version++ {
		f.release(fmt.Sprint(version))
	}
	f.wantTruth("at the start", "", "")

	f.chapter("two groups succeed", func() {
		f.rollout("first", "1", `groupCount: 2`)
		f.wantCounts("first", v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 20, Succeeded: 20})
	})
	f.wantTruth("after two groups", "1", "1")

	f.happens("broken", "2")
	repaired, released := f.happens("broken", "3"), f.happens("stuck", "3")
	f.chapter("updates fail, and on one half their rollbacks fail, too", func() {
		f.rollout("rolled-back", "2", `groupCount: 2, errorThreshold: 50, targetSelector: {matchLabels: {half: a}}`)
		f.rollout("inconsistent", "3", `groupCount: 2, errorThreshold: 50, targetSelector: {matchLabels: {half: b}}`)
		f.wantPaused("rolled-back")
		f.wantPaused("inconsistent")
	})
	f.wantTruth("after the failures", "1", "1", "inconsistent")
	f.wantCodes("rolled-back", "E17")
	f.wantCodes("inconsistent", v1alpha1.CodeInconsistent)
	if got, want := f.inconsistent(), f.Rollout("inconsistent").Status.Targets.Failed; got != want {
		t.Errorf("%d devices are inconsistent, want the %d of half b that failed", got, want)
	}

	repaired()
	released()
	f.chapter("the same set again, and a download", func() {
		now := time.Now().Add(time.Second).UTC().Format(time.RFC3339) // after the failures, to the second
		f.CommitRollout("inconsistent", fmt.Sprintf(`spec: {resumedAt: %q, retry: {at: %q}}`, now, now))
		f.rollout("download", "4", `targetSelector: {matchLabels: {half: a}}, update: {distributionSet: app-4, type: DownloadOnly}`)
		f.wantCounts("inconsistent", v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 10, Succeeded: 10})
		f.wantCounts("download", v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 10, Succeeded: 10})
	})
	f.wantTruth("after the same set again", "1", "3")

	f.chapter("an installation of what was downloaded, and a removal", func() {
		f.rollout("installation", "4", `targetSelector: {matchLabels: {half: a}}`)
		f.rollout("removal", "", `targetSelector: {matchLabels: {half: b}}, update: {remove: [{group: app, name: web, version: "3"}]}`)
		f.wantCounts("installation", v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 10, Succeeded: 10})
		f.wantCounts("removal", v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 10, Succeeded: 10})
	})
	f.wantTruth("after the removal", "4", "")

	f.chapter("a set is invalidated while agents install it", func() { f.invalidated("5", v1alpha1.CancellationSoft, "a", "b") })
	f.wantTruth("after the invalidation", "4", "")
	f.chapter("a set is invalidated by force: its actions are closed while agents install it", func() { f.invalidated("6", v1alpha1.CancellationForce, "b", "a") })
	f.wantTruth("after the invalidation by force", "4", "")
	for _, d := range f.devices {
		history, _ := d.command("history")
		if got, want := strings.Contains(history, "web 5"), d.isIn("a"); got != want || strings.Contains(history, "web 6") == want {
			t.Errorf("the history of %s is\n%s\nwant of the versions 5 and 6 only the one that it has started", d.name, history)
		}
	}
}

// invalidated starts a rollout, and invalidates its set while all agents of the first half install
// it. Those of the second half have not started.
func (f *fleet) invalidated(version string, cancellation v1alpha1.Cancellation, first, second string) {
	f.T.Helper()
	release := f.happens("held", version)
	name := "invalidated-" + version
	f.rollout(name, version, fmt.Sprintf(`groups: [{name: %s, targetSelector: {matchLabels: {half: %s}}}, {name: %s}]`, first, first, second))
	f.eventually("all agents of the first half install", func(d *device) string {
		if s := d.state(); d.isIn(first) && s.Phase != update.Installing {
			return fmt.Sprintf("the phase is %s", s.Phase)
		}
		return ""
	})
	f.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "app-" + version}}, fmt.Sprintf(`spec: {invalidation: {cancellation: %s}}`, cancellation))
	f.eventually("all agents know that the update is canceled", func(d *device) string {
		if s := d.state(); s.Update != nil && s.Update.Failure == "" {
			return fmt.Sprintf("the state is %+v", s)
		}
		return ""
	})
	release()
	f.wantCounts(name, v1alpha1.RolloutStopped, v1alpha1.Counts{Targets: 20, Canceled: 20})
}

func (d *device) isIn(half string) bool { return strings.HasPrefix(d.name, half+"-") }

// chapter lets something happen while agents are killed.
func (f *fleet) chapter(what string, happens func()) {
	f.T.Helper()
	start, stop := time.Now(), f.chaos()
	happens()
	kills := stop()
	f.T.Logf("%s: %s, %d agents killed", what, time.Since(start).Round(time.Second/10), kills)
	if kills == 0 {
		f.T.Errorf("%s: no agent was killed", what)
	}
}

// rollout creates a rollout with a set, unless the spec has its own update.
func (f *fleet) rollout(name, version, spec string) {
	f.T.Helper()
	if !strings.Contains(spec, "update:") {
		spec += fmt.Sprintf(`, update: {distributionSet: app-%s}`, version)
	}
	f.rollouts++ // each one is newer than the one before
	f.ApplySpec("Rollout", name, fmt.Sprintf(`{%s, successThreshold: 100, stabilizationSeconds: 0, startAt: "2026-01-01T00:%02d:00Z"}`, spec, f.rollouts))
}

// wantCounts waits until the rollout has the state and the counts.
func (f *fleet) wantCounts(name string, state v1alpha1.RolloutState, want v1alpha1.Counts) {
	f.T.Helper()
	f.EventuallyRollout(name, fmt.Sprintf("is %s with %+v", state, want), func(r *v1alpha1.Rollout) bool {
		return r.Status.State == state && r.Status.Targets != nil && *r.Status.Targets == want
	})
}

// wantPaused waits until more than half of the first group, which has five devices, have failed,
// and none is at work: the others have not started when the rollout was paused.
func (f *fleet) wantPaused(name string) {
	f.T.Helper()
	f.EventuallyRollout(name, "is paused", func(r *v1alpha1.Rollout) bool {
		if r.Status.State != v1alpha1.RolloutPaused || r.Status.Targets == nil {
			return false
		}
		c := *r.Status.Targets
		return c.Scheduled == 5 && c.Failed > 2 && c.Failed+c.Pending == 5
	})
}

// wantCodes fails the test unless all failures of the rollout have the code.
func (f *fleet) wantCodes(rollout, code string) {
	f.T.Helper()
	if l := f.Rollout(rollout).Status.Failures; len(l) != 1 || l[0].StatusCode != code {
		f.T.Errorf("the failures of rollout %s are %+v, want only code %s", rollout, l, code)
	}
}

// eventually waits until nothing is missing on any device.
func (f *fleet) eventually(what string, missing func(*device) string) {
	f.T.Helper()
	f.Eventually(what, func() string {
		for _, d := range f.devices {
			if m := missing(d); m != "" {
				return d.name + ": " + m
			}
		}
		return ""
	})
}

// facts are what Goshawk and a device both know.
type facts struct {
	Consistent bool
	// Software is the installed software, as type, name and version.
	Software string
	// Update is the id of the last update, and Phase how far it is: Downloaded or its outcome.
	Update, Phase string
}

// wantTruth waits until Goshawk shows of each device what the device says about itself, and checks
// that this is true: the device has the version of its half, or is inconsistent if that may be.
func (f *fleet) wantTruth(when, a, b string, mayBe ...string) {
	f.T.Helper()
	f.Eventually("what Goshawk shows equals what the devices say, "+when, func() string {
		shown := f.shown()
		for _, d := range f.devices {
			if got, want := shown[d.name], d.facts(); got != want {
				return fmt.Sprintf("of %s Goshawk shows %+v; the device says %+v", d.name, got, want)
			}
		}
		return ""
	})
	for _, d := range f.devices {
		want := b
		if d.isIn("a") {
			want = a
		}
		s := d.state()
		output, code := d.command("status")
		switch {
		case !s.Consistent && slices.Contains(mayBe, "inconsistent"):
			if d.slot() != "mixed" || code != 3 || !strings.Contains(output, "no, since") || len(s.Inconsistency.Software) != 1 {
				f.T.Errorf("%s: %s is inconsistent; its slot is %q, and status returns %d:\n%s", when, d.name, d.slot(), code, output)
			}
		case d.slot() != want || !s.Consistent || code != 0 || strings.Contains(output, "web") != (want != ""):
			f.T.Errorf("%s: the slot of %s is %q, want %q; status returns %d:\n%s", when, d.name, d.slot(), want, code, output)
		}
	}
}

// facts returns what a device says about itself.
func (d *device) facts() facts {
	s := d.state()
	f := facts{Consistent: s.Consistent}
	for _, m := range s.Installed {
		f.Software += fmt.Sprintf("%s %s %s;", m.Type, m.Name, m.Version)
	}
	if s.Last != nil {
		f.Update, f.Phase = s.Last.ID, string(s.Last.Outcome)
	}
	if s.Update != nil {
		f.Update, f.Phase = s.Update.ID, string(s.Phase)
	}
	return f
}

// inconsistent returns the number of targets with Consistent=False.
func (f *fleet) inconsistent() (n int32) {
	for _, shown := range f.shown() {
		if !shown.Consistent {
			n++
		}
	}
	return n
}

// shown returns what Goshawk shows of each device.
func (f *fleet) shown() map[string]facts {
	f.T.Helper()
	var targets v1alpha1.TargetList
	var inventories v1alpha1.TargetInventoryList
	for _, list := range []client.ObjectList{&targets, &inventories} {
		if err := f.Client.List(f.T.Context(), list, client.InNamespace(f.Namespace), world.Readable); err != nil {
			f.T.Fatal(err)
		}
	}
	shown := map[string]facts{}
	for i := range targets.Items {
		t := &targets.Items[i]
		s := facts{Consistent: action.IsConsistent(&t.Status)}
		if said := t.Status.Attributes[v1alpha1.AttributeConsistent]; string(said) != fmt.Sprint(s.Consistent) {
			s.Phase = "its attribute says " + string(said)
		}
		if a := action.Newest(&t.Status); a != nil {
			s.Update, s.Phase = fmt.Sprint(a.ID), phaseOf(a)
		}
		shown[t.Name] = s
	}
	for i := range inventories.Items {
		s := shown[inventories.Items[i].Name]
		for _, m := range inventories.Items[i].Status.Installed {
			s.Software += fmt.Sprintf("%s %s %s;", m.Group, m.Name, m.Version)
		}
		shown[inventories.Items[i].Name] = s
	}
	return shown
}

// phaseOf returns the state of an action in the words of the agent.
func phaseOf(a *v1alpha1.Action) string {
	switch {
	case a.State == v1alpha1.ActionFinished && a.Update.Type == v1alpha1.UpdateTypeDownloadOnly:
		return string(update.Downloaded)
	case a.State == v1alpha1.ActionFinished:
		return string(update.Succeeded)
	case a.State == v1alpha1.ActionError:
		return string(update.Failed)
	}
	return string(a.State)
}
