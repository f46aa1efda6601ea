// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const twoIntervals = `
pollIntervals:
- targetSelector: {matchLabels: {ring: test}}
  interval: 30s
- targetSelector:
    matchExpressions:
    - {key: site, operator: In, values: [north, south]}
  interval: 1h30m
`

func writePollFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPollIntervalsOfTargets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "intervals.yaml")
	writePollFile(t, file, twoIntervals)
	p := NewPollIntervals(file, logr.Discard())
	for name, tc := range map[string]struct {
		labels map[string]string
		want   time.Duration
	}{
		"a test device":                 {map[string]string{"ring": "test"}, 30 * time.Second},
		"a device of a site":            {map[string]string{"ring": "last", "site": "south"}, 90 * time.Minute},
		"two entries: the first counts": {map[string]string{"ring": "test", "site": "north"}, 30 * time.Second},
		"a device without the labels":   {map[string]string{"ring": "last"}, 5 * time.Minute},
		"a device without any label":    {nil, 5 * time.Minute},
		"a device of another value":     {map[string]string{"site": "east"}, 5 * time.Minute},
	} {
		target := aTarget("dev-0")
		target.Labels = tc.labels
		if got := p.of(target, 5*time.Minute); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	if got := (*PollIntervals)(nil).of(aTarget("dev-0"), time.Minute); got != time.Minute {
		t.Errorf("without a file: %s", got)
	}
}

func TestPollRulesThatCannotBeUsed(t *testing.T) {
	entry := func(selector, interval string) string {
		return fmt.Sprintf("pollIntervals:\n- targetSelector: %s\n  interval: %s\n", selector, interval)
	}
	for name, tc := range map[string]struct{ content, want string }{
		"nothing":                       {"", "pollIntervals is missing"},
		"a comment":                     {"# none\n", "pollIntervals is missing"},
		"a list":                        {"- a\n", "cannot unmarshal"},
		"no YAML":                       {"pollIntervals: [", "yaml"},
		"an unknown field":              {"pollInterval: []\n", "unknown field"},
		"an unknown field of an entry":  {"pollIntervals:\n- selector: {}\n  interval: 1s\n", "unknown field"},
		"a field twice":                 {"pollIntervals: []\npollIntervals: []\n", "already set"},
		"no selector":                   {"pollIntervals:\n- interval: 1s\n", "pollIntervals[0].targetSelector is missing"},
		"no interval":                   {"pollIntervals:\n- targetSelector: {}\n", "pollIntervals[0].interval is 0s: write 1s to 23h59m59s"},
		"an interval that is too short": {entry("{}", "999ms"), "pollIntervals[0].interval is 999ms"},
		"an interval that is too long":  {entry("{}", "24h"), "pollIntervals[0].interval is 24h0m0s"},
		"a negative interval":           {entry("{}", "-1s"), "pollIntervals[0].interval is -1s"},
		"an interval without a unit":    {entry("{}", `"30"`), "missing unit"},
		"an interval that is a number":  {entry("{}", "30"), "cannot unmarshal"},
		"an operator that is unknown":   {entry("{matchExpressions: [{key: a, operator: Is, values: [b]}]}", "1s"), "pollIntervals[0].targetSelector"},
		"a label that cannot exist":     {entry(`{matchLabels: {"a b": c}}`, "1s"), "pollIntervals[0].targetSelector"},
		"too many entries":              {"pollIntervals:\n" + strings.Repeat("- {targetSelector: {}, interval: 1s}\n", 101), "101 entries, at most 100"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parsePollRules([]byte(tc.content)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want one with %q", err, tc.want)
			}
		})
	}
	for name, content := range map[string]string{
		"an empty list":              "pollIntervals: []\n",
		"the shortest interval":      entry("{}", "1s"),
		"the longest interval":       entry("{}", "23h59m59s"),
		"JSON":                       `{"pollIntervals":[{"targetSelector":{},"interval":"10s"}]}`,
		"as many entries as allowed": "pollIntervals:\n" + strings.Repeat("- {targetSelector: {}, interval: 1s}\n", 100),
	} {
		if _, err := parsePollRules([]byte(content)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPollIntervalsFollowTheFile changes the file: a good one is in effect, a bad one changes
// nothing, is logged once and sets the metric.
func TestPollIntervalsFollowTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "intervals.yaml")
	var lines []string
	p := NewPollIntervals(file, funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	target := aTarget("dev-0")
	target.Labels = map[string]string{"ring": "test"}
	for _, step := range []struct {
		name   string
		change func()
		want   time.Duration
		valid  float64
		logged string // in the one new line; empty: there is none
	}{
		{"the file is missing at the start", func() {}, 5 * time.Minute, 0, ""},
		{"it is created", func() { writePollFile(t, file, twoIntervals) }, 30 * time.Second, 1, `"Poll intervals are in effect"`},
		{"it does not change", func() {}, 30 * time.Second, 1, ""},
		{"it is wrong", func() { writePollFile(t, file, strings.Replace(twoIntervals, "30s", "0s", 1)) }, 30 * time.Second, 0, "pollIntervals[0].interval is 0s"},
		{"it stays wrong", func() {}, 30 * time.Second, 0, ""},
		{"it is wrong in another way", func() { writePollFile(t, file, "x") }, 30 * time.Second, 0, "the last good one stays in effect"},
		{"it is too large", func() { writePollFile(t, file, twoIntervals+strings.Repeat("#", 64<<10)) }, 30 * time.Second, 0, "larger than 65536 bytes"},
		{"it is corrected", func() { writePollFile(t, file, strings.Replace(twoIntervals, "30s", "40s", 1)) }, 40 * time.Second, 1, `"Poll intervals are in effect"`},
		{"it is removed", func() { _ = os.Remove(file) }, 40 * time.Second, 0, "no such file"},
		{"it is created again as it was", func() { writePollFile(t, file, strings.Replace(twoIntervals, "30s", "40s", 1)) }, 40 * time.Second, 1, `"Poll intervals are in effect"`},
		{"it is emptied", func() { writePollFile(t, file, "pollIntervals: []") }, 5 * time.Minute, 1, `"rules"=0`},
		{"it is a folder", func() { _ = os.Remove(file); _ = os.Mkdir(file, 0o700) }, 5 * time.Minute, 0, "is a directory"},
	} {
		lines = nil
		step.change()
		p.load()
		if got := p.of(target, 5*time.Minute); got != step.want {
			t.Errorf("%s: the interval is %s, want %s", step.name, got, step.want)
		}
		if got := testutil.ToFloat64(pollFileValid.WithLabelValues(file)); got != step.valid {
			t.Errorf("%s: the metric is %v, want %v", step.name, got, step.valid)
		}
		if text := strings.Join(lines, "\n"); len(lines) > 1 || (step.logged == "") != (text == "") || !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), step.logged) {
			t.Errorf("%s: the log is %q, want one line with %q", step.name, lines, step.logged)
		}
	}
}

// TestPollIntervalsAreReadAgain changes the file while Run follows it.
func TestPollIntervalsAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "intervals.yaml")
	writePollFile(t, file, "pollIntervals: []")
	p := NewPollIntervals(file, logr.Discard())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.follow(ctx, time.Millisecond) }()
	writePollFile(t, file, "pollIntervals: [{targetSelector: {}, interval: 7s}]")
	for start := time.Now(); p.of(aTarget("dev-0"), time.Minute) != 7*time.Second; time.Sleep(time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the new interval is not in effect")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSleepOfLabeledDevices: a device gets the interval of its labels, changed by up to a tenth,
// and a shorter one before a maintenance window opens.
func TestSleepOfLabeledDevices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "intervals.yaml")
	writePollFile(t, file, twoIntervals)
	options := Options{PollInterval: 5 * time.Minute, PollIntervals: NewPollIntervals(file, logr.Discard()), ProgressInterval: time.Minute}
	for name, tc := range map[string]struct {
		label, window string
		wait          time.Duration // after 06:01
		from, to      time.Duration
	}{
		"a test device":                            {"ring=test", "", 0, 27 * time.Second, 33 * time.Second},
		"a slow device":                            {"site=north", "", 0, 81 * time.Minute, 99 * time.Minute},
		"another device":                           {"ring=last", "", 0, 270 * time.Second, 330 * time.Second},
		"a slow device before a window":            {"site=north", "20 6 * * *", 0, 19 * time.Minute, 20 * time.Minute},
		"a slow device long before a window":       {"site=north", "0 12 * * *", 0, 81 * time.Minute, 99 * time.Minute},
		"a test device before a window":            {"ring=test", "20 6 * * *", 0, 27 * time.Second, 33 * time.Second},
		"a test device ten seconds before it":      {"ring=test", "20 6 * * *", 1130 * time.Second, 10 * time.Second, 14 * time.Second},
		"a slow device a second before its window": {"site=north", "20 6 * * *", 1139 * time.Second, 5 * time.Second, 31 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				if tc.window != "" {
					r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: tc.window, DurationSeconds: 3600}
				}
			})
			key, value, _ := strings.Cut(tc.label, "=")
			w.editTarget(func(target *v1alpha1.Target) { target.Labels = map[string]string{key: value} })
			w.wait(tc.wait)
			state := w.deviceAPI(options).poll()
			if state.Sleep < tc.from || state.Sleep > tc.to || (state.DeployID == 0) != (tc.window != "") {
				t.Errorf("the state is %+v, want a sleep of %s to %s", state, tc.from, tc.to)
			}
		})
	}
}
