// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestAnyStory runs stories with random specs, devices and steps, in random order, and checks the
// invariants. The first seeds are fixed: with them, the test also checks that updates start.
func TestAnyStory(t *testing.T) {
	const fixed = 10
	started := 0
	for i := range fixed + *seeds {
		seed := uint64(i)
		if i >= fixed {
			seed = rand.Uint64()
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			s := anyStory(random)
			s.end = func(s *player) {
				if i >= fixed {
					return
				}
				for _, target := range s.targets {
					started += len(target.Status.Actions)
				}
			}
			s.play(t, random, random.IntN(2) == 0)
		})
	}
	if started < fixed {
		t.Errorf("only %d actions started in the %d stories with fixed seeds: too few for this test", started, fixed)
	}
}

func anyStory(random *rand.Rand) story {
	n := 2 + random.IntN(6)
	s := story{targets: n, hours: always, devices: map[string]deviceBehavior{}, laterTargets: []string{"new-1", "new-2"}}
	s.spec = func(spec *v1alpha1.RolloutSpec) { anySpec(random, spec) }
	s.setup = func(w *world) { anySetup(random, w) }
	names := slices.Clone(s.laterTargets)
	for i := range n {
		names = append(names, fmt.Sprintf("dev-%02d", i+1))
	}
	for _, name := range names {
		s.devices[name] = anyBehavior(random)
	}
	for range 2 + random.IntN(10) {
		what := anySteps[random.IntN(len(anySteps))]
		name, other := names[random.IntN(len(names))], names[random.IntN(len(names))]
		s.person = append(s.person, step{strings.ReplaceAll(what.says, "$", name), always, func(w *world) {
			if w.targets[name] != nil && w.targets[other] != nil {
				what.do(w, random, name, other)
			}
		}})
	}
	return s
}

// sometimes calls do with a probability of 1/n.
func sometimes(random *rand.Rand, n int, do func()) {
	if random.IntN(n) == 0 {
		do()
	}
}

func anySpec(random *rand.Rand, s *v1alpha1.RolloutSpec) {
	u := &s.Update
	s.GroupCount, s.ErrorThreshold, s.SuccessThreshold = num(1+random.Int32N(3)), num(random.Int32N(101)), num(random.Int32N(101))
	sometimes(random, 3, func() { nightly(s) })
	sometimes(random, 3, func() {
		u.Retries = &v1alpha1.Retries{Limit: 1 + random.Int32N(2), BackoffSeconds: num(60 + random.Int32N(7200))}
		sometimes(random, 3, func() { u.Retries.StatusCodes = []string{"17"} })
		sometimes(random, 4, func() { u.Retries.Messages = []string{"disk <n> is full"} })
	})
	sometimes(random, 3, func() { u.ProgressDeadlineSeconds = num(60 + random.Int32N(7200)) })
	sometimes(random, 3, func() { u.StartDeadlineSeconds = num(60 + random.Int32N(20000)) })
	sometimes(random, 2, func() { u.StartDeadlineAction = v1alpha1.DeadlineActionSkip })
	sometimes(random, 3, func() { u.CancelDeadlineSeconds = num(60 + random.Int32N(7200)) })
	sometimes(random, 4, func() { u.ConfirmationRequired = true })
	sometimes(random, 5, func() { u.Superseding, u.Weight = v1alpha1.SupersedingQueue, num(random.Int32N(1001)) })
	sometimes(random, 8, func() { u.Reinstall = true })
	sometimes(random, 8, func() { u.Type = v1alpha1.UpdateTypeDownloadOnly })
	sometimes(random, 4, func() { s.ApprovalRequired = true })
	sometimes(random, 4, func() { s.Dynamic = &v1alpha1.Dynamic{GroupSize: num(2)} })
	sometimes(random, 6, func() { s.SuccessAction = v1alpha1.SuccessActionPause })
	sometimes(random, 6, func() { s.MinimumReports = 2 })
	sometimes(random, 6, func() { s.ErrorBudget = &v1alpha1.ErrorBudget{Count: num(random.Int32N(3))} })
	sometimes(random, 4, func() {
		s.StopCancellation = []v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationForce}[random.IntN(2)]
	})
}

func anySetup(random *rand.Rand, w *world) {
	sometimes(random, 5, func() { w.set.RequiredMigrationStep = true })
	sometimes(random, 2, func() { w.set.Rollback = v1alpha1.RollbackSupported })
	sometimes(random, 8, func() { w.requireApproval = true })
	w.set.CompatibleTargetTypes = []string{"gateway"}
}

