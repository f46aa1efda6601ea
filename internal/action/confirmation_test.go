// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func withdrawn(cause v1alpha1.CancelCause) testStep {
	return func(l *testTarget) { l.changed = Withdraw(&l.s, Newest(&l.s).ID, cause, l.now) }
}

// TestConfirmationIsWithdrawn checks that Withdraw takes a confirmation back, unless the device has
// reported since.
func TestConfirmationIsWithdrawn(t *testing.T) {
	asked := []testStep{starts("one", asksToConfirm)}
	agreed := then(asked, reports(Deny), reports(Confirm, staging("confirmed"), code("7")))
	for name, c := range map[string]struct {
		steps   []testStep
		changed bool
		state   v1alpha1.ActionState
		cause   v1alpha1.CancelCause
		history []v1alpha1.ActionState
	}{
		"for a pause the action waits again": {then(agreed, withdrawn("")), true, v1alpha1.ActionWaitingForConfirmation, "",
			[]v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation"}},
		"for a stop the action is canceled": {then(agreed, withdrawn(v1alpha1.CauseStopped)), true, v1alpha1.ActionCanceled, v1alpha1.CauseStopped,
			[]v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation", "Canceled"}},
		"a withdrawn confirmation may be repeated": {then(agreed, withdrawn(""), reports(Confirm)), true, v1alpha1.ActionRunning, "",
			[]v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation", "Running"}},
		"not an action that still waits":            {then(asked, withdrawn("")), false, v1alpha1.ActionWaitingForConfirmation, "", []v1alpha1.ActionState{"WaitingForConfirmation"}},
		"not after a warning of the device":         {then(agreed, reports(Warn), withdrawn("")), false, v1alpha1.ActionRunning, "", []v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation", "Running"}},
		"not after a report of work":                {then(agreed, reports(Proceed), withdrawn("")), false, v1alpha1.ActionRunning, "", []v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation", "Running"}},
		"not after a refused cancel":                {then(agreed, stopped, reports(CancelRejected), withdrawn("")), false, v1alpha1.ActionRunning, v1alpha1.CauseStopped, []v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation", "Running", "Canceling"}},
		"not while canceling":                       {then(agreed, stopped, withdrawn("")), false, v1alpha1.ActionCanceling, v1alpha1.CauseStopped, []v1alpha1.ActionState{"WaitingForConfirmation", "WaitingForConfirmation", "Running", "Canceling"}},
		"not an action that needed no confirmation": {[]testStep{starts("one"), reports(Proceed), withdrawn("")}, false, v1alpha1.ActionRunning, "", []v1alpha1.ActionState{"Retrieved", "Running"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTarget(c.steps...)
			a := Newest(&l.s)
			if l.changed != c.changed || a.State != c.state {
				t.Errorf("withdrawn: %t, the action is %s; want %t and %s", l.changed, a.State, c.changed, c.state)
			}
			if cause := causeOf(a); cause != c.cause {
				t.Errorf("the cause is %q, want %q", cause, c.cause)
			}
			var history []v1alpha1.ActionState
			for _, line := range a.History {
				history = append(history, line.State)
			}
			if diff := cmp.Diff(c.history, history); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			if !IsConsistent(&l.s) {
				t.Error("the device is inconsistent")
			}
		})
	}
}

func causeOf(a *v1alpha1.Action) v1alpha1.CancelCause {
	if a.Cancel == nil {
		return ""
	}
	return a.Cancel.Cause
}

// TestWithdrawnConfirmationLeavesNoTrace checks that the action starts at the time of its creation
// again.
func TestWithdrawnConfirmationLeavesNoTrace(t *testing.T) {
	l := newTarget(starts("one", asksToConfirm))
	before := *Newest(&l.s).DeepCopy()
	for _, do := range []testStep{waits(time.Hour), reports(Confirm, staging("confirmed")), withdrawn("")} {
		do(l)
	}
	after := *Newest(&l.s)
	after.Reports, after.FirstReportedAt, after.ReportedAt = 0, nil, nil // the confirmation was a report
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the action differs (-before +after):\n%s", diff)
	}
	if l.s.UpdateStatus != v1alpha1.UpdateStatusPending {
		t.Errorf("the target is %s, want Pending", l.s.UpdateStatus)
	}
}

// TestHistoryOfDenials checks that the history of an action that waits for confirmation shows when
// the confirmation was requested, and the newest denial.
func TestHistoryOfDenials(t *testing.T) {
	steps := []testStep{starts("one", asksToConfirm), reports(Deny, saying("not during the shift"), staging("denied"))}
	for range 20 {
		steps = append(steps, reports(Deny, code("9")))
	}
	l := newTarget(steps...)
	a := Newest(&l.s)
	want := []v1alpha1.ActionEvent{
		{Time: stamp(noon.Add(time.Minute)), State: v1alpha1.ActionWaitingForConfirmation},
		{Time: stamp(noon.Add(22 * time.Minute)), State: v1alpha1.ActionWaitingForConfirmation, StatusCode: "9", Message: "denied"},
	}
	if diff := cmp.Diff(want, a.History); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if a.Stage != "denied" || a.Message != "not during the shift" || a.Reports != 21 {
		t.Errorf("stage is %q, message %q, reports %d", a.Stage, a.Message, a.Reports)
	}
	l = newTarget(steps[:2]...)
	if got := Newest(&l.s).History[1].Message; got != "denied: not during the shift" {
		t.Errorf("the line of the denial is %q", got)
	}
}
