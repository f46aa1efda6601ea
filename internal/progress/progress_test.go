// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// midway returns a rollout whose second group is running.
func midway() *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "firmware-2.1"}}
	r.Spec.Update.DistributionSet = "gateway-firmware-2.1"
	started, opened := metav1.NewMicroTime(noon.Add(-95*time.Second)), metav1.NewTime(noon.Add(-time.Minute))
	r.Status = v1alpha1.RolloutStatus{
		State: v1alpha1.RolloutRunning, StartedAt: &started,
		Groups: []v1alpha1.GroupStatus{
			{Name: "canary", State: v1alpha1.GroupFinished, OpenedAt: &opened, Counts: v1alpha1.Counts{Targets: 10, Succeeded: 9, Canceled: 1}},
			{Name: "early", State: v1alpha1.GroupRunning, OpenedAt: &opened, Counts: v1alpha1.Counts{Targets: 48, Succeeded: 20, Failed: 2, InProgress: 14, Pending: 12}},
			{Name: "rest", State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 142, Scheduled: 141, Removed: 1}},
		},
		Targets: &v1alpha1.Counts{Targets: 200, Scheduled: 141, Pending: 12, InProgress: 14, Succeeded: 29, Failed: 2, Canceled: 1, Removed: 1},
		Failures: []v1alpha1.FailureCount{
			{StatusCode: "28", Count: 1, Examples: []string{"gateway-099"}},
			{Count: 1},
		},
		WaitingFor: &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing, Message: "group early: 20 of 48 succeeded, 2 failed, waiting for 80 percent; 12 pending, 14 in progress"},
	}
	return r
}

func statusOf(r *v1alpha1.Rollout) explain.Status {
	return explain.StatusOf(explain.StatusWorld{Rollout: r, Now: noon})
}

func specOf(set string) v1alpha1.RolloutSpec {
	return v1alpha1.RolloutSpec{Update: v1alpha1.Update{DistributionSet: set}}
}

func TestProgress(t *testing.T) {
	tests := map[string]struct {
		rollout *v1alpha1.Rollout
		style   Style
		want    string
	}{
		"a wide terminal": {midway(), Style{Width: 100, Unicode: true}, `
firmware-2.1  ·  Running  ·  1 min 35 s  ·  set gateway-firmware-2.1
  waits: group early: 20 of 48 succeeded, 2 failed, waiting for 80 percent; 12 pending, 14 in
  progress
  ├─ canary  ████████████████████████████████████––––       9/10  Finished
  ├─ early   █████████████████×▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░      20/48  Running
  └─ rest    ········································      0/141  Scheduled
  · 141 scheduled  ░ 12 pending  ▒ 14 in progress  – 1 canceled  × 2 failed  █ 29 succeeded
  1 removed
  1 failed with code 28, such as gateway-099
  1 failed with neither code nor message
  forecast: group rest, the last one, reaches 50 percent about 2026-06-01T12:01:24Z (in 1 min 24 s):
  group early takes 1 min 12 s at its pace so far; 1 group has not opened
`},
		"a narrow terminal without Unicode": {midway(), Style{Width: 52}, `
firmware-2.1  -  Running  -  1 min 35 s  -  set gate
  waits: group early: 20 of 48 succeeded, 2 failed,
  waiting for 80 percent; 12 pending, 14 in progress
  |- canary  [##############-]       9/10  Finished
  |- early   [######x>>>>....]      20/48  Running
  ` + "`" + `- rest    [               ]      0/141  Scheduled
    141 scheduled  . 12 pending  > 14 in progress
  - 1 canceled  x 2 failed  # 29 succeeded
  1 removed
  1 failed with code 28, such as gateway-099
  1 failed with neither code nor message
  forecast: group rest, the last one, reaches 50
  percent about 2026-06-01T12:01:24Z (in 1 min 24
  s): group early takes 1 min 12 s at its pace so
  far; 1 group has not opened
`},
		"before the first reconcile": {&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: specOf("new")}, Style{Width: 100, Unicode: true}, `
new  ·  Creating
  · 0 scheduled  ░ 0 pending  ▒ 0 in progress  – 0 canceled  × 0 failed  █ 0 succeeded
  no forecast: the rollout has not started
`},
		"more groups than rows": {manyGroups(40), Style{Width: 100, Height: 16, Unicode: true}, `
long  ·  Creating
  ├─ 17 groups before
  ├─ group-18  ████████████████████████████████████████        1/1  Finished
  ├─ group-19  ████████████████████████████████████████        1/1  Finished
  ├─ group-20  ████████████████████████████████████████        1/1  Finished
  ├─ group-21  ········································        0/1  Scheduled
  └─ 19 groups after
  · 0 scheduled  ░ 0 pending  ▒ 0 in progress  – 0 canceled  × 0 failed  █ 0 succeeded
  no forecast: the rollout has not started
`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Progress(statusOf(tc.rollout), noon, tc.style)
			if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, l := range strings.Split(got, "\n") {
				if n := len([]rune(l)); n > tc.style.Width {
					t.Errorf("%d columns in a terminal of %d: %s", n, tc.style.Width, l)
				}
			}
		})
	}
}

