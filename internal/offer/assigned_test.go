// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

func inNights(zone string) edit {
	return during("0 2 * * *", zone, 2*time.Hour)
}

func during(schedule, zone string, d time.Duration) edit {
	return func(a *v1alpha1.Assignment) {
		a.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: schedule, DurationSeconds: int32(d / time.Second), TimeZone: zone}
	}
}

// stabilizing lets the assignment wait for newer rollouts, as after a rebuild from Git.
func stabilizing(s *story) {
	s.intents[0].Closed = eligibility.Reason{Code: eligibility.CodeStabilizing, Message: "waits until 12:00:05 for newer rollouts", Until: s.now.Add(5 * time.Second)}
}

func deviceStage(stage string) step {
	return spec(func(t *v1alpha1.Target) { action.Newest(&t.Status).Stage = stage })
}

// TestAssigned checks the condition for every state of an assignment. Noon is 2026-03-02T12:00:00Z.
func TestAssigned(t *testing.T) {
	const again = "; to bring fw once more, give spec.assignment.assignedAt the present time"
	fw := set("fw")
	refuses := func(s *story) { reports(action.CancelRejected)(s) }
	cancel := func(s *story) { cancels(100, v1alpha1.CancellationSoft)(s); polls(s) }
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"nothing is assigned":                {nil, ""},
		"assignedAt is in the future":        {[]step{fw, assigns("fw", assignedAt(noon.Add(time.Hour)))}, "True WaitingForStart: fw is assigned as of 2026-03-02T13:00:00Z (spec.assignment.assignedAt) and waits until then"},
		"it waits for newer rollouts":        {[]step{fw, assigns("fw"), stabilizing}, "True Stabilizing: waits until 12:00:05 for newer rollouts"},
		"it was not fetched":                 {[]step{fw, assigns("fw")}, "True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device"},
		"it must be confirmed":               {[]step{fw, assigns("fw", mustBeConfirmed)}, "True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device, which is then asked to confirm it"},
		"the device is connected":            {[]step{fw, assigns("fw", inNights("UTC")), online(metav1.ConditionTrue, v1alpha1.ReasonConnected)}, `True WaitingForDevice: fw has not been fetched: it is sent over the present connection of the device in the maintenance window "0 2 * * *" (UTC, 2h0m0s), open from 2026-03-03T02:00:00Z to 2026-03-03T04:00:00Z`},
		"the device has lost its connection": {[]step{fw, assigns("fw"), online(metav1.ConditionFalse, v1alpha1.ReasonDisconnected)}, "True WaitingForDevice: fw has not been fetched: it waits for the next connection of the device"},
		"the device polled":                  {[]step{fw, assigns("fw"), online(metav1.ConditionTrue, v1alpha1.ReasonSeen)}, "True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device"},
		"the device no longer polls":         {[]step{fw, assigns("fw"), online(metav1.ConditionFalse, v1alpha1.ReasonSilent)}, "True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device"},
		"the window is closed":               {[]step{fw, assigns("fw", inNights("UTC"))}, `True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device in the maintenance window "0 2 * * *" (UTC, 2h0m0s), open from 2026-03-03T02:00:00Z to 2026-03-03T04:00:00Z`},
		"the window is open":                 {[]step{fw, later(15 * time.Hour), assigns("fw", inNights("UTC"))}, `True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device in the maintenance window "0 2 * * *" (UTC, 2h0m0s), open from 2026-03-03T02:00:00Z to 2026-03-03T04:00:00Z`},
		"the window is in another zone":      {[]step{fw, assigns("fw", inNights("Europe/Berlin"))}, `True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device in the maintenance window "0 2 * * *" (Europe/Berlin, 2h0m0s), open from 2026-03-03T01:00:00Z to 2026-03-03T03:00:00Z`},
		"the window opens every two minutes": {[]step{fw, assigns("fw", during("*/2 * * * *", "UTC", time.Minute))}, `True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device in the maintenance window "*/2 * * * *" (UTC, 1m0s)`},
		"the window never closes":            {[]step{fw, assigns("fw", during("0 2 * * *", "UTC", 25*time.Hour))}, `True WaitingForDevice: fw has not been fetched: it waits for the next poll of the device in the maintenance window "0 2 * * *" (UTC, 25h0m0s)`},
		"the window never opens":             {[]step{fw, assigns("fw", during("0 2 30 2 *", "UTC", time.Hour))}, "False InvalidSpec: the maintenance window of spec.assignment never opens: correct its schedule"},
		"the device is held":                 {[]step{fw, assigns("fw"), holds(true)}, "True Hold: spec.hold keeps this target from starting an update; set it to false to release it"},
		"the target is a duplicate":          {[]step{fw, assigns("fw"), isDuplicate}, "True NotReady: fw waits: target old has the same controllerID"},
		"a migration step goes first":        {[]step{fw, set("step", migrationStep), assigns("fw"), rollout("r", 12, "step")}, "True WaitingForStep: spec.assignment waits for the required migration step step of rollout r (group group-1)"},
		"a heavier rollout goes first":       {[]step{fw, set("other"), assigns("fw", queuedBehind), rollout("r", 12, "other", queued(900))}, "True WaitingForDevice: fw waits: rollout r (group group-1) offers other first"},
		"another action is open":             {[]step{fw, set("other"), rollout("r", 12, "other", queued(900)), takes, assignsBeside("fw", queuedBehind)}, "True Busy: spec.assignment waits until action 100 (other) has closed and its cancel, if any, is answered"},
		"the set does not exist":             {[]step{assigns("fw")}, "False ReferenceNotFound: DistributionSet fw does not exist: create it, or name another in spec.assignment"},
		"the set is invalidated":             {[]step{fw, editSet("fw", invalid(soft, noon)), assigns("fw")}, "False DistributionSetInvalid: DistributionSet fw is invalidated (Soft) and is never given to a device again"},
		"the type does not fit":              {[]step{fw, editSet("fw", fits("gateway")), ofType("meter"), assigns("fw")}, `False Incompatible: DistributionSet fw does not fit target type "meter": its compatibleTargetTypes are [gateway]`},

		"it waits for confirmation":           {[]step{fw, assigns("fw", mustBeConfirmed), takes}, "True AwaitingConfirmation: fw: action 100 waits for confirmation at the device"},
		"it was denied":                       {[]step{fw, assigns("fw", mustBeConfirmed), takes, later(time.Minute), reports(action.Deny)}, "True Denied: fw: action 100 waits for confirmation at the device, where it was denied at 2026-03-02T12:01:00Z"},
		"it can be confirmed in a window":     {[]step{fw, later(15 * time.Hour), assigns("fw", mustBeConfirmed, inNights("UTC")), takes, later(3 * time.Hour)}, `True AwaitingConfirmation: fw: action 100 waits for confirmation at the device in the maintenance window "0 2 * * *" (UTC, 2h0m0s), open from 2026-03-04T02:00:00Z to 2026-03-04T04:00:00Z`},
		"it cannot be confirmed while held":   {[]step{fw, assigns("fw", mustBeConfirmed), takes, holds(true)}, "True Hold: action 100 (fw) waits for confirmation and the device is not asked: spec.hold keeps this target from starting an update; set it to false to release it"},
		"the device has fetched it":           {[]step{fw, assigns("fw"), takes}, "True Progressing: the device has fetched fw as action 100 and has not reported yet"},
		"the device is at work":               {[]step{fw, assigns("fw"), takes, reports(action.Proceed)}, "True Progressing: the device is at work on fw (action 100)"},
		"the device downloads":                {[]step{fw, assigns("fw"), takes, reports(action.Download)}, "True Progressing: the device downloads fw (action 100)"},
		"the device has downloaded":           {[]step{fw, assigns("fw"), takes, reports(action.Downloaded)}, "True Progressing: the device has downloaded fw (action 100) and has not started to install it"},
		"the device installs":                 {[]step{fw, assigns("fw"), takes, reports(action.Install)}, "True Progressing: the device installs fw (action 100)"},
		"it installs after the window closed": {[]step{fw, later(15 * time.Hour), assigns("fw", inNights("UTC")), takes, reports(action.Install), later(3 * time.Hour)}, "True Progressing: the device installs fw (action 100)"},
		"it installs while held":              {[]step{fw, assigns("fw"), takes, reports(action.Install), holds(true)}, "True Progressing: the device installs fw (action 100)"},
		"the device has installed":            {[]step{fw, assigns("fw"), takes, reports(action.EventInstalled), deviceStage("INSTALLED")}, "True Progressing: the device has installed fw (action 100) and has not confirmed the result"},
		"the device reports it as installed":  {[]step{fw, assigns("fw"), takes, reports(action.Install), reportsInstalled("fw")}, "True Progressing: the device has installed fw (action 100) and has not confirmed the result"},
		"the device removes software":         {[]step{fw, assigns("fw"), takes, reports(action.Remove)}, "True Progressing: the device removes software for fw (action 100)"},
		"it is to be canceled":                {[]step{fw, assigns("fw"), takes, cancel}, "True Canceling: action 100 (fw) is being canceled (Requested): the device is asked until it answers"},
		"the device has refused to cancel":    {[]step{fw, assigns("fw"), takes, reports(action.Download), cancel, refuses}, "True Progressing: the device downloads fw (action 100); it has refused to cancel (Requested)"},
		"its set was invalidated":             {[]step{fw, assigns("fw"), takes, editSet("fw", invalid(v1alpha1.CancellationNone, noon))}, "False DistributionSetInvalid: DistributionSet fw is invalidated (None) and is never given to a device again; the device has fetched fw as action 100 and has not reported yet"},

		"it is carried out":                 {[]step{fw, assigns("fw"), carriesOut}, "True Done: spec.assignment was carried out as action 100" + again},
		"another set is installed now":      {[]step{fw, assigns("fw"), carriesOut, runs("other", true)}, "True Done: spec.assignment was carried out as action 100, and the device has other installed now" + again},
		"it was only to be downloaded":      {[]step{fw, assigns("fw", ofUpdate(v1alpha1.UpdateTypeDownloadOnly)), takes, reports(action.Downloaded)}, "True Done: fw was downloaded as action 100 and is not installed: spec.assignment.type is DownloadOnly" + again},
		"it is installed already":           {[]step{fw, runs("fw", true), assigns("fw")}, "True AlreadyThere: fw is already installed"},
		"it failed":                         {[]step{fw, assigns("fw"), fails}, `False Failed: action 100 of spec.assignment failed with code "17" and is not tried again` + again},
		"it failed and is tried again":      {[]step{fw, assigns("fw", withRetries), fails}, "True Retrying: action 100 of spec.assignment failed; the next attempt is at 2026-03-02T12:10:00Z"},
		"it was canceled":                   {[]step{fw, assigns("fw"), takes, cancel, reports(action.CancelAccepted)}, "True Canceled: action 100 of spec.assignment was canceled" + again},
		"its time is before a newer update": {[]step{fw, set("other"), rollout("r", 12, "other"), carriesOut, assignsBeside("fw", assignedAt(hour(1)))}, "True Superseded: spec.assignment is no newer than action 100 (other), which this target has started" + again},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, c.steps...)
			s.applyPending()
			got := ""
			if c := Assigned(s.world()); c != nil {
				got = fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func isDuplicate(s *story) {
	s.target.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDuplicate, Message: "target old has the same controllerID"}}
}

