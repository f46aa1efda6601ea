// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// outcome is the state of the action with the lowest id.
type outcome struct {
	State        v1alpha1.ActionState
	Causes       []v1alpha1.CancelCause
	Cancellation v1alpha1.Cancellation
	Source       string
}

func (s *story) outcome() outcome {
	a := s.target.Status.Actions[0]
	o := outcome{State: a.State, Source: string(a.Source.UID)}
	if a.Cancel != nil {
		o.Causes, o.Cancellation = a.Cancel.Causes, a.Cancel.Cancellation
	}
	return o
}

// TestApplyPending checks what becomes of action 100, which was started from rollout r.
func TestApplyPending(t *testing.T) {
	const (
		canceling = v1alpha1.ActionCanceling
		canceled  = v1alpha1.ActionCanceled
		retrieved = v1alpha1.ActionRetrieved
	)
	type causes = []v1alpha1.CancelCause
	goesOn := outcome{retrieved, nil, "", "uid-r"}
	isAsked := func(cause v1alpha1.CancelCause) outcome { return outcome{canceling, causes{cause}, soft, "uid-r"} }
	superseded := isAsked(v1alpha1.CauseSuperseded)
	for name, c := range map[string]struct {
		steps []step
		want  outcome
	}{
		"nothing applies": {nil, goesOn},

		"a newer rollout":                            {[]step{rollout("s", 2, "new")}, superseded},
		"a newer single assignment":                  {[]step{assignment(2, "new")}, superseded},
		"a newer auto-assignment waits":              {[]step{auto("a", 2, "new")}, goesOn},
		"an older rollout":                           {[]step{rollout("s", 0, "new")}, goesOn},
		"a rollout of equal age":                     {[]step{rollout("s", 1, "new")}, goesOn},
		"a newer rollout on a target on hold":        {[]step{rollout("s", 2, "new"), holds(true)}, goesOn},
		"a newer rollout whose window is closed":     {[]step{rollout("s", 2, "new", within("0 2 * * *", time.Hour))}, goesOn},
		"a newer rollout whose window has opened":    {[]step{rollout("s", 2, "new", within("0 2 * * *", time.Hour)), at(noon.Add(14 * time.Hour))}, superseded},
		"a newer rollout that is paused":             {[]step{rollout("s", 2, "new", closedFor(eligibility.CodePaused))}, goesOn},
		"a newer rollout whose group is not open":    {[]step{rollout("s", 2, "new", closedFor(eligibility.CodeGroupNotOpen))}, goesOn},
		"a newer rollout of an invalid set":          {[]step{editSet("new", invalid(soft, noon)), rollout("s", 2, "new")}, goesOn},
		"a newer rollout of a set that does not fit": {[]step{editSet("new", fits("gateway")), ofType("router"), rollout("s", 2, "new")}, goesOn},
		"a newer rollout that wants to queue":        {[]step{rollout("s", 2, "new", queued(1000))}, goesOn},
		"a newer rollout of what is installed":       {[]step{runs("new", true), rollout("s", 2, "new")}, goesOn},
		"a duplicate target":                         {[]step{duplicate, rollout("s", 2, "new")}, goesOn},

		"a stop with None":  {[]step{stops("r", none, v1alpha1.CauseStopped)}, goesOn},
		"a stop with Soft":  {[]step{stops("r", soft, v1alpha1.CauseStopped)}, isAsked(v1alpha1.CauseStopped)},
		"a stop with Force": {[]step{stops("r", force, v1alpha1.CauseStopped)}, outcome{canceled, causes{v1alpha1.CauseStopped}, force, "uid-r"}},
		"a stop with Soft, refused": {
			[]step{stops("r", soft, v1alpha1.CauseStopped), polls, reports(action.CancelRejected), polls}, outcome{retrieved, causes{v1alpha1.CauseStopped}, soft, "uid-r"}},
		"a stop with Soft, refused, then raised to Force": {
			[]step{stops("r", soft, v1alpha1.CauseStopped), polls, reports(action.CancelRejected), stops("r", force, v1alpha1.CauseStopped)},
			outcome{canceled, causes{v1alpha1.CauseStopped}, force, "uid-r"}},
		"a stop with Soft, refused, then an invalidation with Soft": {
			[]step{stops("r", soft, v1alpha1.CauseStopped), polls, reports(action.CancelRejected), editSet("old", invalid(soft, noon))},
			outcome{canceling, causes{v1alpha1.CauseStopped, v1alpha1.CauseInvalidated}, soft, "uid-r"}},
		"a newer rollout, refused, and another newer rollout": {
			[]step{rollout("s", 2, "new"), polls, reports(action.CancelRejected), rollout("u", 3, "newest")}, outcome{retrieved, causes{v1alpha1.CauseSuperseded}, soft, "uid-r"}},
		"an invalidation with Force over a cancel that is under way": {
			[]step{rollout("s", 2, "new"), polls, editSet("old", invalid(force, noon))},
			outcome{canceled, causes{v1alpha1.CauseSuperseded, v1alpha1.CauseInvalidated}, force, "uid-r"}},

		"a cancel of this id":                   {[]step{cancels(100, soft)}, isAsked(v1alpha1.CauseRequested)},
		"a cancel without cancellation is Soft": {[]step{cancels(100, "")}, isAsked(v1alpha1.CauseRequested)},
		"a cancel by force":                     {[]step{cancels(100, force)}, outcome{canceled, causes{v1alpha1.CauseRequested}, force, "uid-r"}},
		"a cancel of older ids":                 {[]step{cancels(99, force)}, goesOn},
		"a cancel of an id never given":         {[]step{cancels(101, force)}, goesOn},
		"a cancel of the greatest id there is":  {[]step{cancels(2147483647, force)}, goesOn},

		"the set was deleted": {[]step{deleteSet("old")}, isAsked(v1alpha1.CauseSetGone)},
		"the set was deleted, and the device refused to cancel": {[]step{deleteSet("old"), polls, reports(action.CancelRejected), polls}, outcome{retrieved, causes{v1alpha1.CauseSetGone}, soft, "uid-r"}},

		"no result before the progress deadline": {[]step{later(24 * time.Hour)}, outcome{v1alpha1.ActionError, nil, "", "uid-r"}},
		"just before the progress deadline":      {[]step{later(24*time.Hour - time.Second)}, goesOn},
		"no answer before the cancel deadline":   {[]step{stops("r", soft, v1alpha1.CauseStopped), polls, later(time.Hour)}, outcome{canceled, causes{v1alpha1.CauseStopped}, soft, "uid-r"}},
		"just before the cancel deadline": {
			[]step{stops("r", soft, v1alpha1.CauseStopped), polls, later(time.Hour - time.Second)}, isAsked(v1alpha1.CauseStopped)},

		"the rollout was deleted and created again": {
			[]step{rollout("r", 2, "old", asCreatedAgain)}, outcome{retrieved, nil, "", "uid-r-again"}},
		"the rollout was deleted and created again with the same startAt": {
			[]step{rollout("r", 1, "old", asCreatedAgain)}, outcome{retrieved, nil, "", "uid-r-again"}},
		"the rollout was created again while the target is on hold": {
			[]step{rollout("r", 1, "old", asCreatedAgain), holds(true)}, outcome{retrieved, nil, "", "uid-r-again"}},
		"the rollout was created again while its window is closed": {
			[]step{rollout("r", 1, "old", asCreatedAgain, within("0 2 * * *", time.Hour))}, outcome{retrieved, nil, "", "uid-r-again"}},
		"a newer rollout of the same content": {
			[]step{set("duplicate", content("old")), rollout("s", 2, "duplicate")}, outcome{retrieved, nil, "", "uid-s"}},
		"a newer rollout of the same content, and the old set was deleted": {
			[]step{set("duplicate", content("old")), rollout("s", 2, "duplicate"), deleteSet("old")}, outcome{retrieved, nil, "", "uid-s"}},
		"of two newer rollouts of the same content, the newest": {
			[]step{set("duplicate", content("old")), rollout("s", 2, "duplicate", queued(900)), rollout("u", 3, "duplicate", queued(1))}, outcome{retrieved, nil, "", "uid-u"}},
		"another rollout of equal age and the same content": {
			[]step{set("duplicate", content("old")), rollout("s", 1, "duplicate")}, goesOn},
		"a newer rollout of the same content that is paused": {
			[]step{set("duplicate", content("old")), rollout("s", 2, "duplicate", closedFor(eligibility.CodePaused))}, goesOn},
		"a cancel under way is not adopted": {
			[]step{cancels(100, soft), polls, rollout("r", 2, "old", asCreatedAgain)}, isAsked(v1alpha1.CauseRequested)},
		"a refusal to cancel for the old source does not count for the new one": {
			[]step{stops("r", soft, v1alpha1.CauseStopped), polls, reports(action.CancelRejected), rollout("r", 2, "old", asCreatedAgain)},
			outcome{retrieved, causes{}, soft, "uid-r-again"}},
		"an invalidated set is not adopted under another name": {
			[]step{set("duplicate", content("old")), rollout("s", 2, "duplicate"), editSet("old", invalid(soft, noon))}, isAsked(v1alpha1.CauseInvalidated)},
	} {
		t.Run(name, func(t *testing.T) {
			started := []step{set("old"), set("new"), set("newest"), rollout("r", 1, "old", deadlines(86400, 3600)), takes}
			s := newStory(t, slices.Concat(started, c.steps)...)
			s.mustNotChangeInput()
			s.applyPending()
			if diff := cmp.Diff(c.want, s.outcome()); diff != "" {
				t.Errorf("the outcome of the action differs (-want +got):\n%s", diff)
			}
			s.mustHaveNothingPending()
			For(s.world())
			s.mustHaveNothingPending()
		})
	}
}

