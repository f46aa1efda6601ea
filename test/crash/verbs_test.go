// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/test/world"
)

const removed = `
kind: Rollout
metadata: {name: roll}
spec:
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 0
  groupOrder: Name
  groups: [{name: first, percentage: 60}, {name: rest}]
  successThreshold: 100
  startAt: "2026-01-01T00:00:00Z"
`

// remove: a running rollout is deleted, and started devices continue: dev-1 finishes meanwhile.
// Created again, the rollout adopts the open action of dev-2 and continues. Deleted again, with
// Force, it closes the action of dev-4. No device gets an update twice.
var remove = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(5)
		r.set("firmware-1", "1.0")
		r.create(removed)
		r.devices.install("dev-0")
		r.devices.start("dev-1")
		r.devices.start("dev-2")
	},
	act: func(r *run) {
		r.removeRollout("roll")
		r.devices.findNothing("dev-3")
		r.devices.succeed("dev-1")
		r.create(removed)
		again := r.rollout("roll", "opens its first group", opened(0))
		r.EventuallyTarget("dev-2", "continues for the new rollout", func(t *v1alpha1.Target) bool { return action.Newest(&t.Status).Source.UID == again.UID })
		r.devices.findNothing("dev-0", "dev-1", "dev-3")
		r.devices.succeed("dev-2")
		r.rollout("roll", "opens its second group", opened(1))
		r.devices.start("dev-4")
		r.CommitRollout("roll", "spec: {deletionCancellation: Force}")
		r.removeRollout("roll")
		r.devices.cancel("dev-4", wire.ExecutionClosed)
		r.devices.findNothing("dev-3")
		r.devices.wereGiven(1, "dev-0", "dev-1", "dev-2", "dev-4")
	},
}

// removeRollout deletes a rollout, and fails the test if one of its groups still exists.
func (r *run) removeRollout(name string) {
	r.T.Helper()
	r.delete(&v1alpha1.Rollout{}, name)
	if groups := r.Groups(); len(groups) > 0 {
		r.T.Errorf("rollout %s is deleted, but %d of its groups exist", name, len(groups))
	}
}

// join: targets are created while a dynamic rollout runs. Two join the group after the planned one
// and fill it, the third joins another group, after which maxTargets is reached.
var join = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(1)
		r.set("firmware-1", "1.0")
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, successThreshold: 100, dynamic: {groupSize: 2, maxTargets: 4}}
`)
		r.rollout("roll", "opens its first group", opened(0))
	},
	act: func(r *run) {
		r.devices.install("dev-0")
		for i := 1; i < 4; i++ {
			r.later(i)
			r.devices.install(fmt.Sprintf("dev-%d", i))
		}
		r.rollout("roll", "finishes with three groups", func(s *v1alpha1.RolloutStatus) bool {
			return s.State == v1alpha1.RolloutFinished && len(s.Groups) == 3 && s.Targets.Succeeded == 4
		})
		r.devices.wereGiven(1, "dev-0", "dev-1", "dev-2", "dev-3")
	},
}

// approve: a plan is approved; then an edit of the spec makes another one, which waits for its own
// approval and starts with it.
var approve = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(2)
		r.set("firmware-1", "1.0")
	},
	act: func(r *run) {
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupCount: 2, approvalRequired: true, state: Planned}
`)
		first := r.awaitsApproval(2)
		r.CommitRollout("roll", fmt.Sprintf("spec: {approval: {planHash: %q}}", first))
		r.rollout("roll", "is approved", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutReady })
		r.CommitRollout("roll", "spec: {groupCount: 1, state: Running}")
		second := r.awaitsApproval(1)
		if first == second {
			r.T.Errorf("both plans have the hash %s", first)
		}
		r.devices.findNothing("dev-0", "dev-1")
		r.CommitRollout("roll", fmt.Sprintf("spec: {approval: {planHash: %q}}", second))
		r.devices.install("dev-0", "dev-1")
		r.rollout("roll", "finishes", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutFinished })
	},
}

