// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// dynamic returns an edit: later targets join, in groups of this size.
func dynamic(groups, size int32) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) {
		s.GroupCount, s.Dynamic = &groups, &v1alpha1.Dynamic{GroupSize: &size}
	}
}

// adds creates targets, and lets a second pass so that they can join.
func (w *world) adds(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.addTarget(name)
	}
	w.tick(time.Second)
	w.reconcileAll()
}

// sizes returns the numbers of members of the groups.
func (w *world) sizes() string {
	sizes := make([]string, len(w.rollout.Status.Groups))
	for _, g := range w.groups {
		if g.Spec.PlanHash == w.planHash() && int(g.Spec.Index) < len(sizes) {
			sizes[g.Spec.Index] = fmt.Sprint(len(g.Spec.Targets))
		}
	}
	return strings.Join(sizes, " ")
}

func (w *world) wantSizes(want string) {
	w.t.Helper()
	if got := w.sizes(); got != want {
		w.t.Fatalf("the groups have %s members, want %s; %s\n%s", got, want, w.waitingFor(), strings.Join(w.log, "\n"))
	}
}

func (w *world) groupNames() string {
	var names []string
	for _, g := range w.rollout.Status.Groups {
		names = append(names, g.Name)
	}
	return strings.Join(names, " ")
}

func TestLaterTargetsJoinTheTrailingGroup(t *testing.T) {
	w := running(t, 4, dynamic(2, 3))
	hash := w.planHash()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled Scheduled")
	w.adds("new-1", "new-2")
	w.wantSizes("2 2 2")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.succeed("dev-03", "dev-04")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Finished Running")
	w.succeed("new-1", "new-2")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Finished Running")
	w.wantContains(w.waitingFor(), "all 6 targets have a result; group group-3 has 2 of 3")
	w.adds("new-3", "new-4")
	w.wantSizes("2 2 3 0")
	w.tick(time.Second)
	w.reconcileAll()
	w.wantSizes("2 2 3 1")
	if got := w.groupNames(); got != "group-1 group-2 group-3 group-4" {
		t.Errorf("the names of the groups are %s", got)
	}
	if !w.isOffered("new-3") {
		t.Error("a target that joined an open group is not offered the update")
	}
	if w.planHash() != hash {
		t.Error("the plan has another hash")
	}
}

func TestCapacityIsThatOfTheLastPlannedGroup(t *testing.T) {
	tests := map[string]struct {
		edit func(*v1alpha1.RolloutSpec)
		want int32
	}{
		"dynamic.groupSize":                   {dynamic(2, 7), 7},
		"the size of the last planned group":  {func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.Dynamic = num(2), &v1alpha1.Dynamic{} }, 4},
		"at least one":                        {emptyLast, 1},
		"the size of the last of four groups": {func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.Dynamic = num(4), &v1alpha1.Dynamic{} }, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 8, tt.edit)
			if got := newPlanner(w.snapshot()).capacity(); int32(got) != tt.want {
				t.Errorf("the capacity is %d, want %d", got, tt.want)
			}
		})
	}
}

func emptyLast(s *v1alpha1.RolloutSpec) {
	s.Dynamic = &v1alpha1.Dynamic{}
	s.Groups = []v1alpha1.Group{{Name: "all"}, {Name: "dynamic-1", Selection: v1alpha1.Selection{TargetExpression: "false"}}}
}

func TestTrailingGroupsAfterExplicitOnes(t *testing.T) {
	w := running(t, 2, func(s *v1alpha1.RolloutSpec) {
		emptyLast(s)
		s.Groups[1].ErrorThreshold, s.Groups[1].ConfirmationRequired = num(7), new(true)
	})
	w.adds("new-1")
	w.tick(time.Second)
	w.reconcileAll()
	if got := w.groupNames(); got != "all dynamic-1 dynamic-2 dynamic-3" {
		t.Errorf("the names of the groups are %s", got)
	}
	g, _ := w.groupOf("new-1")
	if c := g.Spec.Conditions; c.ErrorThreshold != 7 || !c.ConfirmationRequired || !g.Spec.Dynamic {
		t.Errorf("the conditions are %+v, not those of the last planned group", c)
	}
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Groups[1].ErrorThreshold = num(90) })
	l := newPlanner(w.snapshot())
	if got := l.conditions(l.groups[2]).ErrorThreshold; got != 90 {
		t.Errorf("errorThreshold is %d, not that of the live spec", got)
	}
}

