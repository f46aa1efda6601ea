// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// play runs a story: devices, controllers and the user take turns until none of them has anything
// to do. It returns the log. Without random, the turns go in order.
func (s story) play(t *testing.T, random *rand.Rand, crashes bool) []string {
	w := newWorld(t, s.targets, s.spec)
	if s.setup != nil {
		s.setup(w)
	}
	player := &player{world: w, story: s, random: random, waited: map[string]int{}, failures: map[string]int{}, denials: map[string]int{},
		closed: map[string]v1alpha1.ActionState{}}
	if crashes {
		w.crash = func(p Plan) Plan {
			if random.IntN(4) > 0 {
				return p
			}
			player.crashed = true
			return cut(p, w.rollout.Status, random.IntN(len(p.Create)+len(p.Supersede)+1+len(p.Mirror)+2+len(p.Delete)))
		}
	}
	actors := player.actors()
	rounds := 2
	if s.hours != nil { // what became due in the second to last round is done in the last
		rounds = 3
	}
	for quiet := 0; quiet < rounds; {
		if len(w.log) > 500 || player.turns > 50_000 {
			t.Fatalf("no end:\n%s", strings.Join(w.log[max(0, len(w.log)-20):], "\n"))
		}
		quiet++
		for i := range actors {
			if random != nil && quiet < 2 { // the last rounds are in order, so that every actor has a turn
				i = random.IntN(len(actors))
			}
			w.tick(100 * time.Millisecond)
			if player.turn(actors[i]) {
				quiet = 0
			}
			if t.Failed() {
				t.Fatal(strings.Join(w.log, "\n"))
			}
		}
	}
	w.crash = nil
	if s.wantState != "" && (w.state() != s.wantState || s.wantGroups != "" && w.states() != s.wantGroups) {
		w.want(s.wantState, s.wantGroups)
	}
	player.checkEnd()
	w.log = append(w.log, fmt.Sprintf("%6s  ends %s [%s], %+v", w.now.Sub(epoch).Truncate(time.Second), w.state(), w.states(), player.total()))
	return w.log
}

// cut returns the first n writes of a plan. A controller that crashed before the last write has not
// recorded the events.
func cut(p Plan, before v1alpha1.RolloutStatus, n int) Plan {
	p.Events = nil
	p.Create, n = first(p.Create, n)
	p.Supersede, n = first(p.Supersede, n)
	if n == 0 {
		p.Status, p.Mirror, p.Join, p.Delete = before, nil, nil, nil
		return p
	}
	p.Mirror, n = first(p.Mirror, n-1)
	p.Join, n = part(p.Join, n)
	p.Delete, _ = first(p.Delete, n)
	return p
}

// part returns the part of a join that n writes carry out, and how many writes are left.
func part(j *Join, n int) (*Join, int) {
	switch {
	case j == nil || n == 0:
		return nil, n
	case n == 1:
		return &Join{Object: j.Object, Status: j.Status}, 0
	}
	return j, n - 2
}

func first[T any](list []T, n int) (some []T, left int) {
	some = list[:min(n, len(list))]
	return some, n - len(some)
}

// player runs a story.
type player struct {
	*world
	story     story
	random    *rand.Rand
	stepsDone int
	// turns so far, and the number of turns since an actor had something to do.
	turns, idle int
	// crashed is true if the controller crashed before it carried out its last plan completely.
	crashed bool
	// current is true if the controller has reconciled after the last step of the user. still is
	// true if it then changed nothing, and only time has passed since.
	current, still bool
	lookedAt       time.Time
	// waited, failures and denials are how often each device has waited, failed and denied.
	waited, failures, denials map[string]int
	// closed has the states of closed actions, by target and id.
	closed map[string]v1alpha1.ActionState
}

// actors returns the actors in the order of their turns. The clock moves when no other actor has
// anything to do.
func (s *player) actors() []func() bool {
	actors := []func() bool{s.controller}
	for _, target := range s.population() {
		actors = append(actors, func() bool { return s.device(target.Name) })
	}
	for _, name := range s.story.laterTargets {
		actors = append(actors, func() bool { return s.device(name) })
	}
	actors = append(actors, s.targetController, s.person)
	if s.story.hours != nil {
		actors = append(actors, s.clock)
	}
	return actors
}

