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

// play lets devices, controllers and person take turns until nobody has anything to do. Without
// random, the turns go round.
func (s story) play(t *testing.T, random *rand.Rand, crashes bool) []string {
	w := newWorld(t, s.targets, s.spec)
	if s.scene != nil {
		s.scene(w)
	}
	stage := &stage{world: w, story: s, random: random, patience: map[string]int{}, failures: map[string]int{}, denials: map[string]int{},
		closed: map[string]v1alpha1.ActionState{}}
	if crashes {
		w.crash = func(p Plan) Plan {
			if random.IntN(4) > 0 {
				return p
			}
			stage.died = true
			return cut(p, w.rollout.Status, random.IntN(len(p.Create)+len(p.Supersede)+1+len(p.Mirror)+2+len(p.Delete)))
		}
	}
	actors := stage.actors()
	rounds := 2
	if s.hours != nil { // what became due in the last round but one is done in the last
		rounds = 3
	}
	for quiet := 0; quiet < rounds; {
		if len(w.log) > 500 || stage.turns > 50_000 {
			t.Fatalf("no end:\n%s", strings.Join(w.log[max(0, len(w.log)-20):], "\n"))
		}
		quiet++
		for i := range actors {
			if random != nil && quiet < 2 { // the last rounds go round, so that nobody is left out
				i = random.IntN(len(actors))
			}
			w.tick(100 * time.Millisecond)
			if stage.turn(actors[i]) {
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
	stage.checkEnd()
	w.log = append(w.log, fmt.Sprintf("%6s  ends %s [%s], %+v", w.now.Sub(epoch).Truncate(time.Second), w.state(), w.states(), stage.total()))
	return w.log
}

// cut leaves the first n writes of a plan. Whoever died before the last one told nobody.
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

// part of a join that n writes are enough for.
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

// stage is a story being played.
type stage struct {
	*world
	story  story
	random *rand.Rand
	deeds  int
	// turns so far, and how many turns ago somebody last had anything to do.
	turns, idle int
	// died: the controller did not live to carry out the whole plan of its last look.
	died bool
	// current: the controller has seen all that people have done. still: it wanted nothing then,
	// and nothing but time has passed since.
	current, still bool
	lookedAt       time.Time
	// patience, failures and denials are how often each device has waited, failed and said no.
	patience, failures, denials map[string]int
	// closed are the actions that have closed, by target and id: closed is closed.
	closed map[string]v1alpha1.ActionState
}

// actors in the order in which the turns go round. Time passes by itself once nobody has anything
// else to do.
func (s *stage) actors() []func() bool {
	actors := []func() bool{s.controller}
	for _, target := range s.population() {
		actors = append(actors, func() bool { return s.device(target.Name) })
	}
	for _, name := range s.story.newcomers {
		actors = append(actors, func() bool { return s.device(name) })
	}
	actors = append(actors, s.targetController, s.person)
	if s.story.hours != nil {
		actors = append(actors, s.clock)
	}
	return actors
}

func (s *stage) turn(act func() bool) bool {
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

func (s *stage) controller() bool {
	before, due := s.rollout.Status, s.lookedAt.Add(s.wanted.RecheckAfter)
	isDue := s.wanted.RecheckAfter > 0 && !s.now.Before(due)
	s.died = false
	s.planner()
	p := s.wanted                 // also what a crash has cut off
	if !s.died && p.Join == nil { // who joined is counted in the next look
		s.checkRecount()
	}
	acted := p.Decided || p.Join != nil || len(p.Supersede)+len(p.Mirror)+len(p.Create)+len(p.Delete) > 0 || !equality.Semantic.DeepEqual(before, s.rollout.Status)
	if s.still && acted && !isDue {
		s.t.Errorf("time alone made a write that no look had announced:\n%s", cmp.Diff(before, s.rollout.Status))
	}
	s.current, s.still, s.lookedAt = !s.died, !s.died && !acted, s.now
	return acted || p.RecheckAfter > 0 && p.RecheckAfter <= joinPause
}

// targetController looks at the first target that there is something to note or to apply of.
func (s *stage) targetController() bool {
	for _, t := range s.population() {
		if s.lookAt(t.Name) {
			s.still = false
			return true
		}
	}
	return false
}

// person does what the story says, and lifts every pause behind a group without results.
func (s *stage) person() bool {
	if at := s.rollout.Spec.ResumedAt; s.rollout.Status.PauseReason == v1alpha1.PauseByWeakGroup && (at == nil || at.Time.Before(s.rollout.Status.PausedAt.Time)) {
		s.log = append(s.log, fmt.Sprintf("%6s  a person goes on without the results of a group", s.now.Sub(epoch)))
		s.resume()
		s.current, s.still = false, false
		return true
	}
	if s.deeds == len(s.story.person) || !s.story.person[s.deeds].when(s.world) {
		return false
	}
	deed := s.story.person[s.deeds]
	s.deeds++
	s.log = append(s.log, fmt.Sprintf("%6s  a person %s", s.now.Sub(epoch), deed.says))
	deed.do(s.world)
	s.current, s.still = false, false
	return true
}

// clock lets time pass until it changes something, when everybody waits for just that; in a random
// order also now and then before.
func (s *stage) clock() bool {
	next := s.nextHour(s.lookedAt)
	if next.IsZero() || !s.story.hours(s.world) || s.idle <= len(s.targets)+len(s.story.newcomers)+3 && (s.random == nil || s.random.IntN(10) > 0) {
		return false
	}
	s.now = next
	return true
}

// device takes one step: it comes by, and does what it is offered.
func (s *stage) device(name string) bool {
	if s.targets[name] == nil {
		return false
	}
	applied, is := s.applyReport(name), s.story.devices[name]
	o := s.offer(name)
	switch {
	case o.Kind == offer.Nothing, s.shrugs(name, o):
	case s.patience[name] < is.slow:
		s.patience[name]++
		applied = applied || is.slow < never
	default:
		s.patience[name], applied = 0, true
		s.does(name, o)
	}
	if applied {
		s.still = false
	}
	return applied
}

// shrugs reports whether a device does not care for what it is offered.
func (s *stage) shrugs(name string, o offer.Offer) bool {
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

// does what is offered, as far as the device's temperament lets it.
func (s *stage) does(name string, o offer.Offer) {
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

// answer is a report on the action that is offered.
func (s *stage) answer(name string, o offer.Offer, e action.Event, code string) {
	r := action.Report{ID: o.ActionID, Event: e, StatusCode: code, Now: s.now}
	if message, ok := strings.CutPrefix(code, saysOnly); ok {
		r.StatusCode, r.Details = "", []string{message}
	}
	action.Apply(&s.targets[name].Status, r)
}

// saysOnly starts the code of a device that sends the rest as a message, and no code.
const saysOnly = "says "

// isNamed reports whether a failed action is among those that retries tries again.
func isNamed(retries *v1alpha1.Retries, a *v1alpha1.Action) bool {
	if a.StatusCode == "" && slices.Contains(retries.Messages, a.FailureGroup) {
		return true
	}
	return len(retries.StatusCodes)+len(retries.Messages) == 0 || slices.Contains(retries.StatusCodes, a.StatusCode)
}

// checkCreation: nothing starts on a target that is held, outside a window, or before its rollout
// awaits it.
func (s *stage) checkCreation(name string, o offer.Offer) {
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

func (s *stage) spec() *v1alpha1.RolloutSpec { return &s.rollout.Spec }

// check holds what must be true after every turn in which anything has happened.
func (s *stage) check() {
	s.t.Helper()
	for name, t := range s.targets {
		s.checkActions(name, t.Status.Actions)
	}
	s.checkMembership()
	if s.current {
		s.checkOffers()
	}
}

// checkActions: closed is closed, no attempt is made twice, one too many or before its time, and
// nothing starts after an invalidation.
func (s *stage) checkActions(name string, actions []v1alpha1.Action) {
	s.t.Helper()
	var last *v1alpha1.Action
	for i := range actions {
		a := &actions[i]
		key := fmt.Sprint(name, " ", a.ID)
		if was, ok := s.closed[key]; ok && was != a.State {
			s.t.Errorf("%s: %s became %s: closed is closed", key, was, a.State)
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

// invalidatedAt is since when nothing may start any more; zero: it may.
func (s *stage) invalidatedAt() time.Time {
	if s.set == nil || s.set.Invalidation == v1alpha1.CancellationNone {
		return time.Time{}
	}
	return s.set.InvalidatedAt
}

// checkAttempt compares an action of the rollout with the one before it on the same target.
func (s *stage) checkAttempt(key string, last, a *v1alpha1.Action) {
	s.t.Helper()
	retries, asked := s.spec().Update.Retries, s.spec().Retry != nil
	switch {
	case last != nil && action.IsUnconfirmed(last) && a.Source.Attempt == last.Source.Attempt: // a question that is asked again is no other attempt
		return
	case last == nil && a.Source.Attempt != 1, last != nil && a.Source.Attempt != last.Source.Attempt+1:
		s.t.Errorf("%s is attempt %d", key, a.Source.Attempt)
	case last == nil || asked:
	case last.State != v1alpha1.ActionError || retries == nil || last.Source.Attempt > retries.Limit || !isNamed(retries, last):
		s.t.Errorf("%s is attempt %d, and the last one, %s %s, was the last one", key, a.Source.Attempt, last.State, last.StatusCode)
	case a.Update.Superseding == v1alpha1.SupersedingQueue: // it may have started for something older of the same content, and been adopted when its time had come
	case a.StartedAt.Sub(last.ClosedAt.Time) < time.Duration(*retries.BackoffSeconds)*time.Second:
		s.t.Errorf("%s started %s after the last attempt failed", key, a.StartedAt.Sub(last.ClosedAt.Time))
	}
}

// checkMembership: nobody is in two groups of the plan.
func (s *stage) checkMembership() {
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

// checkRecount: what a look writes equals a recount of the world it leaves, but for closed groups,
// whose counts are history.
func (s *stage) checkRecount() {
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

// checkNewcomers: in the end, whoever may join a rollout that takes targets in has joined.
func (s *stage) checkNewcomers() {
	s.t.Helper()
	if s.state() == v1alpha1.RolloutRunning && s.condition(v1alpha1.ConditionStalled) == "" && newPlanner(s.snapshot()).growthEnd() == "" {
		if left := s.joiners(100); len(left) > 0 {
			s.t.Errorf("%s never joined", left[0].Name)
		}
	}
}

// checkEnd: in the end nothing more is wanted, everybody has heard of a stop, and whoever may join
// has joined.
func (s *stage) checkEnd() {
	s.t.Helper()
	p := s.stabilizationPeriod()
	s.checkRecount()
	s.checkOffers()
	s.checkNewcomers()
	if p.CancelOpenActions {
		s.t.Error("somebody has still to hear of the stop")
	}
	if l := newPlanner(s.snapshot()); s.state() == v1alpha1.RolloutRunning && s.spec().Dynamic == nil && l.decisive() == nil {
		s.t.Error("nobody is awaited, and the rollout has not finished")
	}
	if s.deeds < len(s.story.person) {
		s.t.Errorf("the person never %s", s.story.person[s.deeds].says)
	}
	if s.story.end != nil {
		s.story.end(s)
	}
}

// total counts of the rollout; none before there is a plan.
func (w *world) total() v1alpha1.Counts {
	if w.rollout.Status.Targets == nil {
		return v1alpha1.Counts{}
	}
	return *w.rollout.Status.Targets
}

// wantCounts fails the story if its rollout is counted otherwise in the end.
func (s *stage) wantCounts(want v1alpha1.Counts) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.total()); diff != "" {
		s.t.Errorf("in the end, -want +got:\n%s", diff)
	}
}

func (s *stage) wantBucket(name string, want counting.Bucket) {
	s.t.Helper()
	if got := s.bucket(name); got != want {
		s.t.Errorf("%s ends %s, want %s", name, got, want)
	}
}

// wantAttempts fails the story if a device has made another number of attempts, or another end.
func (s *stage) wantAttempts(name string, want counting.Bucket, attempts int32) {
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