// One of three new targets may not join; the others join.
func TestWhichTargetsJoin(t *testing.T) {
	older, newer := ofRollout("older", -60, "Finished"), ofRollout("newer", 60, "Error")
	tests := map[string]struct {
		target func(*v1alpha1.Target)
		joins  bool
	}{
		"an ordinary target":                     {nil, true},
		"one with another label":                 {func(t *v1alpha1.Target) { t.Labels["fleet"] = "b" }, false},
		"one that the set does not fit":          {func(t *v1alpha1.Target) { t.Spec.Type = "toaster" }, false},
		"one without a type":                     {func(t *v1alpha1.Target) { t.Spec.Type = "" }, true},
		"one that is being deleted":              {func(t *v1alpha1.Target) { t.DeletionTimestamp = at(epoch) }, false},
		"the duplicate of an older one":          {duplicate, false},
		"one with an action of an older rollout": {func(t *v1alpha1.Target) { t.Status.Actions = []v1alpha1.Action{older} }, true},
		"one with an action of a newer rollout":  {func(t *v1alpha1.Target) { t.Status.Actions = []v1alpha1.Action{newer} }, false},
		"one with an action of a newer queued rollout": {func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{newer}
			t.Status.Actions[0].Update.Superseding = v1alpha1.SupersedingQueue
		}, true},
		"one with an action of its own assignment": {func(t *v1alpha1.Target) {
			own := ofRollout("t", 60, "Finished")
			own.Source.Kind = v1alpha1.SourceTarget
			t.Status.Actions = []v1alpha1.Action{own}
		}, true},
		"one on hold": {func(t *v1alpha1.Target) { t.Spec.Hold = true }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, dynamic(1, 10))
			w.addTarget("dev-01")
			w.targets["dev-01"].Labels = map[string]string{"fleet": "a"}
			w.set.CompatibleTargetTypes = []string{"gateway"}
			w.edit(func(s *v1alpha1.RolloutSpec) {
				s.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"fleet": "a"}}
			})
			w.reconcileAll()
			for _, name := range []string{"a-good", "b", "c-good"} {
				w.addTarget(name)
				w.targets[name].Labels, w.targets[name].Spec.Type = map[string]string{"fleet": "a"}, "gateway"
			}
			if tt.target != nil {
				tt.target(w.targets["b"])
			}
			w.tick(time.Second)
			w.reconcileAll()
			if g, _ := w.groupOf("b"); (g != nil) != tt.joins {
				t.Errorf("joined: %v, want %v", g != nil, tt.joins)
			}
			if g, _ := w.groupOf("a-good"); g == nil {
				t.Error("the one before it did not join")
			}
			if g, _ := w.groupOf("c-good"); g == nil {
				t.Error("the one after it did not join")
			}
		})
	}
}

func duplicate(t *v1alpha1.Target) {
	t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDuplicate}}
}

func TestNoTargetJoinsAPausedRollout(t *testing.T) {
	tests := map[string]struct {
		hold, applySuccessAction func(*world)
	}{
		"paused by a person": {
			func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused }) },
			func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning }) },
		},
		"paused automatically": {func(w *world) { w.fail("17", "dev-01", "dev-02") }, (*world).resume},
		"its set does not exist": {
			func(w *world) { w.set.Deployable = false },
			func(w *world) { w.set.Deployable = true },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 4, dynamic(2, 3))
			tt.hold(w)
			w.reconcileAll()
			w.adds("new-1")
			w.wantSizes("2 2 0")
			tt.applySuccessAction(w)
			w.reconcileAll()
			w.wantSizes("2 2 1")
		})
	}
}

