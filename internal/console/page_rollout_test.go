// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/states"
)

// hostile is text of a device or a person that must never become markup.
const hostile = `"><script>alert('x')</script><img src=x onerror=alert(1)>`

// rolloutsInStates returns a rollout in each of its states, by the name of the state.
func rolloutsInStates(t *testing.T) map[string]*v1alpha1.Rollout {
	t.Helper()
	files, err := os.ReadDir(states.Folder("../..", "Rollout") + "/testdata")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*v1alpha1.Rollout{}
	for _, f := range files {
		state := strings.TrimSuffix(f.Name(), ".yaml")
		text, err := os.ReadFile(states.File("../..", "Rollout", state))
		if err != nil {
			t.Fatal(err)
		}
		r := &v1alpha1.Rollout{}
		if err := yaml.Unmarshal(text, r); err != nil {
			t.Fatal(err)
		}
		r.Name = state
		all[state] = r
	}
	return all
}

func minutesAgo(n int) *metav1.Time {
	return &metav1.Time{Time: worldTime.Add(-time.Duration(n) * time.Minute)}
}

func microsAgo(n int) *metav1.MicroTime { return &metav1.MicroTime{Time: minutesAgo(n).Time} }

// sensors returns a rollout that was paused after failures, with its groups, its set and its
// targets: of 4 targets of the first group one has the update, two failed, and one is pending.
func sensors() []client.Object {
	counts := v1alpha1.Counts{Targets: 4, Succeeded: 1, Failed: 2, Pending: 1}
	all := v1alpha1.Counts{Targets: 6, Succeeded: 1, Failed: 2, Pending: 1, Scheduled: 2}
	r := objects.Rollout("sensors", "firmware-2", func(r *v1alpha1.Rollout) {
		r.Spec.ErrorThreshold = new(int32(20))
		s := &r.Status
		s.ObservedGeneration, s.State, s.PauseReason, s.PausedAt, s.StartedAt = r.Generation, v1alpha1.RolloutPaused, v1alpha1.PauseByErrorThreshold, microsAgo(5), microsAgo(30)
		s.PauseMessage = "group group-1 went into Error when 2 of 4 had failed"
		s.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonErrorThresholdExceeded, Message: s.PauseMessage}
		s.Plan = &v1alpha1.PlanStatus{Hash: build.PlanHash, Targets: 6, Groups: 2, CreatedAt: minutesAgo(40)}
		s.Targets = &all
		s.Groups = []v1alpha1.GroupStatus{
			{Name: "group-1", State: v1alpha1.GroupError, OpenedAt: minutesAgo(30), Counts: counts},
			{Name: "group-2", State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 2, Scheduled: 2}},
		}
		s.Failures = []v1alpha1.FailureCount{
			{StatusCode: "28", Count: 1, Examples: []string{"sensor-2"}, FirstSeen: minutesAgo(9), LastSeen: minutesAgo(8)},
			{Message: hostile, Count: 1, Examples: []string{"sensor-3"}, FirstSeen: minutesAgo(7), LastSeen: minutesAgo(7)},
		}
	})
	failed := func(code, message string) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			t.Status.UpdateStatus, t.Status.LastSeen = v1alpha1.UpdateStatusError, minutesAgo(8)
			t.Status.Actions = []v1alpha1.Action{{
				ID: 1, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.Identity(), Group: "group-1", Attempt: 2}, DistributionSet: "firmware-2", State: v1alpha1.ActionError,
				StatusCode: code, FailureMessage: message, FailureGroup: message, StartedAt: minutesAgo(20), ClosedAt: minutesAgo(8),
			}}
		}
	}
	other := objects.Rollout("other", "firmware-3", func(r *v1alpha1.Rollout) {
		r.Status.ObservedGeneration, r.Status.State, r.Status.StartedAt = r.Generation, v1alpha1.RolloutRunning, microsAgo(10)
		r.Status.Plan = &v1alpha1.PlanStatus{Hash: build.PlanHash, Targets: 1, Groups: 1}
		r.Status.Groups = []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupRunning, OpenedAt: minutesAgo(10), Counts: v1alpha1.Counts{Targets: 1, Pending: 1}}}
	})
	return []client.Object{
		r, other, objects.DeploymentGroup(r, 0, build.Members("sensor-1", "sensor-2", "sensor-3", "sensor-4")), objects.DeploymentGroup(r, 1, build.Members("sensor-5", "sensor-6")),
		objects.DeploymentGroup(other, 0, build.Members("sensor-6")),
		objects.DistributionSet("firmware-2", build.Modules("os")), objects.SoftwareModule("os"),
		objects.Target("sensor-1", func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{{ID: 1, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.Identity(), Group: "group-1"}, DistributionSet: "firmware-2", State: v1alpha1.ActionFinished}}
		}),
		objects.Target("sensor-2", failed("28", "no space left on /data")), objects.Target("sensor-3", failed("", hostile)), objects.Target("sensor-4"), objects.Target("sensor-5"), objects.Target("sensor-6"),
	}
}

