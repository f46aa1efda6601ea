// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

var (
	update = flag.Bool("update", false, "write the golden decision logs")
	seeds  = flag.Int("seeds", 10, "number of random orders in which each story runs")
)

// story is a whole rollout: a fleet, the behavior of its devices, and the steps of a user.
type story struct {
	targets int
	spec    func(*v1alpha1.RolloutSpec)
	// devices that do not carry out every update at once, by name.
	devices map[string]deviceBehavior
	// laterTargets are names of targets that may appear later.
	laterTargets []string
	person       []step
	// setup changes the world before the first reconcile.
	setup func(*world)
	// hours reports whether the clock also moves by itself, to the next time that an actor waits
	// for. nil: it never does.
	hours func(*world) bool
	// end checks what must be true at the end in every order of turns. It may be nil.
	end func(*player)
	// wantState and wantGroups are the states at the end in every order of turns; empty if they
	// depend on the order.
	wantState  v1alpha1.RolloutState
	wantGroups string
}

// deviceBehavior says how a device differs from one that carries out every update at once.
type deviceBehavior struct {
	// The device fails this number of times with this code.
	code  string
	times int
	// It refuses requests to cancel, or does not answer them.
	refuses, ignores bool
	// It sends no report after it has started.
	hangs bool
	// It sends no request after its first failure.
	lost bool
	// It denies this number of requests for confirmation; with never, all.
	denies int
	// It needs this number of turns for each step; with never, it takes none.
	slow int
}

// never is a number of turns or requests that no story reaches.
const never = 1000

// step is one commit, or another change of the world, as soon as when returns true.
type step struct {
	says string
	when func(*world) bool
	do   func(*world)
}