// A rollout whose groups are full and closed does not finish while its set does not exist and so no
// group can be added.
func TestARolloutDoesNotFinishWhileItsSetIsMissing(t *testing.T) {
	w := running(t, 2, dynamic(1, 1))
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.addTarget("new-1")
	w.tick(time.Second)
	w.reconcile()
	w.wantSizes("2 1")
	w.succeed("new-1")
	w.set.Deployable = false
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Finished")
	w.set.Deployable = true
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Finished Running")
}

// An invalidated set is never assigned again, also with None: members continue, no target joins,
// and the rollout finishes when all members have a result.
func TestNoTargetJoinsAfterAnInvalidation(t *testing.T) {
	w := running(t, 2, dynamic(1, 3))
	w.adds("new-1")
	w.set.Invalidation, w.set.InvalidatedAt = v1alpha1.CancellationNone, w.now
	w.adds("new-2")
	w.wantSizes("2 1")
	w.wantCondition(v1alpha1.ConditionStalled, "True DistributionSetInvalid")
	w.wantContains(w.message(v1alpha1.ConditionStalled), "do not join")
	w.wantContains(w.waitingFor(), "no more targets join")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.succeed("new-1")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished Finished")
	w.wantCondition(v1alpha1.ConditionStalled, "")
}

// In a trailing group that is not full, percentages are of its capacity, and of its members after
// another group was added.
func TestCapacityIsTheDenominatorOfTheTrailingGroup(t *testing.T) {
	w := running(t, 2, dynamic(1, 4))
	w.adds("new-1", "new-2")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.fail("17", "new-1", "new-2")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running") // 2 of 4 is not more than 50 percent
	w.adds("new-3")
	w.fail("17", "new-3")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Finished Error")
	w.wantContains(w.rollout.Status.PauseMessage, "3 of 4 had failed")
	w.resume()
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Error Running")
	w.adds("new-4", "new-5")
	w.wantSizes("2 3 2")
}

func TestAFullGroupIsMeasuredByItsMembers(t *testing.T) {
	w := running(t, 2, dynamic(1, 4))
	w.adds("new-1", "new-2", "new-3", "new-4")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	delete(w.targets, "new-4")
	w.fail("17", "new-1", "new-2")
	w.reconcileAll()
	w.want(v1alpha1.RolloutPaused, "Finished Error Scheduled")
	w.wantContains(w.rollout.Status.PauseMessage, "2 of 3 had failed")
}

func TestHowGrowthEnds(t *testing.T) {
	tests := map[string]struct {
		end  func(*world)
		says string
	}{
		"by maxTargets": {func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.Dynamic.MaxTargets = num(3) }) }, "maxTargets 3 is reached"},
		"by time": {func(w *world) {
			w.tick(time.Second)
			until := at(w.now.Add(time.Minute))
			w.edit(func(s *v1alpha1.RolloutSpec) { s.Dynamic.Until = until })
			if p := w.reconcileAll(); p.RecheckAfter != time.Minute {
				w.t.Errorf("the next look is after %s, not when time ends the growth", p.RecheckAfter)
			}
			w.tick(time.Minute)
		}, "has passed"},
		"by removing spec.dynamic": {func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.Dynamic = nil }) }, "1 in progress"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 2, dynamic(1, 3))
			w.adds("new-1")
			w.succeed("dev-01", "dev-02")
			w.reconcileAll()
			w.startUpdate("new-1")
			tt.end(w)
			w.reconcileAll()
			w.adds("new-2")
			w.wantSizes("2 1")
			w.wantContains(w.waitingFor(), tt.says)
			w.report("new-1", action.Download, "")
			w.report("new-1", action.Succeed, "")
			w.reconcileAll()
			w.want(v1alpha1.RolloutFinished, "Finished Finished")
		})
	}
}