// Every state that a rollout can have has a page, with the sentence of its status on top.
func TestRolloutInEachState(t *testing.T) {
	all := rolloutsInStates(t)
	var world []client.Object
	for _, r := range all {
		world = append(world, r)
	}
	w := newWorld(t, world...)
	for state, r := range all {
		page := w.get("/rollouts/fleet/" + state).wantStatus(http.StatusOK).wantText(state)
		if wait := r.Status.WaitingFor; wait != nil && r.Status.ObservedGeneration == r.Generation {
			page.wantText(strings.Join(strings.Fields(wait.Message[1:]), " "))
		}
	}
	if got := len(w.get("/rollouts").rows("")); got != len(all) {
		t.Errorf("the list has %d of %d rollouts", got, len(all))
	}
}

func TestRolloutThatWasPausedAfterFailures(t *testing.T) {
	w := newWorld(t, sensors()...)
	page := w.get("/rollouts/fleet/sensors").wantStatus(http.StatusOK).wantText(
		"Paused by errors", "Group group-1 went into Error when 2 of 4 had failed", "Paused 5m ago", "Who must act: a person with the role goshawk-approver",
		"16 % of 6 targets have firmware-2", "1 succeeded", "2 failed", "1 pending", "2 scheduled", "No forecast: the rollout is paused.",
		build.PlanHash, "6 targets in 2 groups", "not required", "all targets of the namespace", "Group opened : group group-1 opened: 4 targets", "Paused : ErrorThresholdExceeded",
	)
	groups := page.rows("2 groups")
	if len(groups) != 2 || groups[0][0] != "1. group-1" || groups[0][1] != "✕ Error" || groups[0][3] != "1 of 4" || groups[0][4] != "2" || groups[1][5] != "not yet" {
		t.Errorf("groups: %q", groups)
	}
	if want := "50 % must succeed; pauses if more than 20 % fail"; groups[0][6] != want {
		t.Errorf("rule of the group: %q, want %q", groups[0][6], want)
	}
	failures := page.rows("2 targets failed")
	if len(failures) != 2 || failures[0][1] != "code 28" || !strings.Contains(failures[0][2], "sensor-2 : no space left on /data (attempt 2)") || failures[1][1] != hostile {
		t.Errorf("failures: %q", failures)
	}
	if got := page.link("sensor-2"); got != "/targets/fleet/sensor-2" {
		t.Errorf("the example links to %s", got)
	}
	if overlaps := page.rows("1 rollout that has not ended"); len(overlaps) != 1 || overlaps[0][0] != "other" || overlaps[0][2] != "1" || !strings.Contains(overlaps[0][3], "takes over those that have not started") {
		t.Errorf("overlaps: %q", overlaps)
	}
	if n := len(page.all("script")); n != 1 {
		t.Errorf("the page has %d scripts, want the one of the console", n)
	}
	if n := len(page.all("img")); n != 0 {
		t.Errorf("the page has %d images", n)
	}
}