// awaitsApproval waits until a plan with this number of groups waits for approval, and returns the
// plan hash in its message.
func (r *run) awaitsApproval(groups int) (hash string) {
	r.T.Helper()
	return r.rollout("roll", "awaits approval", func(s *v1alpha1.RolloutStatus) bool {
		return s.State == v1alpha1.RolloutWaitingForApproval && len(s.Groups) == groups && strings.Contains(s.WaitingFor.Message, s.Plan.Hash)
	}).Status.Plan.Hash
}

// confirm: four devices are asked to confirm. The first one confirms; the second one denies, and
// then confirms; for the third a commit sets autoConfirm: Always, and the fourth activates
// auto-confirm.
var confirm = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(4)
		r.set("firmware-1", "1.0")
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1, confirmationRequired: true}, stabilizationSeconds: 0}
`)
		r.rollout("roll", "opens its group", opened(0))
	},
	act: func(r *run) {
		r.devices.answer("dev-0", wire.Confirmed)
		r.devices.answer("dev-1", wire.Denied)
		r.devices.isAsked("dev-2")
		r.devices.isAsked("dev-3")
		r.devices.findNothing("dev-1", "dev-2", "dev-3")
		r.devices.answer("dev-1", wire.Confirmed)
		r.Commit(r.named(&v1alpha1.Target{}, "dev-2"), "spec: {autoConfirm: Always}")
		r.devices.confirmAll("dev-3")
		r.devices.install("dev-0", "dev-1", "dev-2", "dev-3")
		r.rollout("roll", "finishes", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutFinished })
		r.devices.wereGiven(1, "dev-0", "dev-1", "dev-2", "dev-3")
	},
}

// single: a newer set is assigned to two targets of a running rollout. dev-0 has started the update
// of the rollout; it cancels that and starts the assigned one. It rejects a cancel, is canceled by
// force, and the same set is assigned again. dev-1 had not started, and never gets the update of
// the rollout.
var single = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(2)
		r.set("firmware-1", "1.0")
		r.set("firmware-2", "2.0")
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, startAt: "2026-01-01T00:00:00Z"}
`)
		r.devices.start("dev-0")
	},
	act: func(r *run) {
		for _, name := range []string{"dev-0", "dev-1"} {
			r.commitTarget(name, "spec: {assignment: {distributionSet: firmware-2}}")
			r.EventuallyTarget(name, "is assigned", func(t *v1alpha1.Target) bool { return t.Status.Assignment != nil })
		}
		r.devices.cancel("dev-0", wire.ExecutionClosed)
		r.devices.start("dev-0")
		id := action.Newest(&r.Target("dev-0").Status).ID
		r.commitTarget("dev-0", fmt.Sprintf("spec: {cancel: {upTo: %d, cancellation: Soft}}", id))
		r.devices.cancel("dev-0", wire.ExecutionRejected)
		r.commitTarget("dev-0", "spec: {cancel: {cancellation: Force}}")
		r.devices.cancel("dev-0", wire.ExecutionClosed)
		r.devices.findNothing("dev-0")
		r.commitTarget("dev-0", fmt.Sprintf("spec: {assignment: {assignedAt: %q}}", time.Now().Add(time.Second).UTC().Format(time.RFC3339)))
		r.devices.install("dev-0", "dev-1")
		r.rollout("roll", "finishes without them", func(s *v1alpha1.RolloutStatus) bool {
			return s.State == v1alpha1.RolloutFinished && s.Targets.Canceled == 2
		})
		r.devices.wereGiven(3, "dev-0")
		r.devices.wereGiven(1, "dev-1")
	},
}

func (r *run) commitTarget(name, patch string) {
	r.T.Helper()
	r.Commit(r.named(&v1alpha1.Target{}, name), patch)
}