// Counts are written at intervals. A target that joined and succeeded between two writes is counted
// at the end.
func TestATargetThatJoinedBetweenTwoWritesIsCounted(t *testing.T) {
	w := running(t, 2, dynamic(1, 3))
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Dynamic.MaxTargets = num(4) })
	w.adds("new-1")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.succeed("new-1")
	w.reconcileAll()
	w.addTarget("new-2")
	w.tick(time.Second)
	w.reconcile()
	w.wantSizes("2 2")
	w.succeed("new-2")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished Finished")
	if got := w.rollout.Status.Targets; got.Targets != 4 || got.Succeeded != 4 {
		t.Errorf("counted %+v", got)
	}
}

func TestAPlanThatReachesTheLimitHasNoTrailingGroup(t *testing.T) {
	w := running(t, 2, func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{MaxTargets: num(2)} })
	w.want(v1alpha1.RolloutRunning, "Running")
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.want(v1alpha1.RolloutFinished, "Finished")
}

func TestBatches(t *testing.T) {
	w := running(t, 1, dynamic(1, 20000))
	for i := range 7000 {
		w.addTarget(fmt.Sprintf("new-%04d", i))
	}
	for w.reconcile().Join == nil {
	}
	w.wantSizes("1 5000")
	if p := w.reconcile(); len(p.Mirror) > 0 {
		t.Error("joining caused a third write")
	}
	if p := w.reconcileAll(); p.RecheckAfter != joinPause {
		t.Errorf("the next batch is after %s", p.RecheckAfter)
	}
	w.tick(joinPause)
	w.reconcileAll()
	w.wantSizes("1 7000")
	if g, _ := w.groupOf("new-0000"); len(g.Status.Joined) != 2 || g.Status.Joined[1].First != 5000 {
		t.Errorf("the batches are %v", g.Status.Joined)
	}
}

func TestNamesFillAGroup(t *testing.T) {
	w := running(t, 1, dynamic(1, 20000))
	for i := range 3000 {
		w.addTarget(fmt.Sprintf("%s-%04d", strings.Repeat("n", 248), i))
	}
	w.reconcileAll()
	for range 3 {
		w.tick(joinPause)
		w.reconcileAll()
	}
	w.wantSizes("1 2833 167")
	for _, g := range w.groups {
		bytes := 0
		for _, name := range g.Spec.Targets {
			bytes += len(name)
		}
		if bytes > v1alpha1.MaxGroupBytes {
			t.Errorf("group %s has %d bytes of names", g.Spec.Group, bytes)
		}
	}
}

