// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// TestThresholds checks hawkBit's threshold arithmetic, with integers instead of float32.
func TestThresholds(t *testing.T) {
	tests := map[string]struct {
		n, of, percent           int32
		wantReached, wantExceeds bool
	}{
		"0 of 0 reaches success and no error":           {0, 0, 50, true, false},
		"zero percent is reached with 0 of 10":          {0, 10, 0, true, false},
		"zero percent is exceeded by 1 of 10":           {1, 10, 0, true, true},
		"half of ten reaches 50 and does not exceed it": {5, 10, 50, true, false},
		"six of ten exceeds 50":                         {6, 10, 50, true, true},
		"four of ten does not reach 50":                 {4, 10, 50, false, false},
		"ten of ten does not exceed 100":                {10, 10, 100, true, false},
		"a third is below 34":                           {1, 3, 34, false, false},
		"a third is above 33":                           {1, 3, 33, true, true},
		"89 of 100 does not reach 90":                   {89, 100, 90, false, false},
		"90 of 100 reaches 90":                          {90, 100, 90, true, false},
		"20 000 targets do not overflow":                {19999, 20000, 100, false, false},
		"ten million targets do not overflow":           {5000001, 10000000, 50, true, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := reached(tt.n, tt.of, tt.percent); got != tt.wantReached {
				t.Errorf("reached(%d, %d, %d) = %v", tt.n, tt.of, tt.percent, got)
			}
			if got := exceeded(tt.n, tt.of, tt.percent); got != tt.wantExceeds {
				t.Errorf("exceeded(%d, %d, %d) = %v", tt.n, tt.of, tt.percent, got)
			}
		})
	}
}

// TestEvaluation has a running group of ten targets and a second group.
func TestEvaluation(t *testing.T) {
	tests := map[string]struct {
		edit            func(*v1alpha1.RolloutSpec)
		succeed, fail   int
		wantState       v1alpha1.RolloutState
		wantGroups      string
		wantPauseReason v1alpha1.PauseReason
	}{
		"no result":                                     {nil, 0, 0, "Running", "Running Scheduled", ""},
		"4 of 10 is below 50 percent":                   {nil, 4, 0, "Running", "Running Scheduled", ""},
		"5 of 10 is 50 percent and opens the next":      {nil, 5, 0, "Running", "Running Running", ""},
		"5 of 10 failed is not more than 50":            {nil, 0, 5, "Running", "Running Scheduled", ""},
		"6 of 10 failed is more than 50":                {nil, 0, 6, "Paused", "Error Scheduled", v1alpha1.PauseByErrorThreshold},
		"the error condition is checked before success": {thresholds(10, 10), 5, 2, "Paused", "Error Scheduled", v1alpha1.PauseByErrorThreshold},
		"all closed below the threshold opens the next": {thresholds(90, 50), 5, 5, "Running", "Finished Running", ""},
		"errorThreshold 0 pauses on the first failure":  {thresholds(50, 0), 0, 1, "Paused", "Error Scheduled", v1alpha1.PauseByErrorThreshold},
		"errorThreshold 100 never pauses":               {thresholds(50, 100), 0, 10, "Running", "Finished Running", ""},
		"successThreshold 0 opens everything at once":   {thresholds(0, 50), 0, 0, "Running", "Running Running", ""},
		"successAction Pause of a running group":        {pauseAfter, 5, 0, "Paused", "Running Scheduled", v1alpha1.PauseBySuccessAction},
		"successAction Pause of a closed group":         {pauseAfter, 10, 0, "Paused", "Finished Scheduled", v1alpha1.PauseBySuccessAction},
		"below minimumReports there is no pause":        {minimumReports(8), 0, 7, "Running", "Running Scheduled", ""},
		"minimumReports is reached":                     {minimumReports(8), 1, 7, "Paused", "Error Scheduled", v1alpha1.PauseByErrorThreshold},
		"minimumReports above the size, all closed":     {minimumReports(50), 2, 8, "Paused", "Error Scheduled", v1alpha1.PauseByErrorThreshold},
		"error budget by count, at the limit":           {budget(nil, num(3)), 0, 3, "Running", "Running Scheduled", ""},
		"error budget by count, one more":               {budget(nil, num(3)), 0, 4, "Paused", "Running Scheduled", v1alpha1.PauseByErrorBudget},
		"error budget by percent of the whole rollout":  {budget(num(10), nil), 0, 2, "Running", "Running Scheduled", ""},
		"error budget by percent, one more":             {budget(num(10), nil), 0, 3, "Paused", "Running Scheduled", v1alpha1.PauseByErrorBudget},
		"over the budget, success opens no group":       {budget(num(10), nil), 5, 3, "Paused", "Running Scheduled", v1alpha1.PauseByErrorBudget},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 20, func(s *v1alpha1.RolloutSpec) {
				s.GroupCount = num(2)
				if tt.edit != nil {
					tt.edit(s)
				}
			})
			for i := range tt.succeed + tt.fail {
				if name := fmt.Sprintf("dev-%02d", i+1); i < tt.succeed {
					w.succeed(name)
				} else {
					w.fail("17", name)
				}
			}
			w.reconcileAll()
			w.want(tt.wantState, tt.wantGroups)
			if got := w.rollout.Status.PauseReason; got != tt.wantPauseReason {
				t.Errorf("paused by %q, want %q", got, tt.wantPauseReason)
			}
		})
	}
}