// manyGroups returns a rollout with n groups of one target, of which the first half is finished.
func manyGroups(n int) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "long"}, Spec: specOf("long")}
	for i := range n {
		g := v1alpha1.GroupStatus{Name: fmt.Sprintf("group-%d", i+1), State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 1, Scheduled: 1}}
		if i < n/2 {
			g.State, g.Counts = v1alpha1.GroupFinished, v1alpha1.Counts{Targets: 1, Succeeded: 1}
		}
		r.Status.Groups = append(r.Status.Groups, g)
	}
	return r
}

func TestColorsDoNotChangeTheText(t *testing.T) {
	r := midway()
	r.Status.PauseReason = v1alpha1.PauseByErrorThreshold
	colored := Progress(statusOf(r), noon, Style{Width: 60, Unicode: true, Color: true})
	if !strings.Contains(colored, "\x1b[31mwaits:\x1b[0m") {
		t.Errorf("the message of a rollout that was paused by errors is not red:\n%q", colored)
	}
	bare := Progress(statusOf(r), noon, Style{Width: 60, Unicode: true})
	if diff := cmp.Diff(bare, withoutColor(colored)); diff != "" {
		t.Errorf("colours change the text (-without +with):\n%s", diff)
	}
}

// withoutColor returns the text without escape sequences, which all end in m.
func withoutColor(text string) string {
	var out strings.Builder
	for text != "" {
		before, after, found := strings.Cut(text, "\x1b[")
		out.WriteString(before)
		if !found {
			break
		}
		_, text, _ = strings.Cut(after, "m")
	}
	return out.String()
}

func TestVisibleKeepsColorsOnly(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b[1mbold\x1b[0m, \x1b[31mred\x1b[0m": "\x1b[1mbold\x1b[0m, \x1b[31mred\x1b[0m",
		"\x1b[2A\x1b[8mhidden\x1b]0;title\x07":   "[2A[8mhidden]0;title",
		"a\u202eb\u009b1mc\n\td":                 "ab1mc\n\td",
		"":                                       "",
	} {
		if got := Visible(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	paused := midway()
	paused.Status.State = v1alpha1.RolloutPaused
	paused.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonPausedBySpec, Message: "paused by spec.state"}
	tests := map[string]struct {
		rollout *v1alpha1.Rollout
		want    string
	}{
		"new": {&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: specOf("new")}, "new Creating"},
		"midway": {midway(), "firmware-2.1 Running: 141 scheduled, 12 pending, 14 in progress, 1 canceled, 2 failed, 29 succeeded; " +
			"canary Finished 9/10, early Running 20/48"},
		"paused": {paused, "firmware-2.1 Paused: 141 scheduled, 12 pending, 14 in progress, 1 canceled, 2 failed, 29 succeeded; " +
			"canary Finished 9/10, early Running 20/48; waits: paused by spec.state"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Line(statusOf(tc.rollout))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSharesAreExactAndNeverRoundedToZero(t *testing.T) {
	tests := map[string]struct {
		counts  []int32
		columns int
		want    []int
	}{
		"no target":                 {[]int32{0, 0}, 10, []int{0, 0}},
		"halves":                    {[]int32{5, 5}, 10, []int{5, 5}},
		"one of many is visible":    {[]int32{1, 19998, 1}, 10, []int{1, 8, 1}},
		"one at the end is visible": {[]int32{999, 1}, 40, []int{39, 1}},
		"more kinds than columns":   {[]int32{1, 1, 1}, 2, []int{1, 0, 1}},
		"thirds of no columns":      {[]int32{1, 1, 1}, 0, []int{0, 0, 0}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, share(tc.counts, tc.columns)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestStyleFor(t *testing.T) {
	tests := map[string]struct {
		environment map[string]string
		want        Style
	}{
		"no variable is set":                {nil, Style{Width: 80, Height: 24, Color: true}},
		"UTF-8":                             {map[string]string{"LANG": "de_DE.UTF-8"}, Style{Width: 80, Height: 24, Unicode: true, Color: true}},
		"LC_ALL takes precedence over LANG": {map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, Style{Width: 80, Height: 24, Color: true}},
		"NO_COLOR is set":                   {map[string]string{"LANG": "C.utf8", "NO_COLOR": "1"}, Style{Width: 80, Height: 24, Unicode: true}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := StyleFor(func(key string) string { return tc.environment[key] }, 80, 24)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLiveReplacesItsLastText(t *testing.T) {
	var out bytes.Buffer
	l := Live{Out: &out}
	for _, step := range []func() error{
		func() error { return l.Show("one\ntwo\n") },
		func() error { return l.Show("three\n") },
		func() error { l.Keep(); return l.Show("four\n") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	want := "one\x1b[K\ntwo\x1b[K\n\x1b[J" + "\x1b[2A\rthree\x1b[K\n\x1b[J" + "four\x1b[K\n\x1b[J"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
