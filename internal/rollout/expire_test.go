// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// deadline returns an edit with this start deadline. Devices that miss it do not pause the rollout.
func deadline(long time.Duration, a v1alpha1.DeadlineAction) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.ErrorThreshold, s.SuccessThreshold = num(2), num(100), num(100)
		s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(int32(long/time.Second)), a
	}
}

func nightly(s *v1alpha1.RolloutSpec) {
	s.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 7200}
}

func both(a, b func(*v1alpha1.RolloutSpec)) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { a(s); b(s) }
}

// A device that never reports fails or is skipped after the start deadline, and the rollout
// finishes.
func TestW04_ADeviceThatNeverReportsMissesTheStartDeadline(t *testing.T) {
	tests := map[string]struct {
		action          v1alpha1.DeadlineAction
		failed, skipped int32
		says            string
	}{
		"it fails":      {v1alpha1.DeadlineActionFail, 1, 0, "counted as failed"},
		"by default":    {"", 1, 0, "counted as failed"},
		"it is skipped": {v1alpha1.DeadlineActionSkip, 0, 1, "left their groups"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 4, deadline(time.Hour, tt.action))
			opened := w.rollout.Status.Groups[0].OpenedAt.Time
			w.startUpdate("dev-02")
			w.reconcileAll()
			w.now = opened.Add(time.Hour - time.Second)
			if p := w.reconcileAll(); p.RecheckAfter != time.Second {
				t.Errorf("the next look is after %s, not at the deadline", p.RecheckAfter)
			}
			w.want(v1alpha1.RolloutRunning, "Running Scheduled")
			w.wantContains(w.waitingFor(), "targets that have not started by 2026-03-01T11:00:01Z")
			w.tick(time.Second)
			w.reconcileAll()
			c := w.rollout.Status.Groups[0].Counts
			if c.Failed != tt.failed || c.Skipped != tt.skipped || c.InProgress != 1 || c.Pending != 0 {
				t.Errorf("counted %+v", c)
			}
			w.wantContains(strings.Join(w.log, "\n"), tt.says)
			if w.isOffered("dev-01") {
				t.Error("a member that missed the deadline is offered the update")
			}
			w.report("dev-02", action.Download, "")
			w.report("dev-02", action.Succeed, "")
			w.reconcileAll()
			w.succeed("dev-03", "dev-04")
			w.reconcileAll()
			w.want(v1alpha1.RolloutFinished, "Finished Finished")
			if tt.failed > 0 {
				if f := w.rollout.Status.Failures; len(f) != 1 || f[0].StatusCode != v1alpha1.CodeStartDeadlineExceeded || f[0].Examples[0] != "dev-01" {
					t.Errorf("the failures are %+v", f)
				}
			}
		})
	}
}