// TestEveryConditionOfAGroupHasAnEffect plays the same results with the default of a condition and
// with another value. A new field of GroupConditions fails it until a case shows what the field
// decides.
func TestEveryConditionOfAGroupHasAnEffect(t *testing.T) {
	cases := map[string]struct {
		edit          func(*v1alpha1.RolloutSpec)
		succeed, fail int
		// elsewhere says why the condition has no effect on the rollout itself.
		elsewhere string
	}{
		"successThreshold":     {edit: thresholds(60, 50), succeed: 5},
		"successAction":        {edit: pauseAfter, succeed: 5},
		"errorThreshold":       {edit: thresholds(50, 0), fail: 1},
		"errorAction":          {elsewhere: "Pause is the only value"},
		"confirmationRequired": {elsewhere: "it decides what a device is offered: a confirmation or the update"},
	}
	fields := reflect.TypeFor[v1alpha1.GroupConditions]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		c, isKnown := cases[name]
		if !isKnown {
			t.Errorf("no case shows what the condition %s decides: evaluate.go and error_conditions.go read the conditions of a group", name)
		}
		if !isKnown || c.elsewhere != "" {
			continue
		}
		outcome := func(edit func(*v1alpha1.RolloutSpec)) string {
			w := running(t, 20, func(s *v1alpha1.RolloutSpec) { s.GroupCount = num(2); edit(s) })
			for i := range c.succeed {
				w.succeed(fmt.Sprintf("dev-%02d", i+1))
			}
			for i := range c.fail {
				w.fail("17", fmt.Sprintf("dev-%02d", c.succeed+i+1))
			}
			w.reconcileAll()
			return fmt.Sprint(w.rollout.Status.State, w.rollout.Status.Groups[0].State, w.rollout.Status.Groups[1].State)
		}
		if byDefault := outcome(func(*v1alpha1.RolloutSpec) {}); byDefault == outcome(c.edit) {
			t.Errorf("%s has no effect: with its default and with another value, state and groups are %s", name, byDefault)
		}
	}
}

func thresholds(success, failure int32) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { s.SuccessThreshold, s.ErrorThreshold = &success, &failure }
}

func pauseAfter(s *v1alpha1.RolloutSpec) { s.SuccessAction = v1alpha1.SuccessActionPause }

func minimumReports(n int32) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { s.MinimumReports = n }
}

func budget(percent, count *int32) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) {
		s.ErrorBudget = &v1alpha1.ErrorBudget{Percent: percent, Count: count}
		s.ErrorThreshold = num(100)
	}
}

// hawkBit leaves such a rollout Running for ever: it looks for a next group, and fails, before it
// checks whether all groups are done.
func TestW01_ResumeAfterTheLastGroupFailedFinishes(t *testing.T) {
	w := running(t, 4, groupCount(1))
	w.fail("17", "dev-01", "dev-02", "dev-03")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error")
	w.wantCondition(v1alpha1.ConditionStalled, "True ErrorThresholdExceeded")

	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Error")
	w.wantContains(w.waitingFor(), "group group-1: 0 of 4 succeeded, 3 failed, waiting for the rest; 1 pending, e.g. dev-04")

	w.succeed("dev-04")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Error")
	w.wantCondition(v1alpha1.ConditionSucceeded, "False FinishedWithErrors")
	w.wantCondition(v1alpha1.ConditionStalled, "True FinishedWithErrors")
	w.wantCondition(v1alpha1.ConditionReady, "False FinishedWithErrors")
}