// auto: an auto-assignment has updated dev-0, and dev-1 has started, when a newer one of another
// set is created, which waits for dev-1. Its set is then invalidated, which stops it. The older one
// still updates new targets, and no target that had its set before.
var auto = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(2)
		r.set("firmware-1", "1.0")
		r.set("firmware-2", "2.0")
	},
	act: func(r *run) {
		r.create(autoOf("older", "firmware-1"))
		r.auto("older", v1alpha1.AutoAssignmentRunning)
		r.devices.install("dev-0")
		r.devices.start("dev-1")
		r.create(autoOf("newer", "firmware-2"))
		r.auto("newer", v1alpha1.AutoAssignmentRunning)
		r.devices.install("dev-0")
		r.devices.succeed("dev-1")
		r.devices.start("dev-1")
		r.Commit(r.named(&v1alpha1.DistributionSet{}, "firmware-2"), "spec: {invalidation: {cancellation: Soft}}")
		r.isInvalid("firmware-2")
		r.auto("newer", v1alpha1.AutoAssignmentStopped)
		r.devices.cancel("dev-1", wire.ExecutionClosed)
		r.later(2)
		r.devices.install("dev-2")
		r.devices.findNothing("dev-0", "dev-1", "dev-2")
		r.devices.wereGiven(2, "dev-0", "dev-1")
		r.devices.wereGiven(1, "dev-2")
	},
}

func autoOf(name, set string) string {
	return fmt.Sprintf(`
kind: AutoAssignment
metadata: {name: %s}
spec: {update: {distributionSet: %s}}
`, name, set)
}

// auto waits until an auto-assignment is in this state.
func (r *run) auto(name string, want v1alpha1.AutoAssignmentState) {
	r.T.Helper()
	r.Eventually(fmt.Sprintf("auto-assignment %s is %s", name, want), func() string {
		var a v1alpha1.AutoAssignment
		if err := r.Client.Get(r.T.Context(), types.NamespacedName{Namespace: r.Namespace, Name: name}, &a); err != nil {
			return err.Error()
		}
		if a.Status.State != want {
			return show(a.Status)
		}
		return ""
	})
}

// retry: dev-0 fails, is retried automatically, and fails again, after which it counts as failed. A
// commit retries the finished rollout, and dev-0 has a third attempt.
var retry = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(2)
		r.set("firmware-1", "1.0")
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1, retries: {limit: 1, backoffSeconds: 0}}, stabilizationSeconds: 0, errorThreshold: 100}
`)
		r.rollout("roll", "opens its group", opened(0))
	},
	act: func(r *run) {
		r.devices.install("dev-1")
		for range 2 {
			r.devices.start("dev-0")
			r.devices.fail("dev-0", "E42")
		}
		ended := r.rollout("roll", "finishes", func(s *v1alpha1.RolloutStatus) bool {
			return s.State == v1alpha1.RolloutFinished && s.Targets.Failed == 1
		})
		r.devices.findNothing("dev-0")
		r.CommitRollout("roll", fmt.Sprintf("spec: {retry: {at: %q}}", ended.Status.FinishedAt.UTC().Add(time.Second).Format(time.RFC3339)))
		r.devices.install("dev-0")
		r.rollout("roll", "finishes again", func(s *v1alpha1.RolloutStatus) bool {
			return s.State == v1alpha1.RolloutFinished && s.Targets.Succeeded == 2
		})
		r.devices.wereGiven(3, "dev-0")
		r.devices.wereGiven(1, "dev-1")
	},
}

// deadlines: three devices exceed a deadline. dev-1 is offline; its start deadline continues after
// a pause, and then it is skipped, while dev-0 starts in time. dev-2 starts and reports nothing,
// and fails. dev-3 is asked to cancel and does not answer, and is canceled.
var deadlines = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(4, 2)
		r.set("firmware-1", "1.0")
		r.create(`
kind: Rollout
metadata: {name: away}
spec:
  {update: {distributionSet: firmware-1, startDeadlineSeconds: 8, startDeadlineAction: Skip}, stabilizationSeconds: 0, targetExpression: 'target.name in ["dev-0", "dev-1"]'}
