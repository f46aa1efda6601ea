// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// In each of five small groups one of two devices fails, which is within the error threshold of the
// groups. The budget of the whole rollout is exceeded: it pauses after the second group, and again
// after the fourth, when it was resumed and more devices have failed.
func TestErrorBudgetPausesOverManySmallGroups(t *testing.T) {
	t.Parallel()
	for budget, words := range map[string]string{"{count: 1}": "errorBudget count 1", "{percent: 15}": "errorBudget 15 percent", "{count: 1, percent: 90}": "errorBudget count 1"} {
		t.Run(budget, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			bad, good := w.Targets("bad", 5, nil), w.Targets("good", 5, nil)
			codes := []string{"17", "42", "17", "99", "17"}
			for i, name := range bad {
				w.Play(failWith(codes[i]), devicesim.Failing, name)
				for _, member := range []string{name, good[i]} {
					commitTo(w, member, fmt.Sprintf("metadata: {labels: {group: 'g%d'}}", i+1))
				}
			}
			_, devices := w.Devices(devicesim.Obedient, good...)
			groups := ""
			for i := range bad {
				groups += fmt.Sprintf("\n  - {name: g%[1]d, targetSelector: {matchLabels: {group: g%[1]d}}}", i+1)
			}
			w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  successThreshold: 100
  errorThreshold: 100
  errorAction: Pause
  errorBudget: `+budget+`
  groups:`+groups)

			r := pausesAutomatically(w, "2 of 10 targets of the rollout had failed, more than "+words, 2, 6)
			failed(t, r, line("17", bad[0]), line("42", bad[1]))
			w.EventuallyPolled(devices, 3, r.Status.PausedAt.Time, good[2:]...)
			if started := world.Starts(devices); started[good[2]] > 0 {
				t.Error("a device of the third group was offered an update")
			}

			r = resume(w, r)
			r = pausesAgain(w, r, "2 of 10 targets of the rollout had failed since ", 4, 2)
			failed(t, r, line("17", bad[0], bad[2]), line("42", bad[1]), line("99", bad[3]))

			resume(w, r)
			r = w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
			if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 10, Succeeded: 5, Failed: 5}) {
				t.Errorf("counts are %+v", got)
			}
			failed(t, r, line("17", bad[0], bad[2], bad[4]), line("42", bad[1]), line("99", bad[3]))
			startedOnce(t, devices, good...)
		})
	}
}

// pausesAutomatically waits until the rollout is paused by its budget, with this sentence in its
// message and these counts.
func pausesAutomatically(w *world.World, sentence string, failed, scheduled int32) *v1alpha1.Rollout {
	w.T.Helper()
	return pausesAgain(w, &v1alpha1.Rollout{}, sentence, failed, scheduled)
}

// pausesAgain waits for a pause that is newer than the one of before.
func pausesAgain(w *world.World, before *v1alpha1.Rollout, sentence string, failed, scheduled int32) *v1alpha1.Rollout {
	w.T.Helper()
	r := w.EventuallyRollout("firmware-1", "automatic pauses", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutPaused && !r.Status.PausedAt.Equal(before.Status.PausedAt)
	})
	stalled := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled)
	if !world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonErrorBudgetExceeded) ||
		!strings.Contains(stalled.Message, sentence) || !strings.Contains(r.Status.WaitingFor.Message, "set spec.resumedAt to status.pausedAt") {
		w.T.Errorf("Stalled is %+v, waitingFor %+v", stalled, r.Status.WaitingFor)
	}
	if c := r.Status.Targets; c.Failed != failed || c.Scheduled != scheduled {
		w.T.Errorf("counts are %+v, want %d failed and %d scheduled", c, failed, scheduled)
	}
	return r
}

// resume copies status.pausedAt to spec.resumedAt, as the message says, and waits until it is
// handled.
func resume(w *world.World, r *v1alpha1.Rollout) *v1alpha1.Rollout {
	w.T.Helper()
	w.CommitRollout(r.Name, "spec: {resumedAt: '"+r.Status.PausedAt.Time.UTC().Format(time.RFC3339Nano)+"'}")
	w.EventuallyRollout(r.Name, "is resumed", func(now *v1alpha1.Rollout) bool {
		return now.Status.Handled != nil && now.Status.Handled.ResumedAt != nil && now.Status.Handled.ResumedAt.Equal(r.Status.PausedAt)
	})
	return r
}

// line returns an entry of status.failures.
func line(code string, examples ...string) v1alpha1.FailureCount {
	return v1alpha1.FailureCount{StatusCode: code, Count: int32(len(examples)), Examples: examples}
}

// failed compares status.failures, in which the most frequent codes come first.
func failed(t *testing.T, r *v1alpha1.Rollout, want ...v1alpha1.FailureCount) {
	t.Helper()
	sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	if diff := cmp.Diff(want, r.Status.Failures, cmpopts.IgnoreFields(v1alpha1.FailureCount{}, "FirstSeen", "LastSeen"), sorted); diff != "" {
		t.Errorf("failure table (-want +got):\n%s", diff)
	}
	if slices.ContainsFunc(r.Status.Failures, func(f v1alpha1.FailureCount) bool { return f.FirstSeen.IsZero() || f.LastSeen.Before(f.FirstSeen) }) {
		t.Errorf("the times of the failure table are wrong: %+v", r.Status.Failures)
	}
}

// With few results the error threshold is not evaluated. It is evaluated when minimumReports
// targets have a result.
func TestErrorThresholdWaitsForMinimumReports(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	bad, good := w.Targets("bad", 2, nil), w.Targets("good", 6, nil)
	w.Devices(devicesim.Failing, bad...)
	away, devices := w.Devices(devicesim.Offline, good...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  groupCount: 1
  errorThreshold: 20
  minimumReports: 4
`)
	w.EventuallyRollout("firmware-1", "has two failures", counts(v1alpha1.Counts{Targets: 8, Pending: 6, Failed: 2}))
	bringOnline(t, away, good[0])
	w.EventuallyRollout("firmware-1", "continues with three results", counts(v1alpha1.Counts{Targets: 8, Pending: 5, Succeeded: 1, Failed: 2}))
	if r := w.Rollout("firmware-1"); r.Status.State != v1alpha1.RolloutRunning {
		t.Fatalf("two of three results are failures, fewer than minimumReports, and it is %s", r.Status.State)
	}
	bringOnline(t, away, good[1])
	r := w.EventuallyRollout("firmware-1", "pauses with the fourth result", world.InState(v1alpha1.RolloutPaused))
	if m := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled); m == nil || !strings.Contains(m.Message, "2 of 8 had failed, more than errorThreshold 20 percent") {
		t.Errorf("Stalled is %+v", m)
	}
	bringOnline(t, away, good[2:]...)
	w.EventuallyPolled(devices, 3, time.Now(), good[2:]...)
	if n := len(devices.Of(devicesim.Started)); n != 2 {
		t.Errorf("%d devices started, want the two before the automatic pause", n)
	}
}