func TestW07_TheErrorBudgetCountsFailuresOfAllGroups(t *testing.T) {
	w := running(t, 20, func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.ErrorBudget = num(10), &v1alpha1.ErrorBudget{Percent: num(10)}
	})
	for group := 0; w.state() == v1alpha1.RolloutRunning; group++ {
		if group == 10 {
			t.Fatal("half of the fleet failed and the rollout was not paused")
		}
		w.fail("17", fmt.Sprintf("dev-%02d", 2*group+1))
		w.succeed(fmt.Sprintf("dev-%02d", 2*group+2))
		w.tick(time.Second)
		w.reconcileAll()
	}
	if failed := w.rollout.Status.Targets.Failed; failed != 3 {
		t.Errorf("stopped after %d failures, want 3: more than 10 percent of 20", failed)
	}
	if w.rollout.Status.PauseReason != v1alpha1.PauseByErrorBudget {
		t.Errorf("paused by %s", w.rollout.Status.PauseReason)
	}
	w.wantContains(w.message(v1alpha1.ConditionStalled), "3 of 20 targets of the rollout had failed, more than errorBudget 10 percent")
}

// hawkBit continues to evaluate after the first group has paused the rollout, and may open a third.
func TestW08_NothingOpensAfterAPauseInTheSamePass(t *testing.T) {
	w := running(t, 12, groupCount(3))
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Running Scheduled")
	// Between two reconciles, group 1 fails and group 2 succeeds.
	w.succeed("dev-05", "dev-06")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(20) })
	w.fail("17", "dev-03")
	w.reconcile()
	w.want(v1alpha1.RolloutPaused, "Error Running Scheduled")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error Running Scheduled")
	if w.isOffered("dev-04") || w.isOffered("dev-07") {
		t.Error("a paused rollout offers its update to members that have not started")
	}

	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Error Running Running")
}

// hawkBit removes deleted targets from the denominator without counting them.
func TestW15_DeletedTargetsShrinkTheDenominatorAndAreCounted(t *testing.T) {
	w := running(t, 8, groupCount(2))
	w.succeed("dev-01")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	delete(w.targets, "dev-03")
	delete(w.targets, "dev-04")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Running")
	if got := w.rollout.Status.Groups[0].Removed; got != 2 {
		t.Errorf("%d removed, want 2", got)
	}
	w.succeed("dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")

	delete(w.targets, "dev-01")
	w.reconcileAll()
	if got := w.rollout.Status.Groups[0]; got.Succeeded != 2 || got.Removed != 2 {
		t.Errorf("a deletion changed the counts of a finished group: %+v", got.Counts)
	}
}

func TestGroupsThatWereEmptiedPause(t *testing.T) {
	w := newWorld(t, 6, func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.SuccessAction = num(3), v1alpha1.SuccessActionPause
		s.State = v1alpha1.IntentPlanned
	})
	w.reconcileAll()
	for _, name := range []string{"dev-01", "dev-02", "dev-03", "dev-04"} {
		delete(w.targets, name)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Finished Scheduled Scheduled")
	w.wantContains(w.rollout.Status.PauseMessage, "group group-1: no result is left of 2 targets that were planned: 2 removed (as of the pause); group group-2 does not open")
}

func TestAlreadyInstalledMembersCountAsSucceededWhenTheirGroupOpens(t *testing.T) {
	w := newWorld(t, 4, groupCount(2))
	since := metav1.NewTime(epoch)
	for _, name := range []string{"dev-01", "dev-02", "dev-03"} {
		w.targets[name].Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "firmware-2", ContentHash: w.set.ContentHash, Since: &since}
	}
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
	if got := w.rollout.Status.Groups[1].Counts; got.Succeeded != 1 || got.Pending != 1 {
		t.Errorf("group 2 counts %+v", got)
	}
	// The mark stays if the device reports another set later.
	w.targets["dev-03"].Status.Installed = nil
	w.reconcileAll()
	if got := w.bucket("dev-03"); got != counting.Succeeded {
		t.Errorf("dev-03 is %s", got)
	}

	w = newWorld(t, 2, func(s *v1alpha1.RolloutSpec) { s.Update.Reinstall = true })
	w.targets["dev-01"].Status.Installed = &v1alpha1.InstalledSet{ContentHash: w.set.ContentHash, Since: &since}
	w.reconcileAll()
	if got := w.bucket("dev-01"); got != counting.Pending {
		t.Errorf("with reinstall dev-01 is %s", got)
	}
}