var stories = map[string]story{
	"a canary, then the rest": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.Groups = []v1alpha1.Group{{Name: "canary", Percentage: num(25), SuccessThreshold: num(100)}, {Name: "half", Percentage: num(50)}, {Name: "rest"}}
		},
		devices:   map[string]deviceBehavior{"dev-05": {code: "17", times: 1}, "dev-02": {slow: 3}},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
	},
	"software is removed, in place of an installation": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.Update = removalUpdate
			s.GroupCount, s.ErrorThreshold, s.SuccessThreshold = num(3), num(40), num(100)
		},
		setup: func(w *world) {
			w.inventories["dev-02"] = inventory{{Group: "acme", Name: "app", Version: "1.3"}}
			w.inventories["dev-03"] = inventory{{Group: "acme", Name: "app", Version: "1.2"}}
		},
		devices:   map[string]deviceBehavior{"dev-05": {code: "17", times: 1}, "dev-09": {slow: 3}},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
	},
	"the automatic pause, a resume, and a retry": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold, s.SuccessThreshold = num(3), num(40), num(100)
		},
		devices: map[string]deviceBehavior{"dev-05": {code: "17", times: 1}, "dev-06": {code: "17", times: 1}, "dev-07": {code: "flash", times: 1}},
		person: []step{
			{"resumes after the automatic pause", isPausedBy(v1alpha1.PauseByErrorThreshold), func(w *world) { w.resume() }},
			{"retries what failed", isIn(v1alpha1.RolloutFinished), func(w *world) {
				w.tick(2 * time.Second)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
			}},
		},
	},
	"successAction Pause between groups, and a target is deleted": {
		targets: 9,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.SuccessAction = num(3), v1alpha1.SuccessActionPause
		},
		devices: map[string]deviceBehavior{"dev-02": {slow: never}},
		person: []step{
			{"resumes after the first group", isPausedBy(v1alpha1.PauseBySuccessAction), func(w *world) { w.resume() }},
			{"deletes a target that does not report", opens(1), func(w *world) { delete(w.targets, "dev-02") }},
			{"resumes after the second group", isPausedBy(v1alpha1.PauseBySuccessAction), func(w *world) { w.resume() }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
	},
	"stopped after the first group opened, and one device refuses to cancel": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]deviceBehavior{"dev-05": {refuses: true}, "dev-06": {slow: 2}, "dev-07": {slow: never}},
		person: []step{
			{"stops", hasStarted("dev-05"), func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped }) }},
		},
		wantState: v1alpha1.RolloutStopped, wantGroups: "Finished Finished",
	},
	"the set is invalidated with Force": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]deviceBehavior{"dev-01": {ignores: true, slow: 3}, "dev-02": {slow: 3}, "dev-08": {slow: never}},
		person: []step{
			{"invalidates the set", hasStarted("dev-01"), func(w *world) {
				w.set.Invalidation, w.set.InvalidationReason, w.set.InvalidatedAt = v1alpha1.CancellationForce, "bricks the modem", w.now
			}},
		},
		wantState: v1alpha1.RolloutStopped, wantGroups: "Finished Finished",
	},
	"a newer rollout takes targets over": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]deviceBehavior{"dev-03": {slow: never}, "dev-04": {slow: never}},
		person: []step{
			{"starts a newer rollout", opens(0), func(w *world) { w.addNewerRollout("newer", "firmware-3", "dev-03", "dev-04", "dev-05") }},
			{"waits until its group opens", opens(1), func(w *world) { w.openNewerRollouts() }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"targets join later, up to maxTargets": {
		targets: 4, laterTargets: []string{"new-1", "new-2", "new-3", "new-4", "new-5", "new-6"},
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Dynamic = num(2), &v1alpha1.Dynamic{GroupSize: num(2), MaxTargets: num(9)}
		},
		devices:   map[string]deviceBehavior{"dev-02": {slow: 2}, "new-4": {slow: 3}},
		person:    append(appears("new-3", "new-1", "new-5", "new-2"), appears("new-6", "new-4")...),
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished Finished Finished",
	},
	"a dynamic rollout is paused automatically and by spec, continues, and is stopped": {
		targets: 2, laterTargets: []string{"new-1", "new-2", "new-3", "new-4", "new-5"},
		spec: func(s *v1alpha1.RolloutSpec) {
			s.Dynamic, s.ErrorThreshold = &v1alpha1.Dynamic{GroupSize: num(2)}, num(40)
			s.Update.StartDeadlineSeconds = num(3600)
		},
		devices: map[string]deviceBehavior{"new-1": {code: "17", times: 1}, "new-3": {slow: 2}, "new-5": {slow: never}},
		person: slices.Concat(appears("new-1"), []step{
			{"pauses", isPausedBy(v1alpha1.PauseByErrorThreshold), func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			}},
		}, appears("new-2", "new-3"), []step{
			{"goes on", always, func(w *world) {
				w.resume()
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			}},
		}, appears("new-4", "new-5"), []step{
			{"stops", hasStarted("new-4"), func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped }) }},
		}),
		wantState: v1alpha1.RolloutStopped,
	},
	"devices that never poll, and two that poll after the start deadline": {
		targets: 8,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold, s.Update.StartDeadlineSeconds = num(2), num(100), num(3600)
		},
		devices: map[string]deviceBehavior{"dev-01": {slow: never}, "dev-06": {slow: never}},
		person: []step{
			{"waits an hour", opens(1), func(w *world) { w.tick(time.Hour) }},
			{"waits another", func(w *world) bool { return w.rollout.Status.Targets.Failed > 0 }, func(w *world) { w.tick(time.Hour) }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"an error budget over small groups": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorBudget = num(6), &v1alpha1.ErrorBudget{Count: num(2)}
		},
		devices: map[string]deviceBehavior{"dev-01": {code: "17", times: 1}, "dev-03": {code: "17", times: 1}, "dev-05": {code: "17", times: 1}},
		person: []step{
			{"resumes after the budget was used up", isPausedBy(v1alpha1.PauseByErrorBudget), func(w *world) { w.resume() }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished Finished Finished Finished",
	},
	"approved, edited, and approved again": {
		targets: 9,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ApprovalRequired, s.State = num(3), true, v1alpha1.IntentPlanned
		},
		person: []step{
			{"approves a plan that does not exist", always, func(w *world) { w.approve("sha256:" + strings.Repeat("0", 64)) }},
			{"approves the plan", isIn(v1alpha1.RolloutWaitingForApproval), func(w *world) { w.approve(w.planHash()) }},
			{"edits the approved plan", isIn(v1alpha1.RolloutReady), func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = num(40) })
			}},
			{"sets the state to Running", isIn(v1alpha1.RolloutWaitingForApproval), func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			}},
			{"approves the plan, and edits it in the same commit", isIn(v1alpha1.RolloutWaitingForApproval), func(w *world) {
				w.approve(w.planHash())
				w.edit(func(s *v1alpha1.RolloutSpec) { s.Update.Retries = &v1alpha1.Retries{Limit: 1, BackoffSeconds: num(60)} })
			}},
			{"deletes a target", isPlanned, func(w *world) { delete(w.targets, "dev-05") }},
			{"approves the present plan", isPlanned, func(w *world) { w.approve(w.planHash()) }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
		end: func(s *player) { s.wantCounts(v1alpha1.Counts{Targets: 9, Succeeded: 8, Removed: 1}) },
	},
	"failed updates are retried after the backoff, up to the limit": {
		targets: 8, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold = num(2), num(100)
			s.Update.Retries, s.Update.ProgressDeadlineSeconds = &v1alpha1.Retries{Limit: 2, BackoffSeconds: num(600)}, num(3600)
		},
		devices: map[string]deviceBehavior{
			"dev-02": {code: "17", times: 1}, "dev-03": {code: "17", times: 5}, "dev-04": {slow: 2}, "dev-05": {hangs: true}, "dev-08": {code: "flash", times: 2},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantAttempts("dev-03", counting.Failed, 3)
			s.wantAttempts("dev-05", counting.Failed, 3)
		},
	},
	"only failures with one code are retried": {
		targets: 6, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.ErrorThreshold, s.Update.Retries = num(100), &v1alpha1.Retries{Limit: 1, BackoffSeconds: num(600), StatusCodes: []string{"17"}}
		},
		devices: map[string]deviceBehavior{"dev-02": {code: "17", times: 1}, "dev-03": {code: "flash", times: 1}, "dev-04": {code: "flash", times: 1}},
		person: []step{
			{"retries the other code", isIn(v1alpha1.RolloutFinished), func(w *world) {
				w.tick(2 * time.Second)
				w.edit(func(s *v1alpha1.RolloutSpec) {
					s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now), StatusCodes: []string{"flash"}}
				})
			}},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished",
		end: func(s *player) {
			s.wantAttempts("dev-02", counting.Succeeded, 2)
			s.wantAttempts("dev-03", counting.Succeeded, 2)
		},
	},
	"only failures with one message are retried": {
		targets: 6, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.ErrorThreshold, s.Update.Retries = num(100), &v1alpha1.Retries{Limit: 1, BackoffSeconds: num(600), Messages: []string{"disk <n> is full"}}
		},
		devices: map[string]deviceBehavior{
			"dev-01": {code: messageOnly + "disk 1 is full", times: 1}, "dev-02": {code: messageOnly + "disk 2 is full", times: 2},
			"dev-03": {code: messageOnly + "checksum of /a/b-3 is wrong", times: 1}, "dev-04": {code: "17", times: 1}, "dev-05": {code: "flash", times: 1},
		},
		person: []step{
			{"retries another message, and a code", isIn(v1alpha1.RolloutFinished), func(w *world) {
				w.tick(2 * time.Second)
				w.edit(func(s *v1alpha1.RolloutSpec) {
					s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now), Messages: []string{"checksum of <path> is wrong"}, StatusCodes: []string{"flash"}}
				})
			}},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished",
		end: func(s *player) {
			s.wantAttempts("dev-01", counting.Succeeded, 2)
			s.wantAttempts("dev-02", counting.Failed, 2)
			s.wantAttempts("dev-03", counting.Succeeded, 2)
			s.wantAttempts("dev-04", counting.Failed, 1)
			s.wantAttempts("dev-05", counting.Succeeded, 2)
		},
	},
	"a maintenance window at night": {
		targets: 8, hours: always,
		spec: both(nightly, func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold = num(2), num(100)
			s.Update.StartDeadlineSeconds = num(5 * 3600)
			s.Update.Retries = &v1alpha1.Retries{Limit: 1, BackoffSeconds: num(3600)}
		}),
		devices: map[string]deviceBehavior{"dev-02": {slow: 4}, "dev-03": {code: "17", times: 1}, "dev-04": {slow: never}, "dev-07": {hangs: true}},
		person: []step{
			{"waits until the window closes while devices install", isNight, func(w *world) { w.tick(3 * time.Hour) }},
			{"waits a day", always, func(w *world) { w.tick(24 * time.Hour) }},
		},
		end: func(s *player) { s.wantAttempts("dev-04", counting.Failed, 0) }, // it had five hours in three nights
	},
	"updates have to be confirmed at the device": {
		targets: 8,
		spec: func(s *v1alpha1.RolloutSpec) {
			yes := true
			s.Groups = []v1alpha1.Group{{Name: "asked", Percentage: num(50), ConfirmationRequired: &yes}, {Name: "rest"}}
			s.StopCancellation = v1alpha1.CancellationNone
		},
		devices: map[string]deviceBehavior{"dev-01": {denies: 2}, "dev-02": {denies: never}, "dev-03": {slow: 2, denies: 1}, "dev-06": {slow: 3}},
		person: []step{
			{"sets autoConfirm of one target", hasStarted("dev-04"), func(w *world) { w.targets["dev-04"].Spec.AutoConfirm = v1alpha1.AutoConfirmAlways }},
			{"stops while one update waits for confirmation", and(opens(1), hasStarted("dev-02")), func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped })
			}},
		},
		wantState: v1alpha1.RolloutStopped, wantGroups: "Finished Finished",
		end: func(s *player) {
			if a := action.Newest(&s.targets["dev-02"].Status); a.State != v1alpha1.ActionCanceled || a.Cancel.From != v1alpha1.ActionWaitingForConfirmation {
				s.t.Errorf("the action that waited for confirmation at the stop is %s: %+v", a.State, a.Cancel)
			}
			s.wantAttempts("dev-02", counting.Canceled, 1)
		},
	},
	"targets without a confirmation in time are skipped": {
		targets: 6, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Update.ConfirmationRequired = num(2), true
			s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(3600), v1alpha1.DeadlineActionSkip
		},
		devices: map[string]deviceBehavior{"dev-01": {denies: never}, "dev-02": {denies: 1}, "dev-05": {slow: never}},
		person: []step{
			{"pauses", opens(0), func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused }) }},
			{"resumes the next day", or(isPausedWith(v1alpha1.IntentPaused), isIn(v1alpha1.RolloutFinished)), func(w *world) { // all may have ended before the pause
				w.tick(24 * time.Hour)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			}},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantBucket("dev-01", counting.Skipped)
			s.wantAttempts("dev-05", counting.Skipped, 0)
		},
	},
	"a retry asks again for confirmations that were too late": {
		targets: 4, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.Update.ConfirmationRequired, s.Update.StartDeadlineSeconds, s.ErrorThreshold = true, num(3600), num(100)
		},
		devices: map[string]deviceBehavior{"dev-01": {denies: never}, "dev-02": {denies: 1}},
		person: []step{
			{"sets autoConfirm of dev-01, and retries", isIn(v1alpha1.RolloutFinished), func(w *world) {
				w.tick(2 * time.Second)
				w.targets["dev-01"].Spec.AutoConfirm = v1alpha1.AutoConfirmAlways
				w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
			}},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished",
		end: func(s *player) {
			if got := s.bucket("dev-01"); got != counting.Succeeded && got != counting.Failed { // it may be too late again
				s.t.Errorf("dev-01 ends %s", got)
			}
		},
	},
	"a device fails and sends no request afterwards": {
		targets: 6, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold, s.Update.StartDeadlineSeconds = num(2), num(100), num(7200)
			s.Update.Retries, s.Update.ProgressDeadlineSeconds = &v1alpha1.Retries{Limit: 2, BackoffSeconds: num(600)}, num(3600)
		},
		devices: map[string]deviceBehavior{
			"dev-02": {code: "17", times: 1, lost: true}, "dev-04": {code: "flash", times: 2, lost: true}, "dev-05": {code: "17", times: 1},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantBucket("dev-02", counting.Failed)
			s.wantBucket("dev-04", counting.Failed)
		},
	},
	"devices that never poll are skipped": {
		targets: 8, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold, s.SuccessThreshold = num(2), num(0), num(100)
			s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(3600), v1alpha1.DeadlineActionSkip
		},
		devices:   map[string]deviceBehavior{"dev-01": {slow: never}, "dev-03": {slow: 2}, "dev-06": {slow: never}},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantAttempts("dev-01", counting.Skipped, 0)
			s.wantAttempts("dev-06", counting.Skipped, 0)
		},
	},
	"single targets are assigned other sets during the rollout": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]deviceBehavior{"dev-03": {slow: 3}, "dev-04": {slow: never}},
		person: []step{
			{"gives dev-02 another set", always, func(w *world) { w.assign("dev-02", "firmware-3", "") }},
			{"queues another set for dev-03", opens(0), func(w *world) { w.assign("dev-03", "firmware-4", v1alpha1.SupersedingQueue) }},
			{"assigns another set to dev-04, which does not poll", opens(0), func(w *world) { w.assign("dev-04", "firmware-3", "") }},
			{"gives dev-06 another set", opens(0), func(w *world) { w.assign("dev-06", "firmware-3", "") }},
			{"queues another set for dev-07", always, func(w *world) { w.assign("dev-07", "firmware-4", v1alpha1.SupersedingQueue) }},
			{"removes the assignment of dev-06", opens(1), func(w *world) { w.targets["dev-06"].Spec.Assignment = nil }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantAttempts("dev-07", counting.Succeeded, 1)
			s.wantAttempts("dev-03", counting.Succeeded, 1)
		},
	},
	"single targets are assigned the set of the rollout": {
		targets: 4,
		spec:    groupCount(2),
		person: []step{
			{"assigns the same set to dev-01", opens(0), func(w *world) { w.assign("dev-01", "firmware-2", "") }},
			{"assigns the same set to dev-03", opens(0), func(w *world) { w.assign("dev-03", "firmware-2", "") }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"a queued rollout, and other queued updates by weight": {
		targets: 6,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Update.Superseding, s.Update.Weight = num(2), v1alpha1.SupersedingQueue, num(20)
		},
		devices: map[string]deviceBehavior{"dev-02": {slow: 2}},
		setup: func(w *world) {
			w.addSet("step-1").RequiredMigrationStep = true
			w.assign("dev-01", "step-1", "")
			w.lookAt("dev-01")
		},
		person: []step{
			{"queues a set with a higher weight", opens(0), func(w *world) { w.assign("dev-02", "firmware-3", v1alpha1.SupersedingQueue) }},
			{"queues a set with a higher weight in a group that has not opened", always, func(w *world) { w.assign("dev-05", "firmware-3", v1alpha1.SupersedingQueue) }},
			{"replaces the queued update", always, func(w *world) { w.assign("dev-06", "firmware-3", "") }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantAttempts("dev-01", counting.Succeeded, 1)
			s.wantAttempts("dev-02", counting.Succeeded, 1)
		},
	},
	"a required migration step is not replaced": {
		targets: 4,
		spec:    groupCount(2),
		setup:   func(w *world) { w.set.RequiredMigrationStep = true },
		devices: map[string]deviceBehavior{"dev-02": {slow: 2}},
		person: []step{
			{"assigns another set", always, func(w *world) { w.assign("dev-02", "firmware-3", "") }},
			{"starts a newer rollout and opens its group", opens(0), func(w *world) { w.addNewerRollout("newer", "firmware-3", "dev-01", "dev-04"); w.openNewerRollouts() }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"targets are put on hold, and released": {
		targets: 6,
		spec:    func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.SuccessThreshold = num(2), num(30) },
		setup:   func(w *world) { w.hold("dev-01", true) },
		devices: map[string]deviceBehavior{"dev-02": {slow: 2}},
		person: []step{
			{"holds dev-02", opens(0), func(w *world) { w.hold("dev-02", true) }},
			{"holds dev-05", always, func(w *world) { w.hold("dev-05", true) }},
			{"releases dev-01", opens(1), func(w *world) { w.hold("dev-01", false) }},
			{"releases dev-02", always, func(w *world) { w.hold("dev-02", false) }},
			{"releases dev-05", always, func(w *world) { w.hold("dev-05", false) }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) { s.wantCounts(v1alpha1.Counts{Targets: 6, Succeeded: 6}) },
	},
	"the types of targets are changed": {
		targets: 6, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Update.StartDeadlineSeconds, s.ErrorThreshold = num(2), num(3600), num(100)
		},
		setup: func(w *world) {
			w.set.CompatibleTargetTypes = []string{"gateway"}
			for _, t := range w.targets {
				t.Spec.Type = "gateway"
			}
		},
		person: []step{
			{"corrects the type of dev-02", opens(0), func(w *world) { w.targets["dev-02"].Spec.Type = "router" }},
			{"corrects the type of dev-05", always, func(w *world) { w.targets["dev-05"].Spec.Type = "router" }},
			{"corrects the type of dev-03", always, func(w *world) { w.targets["dev-03"].Spec.Type = "router" }},
			{"reverts the last change", always, func(w *world) { w.targets["dev-03"].Spec.Type = "gateway" }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"targets become duplicates of older targets": {
		targets: 6, hours: always,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Update.StartDeadlineSeconds, s.Update.StartDeadlineAction = num(2), num(3600), v1alpha1.DeadlineActionSkip
		},
		person: []step{
			{"adds an older duplicate of dev-02", opens(0), func(w *world) { w.duplicate("dev-02", true) }},
			{"adds an older duplicate of dev-05", always, func(w *world) { w.duplicate("dev-05", true) }},
			{"adds an older duplicate of dev-06", always, func(w *world) { w.duplicate("dev-06", true) }},
			{"deletes the last duplicate", always, func(w *world) { w.duplicate("dev-06", false) }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"DownloadOnly, and installed later": {
		targets: 4,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Update.Type = num(2), v1alpha1.UpdateTypeDownloadOnly
		},
		devices: map[string]deviceBehavior{"dev-03": {slow: 3}},
		person: []step{
			{"installs the downloaded set on dev-01", hasFinished("dev-01"), func(w *world) { w.report("dev-01", action.Install, ""); w.report("dev-01", action.Succeed, "") }},
			{"fails to install the downloaded set on dev-02", hasFinished("dev-02"), func(w *world) { w.report("dev-02", action.Install, ""); w.report("dev-02", action.Fail, "17") }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
		end: func(s *player) {
			s.wantCounts(v1alpha1.Counts{Targets: 4, Succeeded: 4})
			if !action.Installed(&s.targets["dev-01"].Status, s.set.ContentHash) || s.targets["dev-03"].Status.Installed != nil {
				s.t.Error("the set is not installed on dev-01 only")
			}
		},
	},
	"all at once": {
		targets: 6, laterTargets: []string{"new-1", "new-2", "new-3"}, hours: always,
		spec: both(nightly, func(s *v1alpha1.RolloutSpec) {
			yes := true
			s.Groups = []v1alpha1.Group{{Name: "asked", Percentage: num(50), ConfirmationRequired: &yes}, {Name: "rest"}}
			s.Dynamic, s.ApprovalRequired, s.ErrorThreshold = &v1alpha1.Dynamic{GroupSize: num(2)}, true, num(100)
			s.Update.StartDeadlineSeconds, s.Update.ProgressDeadlineSeconds = num(3*3600), num(7200)
			s.Update.Retries = &v1alpha1.Retries{Limit: 1, BackoffSeconds: num(1800)}
		}),
		devices: map[string]deviceBehavior{
			"dev-01": {denies: 1}, "dev-02": {denies: never}, "dev-03": {code: "17", times: 1}, "dev-04": {hangs: true}, "dev-05": {slow: 4},
			"new-1": {code: "17", times: 2}, "new-3": {slow: never},
		},
		person: slices.Concat([]step{
			{"approves the plan", isIn(v1alpha1.RolloutWaitingForApproval), func(w *world) { w.approve(w.planHash()) }},
		}, appears("new-1", "new-2"), []step{
			{"holds dev-06", always, func(w *world) { w.hold("dev-06", true) }},
			{"gives dev-05 another set", always, func(w *world) { w.assign("dev-05", "firmware-3", "") }},
			{"pauses", always, func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused }) }},
		}, appears("new-3"), []step{
			{"releases dev-06", always, func(w *world) { w.hold("dev-06", false) }},
			{"goes on", always, func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning }) }},
			{"invalidates the set", isNight, func(w *world) { w.invalidate(v1alpha1.CancellationSoft) }},
		}),
		wantState: v1alpha1.RolloutStopped,
	},
}

func always(*world) bool { return true }

// appears returns steps in which targets are created, one after the other.
func appears(names ...string) []step {
	var steps []step
	for _, name := range names {
		steps = append(steps, step{"adds " + name, opens(0), func(w *world) { w.addTarget(name) }})
	}
	return steps
}

func isPausedBy(reason v1alpha1.PauseReason) func(*world) bool {
	return func(w *world) bool { return w.rollout.Status.PauseReason == reason }
}

func isPausedWith(intent v1alpha1.RolloutIntent) func(*world) bool {
	return func(w *world) bool { return w.state() == v1alpha1.RolloutPaused && w.rollout.Spec.State == intent }
}

func isIn(state v1alpha1.RolloutState) func(*world) bool {
	return func(w *world) bool { return w.state() == state }
}

func opens(group int) func(*world) bool {
	return func(w *world) bool {
		return len(w.rollout.Status.Groups) > group && w.rollout.Status.Groups[group].State != v1alpha1.GroupScheduled && w.rollout.Status.StartedAt != nil
	}
}

func hasStarted(name string) func(*world) bool {
	return func(w *world) bool { return action.Newest(&w.targets[name].Status) != nil }
}

func hasFinished(name string) func(*world) bool {
	return func(w *world) bool {
		a := action.Newest(&w.targets[name].Status)
		return a != nil && a.State == v1alpha1.ActionFinished
	}
}

// isNight reports whether the window of nightly is open.
func isNight(w *world) bool { return w.now.Hour() == 2 || w.now.Hour() == 3 }

func and(a, b func(*world) bool) func(*world) bool {
	return func(w *world) bool { return a(w) && b(w) }
}

func or(a, b func(*world) bool) func(*world) bool {
	return func(w *world) bool { return a(w) || b(w) }
}

// isPlanned reports whether the plan was made from the present spec.
func isPlanned(w *world) bool {
	return w.rollout.Status.Plan != nil && w.rollout.Status.Plan.SpecHash == grouping.SpecHash(w.rollout)
}

func (w *world) approve(hash string) {
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Approval = &v1alpha1.Approval{PlanHash: hash} })
}

func (w *world) hold(name string, is bool) { w.targets[name].Spec.Hold = is }

func (w *world) invalidate(c v1alpha1.Cancellation) {
	if w.set.InvalidatedAt.IsZero() {
		w.set.InvalidatedAt = w.now
	}
	w.set.Invalidation, w.set.InvalidationReason = c, "bricks the modem"
}

// TestStories runs every story in the default order and in one seeded random order, and compares
// the decisions with golden files. It also runs every story in new random orders (see -seeds), in
// which the controller crashes between writes. The invariants are checked after every turn.
func TestStories(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			t.Run("default order", func(t *testing.T) { golden(t, name+" (default order)", s.play(t, nil, false)) })
			t.Run("seed 7", func(t *testing.T) { golden(t, name+" (seed 7)", s.play(t, rand.New(rand.NewPCG(7, 0)), false)) })
			for range *seeds {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { s.play(t, rand.New(rand.NewPCG(seed, 0)), true) })
			}
		})
	}
}

func golden(t *testing.T, name string, log []string) {
	t.Helper()
	file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "", "(", "", ")", "").Replace(name)+".txt")
	got := strings.Join(log, "\n") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/rollout -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("decisions changed; if this is intended, run go test ./internal/rollout -update\n-want +got:\n%s", diff)
	}
}