// What a link of the page about some targets shows are these targets.
func TestTargetsOfARollout(t *testing.T) {
	w := newWorld(t, sensors()...)
	page := w.get("/rollouts/fleet/sensors")
	names := func(path string) string {
		var found []string
		p := w.get(path).wantStatus(http.StatusOK)
		if len(p.all("table")) == 0 {
			return p.text()
		}
		for _, row := range p.rows("") {
			found = append(found, row[0])
		}
		return strings.Join(found, " ")
	}
	for text, want := range map[string]string{"1 succeeded": "sensor-1", "2 failed": "sensor-2 sensor-3", "1 pending": "sensor-4", "2 scheduled": "sensor-5 sensor-6"} {
		if got := names(page.link(text)); got != want {
			t.Errorf("link %q shows %q, want %q", text, got, want)
		}
	}
	base := "/rollouts/fleet/sensors/targets"
	for query, want := range map[string]string{
		"": "sensor-1 sensor-2 sensor-3 sensor-4 sensor-5 sensor-6", "?group=group-2": "sensor-5 sensor-6", "?bucket=failed&code=28": "sensor-2",
		"?bucket=failed&group=group-2": "Targets of rollout sensors fleet Result any succeeded failed in progress pending scheduled canceled skipped removed Group any group-1 group-2 Show No target of this rollout matches.",
	} {
		if got := names(base + query); got != want {
			t.Errorf("%s shows %q, want %q", query, got, want)
		}
	}
	failures := page.all("tr")
	links := 0
	for _, row := range failures {
		for n := range row.Descendants() {
			if href := attribute(n, "href"); strings.Contains(href, "message=") {
				links++
				if got := names(href); got != "sensor-3" {
					t.Errorf("%s shows %q", href, got)
				}
			}
		}
	}
	if links != 1 {
		t.Errorf("%d links to failures with a message, want 1", links)
	}
	w.get(base+"?bucket=failed").wantText("28 no space left on /data", hostile)
	w.get(base + "?bucket=Failed").wantStatus(http.StatusBadRequest)
	w.get("/rollouts/fleet/none/targets").wantStatus(http.StatusNotFound)
	w.rights.deny(Access{Resource: Targets})
	w.get(base).wantStatus(http.StatusForbidden)
}

func TestRolloutOfAViewerWithFewRights(t *testing.T) {
	w := newWorld(t, sensors()...)
	for _, kind := range []Kind{DeploymentGroups, Targets, DistributionSets, SoftwareModules} {
		w.rights.deny(Access{Resource: kind})
	}
	w.get("/rollouts/fleet/sensors").wantStatus(http.StatusOK).wantText("Paused by errors", "jane may not list targets.goshawk.dev").
		wantNoText("no space left on /data", "Other rollouts with the same targets")
	w.get("/rollouts/fleet/none").wantStatus(http.StatusNotFound).wantText("Rollout fleet/none does not exist")
	w.rights.deny(Access{Resource: Rollouts})
	w.get("/rollouts/fleet/sensors").wantStatus(http.StatusForbidden).wantNoText("Paused")
}

func TestRolloutThatCannotBeDecoded(t *testing.T) {
	w := newWorld(t, objects.Rollout("broken", "", func(r *v1alpha1.Rollout) {
		r.Unreadable = &v1alpha1.Unreadable{Message: "spec.update: " + hostile}
	}))
	w.get("/rollouts/fleet/broken").wantStatus(http.StatusOK).wantText("Needs correction", "The stored Rollout cannot be decoded", hostile, "No targets are planned yet", "a person who may change the manifest")
	w.get("/").wantStatus(http.StatusOK).wantText("Correct the rollout", hostile)
	w.get("/rollouts/fleet/broken/targets").wantStatus(http.StatusOK).wantText("No target of this rollout matches.")
}

func TestRolloutThatRemovesSoftware(t *testing.T) {
	r := objects.Rollout("cleanup", "", func(r *v1alpha1.Rollout) {
		r.Spec.Update.Remove = []v1alpha1.SoftwareReference{{Name: "app", Version: "1.2"}}
		r.Status.ObservedGeneration, r.Status.State = r.Generation, v1alpha1.RolloutRunning
		r.Status.Targets = &v1alpha1.Counts{Targets: 4, Succeeded: 2, Pending: 2}
	})
	w := newWorld(t, r)
	w.get("/rollouts/fleet/cleanup").wantStatus(http.StatusOK).wantText("50 % of 4 targets done: removal of app 1.2")
	r.Status.Targets = nil
	w.get("/rollouts/fleet/cleanup?page=1").wantStatus(http.StatusOK).wantText("The rollout brings the removal of app 1.2 to all targets of the namespace.")
}