// The start deadline counts only the time in which the device could have started.
func TestWhatCountsForTheStartDeadline(t *testing.T) {
	tests := map[string]struct {
		edit func(*v1alpha1.RolloutSpec)
		pass func(*world)
		want int32 // failed
	}{
		"not quite an hour": {nil, func(w *world) { w.passes(time.Hour - time.Second) }, 0},
		"an hour":           {nil, func(w *world) { w.passes(time.Hour) }, 2},
		"an hour, half of it paused": {nil, func(w *world) {
			w.passes(20 * time.Minute)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			w.passes(30 * time.Minute)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			w.passes(40*time.Minute - time.Second)
		}, 0},
		"an hour and a pause": {nil, func(w *world) {
			w.passes(20 * time.Minute)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			w.passes(30 * 24 * time.Hour)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			w.passes(40 * time.Minute)
		}, 2},
		"a day without the set": {nil, func(w *world) {
			w.set.Deployable = false
			w.passes(24 * time.Hour)
			w.set.Deployable = true
			w.passes(time.Hour - time.Second)
		}, 0},
		"a day outside the window":           {nightly, func(w *world) { w.passes(15 * time.Hour) }, 0}, // 10:00 to 01:00
		"half an hour inside the window":     {nightly, func(w *world) { w.passes(16*time.Hour + 30*time.Minute) }, 0},
		"an hour inside the window":          {nightly, func(w *world) { w.passes(17 * time.Hour) }, 2},
		"a pause while the window is closed": {nightly, func(w *world) { w.pausedFor(15 * time.Hour); w.passes(2*time.Hour - 5*time.Second) }, 0},
		"a pause over half a window": {nightly, func(w *world) {
			w.pausedFor(17 * time.Hour)
			w.passes(30 * time.Minute)
		}, 0},
		"the second half of a window after a pause": {nightly, func(w *world) {
			w.pausedFor(17*time.Hour - time.Minute)
			w.passes(time.Hour)
		}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			edit := deadline(time.Hour, v1alpha1.DeadlineActionFail)
			if tt.edit != nil {
				edit = both(edit, tt.edit)
			}
			w := newWorld(t, 4, edit)
			w.reconcileAll()
			tt.pass(w)
			if got := w.rollout.Status.Groups[0].Failed; got != tt.want {
				t.Errorf("%d failed, want %d; the clock says %+v", got, tt.want, w.rollout.Status.Offering)
			}
		})
	}
}

// passes lets time pass, and reconciles at the end.
func (w *world) passes(d time.Duration) {
	w.t.Helper()
	w.reconcileAll()
	w.tick(d)
	w.reconcileAll()
}

func (w *world) pausedFor(d time.Duration) {
	w.t.Helper()
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
	w.passes(d)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
	w.reconcileAll()
}

// The controller was down for a week: members that are late are marked once, in one write for each
// group, and others are not marked.
func TestAfterAWeekOfDowntimeTheDeadlinePassesOnce(t *testing.T) {
	w := running(t, 6, both(deadline(time.Hour, v1alpha1.DeadlineActionFail), func(s *v1alpha1.RolloutSpec) { s.SuccessThreshold = num(0) }))
	w.want(v1alpha1.RolloutRunning, "Running Running")
	w.startUpdate("dev-02")
	w.tick(7 * 24 * time.Hour)
	p := w.reconcile()
	if len(p.Supersede) != 2 || p.Events[0].Reason != EventExpired {
		t.Errorf("%d groups are written, and the events are %v", len(p.Supersede), p.Events)
	}
	w.reconcileAll()
	if c := w.rollout.Status.Targets; c.Failed != 5 || c.InProgress != 1 {
		t.Errorf("counted %+v", c)
	}
	if n := strings.Count(strings.Join(w.log, "\n"), EventExpired); n != 1 {
		t.Errorf("it happened %d times", n)
	}
}

