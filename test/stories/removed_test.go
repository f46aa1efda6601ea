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

// several has rollouts of one set in all states in which an object that they need may be removed.
// Each rollout has its own targets, named after it. In rollouts that have started, the first device
// has started and reports nothing more; the other devices are offline.
type several struct {
	*world.World
	away    *devicesim.Fleet
	others  *devicesim.Recorder // of the offline devices
	started []string            // the rollouts that have started, also stopped ones
}

// states are the rollouts of several with their state before the removal.
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

// severalOf creates the rollouts, each with these numbers of targets and groups.
func severalOf(t *testing.T, targets, groups int) *several {
	t.Helper()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	s := &several{World: w}
	var silent, away []string
	for name, state := range states {
		names := w.Targets(name, targets, map[string]string{"state": name})
		if state.spec == "" {
			s.started = append(s.started, name)
			silent = append(silent, names[0])
		} else {
			away = append(away, names[0])
		}
		away = append(away, names[1:]...)
		s.roll(name, groups)
	}
	_, started := w.Devices(devicesim.Silent, silent...)
	s.away, s.others = w.Devices(devicesim.Offline, away...)
	w.EventuallyStarted(started, silent...)
	for name, state := range states {
		if state.then != "" {
			w.CommitRollout(name, state.then)
		}
		w.EventuallyRollout(name, "is "+string(state.is), world.InState(state.is))
	}
	return s
}

// roll applies the manifest of one rollout.
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

// noneStart brings the offline devices online and fails the test if one of them starts.
func (s *several) noneStart(names ...string) {
	s.T.Helper()
	since := time.Now()
	bringOnline(s.T, s.away, names...)
	s.EventuallyPolled(s.others, 3, since, names...)
	if started := s.others.StartedAfter(since); len(started) > 0 {
		s.T.Errorf("devices started: %v", started)
	}
}

// isHealthyIn reports whether a rollout is in this state and is not Stalled.
func isHealthyIn(state v1alpha1.RolloutState) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool {
		return r.Status.State == state && world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled) == nil
	}
}

// The set of rollouts in every state, or one of its modules, is deleted. Each rollout that has not
// ended names the missing object, no device starts, and started devices are asked to cancel,
// because their deployment cannot be described any more. When the object is restored, each rollout
// continues with its plan.
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
					s.EventuallyRollout(name, "is stopped as before", isHealthyIn(state.is))
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
			s.noneStart(late...)

			s.Set("firmware-1", "1.0")
			for name, state := range states {
				if r := s.EventuallyRollout(name, "has its state and plan again", isHealthyIn(state.is)); r.Status.Plan.Hash != plans[name] {
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

// A target of rollouts in every state is deleted, with its open action. Each rollout counts it as
// removed and keeps its plan. A target that is created again is a member as before, and its actions
// have new ids.
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
		if r.Status.Plan.Hash != plans[name] || !isHealthyIn(states[name].is)(r) {
			t.Errorf("%s: %+v", name, r.Status)
		}
	}
	for name := range states {
		s.Targets(name, 1, map[string]string{"state": name})
		again := s.EventuallyTarget(name+"-000", "is reconciled", isReconciled)
		if again.UID == uids[name] || again.Status.NextActionID < ids[name] && name != "ready" && name != "waiting" {
			t.Errorf("%s, created again, starts with id %d; the deleted target had ids up to %d", again.Name, again.Status.NextActionID, ids[name]-1)
		}
	}
	again := s.EventuallyTarget("running-000", "starts again", newest(v1alpha1.ActionRetrieved))
	if a := again.Status.Actions; len(a) != 1 || a[0].ID < ids["running"] {
		t.Errorf("its actions are %+v", a)
	}
	s.EventuallyRollout("running", "counts it again", counts(v1alpha1.Counts{Targets: 2, Pending: 1, InProgress: 1}))
	s.CommitRollout("waiting", "spec: {approval: {planHash: '"+plans["waiting"]+"'}}")
	bringOnline(t, s.away, "waiting-000", "waiting-001")
	s.EventuallyRollout("waiting", "starts by the approval of its old plan, and finishes", world.InState(v1alpha1.RolloutFinished))
	for _, name := range []string{"ready-000", "paused-000", "stopped-000"} {
		if a := s.Target(name).Status.Actions; len(a) > 0 {
			t.Errorf("%s was offered an update: %+v", name, a)
		}
	}
}

