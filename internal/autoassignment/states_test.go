// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package autoassignment

import (
	"flag"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/states"
)

var update = flag.Bool("update", false, "write the files with AutoAssignments in every state")

// TestAutoAssignmentsInEveryState compares the status of AutoAssignments in every state with the
// files of config/argocd.
func TestAutoAssignmentsInEveryState(t *testing.T) {
	after := func(d time.Duration) *metav1.Time { at := metav1.NewTime(now.Add(d)); return &at }
	objects := map[string]*v1alpha1.AutoAssignment{}
	for state, change := range map[string]func(*Snapshot){
		"running":           func(*Snapshot) {},
		"waiting-for-start": func(s *Snapshot) { s.AutoAssignment.Spec.StartAt = after(time.Hour) },
		"paused-by-spec":    func(s *Snapshot) { s.AutoAssignment.Spec.State = v1alpha1.AutoAssignmentIntentPaused },
		"waiting-for-its-set": func(s *Snapshot) {
			s.Set, s.AutoAssignment.CreationTimestamp = nil, metav1.NewTime(now)
		},
		"the-set-is-being-locked": func(s *Snapshot) {
			s.Set.Deployable, s.Set.Transient, s.Set.NotDeployable = false, true, "it is being locked"
		},
		"the-set-is-missing":   func(s *Snapshot) { s.Set = nil },
		"the-set-is-not-ready": func(s *Snapshot) { s.Set.Deployable, s.Set.NotDeployable = false, "spec.modules is empty" },
		"the-set-was-deleted": func(s *Snapshot) {
			s.AutoAssignment.Status = Next(*s).Status
			s.Set = nil
		},
		"the-set-was-invalidated": func(s *Snapshot) {
			s.AutoAssignment.Status = Next(*s).Status
			s.Set.Invalidation = v1alpha1.CancellationSoft
		},
		"an-invalidated-set-was-deleted": func(s *Snapshot) {
			s.Set.Invalidation = v1alpha1.CancellationSoft
			s.AutoAssignment.Status = Next(*s).Status
			s.Set = nil
		},
		"wrong-expression": func(s *Snapshot) { s.SelectionError = "spec.targetExpression, line 1: target has no field colour" },
		"wrong-window": func(s *Snapshot) {
			s.AutoAssignment.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 30 2 *", DurationSeconds: 3600}
		},
	} {
		s := world()
		s.AutoAssignment.CreationTimestamp = *after(-time.Hour)
		s.AutoAssignment.UID = "uid-gateways"
		change(&s)
		s.AutoAssignment.Status = Next(s).Status
		objects[state] = s.AutoAssignment
	}
	states.Check(t, "../..", *update, objects)
	states.CheckEvents(t, "../..", *update, objects["running"])
}