// A target that joins an open group and has the set installed counts as succeeded. Others are
// pending at once, and their place in the order of updates is the time when they joined.
func TestW16_TargetsThatJoinHaveTheRightStatus(t *testing.T) {
	w := running(t, 2, dynamic(1, 10))
	w.succeed("dev-01", "dev-02")
	w.reconcileAll()
	w.addTarget("new-2")
	w.targets["new-2"].Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "firmware-2", ContentHash: w.set.ContentHash}
	w.adds("new-1", "new-3")
	w.adds("new-4")
	for name, want := range map[string]counting.Bucket{"new-1": counting.Pending, "new-2": counting.Succeeded, "new-3": counting.Pending, "new-4": counting.Pending} {
		if got := w.bucket(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if c := w.rollout.Status.Groups[1]; c.Targets != 4 || c.Pending != 3 || c.Succeeded != 1 || w.rollout.Status.Targets.Targets != 6 {
		t.Errorf("counted %+v of %+v", c.Counts, w.rollout.Status.Targets)
	}
	// An auto-assignment that started after the rollout, but before the target joined, does not
	// supersede the membership.
	started := ofRollout("auto", 0, v1alpha1.ActionFinished)
	since := metav1.NewMicroTime(w.now.Add(-time.Second))
	started.Source.Since = &since
	w.targets["new-4"].Status.Actions = []v1alpha1.Action{started}
	if got := w.bucket("new-4"); got != counting.Pending {
		t.Errorf("new-4 is %s: it joined after that action's source", got)
	}
}

// A target whose newer action has not finished still needs the migration step.
func TestATargetJoinsAMigrationStepUnlessANewerActionHasFinished(t *testing.T) {
	for state, want := range map[v1alpha1.ActionState]bool{"Error": true, "Canceled": true, "Finished": false} {
		w := running(t, 1, dynamic(1, 10))
		w.set.RequiredMigrationStep = true
		w.addTarget("new")
		w.targets["new"].Status.Actions = []v1alpha1.Action{ofRollout("newer", 60, state)}
		w.tick(time.Second)
		w.reconcileAll()
		if g, _ := w.groupOf("new"); (g != nil) != want {
			t.Errorf("after %s: joined: %v, want %v", state, g != nil, want)
		}
	}
}

// A newer rollout takes targets over and never returns them: members of a dynamic group are
// superseded, and targets of the newer rollout never join.
func TestW16_ADynamicGroupDoesNotOverrideANewerRollout(t *testing.T) {
	w := running(t, 2, dynamic(1, 10))
	w.newer = map[string]bool{"new-1": true}
	w.adds("new-1", "new-2", "new-3")
	w.wantSizes("2 2")
	w.claims = []Overlap{{Name: "newer", UID: "uid-y", Started: [][]byte{nil, marked(1)}, Open: [][]byte{nil, marked(1)}, OpenGroups: 1}}
	w.reconcileAll()
	if got := w.bucket("new-3"); got != counting.Canceled {
		t.Errorf("new-3 is %s and belongs to the newer rollout", got)
	}
	w.adds("new-4", "new-5", "new-6", "new-7", "new-8", "new-9") // the bitmap is shorter than the group now
	if got := w.bucket("new-9"); got != counting.Scheduled {
		t.Errorf("new-9 is %s", got)
	}
}

// At the limit of groups no group is added, but groups are still evaluated.
func TestW02_TheGroupLimitEndsGrowthNotEvaluation(t *testing.T) {
	w := running(t, 499, func(s *v1alpha1.RolloutSpec) {
		dynamic(499, 1)(s)
		s.SuccessThreshold, s.ErrorThreshold = num(0), num(0)
	})
	w.adds("new-1")
	w.adds("new-2", "new-3")
	if n := len(w.rollout.Status.Groups); n != v1alpha1.MaxGroups {
		t.Fatalf("there are %d groups", n)
	}
	w.wantContains(w.waitingFor(), "at most 500 groups")
	w.fail("17", "dev-02")
	w.reconcileAll()
	if w.state() != v1alpha1.RolloutPaused {
		t.Fatalf("a failure is not evaluated: %s", w.state())
	}
	w.resume()
	w.reconcileAll()
	for _, target := range w.population() {
		if w.isMemberOf(target.Name) && w.bucket(target.Name) == counting.Pending {
			w.succeed(target.Name)
		}
	}
	w.reconcileAll()
	if w.state() != v1alpha1.RolloutFinished {
		t.Errorf("%s: %s", w.state(), w.waitingFor())
	}
}

func (w *world) isMemberOf(name string) bool {
	g, _ := w.groupOf(name)
	return g != nil
}

// A target that cannot be a member does not keep others out, neither of a plan nor when they join.
func TestW03_OneBrokenTargetDoesNotHoldTheOthers(t *testing.T) {
	w := newWorld(t, 3, dynamic(1, 10))
	duplicate(w.targets["dev-02"])
	w.reconcileAll()
	w.addTarget("new-1")
	duplicate(w.targets["new-1"])
	w.addTarget("new-2")
	w.targets["new-2"].DeletionTimestamp = at(epoch)
	w.adds("new-3")
	w.wantSizes("2 1")
	w.succeed("dev-01", "dev-03")
	w.reconcileAll()
	w.succeed("new-3")
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Finished Running")
	w.targets["new-1"].Status.Conditions = nil // the duplicate has been renamed
	w.tick(time.Second)
	w.reconcileAll()
	w.wantSizes("2 2")
}

// A crash after each write of a join: each target joins once. A batch in the status has no effect
// until its targets are in spec.targets.
func TestAJoinSurvivesACrashAfterEachWrite(t *testing.T) {
	for writes := range 3 {
		t.Run(fmt.Sprintf("after %d writes", writes), func(t *testing.T) {
			w := running(t, 2, dynamic(1, 10))
			w.succeed("dev-01", "dev-02")
			w.reconcileAll()
			w.addTarget("new-2")
			w.targets["new-2"].Status.Installed = &v1alpha1.InstalledSet{ContentHash: w.set.ContentHash}
			w.crash = func(p Plan) Plan {
				p.Join, _ = part(p.Join, writes)
				return p
			}
			w.tick(time.Second)
			w.reconcile()
			w.crash = nil
			delete(w.targets, "new-2")
			w.adds("new-1", "new-3")
			w.tick(time.Second)
			w.reconcileAll()
			for _, name := range []string{"new-1", "new-3"} {
				if got := w.bucket(name); got != counting.Pending {
					t.Errorf("%s is %s", name, got)
				}
			}
			g, _ := w.groupOf("new-1")
			for i, b := range g.Status.Joined[1:] {
				if b.First <= g.Status.Joined[i].First {
					t.Errorf("a batch without targets: %v", g.Status.Joined)
				}
			}
			if last := g.Status.Joined[len(g.Status.Joined)-1]; int(last.First) >= len(g.Spec.Targets) {
				t.Errorf("a batch without targets: %v", g.Status.Joined)
			}
		})
	}
}

// A crash between the creation of a trailing group and the status that names it.
func TestATrailingGroupThatTheStatusDoesNotNameIsUsed(t *testing.T) {
	w := newWorld(t, 2, dynamic(1, 2))
	w.crash = func(p Plan) Plan {
		if slices.ContainsFunc(p.Create, func(g *v1alpha1.DeploymentGroup) bool { return g.Spec.Dynamic }) {
			p.Status, p.Mirror, p.Events = w.rollout.Status, nil, nil
		}
		return p
	}
	for range 6 {
		if w.reconcile(); len(w.groups) == 2 {
			break
		}
	}
	w.want(v1alpha1.RolloutStarting, "Scheduled")
	w.crash = nil
	w.reconcileAll()
	w.want(v1alpha1.RolloutRunning, "Running Scheduled")
	if n := len(w.groups); n != 2 {
		t.Errorf("there are %d groups: the existing one was not used", n)
	}
}

func TestGrows(t *testing.T) {
	started := metav1.NewMicroTime(epoch)
	tests := map[string]struct {
		edit func(*v1alpha1.Rollout)
		want bool
	}{
		"it does":                   {func(*v1alpha1.Rollout) {}, true},
		"it is not dynamic":         {func(r *v1alpha1.Rollout) { r.Spec.Dynamic = nil }, false},
		"it has not started":        {func(r *v1alpha1.Rollout) { r.Status.StartedAt = nil }, false},
		"it is paused":              {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }, true},
		"its spec.state is Stopped": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }, false},
		"it was stopped":            {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopped }, false},
		"it has finished":           {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }, false},
		"it is being deleted":       {func(r *v1alpha1.Rollout) { r.DeletionTimestamp = at(epoch) }, false},
		"until has passed":          {func(r *v1alpha1.Rollout) { r.Spec.Dynamic.Until = at(epoch) }, false},
		"until has not passed":      {func(r *v1alpha1.Rollout) { r.Spec.Dynamic.Until = at(epoch.Add(time.Second)) }, true},
		"it has maxTargets": {func(r *v1alpha1.Rollout) {
			r.Spec.Dynamic.MaxTargets, r.Status.Targets = num(3), &v1alpha1.Counts{Targets: 3}
		}, false},
		"it has one less than maxTargets": {func(r *v1alpha1.Rollout) {
			r.Spec.Dynamic.MaxTargets, r.Status.Targets = num(4), &v1alpha1.Counts{Targets: 3}
		}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &v1alpha1.Rollout{Spec: v1alpha1.RolloutSpec{Dynamic: &v1alpha1.Dynamic{}}, Status: v1alpha1.RolloutStatus{StartedAt: &started, State: v1alpha1.RolloutRunning}}
			tt.edit(r)
			if got := AcceptsTargets(r, epoch); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// A finished rollout stays Finished when dynamic.until is changed. A retry sets it to Running, and
// then targets join again.
func TestALaterUntilDoesNotChangeAFinishedRollout(t *testing.T) {
	w := running(t, 2, both(dynamic(1, 10), func(s *v1alpha1.RolloutSpec) {
		s.Dynamic.Until, s.ErrorThreshold = at(epoch.Add(time.Hour)), num(100)
	}))
	w.fail("17", "dev-01")
	w.succeed("dev-02")
	w.passes(time.Hour)
	w.want(v1alpha1.RolloutFinished, "Finished Finished")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Dynamic.Until = at(w.now.Add(time.Hour)) })
	w.adds("new-1")
	w.want(v1alpha1.RolloutFinished, "Finished Finished")
	w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: *at(w.now)} })
	w.passes(2 * time.Second)
	w.want(v1alpha1.RolloutRunning, "Running Finished Running")
	if got := w.bucket("new-1"); got != counting.Pending {
		t.Errorf("new-1 is %s", got)
	}
}