// The open group is removed by force. Each rollout that has not ended is Stalled, opens no group
// and makes no other plan, until it is stopped or deleted. The fix in its message works: the
// rollout is deleted and applied again, and no device is updated twice.
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
		r := s.EventuallyRollout(name, "is Stalled with GroupLost", isStalled(v1alpha1.ReasonGroupLost))
		if m := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(m, "group group-1") || !strings.Contains(m, "delete and re-create the Rollout") {
			t.Errorf("%s says %q", name, m)
		}
	}
	for name, state := range states {
		if name == "stopped" {
			s.EventuallyRollout(name, "is stopped as before", isHealthyIn(state.is))
			continue
		}
		isLost(name)
	}
	s.CommitRollout("ready", "spec: {state: Running}")
	s.CommitRollout("waiting", "spec: {approval: {planHash: '"+plans["waiting"]+"'}}")
	s.CommitRollout("paused", "spec: {state: Running}")
	s.CommitRollout("running", `spec: {advance: {to: group-2, at: "`+time.Now().UTC().Format(time.RFC3339Nano)+`"}}`)
	s.noneStart(others...)
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
	s.recreateRollout("running")
	s.recreateRollout("waiting")
}

// The status of rollouts is removed, as by a restore without status. A rollout that had opened a
// group does not start again: it is Stalled, and is fixed like one that has lost a group. A rollout
// that had only its plan makes the same plan again.
func TestStatusIsRemoved(t *testing.T) {
	t.Parallel()
	s := severalOf(t, 4, 2)
	plan, left := s.Rollout("ready").Status.Plan.Hash, len(s.Groups())
	for _, name := range []string{"running", "ready"} {
		s.Kubectl("patch", "grollout", name, "--subresource=status", "--type=merge", "-p", `{"status":null}`)
	}
	r := s.EventuallyRollout("running", "is Stalled with GroupLost", isStalled(v1alpha1.ReasonGroupLost))
	if m := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(m, "delete and re-create the Rollout") || r.Status.Plan != nil {
		t.Errorf("it says %q, with plan %+v", m, r.Status.Plan)
	}
	s.noneStart("running-001", "running-002", "running-003")
	if r = s.EventuallyRollout("ready", "has its state and plan again", isHealthyIn(v1alpha1.RolloutReady)); r.Status.Plan.Hash != plan {
		t.Error("the plan that had not started is another one")
	}
	if now := s.Groups(); len(now) != left {
		t.Errorf("there are %d groups, want the %d that were there", len(now), left)
	}
	s.recreateRollout("running")
}

// recreateRollout applies the fix in the message about a lost group.
func (s *several) recreateRollout(name string) {
	s.T.Helper()
	s.Kubectl("delete", "grollout", name, "--wait=true", "--timeout=60s")
	s.roll(name, 2)
	if states[name].spec != "" {
		r := s.EventuallyRollout(name, "has a plan again", isHealthyIn(states[name].is))
		s.CommitRollout(name, "spec: {approval: {planHash: '"+r.Status.Plan.Hash+"'}}")
		bringOnline(s.T, s.away, name+"-000")
		s.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
		return
	}
	target := s.EventuallyTarget(name+"-000", "is adopted", func(t *v1alpha1.Target) bool {
		a := action.Newest(&t.Status)
		return a.Source.UID == s.Rollout(name).UID
	})
	if a := target.Status.Actions; len(a) != 1 || a[0].State != v1alpha1.ActionRetrieved {
		s.T.Errorf("its actions are %+v, want the one that it had", a)
	}
	s.EventuallyTarget(name+"-001", "is served", inSync("firmware-1"))
	s.EventuallyRollout(name, "goes on", counts(v1alpha1.Counts{Targets: 4, Scheduled: 2, InProgress: 1, Succeeded: 1}))
	startedOnce(s.T, s.others, name+"-001")
}
