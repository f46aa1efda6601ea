// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// TestAnyWorld takes random steps and checks, after each step, what must hold in every world.
func TestAnyWorld(t *testing.T) {
	started := 0
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			s := newStory(t)
			for i := range 3 {
				randomSet(random, fmt.Sprintf("set-%d", i))(s)
			}
			for range 40 {
				randomStep(random)(s)
				if s.mustHoldInAnyWorld(random) {
					started++
				}
				if t.Failed() {
					t.Fatalf("at %s, with %d intents", s.now, len(s.intents))
				}
			}
		})
	}
	if started < 150 {
		t.Errorf("only %d actions started in all these worlds, want at least 150: too little happens in them", started)
	}
}

// mustHoldInAnyWorld checks the invariants. It also lets the device start the offered update, at
// random, and reports whether it did.
func (s *story) mustHoldInAnyWorld(random *rand.Rand) bool {
	s.t.Helper()
	s.mustNotChangeInput()
	s.applyPending()
	s.mustHaveNothingPending()
	o := For(s.world())
	s.mustBeDecided(o)
	s.mustBeOneThing(o)
	s.mustNotDependOnOrder(random, o)
	s.mustNotChangeBeforeNextChange(random)
	if o.Kind != Deploy && o.Kind != Confirm {
		return false
	}
	s.mustBeValid(o)
	if o.Action != nil || random.IntN(2) == 0 {
		return false
	}
	s.mustContinue(o)
	return true
}

// mustBeDecided checks that Decide returns the same offer, apart from the message.
func (s *story) mustBeDecided(o Offer) {
	s.t.Helper()
	decided := Decide(s.world())
	decided.Reason.Message = o.Reason.Message
	if diff := cmp.Diff(o, decided); diff != "" {
		s.t.Errorf("Decide returns another offer (-For +Decide):\n%s", diff)
	}
}

// mustBeOneThing checks that an offer is nothing, or one action with one id, and has a reason.
func (s *story) mustBeOneThing(o Offer) {
	s.t.Helper()
	switch {
	case o.Reason.Code == "" || o.Reason.Message == "":
		s.t.Errorf("no reason: %+v", o.given())
	case (o.Kind == Nothing) != (o.ActionID == 0):
		s.t.Errorf("%s with id %d", o.Kind, o.ActionID)
	case o.Kind != Nothing && (o.Action == nil) == (o.Intent == nil):
		s.t.Errorf("%s with both or neither of an action and an intent", o.Kind)
	case o.Action != nil && o.ActionID != 0 && o.ActionID != o.Action.ID:
		s.t.Errorf("id %d of action %d", o.ActionID, o.Action.ID)
	case o.Intent != nil && o.ActionID != s.target.Status.NextActionID:
		s.t.Errorf("a new action under id %d, next is %d", o.ActionID, s.target.Status.NextActionID)
	}
	if open := action.Open(&s.target.Status); open != nil && o.Kind != Nothing && o.ActionID != open.ID {
		s.t.Errorf("action %d is open, but %d is offered", open.ID, o.ActionID)
	}
}

func (s *story) mustNotDependOnOrder(random *rand.Rand, o Offer) {
	s.t.Helper()
	w := s.world()
	random.Shuffle(len(w.Intents), func(i, j int) { w.Intents[i], w.Intents[j] = w.Intents[j], w.Intents[i] })
	again := For(w)
	if diff := cmp.Diff([]any{o.given(), o.Reason}, []any{again.given(), again.Reason}); diff != "" {
		s.t.Errorf("another order of intents gives another offer:\n%s", diff)
	}
}

// mustNotChangeBeforeNextChange checks that what a device gets is the same at random times before
// NextChange.
func (s *story) mustNotChangeBeforeNextChange(random *rand.Rand) {
	s.t.Helper()
	w := s.world()
	next := NextChange(w)
	if !next.IsZero() && !next.After(w.Now) {
		s.t.Errorf("the next change, at %s, is not after %s", next, w.Now)
		return
	}
	end := 14 * 24 * time.Hour
	if !next.IsZero() {
		end = next.Sub(w.Now)
	}
	before := s.got(w)
	for _, after := range []time.Duration{end - 1, time.Duration(random.Int64N(int64(end))), time.Duration(random.Int64N(int64(min(end, time.Hour))))} {
		w := s.world()
		w.Now = w.Now.Add(after)
		if diff := cmp.Diff(before, s.got(w)); diff != "" {
			s.t.Errorf("the next change is at %s, and at %s the device gets something else:\n%s", next, w.Now, diff)
		}
	}
}

// got returns what the device gets from a world, without messages.
func (s *story) got(w World) any {
	s.t.Helper()
	_, pending := ApplyPending(w)
	o := For(w)
	got := []any{pending, o.given(), o.Reason.Code, o.OpensAt}
	if o.Action != nil && o.Kind == Deploy {
		_, open := Window(o.Action, w.Now)
		got = append(got, open, IsForced(CurrentUpdate(w, o.Action), true, w.Now))
	}
	if o.Intent != nil {
		got = append(got, IsForced(v1alpha1.ActionUpdate{Type: o.Intent.Update.Type, ForceAt: o.Intent.Update.ForceAt}, true, w.Now))
	}
	return got
}

