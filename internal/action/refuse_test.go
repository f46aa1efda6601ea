// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestRefusedActions: only an action that the device has not got can be closed as refused.
func TestRefusedActions(t *testing.T) {
	now := time.Date(2026, 11, 2, 6, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		before  func(s *v1alpha1.TargetStatus, id int32)
		confirm bool
		removal bool
		closed  bool
		state   v1alpha1.ActionState
		message string
	}{
		"a new action fails":                          {closed: true, state: v1alpha1.ActionError, message: "the device has no feature for modules of type os"},
		"an action that waits for confirmation stays": {confirm: true, state: v1alpha1.ActionWaitingForConfirmation},
		"a removal that waits for confirmation fails": {confirm: true, removal: true, closed: true, state: v1alpha1.ActionError, message: "the device has no feature for modules of type os"},
		"an acknowledged action stays": {
			before: func(s *v1alpha1.TargetStatus, id int32) { Apply(s, Report{ID: id, Event: Start, Now: now}) },
			state:  v1alpha1.ActionRetrieved,
		},
		"a working device continues": {
			before: func(s *v1alpha1.TargetStatus, id int32) { Apply(s, Report{ID: id, Event: Install, Now: now}) },
			state:  v1alpha1.ActionInstalling,
		},
		"a stopped action is canceled": {
			before: func(s *v1alpha1.TargetStatus, id int32) {
				Cancel(s, id, v1alpha1.CauseStopped, v1alpha1.CancellationSoft, now)
			},
			closed: true, state: v1alpha1.ActionCanceled,
		},
		"a finished action stays finished": {
			before: func(s *v1alpha1.TargetStatus, id int32) { Apply(s, Report{ID: id, Event: Succeed, Now: now}) },
			state:  v1alpha1.ActionFinished,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.TargetStatus{}
			creation := Creation{DistributionSet: "fw", ContentHash: "hash", Modules: []string{"app:1"}, Confirm: tc.confirm, Now: now}
			if tc.removal {
				creation.DistributionSet, creation.Modules, creation.Remove = "", nil, software("app:1")
			}
			id := Create(s, creation).ID
			if tc.before != nil {
				tc.before(s, id)
			}
			if got := CloseAsRefused(s, id, v1alpha1.CodeNoFeature, "the device has no feature for modules of type os", now); got != tc.closed {
				t.Errorf("it was closed: %v, want %v", got, tc.closed)
			}
			a := ByID(s, id)
			if a.State != tc.state || a.FailureMessage != tc.message {
				t.Errorf("the action is %s with the message %q", a.State, a.FailureMessage)
			}
			if tc.closed && (a.StatusCode != v1alpha1.CodeNoFeature || a.ClosedAt == nil || HadContent(s, "hash")) {
				t.Errorf("the closed action is %+v, and the target had its content: %v", a, HadContent(s, "hash"))
			}
			if tc.closed && *partsOf(a)[0].state != tc.state {
				t.Errorf("the module or entry is %s", *partsOf(a)[0].state)
			}
			if a.State == v1alpha1.ActionCanceled && a.Cancel.Answer != v1alpha1.AnswerAccepted {
				t.Errorf("the cancel is answered with %q", a.Cancel.Answer)
			}
			if !IsConsistent(s) {
				t.Error("the device is inconsistent although it got nothing")
			}
		})
	}
	if s := (&v1alpha1.TargetStatus{}); CloseAsRefused(s, 7, v1alpha1.CodeNoFeature, "", now) {
		t.Error("an unknown action was closed")
	}
}
