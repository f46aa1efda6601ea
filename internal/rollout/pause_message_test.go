// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

var (
	countedSentence = regexp.MustCompile(`\d+ of \d+|\d+ (failed|succeeded|removed|skipped|canceled)`)
	datedSentence   = regexp.MustCompile(`when \d+ of \d+ .*had (failed|succeeded)|\(as of the pause\)`)
)

// checkDated checks that pauseMessage, which is not updated after the pause, says when its numbers
// were right.
func checkDated(t testing.TB, s v1alpha1.RolloutStatus) {
	t.Helper()
	if m := s.PauseMessage; countedSentence.MatchString(m) && !datedSentence.MatchString(m) {
		t.Errorf("pauseMessage has numbers without their time: %q", m)
	}
}

// Devices continue after a pause, so the counts change. Messages about the pause must not
// contradict them.
func TestMessagesAboutAPauseDoNotContradictLaterCounts(t *testing.T) {
	for name, story := range map[string]struct {
		edit      func(*v1alpha1.RolloutSpec)
		pause     func(w *world)
		atWork    []string // devices that have started before the pause and get their result after it
		result    action.Event
		failed    int32
		succeeded int32
		says      string
	}{
		"the error threshold": {
			edit:  thresholds(50, 10),
			pause: func(w *world) { w.fail("17", "dev-01", "dev-02") }, atWork: []string{"dev-03"}, result: action.Fail,
			failed: 3, says: "when 2 of 10 had failed, more than errorThreshold 10 percent; by then most often with code 17 (2)",
		},
		"the error budget": {
			edit:  budget(nil, num(1)),
			pause: func(w *world) { w.fail("17", "dev-01", "dev-02") }, atWork: []string{"dev-03", "dev-04"}, result: action.Fail,
			failed: 4, says: "when 2 of 20 targets of the rollout had failed, more than errorBudget count 1",
		},
		"the success action": {
			edit:  pauseAfter,
			pause: func(w *world) { w.succeed("dev-01", "dev-02", "dev-03", "dev-04", "dev-05") }, atWork: []string{"dev-06"}, result: action.Succeed,
			succeeded: 6, says: "5 of 10 had succeeded (as of the pause)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := running(t, 20, func(s *v1alpha1.RolloutSpec) {
				s.GroupCount = num(2)
				story.edit(s)
			})
			for _, name := range story.atWork {
				w.startUpdate(name)
				w.report(name, action.Download, "")
			}
			story.pause(w)
			w.reconcileAll()
			if w.state() != v1alpha1.RolloutPaused {
				t.Fatalf("the rollout is %s", w.state())
			}
			for _, name := range story.atWork {
				w.report(name, story.result, "")
			}
			w.tick(time.Minute)
			w.reconcileAll()
			if c := w.total(); c.Failed != story.failed || c.Succeeded != story.succeeded {
				t.Errorf("counts are %+v, want %d failed and %d succeeded", c, story.failed, story.succeeded)
			}
			w.wantContains(w.waitingFor(), story.says)
			w.wantContains(w.message(v1alpha1.ConditionPaused), story.says)
			w.wantContains(w.message(v1alpha1.ConditionReady), story.says)
			for _, g := range w.groups {
				if g.Status.Counts != nil && g.Status.CountedAt == nil {
					t.Errorf("group %s has counts %+v without the time that they are of", g.Spec.Group, *g.Status.Counts)
				}
			}
		})
	}
}

// TestColumns: the columns of kubectl show the states of the groups, a short hash, and counts whose
// sum is the shown total.
func TestColumns(t *testing.T) {
	w := newWorld(t, 10, func(s *v1alpha1.RolloutSpec) { s.State, s.GroupCount = v1alpha1.IntentPlanned, num(5) })
	w.reconcileAll()
	if c := w.rollout.Status.Columns; c == nil || c.Group != "" || c.Targets != 10 || len(c.Plan) != 12 || !strings.HasPrefix(w.rollout.Status.Plan.Hash, "sha256:"+c.Plan) {
		t.Errorf("before the start the columns are %+v, the plan is %+v", c, w.rollout.Status.Plan)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcileAll()
	if c := w.rollout.Status.Columns; c.Group != "1 of 5" {
		t.Errorf("after the start the columns are %+v", c)
	}
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	delete(w.targets, "dev-10")
	w.reconcileAll()
	if c := w.rollout.Status.Columns; c.Group != "2 of 5" || c.Targets != 9 || w.total().Targets != 10 {
		t.Errorf("after the deletion of a target the columns are %+v of %+v", c, w.total())
	}
	for _, g := range w.groups {
		if int(g.Status.Targets) != len(g.Spec.Targets) {
			t.Errorf("group %s shows %d targets and has %d", g.Spec.Group, g.Status.Targets, len(g.Spec.Targets))
		}
	}
}
