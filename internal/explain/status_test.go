// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// ago returns a time some minutes before noon.
func ago(minutes int) *metav1.Time {
	return &metav1.Time{Time: noon.Add(-time.Duration(minutes) * time.Minute)}
}

func microAgo(minutes int) *metav1.MicroTime { return &metav1.MicroTime{Time: ago(minutes).Time} }

// in returns a time some minutes after noon, for the expectation of a forecast.
func in(minutes float64) *metav1.Time {
	return &metav1.Time{Time: noon.Add(time.Duration(minutes * float64(time.Minute)))}
}

// groupOf returns a group of 10 targets that opened some minutes before noon; a negative number: it
// has not opened.
func groupOf(name string, opened int, succeeded int32) v1alpha1.GroupStatus {
	g := v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 10, Scheduled: 10}}
	if opened >= 0 {
		g.State, g.OpenedAt, g.Counts = v1alpha1.GroupRunning, ago(opened), v1alpha1.Counts{Targets: 10, Succeeded: succeeded, Pending: 10 - succeeded}
	}
	return g
}

func TestForecast(t *testing.T) {
	half := "group c, the last one, reaches 50 percent"
	tests := map[string]struct {
		groups []v1alpha1.GroupStatus
		edit   func(*v1alpha1.Rollout)
		want   *Forecast
	}{
		"the rollout has ended": {nil, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }, nil},
		"the rollout is being stopped": {nil, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopping },
			&Forecast{None: "the rollout is being stopped"}},
		"it has not started": {nil, func(r *v1alpha1.Rollout) { r.Status.StartedAt = nil }, &Forecast{None: "the rollout has not started"}},
		"it starts later": {nil, func(r *v1alpha1.Rollout) { r.Status.StartedAt, r.Spec.StartAt = nil, in(60) },
			&Forecast{None: "the rollout has not started; spec.startAt is 2026-03-02T13:00:00Z"}},
		"it is paused":        {nil, func(r *v1alpha1.Rollout) { r.Status.PauseReason = v1alpha1.PauseBySpec }, &Forecast{None: "the rollout is paused"}},
		"no group has opened": {[]v1alpha1.GroupStatus{groupOf("a", -1, 0)}, nil, &Forecast{None: "no group has opened"}},
		"targets still join": {[]v1alpha1.GroupStatus{groupOf("a", 10, 5)}, func(r *v1alpha1.Rollout) { r.Spec.Dynamic = &v1alpha1.Dynamic{} },
			&Forecast{None: "targets that appear later join the rollout (spec.dynamic)"}},
		"no target has succeeded": {[]v1alpha1.GroupStatus{groupOf("a", 10, 0), groupOf("c", -1, 0)}, nil, &Forecast{None: "no target of group a has succeeded yet"}},
		"too few targets have succeeded": {[]v1alpha1.GroupStatus{groupOf("a", 10, 2), groupOf("c", -1, 0)}, nil,
			&Forecast{None: "only 2 of 10 targets of group a have succeeded"}},
		"the first group at its own pace, and one that has not opened": {[]v1alpha1.GroupStatus{groupOf("a", 12, 4), groupOf("c", -1, 0)}, nil,
			&Forecast{Event: half, At: in(18), Basis: "group a takes 15 min at its pace so far; 1 group has not opened"}},
		"the only group at its own pace": {[]v1alpha1.GroupStatus{groupOf("c", 8, 4)}, nil,
			&Forecast{Event: half, At: in(2), Basis: "group c takes 10 min at its pace so far"}},
		"the only group has reached its threshold": {[]v1alpha1.GroupStatus{groupOf("c", 8, 6)}, nil,
			&Forecast{None: "the last group has reached its threshold; the end depends on the last 4 targets without a result"}},
		"a group has just opened, after one of 20 minutes": {[]v1alpha1.GroupStatus{groupOf("a", 25, 6), groupOf("c", 5, 0)}, nil,
			&Forecast{Event: half, At: in(15), Basis: "the group before took 20 min"}},
		"a group is late: it takes at least as long as it has been open": {[]v1alpha1.GroupStatus{groupOf("a", 60, 6), groupOf("b", 50, 0), groupOf("c", -1, 0)}, nil,
			&Forecast{Event: half, At: in(10), Basis: "the group before took 10 min; 1 group has not opened"}},
		"groups of different length": {[]v1alpha1.GroupStatus{groupOf("a", 100, 6), groupOf("b", 90, 6), groupOf("d", 60, 6), groupOf("e", 40, 0), groupOf("c", -1, 0)}, nil,
			&Forecast{Event: half, At: in(20), Earliest: in(10), Latest: in(30), Basis: "a group took 10 min to 30 min so far; 1 group has not opened"}},
		"a pause after a group does not count": {[]v1alpha1.GroupStatus{groupOf("a", 600, 6), groupOf("b", 20, 6), groupOf("c", 5, 0)},
			func(r *v1alpha1.Rollout) { r.Status.Groups[0].Passed = true }, &Forecast{Event: half, At: in(10), Basis: "the group before took 15 min"}},
		"groups that were opened by spec.advance do not count": {[]v1alpha1.GroupStatus{groupOf("a", 600, 0), groupOf("b", 20, 6), groupOf("c", 5, 0)},
			func(r *v1alpha1.Rollout) { r.Status.Handled = &v1alpha1.HandledRequests{AdvanceAt: microAgo(20)} }, &Forecast{Event: half, At: in(10), Basis: "the group before took 15 min"}},
		"a pause lies ahead": {[]v1alpha1.GroupStatus{groupOf("a", 12, 4), groupOf("b", -1, 0), groupOf("c", -1, 0)},
			func(r *v1alpha1.Rollout) { r.Spec.SuccessAction = v1alpha1.SuccessActionPause },
			&Forecast{Event: "group a reaches 50 percent, and the rollout then waits for spec.resumedAt", At: in(3), Basis: "group a takes 15 min at its pace so far"}},
		"a group whose targets were deleted takes no time": {[]v1alpha1.GroupStatus{groupOf("a", 12, 4), groupOf("b", -1, 0), groupOf("c", -1, 0)},
			func(r *v1alpha1.Rollout) { r.Status.Groups[1].Counts = v1alpha1.Counts{Targets: 10, Removed: 10} },
			&Forecast{Event: half, At: in(18), Basis: "group a takes 15 min at its pace so far; 1 group has not opened"}},
		"only the open maintenance window counts, before and after": {[]v1alpha1.GroupStatus{groupOf("a", 12*60, 4), groupOf("c", -1, 0)},
			func(r *v1alpha1.Rollout) { // from 02:00 to 04:00: the group has been open for two hours of it
				r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 7200}
			},
			&Forecast{Event: half, At: &metav1.Time{Time: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)}, Basis: "group a takes 2 h 30 min at its pace so far; 1 group has not opened"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := &v1alpha1.Rollout{Status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: microAgo(600), Groups: tc.groups}}
			if tc.edit != nil {
				tc.edit(r)
			}
			if diff := cmp.Diff(tc.want, forecast(r, nil, noon)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Five of the ten members had the content when the group opened, which took them no time. Of the
// others, three succeeded in ten minutes, and a fourth one is needed.
func TestForecastDoesNotCountMembersThatHadTheContentBefore(t *testing.T) {
	percent := int32(90)
	r := &v1alpha1.Rollout{Spec: v1alpha1.RolloutSpec{SuccessThreshold: &percent}, Status: v1alpha1.RolloutStatus{
		State: v1alpha1.RolloutRunning, StartedAt: microAgo(10), Groups: []v1alpha1.GroupStatus{groupOf("a", 10, 7), groupOf("c", -1, 0)}}}
	groups := []*v1alpha1.DeploymentGroup{
		{Spec: v1alpha1.DeploymentGroupSpec{Group: "a"}, Status: v1alpha1.DeploymentGroupStatus{AlreadyThere: []byte{0b00111110}}},
		{Spec: v1alpha1.DeploymentGroupSpec{Group: "c"}, Status: v1alpha1.DeploymentGroupStatus{AlreadyThere: []byte{0xff, 0xff}}},
	}
	tooFew := &Forecast{None: "only 7 of 10 targets of group a have succeeded"}
	if diff := cmp.Diff(tooFew, forecast(r, groups, noon)); diff != "" {
		t.Errorf("two updated members (-want +got):\n%s", diff)
	}
	r.Status.Groups[0].Counts = v1alpha1.Counts{Targets: 10, Succeeded: 8, Pending: 2}
	want := &Forecast{Event: "group c, the last one, reaches 90 percent", At: in(17), Basis: "group a takes 13 min 20 s at its pace so far; 1 group has not opened"}
	if diff := cmp.Diff(want, forecast(r, groups, noon)); diff != "" {
		t.Errorf("three updated members (-want +got):\n%s", diff)
	}
	r.Status.Groups[0].OpenedAt = &metav1.Time{Time: noon}
	if got := forecast(r, groups, noon); got.None == "" {
		t.Errorf("a group that has just opened: %+v", got)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59*time.Second + 600*time.Millisecond: "1 min", 95 * time.Second: "1 min 35 s", time.Hour: "1 h", 125 * time.Minute: "2 h 5 min",
		24 * time.Hour: "1 d", 76*time.Hour + 59*time.Minute: "3 d 4 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestOverlapsSayWhichRolloutTakesTheTargets(t *testing.T) {
	rolloutAt := func(name string, minutes int, edit func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
		r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning}}
		if minutes >= 0 {
			r.Status.StartedAt = microAgo(minutes)
		}
		if edit != nil {
			edit(r)
		}
		return r
	}
	groups := func(names ...v1alpha1.TargetName) []*v1alpha1.DeploymentGroup {
		return []*v1alpha1.DeploymentGroup{{Spec: v1alpha1.DeploymentGroupSpec{Targets: names}}}
	}
	queue := func(r *v1alpha1.Rollout) { r.Spec.Update.Superseding = v1alpha1.SupersedingQueue }
	w := StatusWorld{Now: noon, Rollout: rolloutAt("self", 30, nil), Groups: groups("a", "b", "c"), Others: []OtherRollout{
		{Rollout: rolloutAt("older", 60, nil), Groups: groups("a", "b", "x")},
		{Rollout: rolloutAt("older-step", 60, nil), Groups: groups("a"), RequiredMigrationStep: true},
		{Rollout: rolloutAt("newer", 10, nil), Groups: groups("c")},
		{Rollout: rolloutAt("newer-queued", 10, queue), Groups: groups("c")},
		{Rollout: rolloutAt("not-started", -1, nil), Groups: groups("a", "b", "c")},
		{Rollout: rolloutAt("apart", 60, nil), Groups: groups("x")},
	}}
	both := "they get both updates, one after the other"
	want := []Overlap{
		{Rollout: "not-started", State: v1alpha1.RolloutRunning, Targets: 3, Message: "the newer of the two takes them over when both have started"},
		{Rollout: "older", State: v1alpha1.RolloutRunning, Targets: 2, Message: "this rollout is newer and takes them over"},
		{Rollout: "newer", State: v1alpha1.RolloutRunning, Targets: 1, Message: "it is newer and takes over those that have not started here when its group opens"},
		{Rollout: "newer-queued", State: v1alpha1.RolloutRunning, Targets: 1, Message: both},
		{Rollout: "older-step", State: v1alpha1.RolloutRunning, Targets: 1, Message: both},
	}
	if diff := cmp.Diff(want, StatusOf(w).Overlaps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.Rollout.Status.State = v1alpha1.RolloutFinished
	if got := StatusOf(w).Overlaps; got != nil {
		t.Errorf("a rollout that has ended shares targets: %v", got)
	}
}

func TestSupersededTargetsAreCountedOverAllGroups(t *testing.T) {
	by := func(name string) v1alpha1.SupersedingRollout { return v1alpha1.SupersedingRollout{Name: name} }
	groups := []*v1alpha1.DeploymentGroup{
		{Status: v1alpha1.DeploymentGroupStatus{Superseded: []byte{0b101, 1}, SupersededBy: []v1alpha1.SupersedingRollout{by("b"), by("a")}}},
		{Status: v1alpha1.DeploymentGroupStatus{Superseded: []byte{0b1}, SupersededBy: []v1alpha1.SupersedingRollout{by("b")}}},
	}
	if diff := cmp.Diff(&Superseded{Targets: 4, By: []string{"a", "b"}}, supersededOf(groups)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := supersededOf(groups[:0]); got != nil {
		t.Errorf("%v", got)
	}
}