func (s *player) turn(act func() bool) bool {
	s.t.Helper()
	s.turns++
	s.idle++
	acted := act()
	if acted {
		s.idle = 0
		s.check()
	}
	return acted
}

func (s *player) controller() bool {
	before, due := s.rollout.Status, s.lookedAt.Add(s.wanted.RecheckAfter)
	isDue := s.wanted.RecheckAfter > 0 && !s.now.Before(due)
	s.crashed = false
	s.reconcile()
	p := s.wanted                    // with the writes that a crash prevented
	if !s.crashed && p.Join == nil { // members that joined are counted in the next reconcile
		s.checkRecount()
	}
	acted := p.Decided || p.Join != nil || len(p.Supersede)+len(p.Mirror)+len(p.Create)+len(p.Delete) > 0 || !equality.Semantic.DeepEqual(before, s.rollout.Status)
	if s.still && acted && !isDue {
		s.t.Errorf("time alone caused a write that RecheckAfter did not announce:\n%s", cmp.Diff(before, s.rollout.Status))
	}
	s.current, s.still, s.lookedAt = !s.crashed, !s.crashed && !acted, s.now
	return acted || p.RecheckAfter > 0 && p.RecheckAfter <= joinPause
}

// targetController reconciles the first target that has something to record or to apply.
func (s *player) targetController() bool {
	for _, t := range s.population() {
		if s.lookAt(t.Name) {
			s.still = false
			return true
		}
	}
	return false
}

// person does the next step of the story, and lifts every pause after a group without results.
func (s *player) person() bool {
	if at := s.rollout.Spec.ResumedAt; s.rollout.Status.PauseReason == v1alpha1.PauseByWeakGroup && (at == nil || at.Time.Before(s.rollout.Status.PausedAt.Time)) {
		s.log = append(s.log, fmt.Sprintf("%6s  a person resumes after a group without results", s.now.Sub(epoch)))
		s.resume()
		s.current, s.still = false, false
		return true
	}
	if s.stepsDone == len(s.story.person) || !s.story.person[s.stepsDone].when(s.world) {
		return false
	}
	step := s.story.person[s.stepsDone]
	s.stepsDone++
	s.log = append(s.log, fmt.Sprintf("%6s  a person %s", s.now.Sub(epoch), step.says))
	step.do(s.world)
	s.current, s.still = false, false
	return true
}

// clock moves the time to the next time that changes something, when all actors wait for it; in a
// random order sometimes also before.
func (s *player) clock() bool {
	next := s.nextHour(s.lookedAt)
	if next.IsZero() || !s.story.hours(s.world) || s.idle <= len(s.targets)+len(s.story.laterTargets)+3 && (s.random == nil || s.random.IntN(10) > 0) {
		return false
	}
	s.now = next
	return true
}

// device polls once and carries out what it is offered.
func (s *player) device(name string) bool {
	if s.targets[name] == nil {
		return false
	}
	applied, is := s.applyReport(name), s.story.devices[name]
	o := s.offer(name)
	switch {
	case o.Kind == offer.Nothing, s.ignores(name, o):
	case s.waited[name] < is.slow:
		s.waited[name]++
		applied = applied || is.slow < never
	default:
		s.waited[name], applied = 0, true
		s.carryOut(name, o)
	}
	if applied {
		s.still = false
	}
	return applied
}

// ignores reports whether a device does not react to its offer.
func (s *player) ignores(name string, o offer.Offer) bool {
	is := s.story.devices[name]
	switch {
	case o.Action == nil:
		return is.lost && s.failures[name] > 0
	case o.Kind == offer.Confirm:
		return is.denies == never && s.denials[name] > 0
	case o.Kind == offer.Cancel:
		return is.ignores
	}
	return is.hangs
}

// carryOut carries out an offer according to the device's behavior.
func (s *player) carryOut(name string, o offer.Offer) {
	is, a := s.story.devices[name], o.Action
	switch {
	case a == nil:
		s.checkCreation(name, o)
		s.take(name, o)
	case o.Kind == offer.Confirm && s.denials[name] < is.denies:
		s.denials[name]++
		s.answer(name, o, action.Deny, "")
	case o.Kind == offer.Confirm:
		s.checkCreation(name, o)
		s.answer(name, o, action.Confirm, "")
	case o.Kind == offer.Cancel && is.refuses:
		s.answer(name, o, action.CancelRejected, "")
	case o.Kind == offer.Cancel:
		s.answer(name, o, action.CancelAccepted, "")
	case !a.DownloadSeen:
		s.answer(name, o, action.Download, "")
	case a.Update.Type == v1alpha1.UpdateTypeDownloadOnly:
		s.answer(name, o, action.Downloaded, "")
	case s.failures[name] < is.times:
		s.failures[name]++
		s.answer(name, o, action.Fail, is.code)
	default:
		s.answer(name, o, action.Succeed, "")
	}
}