// mustBeValid checks that an invalidated set is offered only by rollouts that had started when it
// was invalidated with None.
func (s *story) mustBeValid(o Offer) {
	s.t.Helper()
	if o.Set == nil || o.Set.Invalidation == "" {
		return
	}
	if o.Action != nil && o.Action.State.HasStarted() {
		refused := o.Action.Cancel != nil && o.Action.Cancel.Answer == v1alpha1.AnswerRejected
		if o.Set.Invalidation != none && !refused {
			s.t.Errorf("action %d continues with a set that was invalidated with %s", o.ActionID, o.Set.Invalidation)
		}
		return
	}
	in := o.Intent
	if in == nil {
		in = ownVerdict(o.Action, judgeAll(new(s.world()))).in
	}
	if o.Set.Invalidation != none || in.Source.Kind != v1alpha1.SourceRollout || in.StartedAt.After(o.Set.InvalidatedAt) && !o.Set.InvalidatedAt.IsZero() {
		s.t.Errorf("%s offers a set that was invalidated with %s", label(in), o.Set.Invalidation)
	}
}

// mustContinue starts the offered update and checks that the same world then continues it.
func (s *story) mustContinue(o Offer) {
	s.t.Helper()
	b := o.Creation(s.world())
	if a := action.Create(&s.target.Status, b); a == nil || a.ID != o.ActionID {
		s.t.Fatalf("created %v, want action %d, which was offered", a, o.ActionID)
	}
	s.applyPending() // a newer intent for the same content may adopt what has just started
	s.mustHaveNothingPending()
	again := For(s.world())
	code := CodeResume
	if o.Kind == Confirm {
		code = CodeConfirm
	}
	if again.Kind != o.Kind || again.Reason.Code != code || again.ActionID != o.ActionID || again.Set.ContentHash != o.Set.ContentHash {
		s.t.Errorf("the new action does not continue: the offer %+v became %+v, %s", o.given(), again.given(), again.Reason.Message)
	}
}

func randomSet(random *rand.Rand, name string) step {
	return set(name, func(x *eligibility.Set) {
		x.ContentHash = hash(pick(random, "a", "b", "c"))
		x.RequiredMigrationStep = random.IntN(6) == 0
		x.Changed = random.IntN(20) == 0
		x.Deployable = !x.Changed && random.IntN(10) > 0
		if random.IntN(5) == 0 {
			x.Invalidation, x.InvalidatedAt = pick(random, none, soft, force), hour(random.IntN(10))
		}
	})
}

// randomStep returns a step that may happen in a fleet.
func randomStep(random *rand.Rand) step {
	name, setName, h := pick(random, "r", "s", "u"), pick(random, "set-0", "set-1", "set-2"), random.IntN(6)
	switch random.IntN(14) {
	case 0, 1, 2:
		return rollout(name, h, setName, randomIntent(random))
	case 3:
		return assignment(h, setName, randomIntent(random))
	case 4:
		return auto("auto", h, setName, randomIntent(random))
	case 5:
		return func(s *story) {
			if len(s.intents) > 0 {
				removed(s.intents[random.IntN(len(s.intents))].Source.Name)(s)
			}
		}
	case 6:
		return stops(name, pick(random, none, soft, force), v1alpha1.CauseStopped)
	case 7:
		return randomSet(random, setName)
	case 8:
		return holds(random.IntN(3) == 0)
	case 9:
		return func(s *story) {
			cancels(s.target.Status.NextActionID-1-random.Int32N(2), pick(random, soft, force))(s)
		}
	case 10:
		return later(time.Duration(random.IntN(120)) * time.Minute)
	case 11:
		return spec(func(t *v1alpha1.Target) {
			t.Spec.AutoConfirm = pick(random, v1alpha1.AutoConfirmDevice, v1alpha1.AutoConfirmAlways)
		})
	}
	event := pick(random, action.Confirm, action.Download, action.Install, action.Succeed, action.Fail, action.CancelAccepted, action.CancelRejected)
	return func(s *story) {
		if len(s.target.Status.Actions) > 0 {
			reports(event)(s)
		}
	}
}

// timeForced makes an update forced from a time on.
func timeForced(at time.Time) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) {
		in.Update.Type, in.Update.ForceAt = v1alpha1.UpdateTypeTimeForced, &metav1.Time{Time: at}
	}
}

func randomIntent(random *rand.Rand) func(*eligibility.Intent) {
	edits := []func(*eligibility.Intent){queued(random.Int32N(100)), reinstalls, confirmed, closedFor(eligibility.CodePaused), closedFor(eligibility.CodeGroupNotOpen), closedFor(eligibility.CodeNotStarted),
		closedFor(eligibility.CodeStopped), retries(2, 60), retryAsked(noon), within("30 * * * *", 20*time.Minute), deadlines(3600, 1800), asCreatedAgain, timeForced(hour(36 + random.IntN(48)))}
	return func(in *eligibility.Intent) {
		for _, edit := range edits {
			if random.IntN(8) == 0 {
				edit(in)
			}
		}
		if in.Source.Kind != v1alpha1.SourceRollout && in.Source.Since == nil {
			in.Closed = eligibility.Reason{}
			in.Source.Since = &metav1.MicroTime{Time: noon}
		}
		in.Superseded, in.AlreadyThere, in.Expired = random.IntN(12) == 0, random.IntN(12) == 0, random.IntN(12) == 0
	}
}

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }
