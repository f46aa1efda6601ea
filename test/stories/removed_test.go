// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// several are rollouts of one set in the states in which something may be taken from under them.
// Each has targets of its own, named after it: of those that have started the first has started and
// says nothing any more; the others are away.
type several struct {
	*world.World
	away    *devicesim.Fleet
	others  *devicesim.Recorder // of those who are away
	started []string            // the rollouts that have started, stopped ones as well
}

// states of several, with what they say before it happens.
var states = map[string]struct {
	spec, then string
	is         v1alpha1.RolloutState
}{
	"waiting": {spec: "approvalRequired: true", is: v1alpha1.RolloutWaitingForApproval},
	"ready":   {spec: "state: Planned", is: v1alpha1.RolloutReady},
	"running": {is: v1alpha1.RolloutRunning},
	"paused":  {then: "spec: {state: Paused}", is: v1alpha1.RolloutPaused},
	"stopped": {then: "spec: {state: Stopped, stopCancellation: None}", is: v1alpha1.RolloutStopped},
}

// severalOf makes them, each with so many targets in so many groups.
func severalOf(t *testing.T, targets, groups int) *several {
	t.Helper()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	s := &several{World: w}
	var mute, away []string
	for name, state := range states {
		names := w.Targets(name, targets, map[string]string{"state": name})
		if state.spec == "" {
			s.started = append(s.started, name)
			mute = append(mute, names[0])
		} else {
			away = append(away, names[0])
		}
		away = append(away, names[1:]...)
		s.roll(name, groups)
	}
	_, started := w.Devices(devicesim.Silent, mute...)
	s.away, s.others = w.Devices(devicesim.Offline, away...)
	w.EventuallyStarted(started, mute...)
	for name, state := range states {
		if state.then != "" {
			w.CommitRollout(name, state.then)
		}
		w.EventuallyRollout(name, "is "+string(state.is), world.InState(state.is))
	}
	return s
}

// roll applies the manifest of one of them.
func (s *several) roll(name string, groups int) {
	s.T.Helper()
	s.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %[1]s}
spec:
  update: {distributionSet: firmware-1}
  targetSelector: {matchLabels: {state: %[1]s}}
  startAt: "2026-01-01T00:00:00Z"
  stabilizationSeconds: 0
  groupOrder: Name
  groupCount: %[2]d
  successThreshold: 100
  %[3]s