// TestW06_AssignedIsNotInstalled: a target counts as succeeded only if its set is installed, and
// not if it is assigned, offered or being installed.
func TestW06_AssignedIsNotInstalled(t *testing.T) {
	w := newWorld(t, 3, nil)
	other := v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev-01", UID: "uid-dev-01", Attempt: 1}
	w.targets["dev-01"].Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: w.set.Name}}
	for _, name := range []string{"dev-02", "dev-03"} {
		action.Create(&w.targets[name].Status, action.Creation{Source: other, DistributionSet: w.set.Name, ContentHash: w.set.ContentHash, Now: w.now})
	}
	w.report("dev-03", action.Download, "")
	w.report("dev-03", action.Fail, "17")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	if got, want := *w.rollout.Status.Targets, (v1alpha1.Counts{Targets: 3, Pending: 3}); got != want {
		t.Errorf("counts are %+v, want %+v: no target has installed it", got, want)
	}
	w.report("dev-02", action.Download, "")
	w.report("dev-02", action.Succeed, "")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running")
	if got, want := *w.rollout.Status.Targets, (v1alpha1.Counts{Targets: 3, Pending: 2, Succeeded: 1}); got != want {
		t.Errorf("counts are %+v, want %+v: one has installed it in another way", got, want)
	}
}

func TestConditionsOfGroupsComeFromThePresentSpec(t *testing.T) {
	w := running(t, 20, func(s *v1alpha1.RolloutSpec) {
		s.Groups = []v1alpha1.Group{{Name: "canary", Percentage: num(50), SuccessThreshold: num(90)}, {Name: "rest"}}
	})
	w.succeed("dev-01", "dev-02", "dev-03", "dev-04", "dev-05", "dev-06", "dev-07", "dev-08")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	w.wantContains(w.waitingFor(), "group canary: 8 of 10 succeeded, waiting for 90 percent; 2 pending, e.g. dev-09, dev-10")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Groups[0].SuccessThreshold = num(80) })
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Running")
}

func TestAdvance(t *testing.T) {
	advance := func(w *world, to string, when time.Time) {
		w.edit(func(s *v1alpha1.RolloutSpec) { s.Advance = &v1alpha1.Advance{To: to, At: metav1.NewTime(when)} })
	}
	t.Run("opens groups up to and including the named one, once, even if conditions are not met", func(t *testing.T) {
		w := running(t, 8, groupCount(4))
		advance(w, "group-3", w.now)
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Running Running Scheduled")
	})
	t.Run("is ignored if it is before the start", func(t *testing.T) {
		w := running(t, 8, groupCount(4))
		advance(w, "group-3", epoch.Add(-time.Hour))
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Scheduled Scheduled Scheduled")
	})
	t.Run("waits for its time", func(t *testing.T) {
		w := running(t, 8, groupCount(4))
		advance(w, "group-2", w.now.Add(time.Minute))
		if p := w.reconcileAll(); p.RecheckAfter != time.Minute {
			t.Errorf("the next reconcile is after %s", p.RecheckAfter)
		}
		w.want(v1alpha1.RolloutRunning, "Running Scheduled Scheduled Scheduled")
		w.tick(time.Minute)
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Running Scheduled Scheduled")
	})
	t.Run("lifts no pause", func(t *testing.T) {
		w := running(t, 8, groupCount(4))
		w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
		advance(w, "group-2", w.now)
		w.reconcileAll()
		w.want(v1alpha1.RolloutPaused, "Running Scheduled Scheduled Scheduled")
		w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Running Scheduled Scheduled")
	})
	t.Run("with the name of no group is refused with the names of the groups", func(t *testing.T) {
		w := running(t, 4, groupCount(2))
		advance(w, "group-9", w.now)
		w.reconcileAll()
		w.wantCondition(v1alpha1.ConditionStalled, "True InvalidSpec")
		w.wantContains(w.message(v1alpha1.ConditionStalled), "spec.advance.to: there is no group group-9; the groups are group-1, group-2")
		w.succeed("dev-01")
		w.reconcileAll()
		w.want(v1alpha1.RolloutRunning, "Running Running")
	})
}

func TestFailureTable(t *testing.T) {
	w := running(t, 12, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.ErrorThreshold = num(1), num(100) })
	w.fail("17", "dev-01", "dev-02", "dev-03", "dev-04")
	w.tick(time.Minute)
	w.fail("flash", "dev-05")
	w.fail("17", "dev-06")
	w.reconcileAll()
	got := w.rollout.Status.Failures
	if len(got) != 2 || got[0].StatusCode != "17" || got[0].Count != 5 || len(got[0].Examples) != 3 || got[1].StatusCode != "flash" {
		t.Fatalf("failures: %+v", got)
	}
	if lasted := got[0].LastSeen.Sub(got[0].FirstSeen.Time); lasted != time.Minute {
		t.Errorf("code 17 was seen over %s", lasted)
	}
}
