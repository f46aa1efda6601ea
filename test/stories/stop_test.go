// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// stopped is a fleet with a running rollout: busy devices have started, silent ones have started
// and report nothing more, late ones have not started.
type stopped struct {
	*world.World
	busy, silent, late []string
	working, others    *devicesim.Recorder
	away               *devicesim.Fleet
}

func atWork(t *testing.T) *stopped {
	t.Helper()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	s := &stopped{World: w, busy: w.Targets("busy", 3, nil), silent: w.Targets("silent", 2, nil), late: w.Targets("late", 3, nil)}
	_, s.working = w.Play(stepsOf(3*time.Second), devicesim.Obedient, s.busy...)
	_, silent := w.Devices(devicesim.Silent, s.silent...)
	s.away, s.others = w.Devices(devicesim.Offline, s.late...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 1}`)
	w.EventuallyStarted(s.working, s.busy...)
	w.EventuallyStarted(silent, s.silent...)
	return s
}

// With every stopCancellation no other device starts, and the rollout is Stopped.
func TestStopCancelsStartedDevicesAsStopCancellationSays(t *testing.T) {
	t.Parallel()
	for cancellation, want := range map[v1alpha1.Cancellation]struct {
		busy, silent v1alpha1.ActionState
		counts       v1alpha1.Counts
	}{
		v1alpha1.CancellationNone:  {v1alpha1.ActionFinished, v1alpha1.ActionRetrieved, v1alpha1.Counts{Targets: 8, Succeeded: 3, InProgress: 2, Canceled: 3}},
		v1alpha1.CancellationSoft:  {v1alpha1.ActionCanceled, v1alpha1.ActionCanceling, v1alpha1.Counts{Targets: 8, InProgress: 2, Canceled: 6}},
		v1alpha1.CancellationForce: {v1alpha1.ActionCanceled, v1alpha1.ActionCanceled, v1alpha1.Counts{Targets: 8, Canceled: 8}},
	} {
		t.Run(string(cancellation), func(t *testing.T) {
			t.Parallel()
			s := atWork(t)
			s.CommitRollout("firmware-1", "spec: {state: Stopped, stopCancellation: "+string(cancellation)+"}")
			committed := time.Now()
			bringOnline(t, s.away, s.late...)
			r := s.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
			if !world.Says(r.Status.Conditions, v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonStopped) ||
				world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled) != nil {
				t.Errorf("conditions are %+v", r.Status.Conditions)
			}
			for _, name := range s.busy {
				s.EventuallyTarget(name, "is closed", newest(want.busy))
			}
			for _, name := range s.silent {
				s.EventuallyTarget(name, "has the state for its stopCancellation", newest(want.silent))
			}
			s.EventuallyPolled(s.others, 5, committed.Add(time.Second), s.late...)
			if started := s.others.StartedAfter(committed.Add(time.Second)); len(started) > 0 {
				t.Errorf("devices started after the stop: %v", started)
			}
			s.EventuallyRollout("firmware-1", fmt.Sprintf("counts %+v", want.counts), func(r *v1alpha1.Rollout) bool { return *r.Status.Targets == want.counts })
		})
	}
}

// Two devices do not answer the cancel of a Soft stop. When stopCancellation is raised to Force,
// their actions are closed.
func TestStopMayBeRaisedFromSoftToForce(t *testing.T) {
	t.Parallel()
	s := atWork(t)
	s.CommitRollout("firmware-1", "spec: {state: Stopped}")
	s.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	for _, name := range s.silent {
		s.EventuallyTarget(name, "is asked", newest(v1alpha1.ActionCanceling))
	}
	s.CommitRollout("firmware-1", "spec: {stopCancellation: Force}")
	for _, name := range s.silent {
		got := s.EventuallyTarget(name, "is closed", newest(v1alpha1.ActionCanceled))
		if action.PendingCancel(&got.Status) == nil || !world.Says(got.Status.Conditions, v1alpha1.ConditionConsistent, metav1.ConditionFalse, v1alpha1.ReasonClosedWhileRunning) {
			t.Errorf("target %s: %+v", name, got.Status)
		}
	}
	want := v1alpha1.Counts{Targets: 8, Canceled: 8}
	r := s.EventuallyRollout("firmware-1", "counts all targets as canceled", func(r *v1alpha1.Rollout) bool { return *r.Status.Targets == want })
	if r.Status.State != v1alpha1.RolloutStopped {
		t.Errorf("state is %s", r.Status.State)
	}
}

// Flux deletes and re-creates a rollout because of a typo. It continues: open actions are adopted,
// finished ones count, and no device installs twice.
func TestRolloutThatIsDeletedAndReCreatedResumes(t *testing.T) {
	t.Parallel()
	for name, startAt := range map[string]string{"without startAt": "", "with startAt": `startAt: "2026-01-01T00:00:00Z"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			done, busy, later := w.Targets("done", 2, nil), w.Targets("busy", 3, nil), w.Targets("later", 3, map[string]string{"ring": "later"})
			_, quick := w.Devices(devicesim.Obedient, together(done, later)...)
			_, slow := w.Play(stepsOf(4*time.Second), devicesim.Obedient, busy...)
			manifest := `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec:
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  successThreshold: 100
  ` + startAt + `
  groups:
  - {name: first, targetSelector: {matchExpressions: [{key: ring, operator: DoesNotExist}]}}
  - {name: later}
`
			w.Apply(manifest)
			w.EventuallyStarted(slow, busy...)
			for _, name := range done {
				w.EventuallyTarget(name, "is done", inSync("firmware-1"))
			}
			before := w.Rollout("firmware-1").UID
			w.Kubectl("delete", "grollout", "firmware-1", "--wait=true")
			for _, g := range w.Groups() {
				t.Errorf("group %s has no rollout", g.Name)
			}
			w.Apply(manifest)
			r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
			if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 8, Succeeded: 8}) {
				t.Errorf("counts are %+v", got)
			}
			if r.UID == before {
				t.Fatal("the rollout was not re-created")
			}
			for _, name := range busy {
				got := w.EventuallyTarget(name, "is in sync", inSync("firmware-1"))
				if len(got.Status.Actions) != 1 || got.Status.Actions[0].Source.UID != r.UID {
					t.Errorf("target %s has actions %+v, want its one action adopted", name, got.Status.Actions)
				}
			}
			startedOnce(t, slow, busy...)
			startedOnce(t, quick, together(done, later)...)
		})
	}
}