func queuedBehind(a *v1alpha1.Assignment) {
	weight := int32(1)
	a.Superseding, a.Weight = v1alpha1.SupersedingQueue, &weight
}

func withRetries(a *v1alpha1.Assignment) { a.Retries = &v1alpha1.Retries{Limit: 1} }

func reportsInstalled(set string) step {
	return func(s *story) { action.ReportInstalled(&s.target.Status, set, hash(set), s.now) }
}

// assignsBeside sets spec.assignment and keeps the other intents that reach the target.
func assignsBeside(set string, edits ...edit) step {
	return func(s *story) {
		others := s.intents
		assigns(set, edits...)(s)
		s.intents = append(s.intents, others...)
	}
}

// TestAssignedUntil checks when time alone changes the condition: when a maintenance window closes,
// and only while the device has not started. The opening of a window causes no write.
func TestAssignedUntil(t *testing.T) {
	fw, never := set("fw"), time.Time{}
	for name, c := range map[string]struct {
		steps []step
		want  time.Time
	}{
		"nothing is assigned":                     {nil, never},
		"it was not fetched":                      {[]step{fw, assigns("fw")}, never},
		"assignedAt is in the future":             {[]step{fw, assigns("fw", assignedAt(noon.Add(time.Hour)))}, noon.Add(time.Hour)},
		"it waits for newer rollouts":             {[]step{fw, assigns("fw"), stabilizing}, noon.Add(5 * time.Second)},
		"its window is closed":                    {[]step{fw, assigns("fw", inNights("UTC"))}, noon.Add(16 * time.Hour)},
		"its window is open":                      {[]step{fw, later(15 * time.Hour), assigns("fw", inNights("UTC"))}, noon.Add(16 * time.Hour)},
		"its window has just closed":              {[]step{fw, later(16 * time.Hour), assigns("fw", inNights("UTC"))}, noon.Add(40 * time.Hour)},
		"its window opens every two minutes":      {[]step{fw, assigns("fw", during("*/2 * * * *", "UTC", time.Minute))}, never},
		"its window opens once an hour":           {[]step{fw, assigns("fw", during("0 * * * *", "UTC", time.Minute))}, noon.Add(time.Minute)},
		"it waits for confirmation in its window": {[]step{fw, later(15 * time.Hour), assigns("fw", mustBeConfirmed, inNights("UTC")), takes}, noon.Add(16 * time.Hour)},
		"it is being installed":                   {[]step{fw, later(15 * time.Hour), assigns("fw", inNights("UTC")), takes}, never},
		"it is done":                              {[]step{fw, later(15 * time.Hour), assigns("fw", inNights("UTC")), carriesOut}, never},
		"its device is held":                      {[]step{fw, assigns("fw", inNights("UTC")), holds(true)}, never},
		"it will be retried":                      {[]step{fw, assigns("fw", withRetries), fails}, noon.Add(10 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, c.steps...)
			got := AssignedUntil(s.world())
			if !got.Equal(c.want) {
				t.Errorf("changes at %s, want %s", got, c.want)
			}
		})
	}
}

// TestAssignedChangesOnlyWhenItShould checks the condition at every minute of two days around the
// windows: the message changes only at the time that AssignedUntil returned.
func TestAssignedChangesOnlyWhenItShould(t *testing.T) {
	s := newStory(t, set("fw"), assigns("fw", inNights("Europe/Berlin")))
	message, until, writes := "", time.Time{}, 0
	for range 48 * 60 {
		c := Assigned(s.world())
		if c.Message != message {
			if s.now.Before(until) {
				t.Errorf("at %s the message is %q; until %s it should be %q", s.now, c.Message, until, message)
			}
			writes++
		}
		message, until = c.Message, AssignedUntil(s.world())
		s.now = s.now.Add(time.Minute)
	}
	if writes != 3 {
		t.Errorf("%d messages in two days, want 3: the next window, and another one after each", writes)
	}
}