// A group that opens later, and targets that join later, have their own deadline.
func TestEveryCohortHasItsOwnTime(t *testing.T) {
	w := running(t, 2, both(deadline(time.Hour, v1alpha1.DeadlineActionFail), dynamic(1, 10)))
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.adds("new-1", "new-2")
	w.passes(30 * time.Minute)
	w.adds("new-3")
	w.passes(30*time.Minute - time.Second)
	if got := w.last.RecheckAfter; got != 30*time.Minute+time.Second {
		t.Errorf("the next look is after %s, not at the next deadline", got)
	}
	for name, want := range map[string]counting.Bucket{"new-1": counting.Failed, "new-2": counting.Failed, "new-3": counting.Pending} {
		if got := w.bucket(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	w.passes(time.Hour)
	if got := w.bucket("new-3"); got != counting.Failed {
		t.Errorf("new-3 is %s", got)
	}
	g, _ := w.groupOf("new-1")
	if a := g.Status.ExpiredAt; len(a) != 2 || a[0].Through != 2 || a[1].Through != 3 {
		t.Errorf("the batches that expired are %v", a)
	}
}

// Times are rounded in favor of the device.
func TestNoMemberExpiresEarly(t *testing.T) {
	w := running(t, 2, both(deadline(time.Hour, v1alpha1.DeadlineActionFail), dynamic(1, 10)))
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.tick(700 * time.Millisecond)
	w.adds("new-1")
	w.passes(time.Hour - time.Millisecond)
	if got := w.bucket("new-1"); got != counting.Pending {
		t.Errorf("new-1 is %s before its hour is over", got)
	}
	w.passes(time.Second)
	if got := w.bucket("new-1"); got != counting.Failed {
		t.Errorf("new-1 is %s", got)
	}
}

// After a resume only later failures count, also those of members that did not start in time.
func TestExpiredMembersCountSinceWhenTheyExpired(t *testing.T) {
	w := running(t, 2, both(deadline(time.Hour, v1alpha1.DeadlineActionFail), func(s *v1alpha1.RolloutSpec) {
		dynamic(1, 4)(s)
		s.ErrorThreshold = num(40)
	}))
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.adds("new-1", "new-2")
	w.passes(time.Hour)
	w.want(v1alpha1.RolloutPaused, "Finished Error")
	w.wantContains(w.rollout.Status.PauseMessage, "2 of 4 had failed")
	w.resume()
	w.reconcileAll()
	w.adds("new-3")
	w.passes(time.Hour)
	w.want(v1alpha1.RolloutRunning, "Finished Error Running") // 1 of 4 since
}

// A device had another assignment when the deadline of its group passed. The assignment is removed
// after a resume, and the member expires then.
func TestAMemberWhoseAssignmentIsRemovedExpiresThen(t *testing.T) {
	w := running(t, 4, both(deadline(time.Hour, v1alpha1.DeadlineActionFail), func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.ErrorThreshold = num(1), num(20)
	}))
	since := metav1.NewMicroTime(w.now)
	w.assign("dev-01", "firmware-3", "")
	w.targets["dev-01"].Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "firmware-3", Since: &since}
	w.startUpdate("dev-04")
	w.passes(time.Hour)
	w.want(v1alpha1.RolloutPaused, "Error")
	w.wantContains(w.rollout.Status.PauseMessage, "2 of 3 had failed")
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Error")
	w.tick(time.Minute)
	w.targets["dev-01"].Spec.Assignment = nil
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Error")
	w.wantContains(w.rollout.Status.PauseMessage, "1 of 4 had failed since")
}

// The number of batches is limited. When the first members expired is dropped, but not that they
// have expired.
func TestAGroupKeepsTheNewestBatchesOfExpiredMembers(t *testing.T) {
	g, l := &v1alpha1.DeploymentGroup{}, newPlanner(Snapshot{Rollout: &v1alpha1.Rollout{}})
	expires := func(i int) {
		l.Now = epoch.Add(time.Duration(i) * time.Hour)
		l.openBatch(&g.Status, 100, []int{i})
		g.Status.Expired = bitmap.Set(g.Status.Expired, i, 100)
	}
	for i := range 50 {
		expires(i)
	}
	if n := len(g.Status.ExpiredAt); n != 1+maxStragglers {
		t.Errorf("it has %d batches", n)
	}
	for i, want := range map[int]int{0: 0, 1: 0, 49 - maxStragglers: 0, 50 - maxStragglers: 50 - maxStragglers, 49: 49} {
		if got := counting.MemberOf(g, i).Expired; !got.Equal(epoch.Add(time.Duration(want) * time.Hour)) {
			t.Errorf("member %d expired at %s, want hour %d", i, got, want)
		}
	}
}