func anyBehavior(random *rand.Rand) deviceBehavior {
	var is deviceBehavior
	sometimes(random, 3, func() {
		is.code, is.times = []string{"17", "flash", fmt.Sprintf("%sdisk %d is full", messageOnly, random.IntN(9))}[random.IntN(3)], 1+random.IntN(3)
	})
	sometimes(random, 6, func() { is.refuses = true })
	sometimes(random, 8, func() { is.ignores = true })
	sometimes(random, 8, func() { is.hangs = true })
	sometimes(random, 3, func() { is.denies = 1 + random.IntN(2) })
	sometimes(random, 8, func() { is.denies = never })
	sometimes(random, 3, func() { is.slow = 1 + random.IntN(4) })
	sometimes(random, 12, func() { is.slow = never })
	return is
}

// anySteps are steps of a user with the rollout, or with a target ($).
var anySteps = []struct {
	says string
	do   func(w *world, random *rand.Rand, name, other string)
}{
	{"approves", func(w *world, _ *rand.Rand, _, _ string) { w.approve(w.planHash()) }},
	{"approves", func(w *world, _ *rand.Rand, _, _ string) { w.approve(w.planHash()) }},
	{"edits the plan", func(w *world, random *rand.Rand, _, _ string) {
		if w.rollout.Status.StartedAt == nil {
			w.edit(func(s *v1alpha1.RolloutSpec) { s.GroupCount = num(1 + random.Int32N(3)) })
		}
	}},
	{"pauses", func(w *world, _ *rand.Rand, _, _ string) {
		w.editState(v1alpha1.IntentPaused)
	}},
	{"goes on", func(w *world, _ *rand.Rand, _, _ string) {
		w.editState(v1alpha1.IntentRunning)
	}},
	{"resumes", func(w *world, _ *rand.Rand, _, _ string) {
		if w.rollout.Status.PausedAt != nil {
			w.resume()
		}
	}},
	{"advances", func(w *world, random *rand.Rand, _, _ string) {
		if n := len(w.rollout.Status.Groups); n > 0 {
			w.edit(func(s *v1alpha1.RolloutSpec) {
				s.Advance = &v1alpha1.Advance{To: w.rollout.Status.Groups[random.IntN(n)].Name, At: metav1.NewTime(w.now)}
			})
		}
	}},
	{"retries", func(w *world, random *rand.Rand, _, _ string) {
		w.tick(time.Second)
		w.edit(func(s *v1alpha1.RolloutSpec) {
			s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now.Truncate(time.Second))}
			sometimes(random, 2, func() { s.Retry.StatusCodes = []string{"17"} })
			sometimes(random, 3, func() { s.Retry.Messages = []string{"disk <n> is full"} })
		})
	}},
	{"stops", func(w *world, random *rand.Rand, _, _ string) {
		sometimes(random, 2, func() { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped }) })
	}},
	{"invalidates the set", func(w *world, random *rand.Rand, _, _ string) {
		if w.set != nil && w.set.Invalidation == "" {
			w.invalidate([]v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce}[random.IntN(3)])
		}
	}},
	{"breaks or fixes the set", func(w *world, _ *rand.Rand, _, _ string) {
		if w.set != nil {
			w.set.Deployable, w.set.NotDeployable, w.set.Changed = !w.set.Deployable, "a module is not Ready", false
		}
	}},
	{"deletes a module of the set", func(w *world, _ *rand.Rand, _, _ string) {
		if w.set != nil {
			w.set.Deployable, w.set.NotDeployable, w.set.Changed = false, "a module does not exist", true
		}
	}},
	{"deletes or restores the set", func(w *world, _ *rand.Rand, _, _ string) { w.set, w.deleted = w.deleted, w.set }},
	{"changes the content of the set, or reverts it", func(w *world, random *rand.Rand, _, _ string) {
		if w.set != nil {
			w.set.ContentHash = []string{"hash-of-firmware-2", "another-hash"}[random.IntN(2)]
		}
	}},
	{"waits hours", func(w *world, random *rand.Rand, _, _ string) { w.tick(time.Duration(random.IntN(30)) * time.Hour) }},
	{"waits minutes", func(w *world, random *rand.Rand, _, _ string) {
		w.tick(time.Duration(random.IntN(120)) * time.Minute)
	}},
	{"assigns another set to $", func(w *world, _ *rand.Rand, name, _ string) { w.assign(name, "firmware-3", "") }},
	{"queues another set for $", func(w *world, _ *rand.Rand, name, _ string) {
		w.assign(name, "firmware-3", v1alpha1.SupersedingQueue)
	}},
	{"assigns the same set to $", func(w *world, _ *rand.Rand, name, _ string) { w.assign(name, "firmware-2", "") }},
	{"assigns a required migration step to $", func(w *world, _ *rand.Rand, name, _ string) {
		w.addSet("step-1").RequiredMigrationStep = true
		w.assign(name, "step-1", "")
	}},
	{"assigns a set that does not exist to $", func(w *world, _ *rand.Rand, name, _ string) {
		w.assign(name, "firmware-9", "")
		delete(w.sets, "firmware-9")
	}},
	{"sets assignedAt of the assignment of $", func(w *world, _ *rand.Rand, name, _ string) {
		if a := w.targets[name].Spec.Assignment; a != nil {
			a.AssignedAt = at(w.now.Truncate(time.Second))
		}
	}},
	{"edits the assignment of $", func(w *world, random *rand.Rand, name, _ string) {
		if a := w.targets[name].Spec.Assignment; a != nil {
			a = a.DeepCopy()
			a.DistributionSet = []string{"firmware-2", "firmware-3"}[random.IntN(2)]
			w.addSet(a.DistributionSet)
			w.targets[name].Spec.Assignment = a
		}
	}},
	{"removes the assignment of $", func(w *world, _ *rand.Rand, name, _ string) { w.targets[name].Spec.Assignment = nil }},
	{"holds or releases $", func(w *world, _ *rand.Rand, name, _ string) { w.hold(name, !w.targets[name].Spec.Hold) }},
	{"sets autoConfirm of $", func(w *world, _ *rand.Rand, name, _ string) {
		w.targets[name].Spec.AutoConfirm = v1alpha1.AutoConfirmAlways
	}},
	{"makes a duplicate of $", func(w *world, _ *rand.Rand, name, _ string) { w.duplicate(name, true) }},
	{"deletes the duplicate of $", func(w *world, _ *rand.Rand, name, _ string) { w.duplicate(name, false) }},
	{"sets the type of $ to router", func(w *world, _ *rand.Rand, name, _ string) { w.targets[name].Spec.Type = "router" }},
	{"sets the type of $ to gateway", func(w *world, _ *rand.Rand, name, _ string) { w.targets[name].Spec.Type = "gateway" }},
	{"deletes $", func(w *world, _ *rand.Rand, name, _ string) { delete(w.targets, name) }},
	{"cancels the open action of $", func(w *world, random *rand.Rand, name, _ string) {
		c := []v1alpha1.Cancellation{v1alpha1.CancellationSoft, v1alpha1.CancellationForce}[random.IntN(2)]
		w.targets[name].Spec.Cancel = &v1alpha1.CancelRequest{UpTo: w.targets[name].Status.NextActionID - 1, Cancellation: c}
	}},
	{"starts a newer rollout with $", func(w *world, _ *rand.Rand, name, other string) {
		w.addNewerRollout(fmt.Sprintf("newer-%d", len(w.newerRollouts)), "firmware-4", name, other)
	}},
	{"starts a newer rollout of the same set with $", func(w *world, _ *rand.Rand, name, other string) {
		w.addNewerRollout(fmt.Sprintf("newer-%d", len(w.newerRollouts)), "firmware-2", name, other)
	}},
	{"starts an auto-assignment", func(w *world, random *rand.Rand, _, _ string) {
		w.addAuto([]string{"firmware-2", "firmware-5"}[random.IntN(2)], []v1alpha1.Superseding{"", v1alpha1.SupersedingQueue}[random.IntN(2)])
	}},
	{"opens the groups of newer rollouts", func(w *world, _ *rand.Rand, _, _ string) { w.openNewerRollouts() }},
	{"adds new-1", func(w *world, _ *rand.Rand, _, _ string) { w.appear("new-1") }},
	{"adds new-2", func(w *world, _ *rand.Rand, _, _ string) { w.appear("new-2") }},
}

// appear adds a target if it does not exist.
func (w *world) appear(name string) {
	if w.targets[name] == nil {
		w.addTarget(name)
	}
}

// editState commits another state, except after a stop, where the schema refuses it.
func (w *world) editState(state v1alpha1.RolloutIntent) {
	if w.rollout.Spec.State != v1alpha1.IntentStopped {
		w.edit(func(s *v1alpha1.RolloutSpec) { s.State = state })
	}
}
