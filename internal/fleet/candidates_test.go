// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

var lastYear = noon.AddDate(-1, 0, 0)

// autoFrom returns an auto-assignment of the set that was created at noon, with the given time.
func autoFrom(since time.Time) *v1alpha1.AutoAssignment {
	started := metav1.NewMicroTime(noon)
	a := built.AutoAssignment("auto", "old")
	a.Status.State, a.Status.StartedAt = v1alpha1.AutoAssignmentRunning, &started
	if since.Before(noon) {
		at := metav1.NewTime(since)
		a.Spec.StartAt = &at
	}
	return a
}

// assignedFrom gives a target, created at noon, an assignment with the given time.
func assignedFrom(since time.Time) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		at := metav1.NewTime(since)
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "old"}, AssignedAt: &at}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "old", AssignedAt: &at, Since: &metav1.MicroTime{Time: since}}
	}
}

// waitingToStart returns a rollout of all targets that was created at noon, has a startAt, and has
// not started.
func waitingToStart(startAt time.Time) *v1alpha1.Rollout {
	r := running("newer", set("new"))
	r.Status = v1alpha1.RolloutStatus{State: v1alpha1.RolloutCreating}
	at := metav1.NewTime(startAt)
	r.Spec.StartAt = &at
	return r
}

// TestRebuild: intents that are old by their own time and were applied in a rebuild wait for newer
// rollouts of the same rebuild.
func TestRebuild(t *testing.T) {
	lastMonth := noon.AddDate(0, -1, 0)
	south := &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "south"}}
	tests := map[string]struct {
		since   time.Time // of the assignment and the auto-assignment
		rollout func(*v1alpha1.Rollout)
		without bool // no rollout
		after   time.Duration
		want    eligibility.Code
	}{
		"at first other objects may still be applied":   {since: lastYear, without: true, after: 2 * time.Second, want: eligibility.CodeStabilizing},
		"no rollout was applied":                        {since: lastYear, without: true, after: 6 * time.Second},
		"a newer rollout was applied and will start":    {since: lastYear, after: 6 * time.Second, want: eligibility.CodeStabilizing},
		"it does not start in time":                     {since: lastYear, after: time.Minute},
		"it has started":                                {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.Status = running("newer", set("new")).Status }, after: 6 * time.Second},
		"it is older":                                   {since: lastYear, rollout: startsAt(lastYear.AddDate(0, -1, 0)), after: 6 * time.Second},
		"it starts much later":                          {since: lastYear, rollout: startsAt(noon.Add(time.Hour)), after: 6 * time.Second},
		"it starts as soon as it can, which is newer":   {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.Spec.StartAt = nil }, after: 6 * time.Second, want: eligibility.CodeStabilizing},
		"it selects other targets":                      {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.Spec.TargetSelector = south }, after: 6 * time.Second},
		"it cannot be evaluated, and so never starts":   {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.Spec.TargetExpression = "target.tpye" }, after: 6 * time.Second},
		"it is only planned":                            {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }, after: 6 * time.Second},
		"it was created long before":                    {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.CreationTimestamp = metav1.NewTime(lastMonth) }, after: 6 * time.Second},
		"it is being deleted":                           {since: lastYear, rollout: func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &r.CreationTimestamp }, after: 6 * time.Second},
		"an intent as new as the cluster does not wait": {since: noon, after: 2 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			f.put(set("old"), autoFrom(tt.since), built.Target("dev", assignedFrom(tt.since)))
			if !tt.without {
				r := waitingToStart(lastMonth)
				f.put(r)
				if tt.rollout != nil {
					changed := r.DeepCopy()
					changed.Generation++
					tt.rollout(changed)
					f.put(changed)
				}
			}
			for _, in := range f.For(f.Target(fleetKey("dev")), noon.Add(tt.after)) {
				if in.Closed.Code != tt.want {
					t.Errorf("%s is closed by %q (%s), want %q", in.Source.Kind, in.Closed.Code, in.Closed.Message, tt.want)
				}
				if tt.want != "" && (!in.Closed.Until.After(noon.Add(tt.after)) || !strings.Contains(in.Closed.Message, in.Closed.Until.UTC().Format(time.RFC3339))) {
					t.Errorf("%s: until %s, %q", in.Source.Kind, in.Closed.Until, in.Closed.Message)
				}
			}
		})
	}
}

func startsAt(at time.Time) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Spec.StartAt = &metav1.Time{Time: at} }
}

// TestRebuildForgetsRollouts: a deleted rollout delays no intent, and a new rollout with the same
// name is a different one.
func TestRebuildForgetsRollouts(t *testing.T) {
	f := newFleet(t)
	f.put(set("old"), autoFrom(lastYear), built.Target("dev"))
	first, second := waitingToStart(noon.AddDate(0, -1, 0)), waitingToStart(noon.AddDate(0, -1, 0))
	second.UID = "uid-second"
	f.put(first, second)
	f.remove(first) // the deletion is seen late
	if in := f.For(f.Target(fleetKey("dev")), noon.Add(6*time.Second))[0]; in.Closed.Code != eligibility.CodeStabilizing {
		t.Errorf("the second rollout was removed with the first: %+v", in.Closed)
	}
	f.remove(second)
	if in := f.For(f.Target(fleetKey("dev")), noon.Add(6*time.Second))[0]; !in.Closed.IsZero() {
		t.Errorf("a deleted rollout delays it: %+v", in.Closed)
	}
}