func TestRetryGivesMoreTime(t *testing.T) {
	tests := map[string]struct {
		codes []string
		want  counting.Bucket
	}{
		"of any code":     {nil, counting.Pending},
		"of this code":    {[]string{"17", v1alpha1.CodeStartDeadlineExceeded}, counting.Pending},
		"of another code": {[]string{"17"}, counting.Failed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 4, deadline(time.Hour, v1alpha1.DeadlineActionFail))
			w.passes(time.Hour)
			w.succeed("dev-03", "dev-04")
			w.reconcileAll()
			w.want(v1alpha1.RolloutFinished, "Finished Finished")
			w.tick(time.Minute)
			w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: *at(w.now), StatusCodes: tt.codes} })
			w.reconcileAll()
			if got := w.bucket("dev-01"); got != tt.want {
				t.Fatalf("dev-01 is %s, want %s", got, tt.want)
			}
			if tt.want == counting.Failed {
				return
			}
			w.want(v1alpha1.RolloutRunning, "Running Finished")
			w.succeed("dev-01")
			w.passes(time.Hour - time.Second)
			w.want(v1alpha1.RolloutRunning, "Running Finished")
			w.passes(time.Second)
			w.want(v1alpha1.RolloutFinished, "Finished Finished")
			if c := w.rollout.Status.Groups[0]; c.Succeeded != 1 || c.Failed != 1 {
				t.Errorf("counted %+v", c.Counts)
			}
		})
	}
}

// A member that waits for confirmation has not started. A member that has started is in time, even
// if it was marked as expired meanwhile.
func TestWhichMembersHaveNotStarted(t *testing.T) {
	w := running(t, 2, deadline(time.Hour, v1alpha1.DeadlineActionFail))
	w.targets["dev-01"].Status.Actions = []v1alpha1.Action{ofRollout("r", 1, v1alpha1.ActionWaitingForConfirmation)}
	w.passes(time.Hour)
	if got := w.bucket("dev-01"); got != counting.Failed {
		t.Errorf("the member that waits for confirmation is %s", got)
	}
	w.targets["dev-01"].Status.Actions = []v1alpha1.Action{ofRollout("r", 1, v1alpha1.ActionRunning)}
	if got := w.bucket("dev-01"); got != counting.InProgress {
		t.Errorf("the member that has started is %s", got)
	}
}

// Devices that do not start in time pause the rollout if they count as failed, and do not if they
// are skipped.
func TestDevicesThatDoNotStartAndTheErrorThreshold(t *testing.T) {
	tests := map[string]struct {
		action v1alpha1.DeadlineAction
		want   v1alpha1.RolloutState
		groups string
	}{
		"they fail":        {v1alpha1.DeadlineActionFail, v1alpha1.RolloutPaused, "Error Scheduled"},
		"they are skipped": {v1alpha1.DeadlineActionSkip, v1alpha1.RolloutRunning, "Finished Running"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 8, both(deadline(time.Hour, tt.action), func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(40) }))
			w.succeed("dev-01", "dev-02")
			w.passes(time.Hour)
			w.want(tt.want, tt.groups)
		})
	}
}

// The opening and the closing of a maintenance window cause no write. A write for another reason
// names the next opening.
func TestAWindowCausesNoWrite(t *testing.T) {
	w := running(t, 4, nightly) // it is 10:00
	want := time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC)
	if got := w.rollout.Status.WaitingFor.Until; got == nil || !got.Time.Equal(want) {
		t.Errorf("it waits until %s, and not until the next window opens", got)
	}
	w.wantContains(w.waitingFor(), `devices start only in the maintenance window "0 2 * * *" (UTC, 2h0m0s)`)
	before := w.rollout.DeepCopy()
	for range 48 {
		w.tick(time.Hour)
		if p := w.reconcile(); p.Decided || p.RecheckAfter != 0 {
			t.Fatalf("%s: decided %v, the next reconcile is after %s", w.now, p.Decided, p.RecheckAfter)
		}
	}
	if w.rollout.Status.WaitingFor.Until.Time != before.Status.WaitingFor.Until.Time {
		t.Error("a change of the time alone was written")
	}
	w.now = want.AddDate(0, 0, 2)
	w.startUpdate("dev-01")
	w.tick(3 * time.Hour)
	w.reconcileAll()
	if got := w.rollout.Status.WaitingFor.Until.Time; !got.Equal(want.AddDate(0, 0, 3)) {
		t.Errorf("it waits until %s", got)
	}
}