`)
		r.create(`
kind: Rollout
metadata: {name: silent}
spec:
  {update: {distributionSet: firmware-1, progressDeadlineSeconds: 8}, stabilizationSeconds: 0, errorThreshold: 100, targetSelector: {matchLabels: {shared: "true"}}}
`)
		r.commitTarget("dev-3", "spec: {assignment: {distributionSet: firmware-1, cancelDeadlineSeconds: 4}}")
		r.devices.start("dev-0")
		r.CommitRollout("away", "spec: {state: Paused}")
		r.rollout("away", "pauses", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutPaused })
		r.devices.take("dev-3")
		r.rollout("silent", "opens its group", opened(0))
	},
	act: func(r *run) {
		r.devices.take("dev-2")
		r.commitTarget("dev-3", fmt.Sprintf("spec: {cancel: {upTo: %d}}", action.Newest(&r.Target("dev-3").Status).ID))
		r.CommitRollout("away", "spec: {state: Running}")
		r.devices.succeed("dev-0")
		r.EventuallyTarget("dev-3", "is canceled", func(t *v1alpha1.Target) bool { return action.Open(&t.Status) == nil })
		r.rollout("away", "finishes without dev-1", func(s *v1alpha1.RolloutStatus) bool {
			return s.State == v1alpha1.RolloutFinished && s.Targets.Skipped == 1
		})
		r.rollout("silent", "finishes", func(s *v1alpha1.RolloutStatus) bool {
			return s.State == v1alpha1.RolloutFinished && s.Targets.Failed == 1
		})
		r.devices.findNothing("dev-1", "dev-2", "dev-3")
	},
}

// budget: dev-0 fails, which exceeds the error budget. A user resumes the rollout, advances to the
// last group without waiting for dev-1, and then stops it. dev-1 cancels when it is asked; dev-2
// does not answer. The stop is reverted, which has no effect, and then set again and raised to
// Force.
var budget = Scenario{
	oneIn: 8,
	prepare: func(r *run) {
		r.fleet(3)
		r.set("firmware-1", "1.0")
		r.create(`
kind: Rollout
metadata: {name: roll}
spec:
  {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupOrder: Name, groupCount: 3, successThreshold: 100, errorThreshold: 100, errorBudget: {count: 0}}
`)
		r.devices.start("dev-0")
	},
	act: func(r *run) {
		r.devices.fail("dev-0", "E42")
		held := r.rollout("roll", "is held", func(s *v1alpha1.RolloutStatus) bool { return s.PauseReason == v1alpha1.PauseByErrorBudget })
		r.devices.findNothing("dev-0", "dev-1")
		r.CommitRollout("roll", fmt.Sprintf("spec: {resumedAt: %q}", held.Status.PausedAt.UTC().Add(time.Second).Format(time.RFC3339)))
		r.devices.start("dev-1")
		r.devices.findNothing("dev-2")
		r.CommitRollout("roll", fmt.Sprintf("spec: {advance: {to: group-3, at: %q}}", time.Now().UTC().Format(time.RFC3339)))
		r.devices.start("dev-2")
		r.CommitRollout("roll", "spec: {state: Stopped, stopCancellation: Soft}")
		r.devices.cancel("dev-1", wire.ExecutionClosed)
		r.rollout("roll", "stops", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutStopped })
		r.CommitRollout("roll", "spec: {state: Running}")
		r.rollout("roll", "has a condition that the stop is final", func(s *v1alpha1.RolloutStatus) bool {
			return world.Says(s.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonStopIsFinal)
		})
		r.devices.findNothing("dev-0")
		r.CommitRollout("roll", "spec: {state: Stopped, stopCancellation: Force}")
		r.EventuallyTarget("dev-2", "is canceled", func(t *v1alpha1.Target) bool { return action.Open(&t.Status) == nil })
		r.devices.cancel("dev-2", wire.ExecutionClosed)
		r.devices.wereGiven(1, "dev-0", "dev-1", "dev-2")
	},
}