// When a rollout with deletionCancellation Soft is deleted, started devices are asked to cancel,
// and the deletion does not wait for their answers.
func TestRolloutThatIsDeletedWithSoftAsksToCancel(t *testing.T) {
	t.Parallel()
	s := atWork(t)
	s.CommitRollout("firmware-1", "spec: {deletionCancellation: Soft}")
	s.Kubectl("delete", "grollout", "firmware-1", "--wait=true")
	if err := s.Client.Get(t.Context(), types.NamespacedName{Namespace: s.Namespace, Name: "firmware-1"}, &v1alpha1.Rollout{}); !apierrors.IsNotFound(err) {
		t.Errorf("the rollout still exists: %v", err)
	}
	noGroups(s.World)
	for _, name := range s.silent {
		if a := action.Newest(&s.Target(name).Status); a.State != v1alpha1.ActionCanceling || a.Cancel.Cause != v1alpha1.CauseDeleted {
			t.Errorf("action of the silent %s is %+v", name, a)
		}
	}
	for _, name := range s.busy {
		s.EventuallyTarget(name, "gives up", newest(v1alpha1.ActionCanceled))
	}
	gone := time.Now()
	bringOnline(t, s.away, s.late...)
	s.EventuallyPolled(s.others, 3, gone, s.late...)
	if started := s.others.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started an update of the deleted rollout: %v", started)
	}
}