// answer reports an event about the action that is offered.
func (s *player) answer(name string, o offer.Offer, e action.Event, code string) {
	r := action.Report{ID: o.ActionID, Event: e, StatusCode: code, Now: s.now}
	if message, ok := strings.CutPrefix(code, messageOnly); ok {
		r.StatusCode, r.Details = "", []string{message}
	}
	action.Apply(&s.targets[name].Status, r)
}

// messageOnly is the prefix of a code that a device sends as a message, without a code.
const messageOnly = "says "

// isNamed reports whether update.retries covers a failed action.
func isNamed(retries *v1alpha1.Retries, a *v1alpha1.Action) bool {
	if a.StatusCode == "" && slices.Contains(retries.Messages, a.FailureGroup) {
		return true
	}
	return len(retries.StatusCodes)+len(retries.Messages) == 0 || slices.Contains(retries.StatusCodes, a.StatusCode)
}

// checkCreation fails if an action starts on a target on hold, outside a window, or on a member
// that is not Pending or InProgress.
func (s *player) checkCreation(name string, o offer.Offer) {
	s.t.Helper()
	if s.targets[name].Spec.Hold {
		s.t.Errorf("%s starts while it is held", name)
	}
	if o.Action != nil && o.Action.Source.UID != s.rollout.UID || o.Intent != nil && o.Intent.Source.UID != s.rollout.UID {
		return
	}
	if s.spec().Update.MaintenanceWindow != nil && !isNight(s.world) {
		s.t.Errorf("%s starts at %s, outside the window", name, s.now)
	}
	if b := s.bucket(name); s.current && b != counting.Pending && b != counting.InProgress {
		s.t.Errorf("%s starts and was counted %s", name, b)
	}
}

func (s *player) spec() *v1alpha1.RolloutSpec { return &s.rollout.Spec }

// check checks what must be true after every turn that changed something.
func (s *player) check() {
	s.t.Helper()
	for name, t := range s.targets {
		s.checkActions(name, t.Status.Actions)
	}
	s.checkMembership()
	if s.current {
		s.checkOffers()
	}
}

// checkActions checks that closed actions do not change, that attempts are numbered, limited and
// not too early, and that no action starts after an invalidation.
func (s *player) checkActions(name string, actions []v1alpha1.Action) {
	s.t.Helper()
	var last *v1alpha1.Action
	for i := range actions {
		a := &actions[i]
		key := fmt.Sprint(name, " ", a.ID)
		if was, ok := s.closed[key]; ok && was != a.State {
			s.t.Errorf("%s: %s became %s: a closed action changed", key, was, a.State)
		}
		if a.State.IsClosed() {
			s.closed[key] = a.State
		}
		if a.Source.UID != s.rollout.UID {
			continue
		}
		if at := s.invalidatedAt(); !at.IsZero() && a.StartedAt.After(at) {
			s.t.Errorf("%s started after the invalidation", key)
		}
		s.checkAttempt(key, last, a)
		last = a
	}
}

// invalidatedAt returns since when no action may start, or the zero time if actions may start.
func (s *player) invalidatedAt() time.Time {
	if s.set == nil || s.set.Invalidation == v1alpha1.CancellationNone {
		return time.Time{}
	}
	return s.set.InvalidatedAt
}