`, name, groups, states[name].spec))
}

// nobodyStarts: those who are away come back, and none is given anything.
func (s *several) nobodyStarts(names ...string) {
	s.T.Helper()
	since := time.Now()
	wake(s.T, s.away, names...)
	s.EventuallyPolled(s.others, 3, since, names...)
	if started := s.others.StartedAfter(since); len(started) > 0 {
		s.T.Errorf("devices started: %v", started)
	}
}

// isWell reports whether a rollout is in this state and needs nobody.
func isWell(state v1alpha1.RolloutState) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool {
		return r.Status.State == state && world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled) == nil
	}
}

// Somebody removes the set, or a module of it, from under rollouts in every state. Each that still
// wants it says what is missing, nobody starts, and who has started is asked to cancel, for nobody
// can tell it any more what to install. When it is back as it was, each goes on with the plan that
// it had.
func TestSetOrModuleIsRemovedInEveryState(t *testing.T) {
	t.Parallel()
	for kind, reason := range map[string]string{"distset": v1alpha1.ReasonReferenceNotFound, "swmod": v1alpha1.ReasonDistributionSetNotReady} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := severalOf(t, 2, 1)
			plans := map[string]string{}
			var late []string
			for name := range states {
				plans[name] = s.Rollout(name).Status.Plan.Hash
				late = append(late, name+"-001")
			}
			s.Kubectl("delete", kind, "firmware-1", "--wait=true", "--timeout=30s")
			for name, state := range states {
				if name == "stopped" {
					s.EventuallyRollout(name, "is over all the same", isWell(state.is))
					continue
				}
				r := s.EventuallyRollout(name, "misses something", isStalled(reason))
				if message := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(message, "firmware-1") {
					t.Errorf("%s says %q", name, message)
				}
			}
			for _, name := range s.started {
				target := s.EventuallyTarget(name+"-000", "is asked to cancel", newest(v1alpha1.ActionCanceling))
				if a := action.Newest(&target.Status); a.Cancel.Cause != v1alpha1.CauseSetGone || a.Cancel.Cancellation != v1alpha1.CancellationSoft {
					t.Errorf("the action of %s is canceled by %+v", target.Name, a.Cancel)
				}
			}
			s.nobodyStarts(late...)

			s.Set("firmware-1", "1.0")
			for name, state := range states {
				if r := s.EventuallyRollout(name, "is as before", isWell(state.is)); r.Status.Plan.Hash != plans[name] {
					t.Errorf("%s made another plan", name)
				}
			}
			s.EventuallyTarget("running-001", "is served", inSync("firmware-1"))
			s.EventuallyRollout("running", "goes on", counts(v1alpha1.Counts{Targets: 2, InProgress: 1, Succeeded: 1}))
			if started := s.others.Of(devicesim.Started); len(started) != 1 {
				t.Errorf("devices of rollouts that do not run started: %v", started)
			}
		})
	}
}

// A target is removed from under rollouts in every state, with its action open where there is one:
// each counts it as removed and keeps its plan. Created again, it is a member as before, and none
// of its actions has an id that its predecessor had.
func TestTargetIsRemovedInEveryState(t *testing.T) {
	t.Parallel()
	s := severalOf(t, 2, 1)
	plans, ids, uids := map[string]string{}, map[string]int32{}, map[string]types.UID{}
	var gone []string
	for name := range states {
		target := s.Target(name + "-000")
		plans[name], ids[name], uids[name] = s.Rollout(name).Status.Plan.Hash, target.Status.NextActionID, target.UID
		gone = append(gone, target.Name)
	}
	s.Kubectl(append([]string{"delete", "tgt", "--wait=true", "--timeout=30s"}, gone...)...)
	for name, want := range map[string]v1alpha1.Counts{
		"waiting": {Targets: 2, Scheduled: 1, Removed: 1},
		"ready":   {Targets: 2, Scheduled: 1, Removed: 1},
		"running": {Targets: 2, Pending: 1, Removed: 1},
		"paused":  {Targets: 2, Pending: 1, Removed: 1},
		"stopped": {Targets: 2, Canceled: 1, Removed: 1},
	} {
		r := s.EventuallyRollout(name, "counts it as removed", counts(want))
		if r.Status.Plan.Hash != plans[name] || !isWell(states[name].is)(r) {
			t.Errorf("%s: %+v", name, r.Status)
		}
	}
	for name := range states {
		s.Targets(name, 1, map[string]string{"state": name})
		again := s.EventuallyTarget(name+"-000", "has had its first look", hasBeenSeen)
		if again.UID == uids[name] || again.Status.NextActionID <= ids[name] && name != "ready" && name != "waiting" {
			t.Errorf("%s, created again, starts with id %d; its predecessor had up to %d", again.Name, again.Status.NextActionID, ids[name]-1)
		}
	}
	again := s.EventuallyTarget("running-000", "starts again", newest(v1alpha1.ActionRetrieved))
	if a := again.Status.Actions; len(a) != 1 || a[0].ID < ids["running"] {
		t.Errorf("its actions are %+v", a)
	}
	s.EventuallyRollout("running", "counts it again", counts(v1alpha1.Counts{Targets: 2, Pending: 1, InProgress: 1}))
	s.CommitRollout("waiting", "spec: {approval: {planHash: '"+plans["waiting"]+"'}}")
	wake(t, s.away, "waiting-000", "waiting-001")
	s.EventuallyRollout("waiting", "starts by the approval of the plan that it had, and finishes", world.InState(v1alpha1.RolloutFinished))
	for _, name := range []string{"ready-000", "paused-000", "stopped-000"} {
		if a := s.Target(name).Status.Actions; len(a) > 0 {
			t.Errorf("%s was offered something: %+v", name, a)
		}
	}
}

// The group that is open is removed by force. Each rollout that has not ended says so, opens
// nothing and makes no other plan, whatever is committed but what ends it. The fix that the
// sentence names helps: the rollout is deleted and applied again, and nobody is served twice.
func TestGroupIsRemovedByForceInEveryState(t *testing.T) {
	t.Parallel()
	s := severalOf(t, 4, 2)
	plans := map[string]string{}
	var others []string
	for name := range states {
		plans[name] = s.Rollout(name).Status.Plan.Hash
		others = append(others, name+"-001", name+"-002", name+"-003")
	}
	for _, g := range s.Groups() {
		if g.Spec.Index == 0 {
			s.Kubectl("delete", "dgroup", g.Name, "--wait=false")
			s.Kubectl("patch", "dgroup", g.Name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		}
	}
	left := len(s.Groups())
	isLost := func(name string) {
		t.Helper()
		r := s.EventuallyRollout(name, "says that a group is lost", isStalled(v1alpha1.ReasonGroupLost))
		if m := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(m, "group group-1") || !strings.Contains(m, "delete and re-create the rollout") {
			t.Errorf("%s says %q", name, m)
		}
	}
	for name, state := range states {
		if name == "stopped" {
			s.EventuallyRollout(name, "is over all the same", isWell(state.is))
			continue
		}
		isLost(name)
	}
	s.CommitRollout("ready", "spec: {state: Running}")
	s.CommitRollout("waiting", "spec: {approval: {planHash: '"+plans["waiting"]+"'}}")
	s.CommitRollout("paused", "spec: {state: Running}")
	s.CommitRollout("running", `spec: {advance: {to: group-2, at: "`+time.Now().UTC().Format(time.RFC3339Nano)+`"}}`)
	s.nobodyStarts(others...)
	for name := range states {
		r := s.Rollout(name)
		if name != "stopped" {
			isLost(name)
		}
		if r.Status.Plan.Hash != plans[name] || r.Status.Groups[1].OpenedAt != nil {
			t.Errorf("%s made another plan or opened a group: %+v", name, r.Status)
		}
	}
	if now := s.Groups(); len(now) != left {
		t.Errorf("there are %d groups, want the %d that were left", len(now), left)
	}
	s.groupIsMended("running")
	s.groupIsMended("waiting")
}

// Somebody wipes the status of rollouts, as a restore without it would. One that had opened a group
// does not start all over again but says what was lost, and is fixed like one that has lost a
// group; one that had only its plan makes the same again.
func TestStatusIsWiped(t *testing.T) {
	t.Parallel()
	s := severalOf(t, 4, 2)
	plan, left := s.Rollout("ready").Status.Plan.Hash, len(s.Groups())
	for _, name := range []string{"running", "ready"} {
		s.Kubectl("patch", "grollout", name, "--subresource=status", "--type=merge", "-p", `{"status":null}`)
	}
	r := s.EventuallyRollout("running", "says that its status was lost", isStalled(v1alpha1.ReasonGroupLost))
	if m := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(m, "delete and re-create the rollout") || r.Status.Plan != nil {
		t.Errorf("it says %q, with plan %+v", m, r.Status.Plan)
	}
	s.nobodyStarts("running-001", "running-002", "running-003")
	if r = s.EventuallyRollout("ready", "is as before", isWell(v1alpha1.RolloutReady)); r.Status.Plan.Hash != plan {
		t.Error("the plan that had not started is another one")
	}
	if now := s.Groups(); len(now) != left {
		t.Errorf("there are %d groups, want the %d that were there", len(now), left)
	}
	s.groupIsMended("running")
}

// groupIsMended does what the sentence about a lost group says.
func (s *several) groupIsMended(name string) {
	s.T.Helper()
	s.Kubectl("delete", "grollout", name, "--wait=true", "--timeout=60s")
	s.roll(name, 2)
	if states[name].spec != "" {
		r := s.EventuallyRollout(name, "has a plan again", isWell(states[name].is))
		s.CommitRollout(name, "spec: {approval: {planHash: '"+r.Status.Plan.Hash+"'}}")
		wake(s.T, s.away, name+"-000")
		s.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
		return
	}
	target := s.EventuallyTarget(name+"-000", "is taken over", func(t *v1alpha1.Target) bool {
		a := action.Newest(&t.Status)
		return a.Source.UID == s.Rollout(name).UID
	})
	if a := target.Status.Actions; len(a) != 1 || a[0].State != v1alpha1.ActionRetrieved {
		s.T.Errorf("its actions are %+v, want the one that it had", a)
	}
	s.EventuallyTarget(name+"-001", "is served", inSync("firmware-1"))
	s.EventuallyRollout(name, "goes on", counts(v1alpha1.Counts{Targets: 4, Scheduled: 2, InProgress: 1, Succeeded: 1}))
	once(s.T, s.others, name+"-001")
}