func TestSentenceOnTopStartsWithAnUpperCaseLetter(t *testing.T) {
	for message, want := range map[string]string{"": "It waits for nothing.", "group a": "Group a", "état": "État", "\u202f": "\u202f"} {
		v := &rolloutView{RolloutDetails: explain.RolloutDetails{Status: explain.Status{Message: message}}}
		if got := v.WaitsFor(); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

// A rollout with 500 groups opens at the page of the first group that has not ended.
func TestRolloutWithManyGroups(t *testing.T) {
	r := objects.Rollout("many", "firmware-2", func(r *v1alpha1.Rollout) {
		r.Status.ObservedGeneration, r.Status.State = r.Generation, v1alpha1.RolloutRunning
		r.Status.Targets = &v1alpha1.Counts{Targets: 500, Succeeded: 230, Scheduled: 270}
		r.Status.Groups = nil
		for i := range 500 {
			g := v1alpha1.GroupStatus{Name: fmt.Sprint("g", i+1), State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 1, Scheduled: 1}}
			if i < 230 {
				g.State, g.OpenedAt, g.Counts = v1alpha1.GroupFinished, minutesAgo(500-i), v1alpha1.Counts{Targets: 1, Succeeded: 1}
			}
			r.Status.Groups = append(r.Status.Groups, g)
		}
	})
	w := newWorld(t, r)
	page := w.get("/rollouts/fleet/many").wantStatus(http.StatusOK)
	if rows := page.rows("500 groups"); len(rows) != rowsPerPage || rows[0][0] != "201. g201" {
		t.Errorf("the page has %d groups, the first one %q", len(rows), rows[0])
	}
	if rows := w.get("/rollouts/fleet/many?page=1").rows("500 groups"); rows[0][0] != "1. g1" {
		t.Errorf("the first page has %q", rows[0])
	}
	if n := len(page.body); n > 120<<10 {
		t.Errorf("the page has %d bytes", n)
	}
}

func TestListOfRolloutsShowsWhatNeedsAPersonFirst(t *testing.T) {
	all := rolloutsInStates(t)
	w := newWorld(t, all["finished"], all["running"], all["waiting-for-approval"], all["paused-by-error-threshold"], all["finished-with-errors"], all["finished-as-superseded"])
	first := func(path string) string {
		var names []string
		for _, row := range w.get(path).wantStatus(http.StatusOK).rows("") {
			names = append(names, strings.Fields(row[0])[0]+"="+row[1])
		}
		return strings.Join(names, " | ")
	}
	waiting := "paused-by-error-threshold=✕ Paused by errors | waiting-for-approval=! Waiting for approval"
	if got := first("/rollouts?state=attention"); got != waiting {
		t.Errorf("need a person: %s", got)
	}
	if got := first("/rollouts"); !strings.HasPrefix(got, waiting+" | running=› Running | ") {
		t.Errorf("all: %s", got)
	}
	if got := first("/rollouts?state=active"); got != waiting+" | running=› Running" {
		t.Errorf("not ended: %s", got)
	}
	ended := first("/rollouts?state=ended")
	for _, want := range []string{"finished=✓ Finished", "finished-with-errors=✕ Finished with errors", "finished-as-superseded=· Superseded"} {
		if !strings.Contains(ended, want) {
			t.Errorf("ended: %s lacks %s", ended, want)
		}
	}
	page := w.get("/rollouts?q=none-has-this").wantStatus(http.StatusOK).wantText("None of the 6 rollouts matches")
	if got := page.link("Show all"); got != "/rollouts" {
		t.Errorf("Show all links to %s", got)
	}
	if got := w.get("/rollouts?state=ended&q=finished").link("Need a person 0"); got != "/rollouts?q=finished&state=attention" {
		t.Errorf("another choice keeps the search: %s", got)
	}
	newWorld(t).get("/rollouts").wantStatus(http.StatusOK).wantText("There are no rollouts.")
}

// widths returns the widths of the parts of a bar.
func widths(bar Bar) string {
	var parts []string
	for _, s := range bar.Segments {
		parts = append(parts, s.Class+" "+s.X+"+"+s.W)
	}
	return strings.Join(parts, ", ")
}

func TestBarShowsOneFailureAmongThousands(t *testing.T) {
	for _, tc := range []struct {
		counts v1alpha1.Counts
		want   string
	}{
		{v1alpha1.Counts{}, ""},
		{v1alpha1.Counts{Targets: 4, Succeeded: 1, Scheduled: 3}, "succeeded 0.00+25.00, scheduled 25.00+75.00"},
		{v1alpha1.Counts{Targets: 100_000, Succeeded: 99_999, Failed: 1}, "succeeded 0.00+98.50, failed 98.50+1.50"},
		{v1alpha1.Counts{Targets: 100_000, Failed: 1, Pending: 1, Scheduled: 99_998}, "failed 0.00+1.50, pending 1.50+1.50, scheduled 3.00+97.00"},
	} {
		if got := widths(barOf(tc.counts)); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.counts, got, tc.want)
		}
	}
	if got := barOf(v1alpha1.Counts{Targets: 1200, Succeeded: 1199, Failed: 1}).Label; got != "1200 targets: 1\u202f199 succeeded, 1 failed" {
		t.Errorf("label %q", got)
	}
}