// checkAttempt compares an action of the rollout with the one before it on the same target.
func (s *player) checkAttempt(key string, last, a *v1alpha1.Action) {
	s.t.Helper()
	retries, asked := s.spec().Update.Retries, s.spec().Retry != nil
	switch {
	case last != nil && action.IsUnconfirmed(last) && a.Source.Attempt == last.Source.Attempt: // asking for a confirmation again is no other attempt
		return
	case last == nil && a.Source.Attempt != 1, last != nil && a.Source.Attempt != last.Source.Attempt+1:
		s.t.Errorf("%s is attempt %d", key, a.Source.Attempt)
	case last == nil || asked:
	case last.State != v1alpha1.ActionError || retries == nil || last.Source.Attempt > retries.Limit || !isNamed(retries, last):
		s.t.Errorf("%s is attempt %d, but after %s %s no other attempt is allowed", key, a.Source.Attempt, last.State, last.StatusCode)
	case a.Update.Superseding == v1alpha1.SupersedingQueue: // an older update with the same content may have started it, and this one adopted it
	case a.StartedAt.Sub(last.ClosedAt.Time) < time.Duration(*retries.BackoffSeconds)*time.Second:
		s.t.Errorf("%s started %s after the last attempt failed", key, a.StartedAt.Sub(last.ClosedAt.Time))
	}
}

// checkMembership checks that no target is in two groups of the plan.
func (s *player) checkMembership() {
	s.t.Helper()
	in := map[v1alpha1.TargetName]string{}
	for _, g := range s.groups {
		if g.Spec.PlanHash != s.planHash() {
			continue
		}
		for _, name := range g.Spec.Targets {
			if other, ok := in[name]; ok {
				s.t.Errorf("%s is in %s and %s", name, other, g.Spec.Group)
			}
			in[name] = g.Spec.Group
		}
	}
}

// checkRecount checks that the counts after a reconcile equal a recount, except those of closed
// groups, which are frozen.
func (s *player) checkRecount() {
	s.t.Helper()
	for i, g := range s.snapshot().Groups[:len(s.rollout.Status.Groups)] {
		status := s.rollout.Status.Groups[i]
		if !counting.AllClosed(status.Counts) || status.State == v1alpha1.GroupRunning {
			if diff := cmp.Diff(g.Tally.Counts, status.Counts, cmpopts.EquateEmpty()); diff != "" {
				s.t.Errorf("group %s, -recount +status:\n%s", status.Name, diff)
			}
		}
	}
}

// checkLaterTargets checks that at the end all targets that may join a dynamic rollout have joined.
func (s *player) checkLaterTargets() {
	s.t.Helper()
	if s.state() == v1alpha1.RolloutRunning && s.condition(v1alpha1.ConditionStalled) == "" && newPlanner(s.snapshot()).growthEnd() == "" {
		if left := s.joinCandidates(100); len(left) > 0 {
			s.t.Errorf("%s never joined", left[0].Name)
		}
	}
}

// checkEnd checks that at the end the plan is empty, a stop was applied to all open actions, and
// all targets that may join have joined.
func (s *player) checkEnd() {
	s.t.Helper()
	p := s.reconcileAll()
	s.checkRecount()
	s.checkOffers()
	s.checkLaterTargets()
	if p.CancelOpenActions {
		s.t.Error("the stop has still to be applied to open actions")
	}
	if l := newPlanner(s.snapshot()); s.state() == v1alpha1.RolloutRunning && s.spec().Dynamic == nil && l.decisive() == nil {
		s.t.Error("all members have a result, and the rollout has not finished")
	}
	if s.stepsDone < len(s.story.person) {
		s.t.Errorf("the person never %s", s.story.person[s.stepsDone].says)
	}
	if s.story.end != nil {
		s.story.end(s)
	}
}

// total returns the counts of the rollout, which are zero before there is a plan.
func (w *world) total() v1alpha1.Counts {
	if w.rollout.Status.Targets == nil {
		return v1alpha1.Counts{}
	}
	return *w.rollout.Status.Targets
}

// wantCounts fails the story if the counts at the end are different.
func (s *player) wantCounts(want v1alpha1.Counts) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.total()); diff != "" {
		s.t.Errorf("in the end, -want +got:\n%s", diff)
	}
}

func (s *player) wantBucket(name string, want counting.Bucket) {
	s.t.Helper()
	if got := s.bucket(name); got != want {
		s.t.Errorf("%s ends %s, want %s", name, got, want)
	}
}

// wantAttempts fails the story if a device has another bucket or number of attempts at the end.
func (s *player) wantAttempts(name string, want counting.Bucket, attempts int32) {
	s.t.Helper()
	s.wantBucket(name, want)
	got := int32(0)
	if own := action.OfSource(&s.targets[name].Status, s.rollout.UID); own != nil {
		got = own.Source.Attempt
	}
	if got != attempts {
		s.t.Errorf("%s made %d attempts, want %d", name, got, attempts)
	}
}