// TestAdoption checks that an adopted action belongs to the source that adopted it.
func TestAdoption(t *testing.T) {
	s := newStory(t, set("old"), rollout("r", 1, "old", retries(3, 0)), fails, takes, set("duplicate", content("old")),
		rollout("s", 2, "duplicate", deadlines(60, 60)), deleteSet("old"), removed("r"), polls)
	a := action.Open(&s.target.Status)
	if a == nil || a.DistributionSet != "duplicate" || a.Source.Name != "s" || a.Source.Attempt != 2 || *a.Update.ProgressDeadlineSeconds != 60 {
		t.Fatalf("the action is not the new rollout's: %+v", a)
	}
	reports(action.Install)(s)
	reports(action.Succeed)(s)
	if got := s.offer().given(); got != (given{Nothing, eligibility.CodeDone, 0, ""}) {
		t.Errorf("the action is not counted for the new rollout: %+v", got)
	}
}

// TestResumesAfterFailure checks that a rollout that was deleted and applied again is offered to
// targets that failed before, also with the same startAt.
func TestResumesAfterFailure(t *testing.T) {
	s := newStory(t, set("old"), rollout("r", 1, "old"), fails, rollout("r", 1, "old", asCreatedAgain))
	if got := s.offer().given(); got != (given{Deploy, CodeDeploy, 101, "old"}) {
		t.Errorf("got %+v: %s", got, s.offer().Reason.Message)
	}
}

// TestAdoptionIsAnAttempt checks that an adopted action counts as the next attempt of a source that
// has tried before, so that retries.limit is respected.
func TestAdoptionIsAnAttempt(t *testing.T) {
	s := newStory(t, set("fw"), rollout("r", 2, "fw", queued(1), retries(1, 0)), fails, pauses("r"), set("duplicate", content("fw")), assignment(3, "duplicate", queued(1000)), takes)
	s.intents = s.intents[:0]
	rollout("r", 4, "fw", queued(1), retries(1, 0))(s)
	if !s.applyPending() {
		t.Fatal("the action is not adopted")
	}
	a := action.Open(&s.target.Status)
	if a.Source.Name != "r" || a.Source.Attempt != 2 {
		t.Errorf("it belongs to %s as attempt %d, want r's second", a.Source.Name, a.Source.Attempt)
	}
	reports(action.Fail)(s)
	if r := s.verdict("r"); r.Code != eligibility.CodeFailed {
		t.Errorf("after its second attempt of two it is %s: %s", r.Code, r.Message)
	}
}
