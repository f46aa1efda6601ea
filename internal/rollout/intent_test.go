// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// runningRollout has one group, which has opened.
func runningRollout() *v1alpha1.Rollout {
	started := metav1.NewMicroTime(epoch)
	return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "uid-r", CreationTimestamp: metav1.NewTime(epoch)}, Status: v1alpha1.RolloutStatus{
		State: v1alpha1.RolloutRunning, StartedAt: &started, Plan: &v1alpha1.PlanStatus{},
		Groups: []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupRunning, OpenedAt: at(epoch)}},
	}}
}

// TestClosedReason: the spec takes precedence over the status, so a stop is effective as soon as it
// is seen.
func TestClosedReason(t *testing.T) {
	deleted := metav1.NewTime(epoch)
	for name, c := range map[string]struct {
		edit    func(*v1alpha1.Rollout)
		code    eligibility.Code
		stopped bool
		says    string
	}{
		"running":                                {func(*v1alpha1.Rollout) {}, "", false, ""},
		"running, the group in Error":            {func(r *v1alpha1.Rollout) { r.Status.Groups[0].State = v1alpha1.GroupError }, "", false, ""},
		"running, the group is finished":         {func(r *v1alpha1.Rollout) { r.Status.Groups[0].State = v1alpha1.GroupFinished }, "", false, ""},
		"being deleted":                          {func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &deleted }, eligibility.CodeStopped, true, "deleted"},
		"stopped by spec, not in the status yet": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }, eligibility.CodeStopped, true, "stopped"},
		"stopping":                               {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopping }, eligibility.CodeStopped, true, "stopped"},
		"stopped by status":                      {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopped }, eligibility.CodeStopped, true, "stopped"},
		"stopped before the start": {func(r *v1alpha1.Rollout) {
			r.Status.StartedAt, r.Spec.State = nil, v1alpha1.IntentStopped
		}, eligibility.CodeStopped, true, "stopped"},
		"not started": {func(r *v1alpha1.Rollout) {
			r.Status.StartedAt = nil
			r.Status.WaitingFor = &v1alpha1.WaitingFor{Message: "starts tomorrow", Until: &deleted}
		}, eligibility.CodeNotStarted, false, "starts tomorrow"},
		"paused by spec, not in the status yet": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }, eligibility.CodePaused, false, "spec.state is Paused"},
		"planned again after the start":         {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }, eligibility.CodePaused, false, "spec.state is Planned"},
		"paused automatically": {func(r *v1alpha1.Rollout) {
			r.Status.State, r.Status.PauseMessage = v1alpha1.RolloutPaused, "3 of 5 failed"
		}, eligibility.CodePaused, false, "3 of 5 failed"},
		"the group has not opened": {func(r *v1alpha1.Rollout) { r.Status.Groups[0].OpenedAt = nil }, eligibility.CodeGroupNotOpen, false, "has not opened"},
		"there is no such group":   {func(r *v1alpha1.Rollout) { r.Status.Groups = nil }, eligibility.CodeGroupNotOpen, false, "has not opened"},
		"finished":                 {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }, eligibility.CodeFinished, false, "finished"},
	} {
		t.Run(name, func(t *testing.T) {
			r := runningRollout()
			c.edit(r)
			closed, stopped := ClosedReason(r, 0)
			if closed.Code != c.code || stopped != c.stopped || !strings.Contains(closed.Message, c.says) {
				t.Errorf("got %+v, stopped %v", closed, stopped)
			}
			byName, byNameStopped := GroupClosedReason(r, "group-1")
			if diff := cmp.Diff(closed, byName); diff != "" || stopped != byNameStopped {
				t.Errorf("the reason by the group's name differs:\n%s", diff)
			}
		})
	}
	if closed, _ := GroupClosedReason(runningRollout(), "unknown"); closed.Code != eligibility.CodeGroupNotOpen {
		t.Errorf("a group that does not exist: %+v", closed)
	}
}

// TestCancellationOf: what a rollout requires for its open actions.
func TestCancellationOf(t *testing.T) {
	deleted := metav1.NewTime(epoch)
	const none, soft, force = v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce
	for name, c := range map[string]struct {
		edit func(*v1alpha1.Rollout)
		want cancellation.Request
	}{
		"running":             {func(*v1alpha1.Rollout) {}, cancellation.Request{}},
		"paused":              {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }, cancellation.Request{}},
		"stopped, by default": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }, cancellation.Request{Cancellation: soft, Cause: v1alpha1.CauseStopped}},
		"stopped with None": {func(r *v1alpha1.Rollout) { r.Spec.State, r.Spec.StopCancellation = v1alpha1.IntentStopped, none },
			cancellation.Request{Cancellation: none, Cause: v1alpha1.CauseStopped}},
		"deleted, by default": {func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &deleted }, cancellation.Request{Cancellation: none, Cause: v1alpha1.CauseDeleted}},
		"deleted with Force": {func(r *v1alpha1.Rollout) { r.DeletionTimestamp, r.Spec.DeletionCancellation = &deleted, force },
			cancellation.Request{Cancellation: force, Cause: v1alpha1.CauseDeleted}},
		"stopped with Force, then deleted": {func(r *v1alpha1.Rollout) {
			r.Spec.State, r.Spec.StopCancellation, r.DeletionTimestamp = v1alpha1.IntentStopped, force, &deleted
		}, cancellation.Request{Cancellation: force, Cause: v1alpha1.CauseStopped}},
		"stopped, then deleted with Force": {func(r *v1alpha1.Rollout) {
			r.Spec.State, r.DeletionTimestamp, r.Spec.DeletionCancellation = v1alpha1.IntentStopped, &deleted, force
		}, cancellation.Request{Cancellation: force, Cause: v1alpha1.CauseDeleted}},
		"stopped with Soft, then deleted with Soft": {func(r *v1alpha1.Rollout) {
			r.Spec.State, r.DeletionTimestamp, r.Spec.DeletionCancellation = v1alpha1.IntentStopped, &deleted, soft
		}, cancellation.Request{Cancellation: soft, Cause: v1alpha1.CauseStopped}},
	} {
		t.Run(name, func(t *testing.T) {
			r := runningRollout()
			c.edit(r)
			if diff := cmp.Diff(c.want, CancellationOf(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUndecodableRolloutIsTreatedAsPaused(t *testing.T) {
	r, g := runningRollout(), &v1alpha1.DeploymentGroup{Spec: v1alpha1.DeploymentGroupSpec{Targets: []v1alpha1.TargetName{"dev"}}}
	r.Unreadable = &v1alpha1.Unreadable{Message: "odd", Fields: []string{"spec.retry"}}
	if closed, stopped := ClosedReason(r, 0); closed.Code != eligibility.CodePaused || stopped || !strings.Contains(closed.Message, "cannot be decoded") {
		t.Errorf("the rollout: %+v, %t", closed, stopped)
	}
	r.Spec.State = v1alpha1.IntentStopped
	if closed, stopped := ClosedReason(r, 0); closed.Code != eligibility.CodeStopped || !stopped {
		t.Errorf("its stop: %+v, %t", closed, stopped)
	}
	r.Unreadable, r.Spec.State, g.Unreadable = nil, "", &v1alpha1.Unreadable{Message: "odd", Fields: []string{"status.openedAt"}}
	if in := IntentOf(r, g, &eligibility.Set{}); in.Closed.Code != eligibility.CodePaused || !strings.Contains(in.Closed.Message, "cannot be decoded") {
		t.Errorf("a member of the group: %+v", in.Closed)
	}
}