// A dynamic rollout that selects no target starts, and targets that appear later join it.
func TestADynamicRolloutStartsWithoutTargets(t *testing.T) {
	nowhere := v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "new"}}}
	for name, tt := range map[string]struct {
		targets int
		edit    func(*v1alpha1.RolloutSpec)
		names   string
		size    int // of a trailing group
	}{
		"an empty namespace":            {0, dynamic(1, 2), "group-1 group-2", 2},
		"without groupSize":             {0, func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{} }, "group-1 group-2", 100},
		"targets that are not selected": {3, func(s *v1alpha1.RolloutSpec) { dynamic(2, 3)(s); s.Selection = nowhere }, "group-1 group-2 group-3", 3},
		"explicit groups": {0, func(s *v1alpha1.RolloutSpec) {
			dynamic(1, 2)(s)
			s.GroupCount, s.Groups = nil, []v1alpha1.Group{{Name: "canary", Percentage: num(5)}, {Name: "rest"}}
		}, "canary rest dynamic-1", 2},
		"successAction Pause": {0, func(s *v1alpha1.RolloutSpec) { dynamic(2, 2)(s); s.SuccessAction = v1alpha1.SuccessActionPause }, "group-1 group-2 group-3", 2},
		"with until":          {0, func(s *v1alpha1.RolloutSpec) { dynamic(1, 2)(s); s.Dynamic.Until = at(epoch.Add(time.Hour)) }, "group-1 group-2", 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := running(t, tt.targets, tt.edit)
			w.reconcileAll()
			if got := w.groupNames(); got != tt.names || w.rollout.Status.State != v1alpha1.RolloutRunning {
				t.Fatalf("%s, with groups %s: %s", w.rollout.Status.State, got, w.waitingFor())
			}
			w.wantCondition(v1alpha1.ConditionStalled, "")
			w.wantContains(w.waitingFor(), fmt.Sprintf("no target is selected yet; group %s takes up to %d targets that appear later", tt.names[strings.LastIndex(tt.names, " ")+1:], tt.size))
			w.addTarget("late")
			w.targets["late"].Labels = map[string]string{"site": "new"}
			w.tick(time.Second)
			w.reconcileAll()
			if !w.isOffered("late") {
				t.Fatalf("the first target is offered no update: %s", w.waitingFor())
			}
			w.succeed("late")
			w.reconcileAll()
			w.wantContains(w.waitingFor(), "all 1 target have a result")
		})
	}
}

// A rollout that no target can join does not start without targets.
func TestARolloutThatCannotGrowNeedsTargets(t *testing.T) {
	for name, edit := range map[string]func(*v1alpha1.RolloutSpec){
		"it is not dynamic": func(*v1alpha1.RolloutSpec) {},
		"until has passed":  func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{Until: at(epoch.Add(-time.Hour))} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, edit)
			w.reconcileAll()
			w.wantCondition(v1alpha1.ConditionStalled, "True NoTargets")
		})
	}
}
