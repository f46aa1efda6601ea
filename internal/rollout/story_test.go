package rollout

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

var update = flag.Bool("update", false, "write the golden decision logs")

// story is a whole rollout: a fleet, what its devices are like, and what a person commits when.
type story struct {
	targets int
	spec    func(*v1alpha1.RolloutSpec)
	// devices that are not obedient, by name.
	devices map[string]temperament
	// newcomers are targets that may appear later.
	newcomers []string
	person    []deed
	// want is how it ends, whatever the order of turns; empty: that depends on the order.
	wantState  v1alpha1.RolloutState
	wantGroups string
}

// temperament is what a device does when it is not obedient.
type temperament struct {
	// fails with this code, so many times.
	code  string
	times int
	// refuses a cancel; never answers one.
	refuses, ignores bool
	// slow devices need so many turns for each step.
	slow int
}

// deed is one commit, or another event in the world, as soon as its time has come.
type deed struct {
	says string
	when func(*world) bool
	do   func(*world)
}

var stories = map[string]story{
	"a canary, then the rest": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.Groups = []v1alpha1.Group{{Name: "canary", Percentage: num(25), SuccessThreshold: num(100)}, {Name: "half", Percentage: num(50)}, {Name: "rest"}}
		},
		devices:   map[string]temperament{"dev-05": {code: "17", times: 1}, "dev-02": {slow: 3}},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
	},
	"the brake, a resume, and a retry": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold, s.SuccessThreshold = num(3), num(40), num(100)
		},
		devices: map[string]temperament{"dev-05": {code: "17", times: 1}, "dev-06": {code: "17", times: 1}, "dev-07": {code: "flash", times: 1}},
		person: []deed{
			{"resumes after the brake", isPausedBy(v1alpha1.PauseByErrorThreshold), func(w *world) { w.resume() }},
			{"retries what failed", isIn(v1alpha1.RolloutFinished), func(w *world) {
				w.tick(2 * time.Second)
				w.edit(func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{At: metav1.NewTime(w.now)} })
			}},
		},
	},
	"gates between groups, and a target that is deleted": {
		targets: 9,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.SuccessAction = num(3), v1alpha1.SuccessActionPause
		},
		devices: map[string]temperament{"dev-02": {slow: 1000}},
		person: []deed{
			{"passes the first gate", isPausedBy(v1alpha1.PauseBySuccessAction), func(w *world) { w.resume() }},
			{"deletes a silent target", opens(1), func(w *world) { delete(w.targets, "dev-02") }},
			{"passes the second gate", isPausedBy(v1alpha1.PauseBySuccessAction), func(w *world) { w.resume() }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
	},
	"stopped half-way, and one device refuses": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]temperament{"dev-05": {refuses: true}, "dev-06": {slow: 2}, "dev-07": {slow: 1000}},
		person: []deed{
			{"stops", hasBegun("dev-05"), func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped }) }},
		},
		wantState: v1alpha1.RolloutStopped, wantGroups: "Finished Finished",
	},
	"the set is invalidated with Force": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]temperament{"dev-01": {ignores: true, slow: 3}, "dev-02": {slow: 3}, "dev-08": {slow: 1000}},
		person: []deed{
			{"invalidates the set", hasBegun("dev-01"), func(w *world) {
				w.set.Invalidation, w.set.InvalidationReason, w.set.InvalidatedAt = v1alpha1.CancelationForce, "bricks the modem", w.now
			}},
		},
		wantState: v1alpha1.RolloutStopped, wantGroups: "Finished Finished",
	},
	"a younger rollout takes targets over": {
		targets: 8,
		spec:    groupCount(2),
		devices: map[string]temperament{"dev-03": {slow: 1000}, "dev-04": {slow: 1000}},
		person: []deed{
			{"starts a younger rollout", opens(0), func(w *world) {
				w.claims = []Claim{{Name: "younger", UID: "uid-y", Started: [][]byte{bitmap(2, 3), bitmap(0)}}}
			}},
			{"sees its group open", opens(1), func(w *world) {
				w.claims[0].Open, w.claims[0].OpenGroups = [][]byte{bitmap(2, 3), bitmap(0)}, 1
			}},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"targets appear later, until there are enough": {
		targets: 4, newcomers: []string{"new-1", "new-2", "new-3", "new-4", "new-5", "new-6"},
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.Dynamic = num(2), &v1alpha1.Dynamic{GroupSize: num(2), MaxTargets: num(9)}
		},
		devices:   map[string]temperament{"dev-02": {slow: 2}, "new-4": {slow: 3}},
		person:    append(appears("new-3", "new-1", "new-5", "new-2"), appears("new-6", "new-4")...),
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished Finished Finished",
	},
	"a dynamic rollout brakes, is paused, goes on and is stopped": {
		targets: 2, newcomers: []string{"new-1", "new-2", "new-3", "new-4", "new-5"},
		spec: func(s *v1alpha1.RolloutSpec) {
			s.Dynamic, s.ErrorThreshold = &v1alpha1.Dynamic{GroupSize: num(2)}, num(40)
			s.Update.StartDeadlineSeconds = num(3600)
		},
		devices: map[string]temperament{"new-1": {code: "17", times: 1}, "new-3": {slow: 2}, "new-5": {slow: 1000}},
		person: slices.Concat(appears("new-1"), []deed{
			{"pauses", isPausedBy(v1alpha1.PauseByErrorThreshold), func(w *world) {
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused })
			}},
		}, appears("new-2", "new-3"), []deed{
			{"goes on", always, func(w *world) {
				w.resume()
				w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentRunning })
			}},
		}, appears("new-4", "new-5"), []deed{
			{"stops", hasBegun("new-4"), func(w *world) { w.edit(func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentStopped }) }},
		}),
		wantState: v1alpha1.RolloutStopped,
	},
	"devices that never come, and two that come too late": {
		targets: 8,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorThreshold, s.Update.StartDeadlineSeconds = num(2), num(100), num(3600)
		},
		devices: map[string]temperament{"dev-01": {slow: 1000}, "dev-06": {slow: 1000}},
		person: []deed{
			{"waits an hour", opens(1), func(w *world) { w.tick(time.Hour) }},
			{"waits another", func(w *world) bool { return w.rollout.Status.Targets.Failed > 0 }, func(w *world) { w.tick(time.Hour) }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished",
	},
	"an error budget over small groups": {
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.GroupCount, s.ErrorBudget = num(6), &v1alpha1.ErrorBudget{Count: num(2)}
		},
		devices: map[string]temperament{"dev-01": {code: "17", times: 1}, "dev-03": {code: "17", times: 1}, "dev-05": {code: "17", times: 1}},
		person: []deed{
			{"resumes after the budget was used up", isPausedBy(v1alpha1.PauseByErrorBudget), func(w *world) { w.resume() }},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished Finished Finished Finished",
	},
}

func always(*world) bool { return true }

// appears: targets appear, one after the other.
func appears(names ...string) []deed {
	var deeds []deed
	for _, name := range names {
		deeds = append(deeds, deed{"adds " + name, opens(0), func(w *world) { w.addTarget(name) }})
	}
	return deeds
}

func isPausedBy(reason v1alpha1.PauseReason) func(*world) bool {
	return func(w *world) bool { return w.rollout.Status.PauseReason == reason }
}

func isIn(state v1alpha1.RolloutState) func(*world) bool {
	return func(w *world) bool { return w.state() == state }
}

func opens(group int) func(*world) bool {
	return func(w *world) bool {
		return len(w.rollout.Status.Groups) > group && w.rollout.Status.Groups[group].State != v1alpha1.GroupScheduled && w.rollout.Status.StartedAt != nil
	}
}

func hasBegun(name string) func(*world) bool {
	return func(w *world) bool { return action.Newest(&w.targets[name].Status) != nil }
}

// TestStories plays every story in the default order, in one seeded random order, both against golden decision logs, and in a hundred
// fresh random orders, in which the controller also dies between any two writes. The invariants have to hold after every turn.
func TestStories(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			t.Run("default order", func(t *testing.T) { golden(t, name+" (default order)", s.play(t, nil, false)) })
			t.Run("seed 7", func(t *testing.T) { golden(t, name+" (seed 7)", s.play(t, rand.New(rand.NewPCG(7, 0)), false)) })
			for range 100 {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { s.play(t, rand.New(rand.NewPCG(seed, 0)), true) })
			}
		})
	}
}

func golden(t *testing.T, name string, log []string) {
	t.Helper()
	file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "", "(", "", ")", "").Replace(name)+".txt")
	got := strings.Join(log, "\n") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/rollout -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("decisions changed; if that is meant, run go test ./internal/rollout -update\n-want +got:\n%s", diff)
	}
}

// play lets devices, controller and person take turns until nobody has anything to do. Without random, the turns go round.
func (s story) play(t *testing.T, random *rand.Rand, crashes bool) []string {
	w := newWorld(t, s.targets, s.spec)
	if crashes {
		w.crash = func(p Plan) Plan {
			if random.IntN(4) > 0 {
				return p
			}
			return cut(p, w.rollout.Status, random.IntN(len(p.Create)+len(p.Supersede)+1+len(p.Mirror)+2+len(p.Delete)))
		}
	}
	stage := &stage{world: w, story: s, patience: map[string]int{}, failures: map[string]int{}, closed: map[string]v1alpha1.ActionState{}}
	actors := []func() bool{stage.controller}
	for _, target := range w.population() {
		actors = append(actors, func() bool { return stage.device(target.Name) })
	}
	for _, name := range s.newcomers {
		actors = append(actors, func() bool { return stage.device(name) })
	}
	actors = append(actors, stage.walk, stage.person)
	for quiet := 0; quiet < 2; {
		if len(w.log) > 500 {
			t.Fatalf("no end:\n%s", strings.Join(w.log[len(w.log)-20:], "\n"))
		}
		quiet++
		for i := range actors {
			if random != nil && quiet < 2 { // the last round goes round, so that nobody is left out
				i = random.IntN(len(actors))
			}
			w.tick(100 * time.Millisecond)
			if actors[i]() {
				quiet = 0
			}
			stage.check()
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
	stage.checkNewcomers()
	w.log = append(w.log, fmt.Sprintf("%6s  ends %s [%s], %+v", w.now.Sub(epoch).Truncate(time.Second), w.state(), w.states(), *w.rollout.Status.Targets))
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
	story    story
	deeds    int
	patience map[string]int
	failures map[string]int
	// closed are the actions that have closed, by target and id: closed is closed.
	closed map[string]v1alpha1.ActionState
	begun  int
}

func (s *stage) controller() bool {
	before := s.rollout.Status
	p := s.look()
	if s.crash == nil && p.Join == nil { // who joined is counted in the next look
		s.checkRecount()
	}
	p = s.wanted // also what a crash has cut off
	isSoon := p.RecheckAfter > 0 && p.RecheckAfter <= joinPause
	return p.Decided || p.Join != nil || isSoon || len(p.Supersede)+len(p.Mirror)+len(p.Create)+len(p.Delete) > 0 || !equality.Semantic.DeepEqual(before, s.rollout.Status)
}

// walk folds a stop into some open actions, as a controller does that may at most do one at a time.
func (s *stage) walk() bool {
	if !s.last.Walk {
		return false
	}
	cause, told := v1alpha1.CauseStopped, v1alpha1.CancelationSoft
	if s.set.Invalidation != "" {
		cause, told = v1alpha1.CauseInvalidated, s.set.Invalidation
	}
	for _, t := range s.population() {
		if a := action.Open(&t.Status); a != nil && action.Cancel(&t.Status, a.ID, cause, told, s.now) {
			return true
		}
	}
	return false
}

func (s *stage) person() bool {
	if s.deeds == len(s.story.person) || !s.story.person[s.deeds].when(s.world) {
		return false
	}
	deed := s.story.person[s.deeds]
	s.deeds++
	s.log = append(s.log, fmt.Sprintf("%6s  a person %s", s.now.Sub(epoch), deed.says))
	deed.do(s.world)
	return true
}

// device takes one step: it fetches what is offered, works, reports.
func (s *stage) device(name string) bool {
	t, is := s.targets[name], s.story.devices[name]
	if t == nil {
		return false
	}
	open := action.Open(&t.Status)
	switch {
	case open == nil && !s.isOffered(name):
		return false
	case s.patience[name] < is.slow:
		s.patience[name]++
		return is.slow < 1000
	}
	s.patience[name] = 0
	switch {
	case open == nil:
		s.begin(name)
		s.begun++
	case open.State == v1alpha1.ActionCanceling && is.ignores:
		return false
	case open.State == v1alpha1.ActionCanceling && is.refuses:
		s.report(name, action.CancelRejected, "")
	case open.State == v1alpha1.ActionCanceling:
		s.report(name, action.CancelAccepted, "")
	case open.State == v1alpha1.ActionRetrieved:
		s.report(name, action.Download, "")
	case s.failures[name] < is.times:
		s.failures[name]++
		s.report(name, action.Fail, is.code)
	default:
		s.report(name, action.Succeed, "")
	}
	return true
}

// check holds what must be true after every turn.
func (s *stage) check() {
	s.t.Helper()
	for name, t := range s.targets {
		attempts := map[int32]bool{}
		for _, a := range t.Status.Actions {
			key := fmt.Sprint(name, " ", a.ID)
			if was, ok := s.closed[key]; ok && was != a.State {
				s.t.Errorf("%s: %s became %s: closed is closed", key, was, a.State)
			}
			if a.State.IsClosed() {
				s.closed[key] = a.State
			}
			if attempts[a.Source.Attempt] {
				s.t.Errorf("%s began attempt %d twice", name, a.Source.Attempt)
			}
			attempts[a.Source.Attempt] = true
			if at := s.set.InvalidatedAt; !at.IsZero() && a.BeganAt.After(at) {
				s.t.Errorf("%s began after the invalidation", key)
			}
		}
	}
	s.checkMembership()
}

// checkMembership: nobody is in two groups of the plan.
func (s *stage) checkMembership() {
	s.t.Helper()
	in := map[v1alpha1.TargetName]string{}
	for _, g := range s.groups {
		for _, name := range g.Spec.Targets {
			if other, ok := in[name]; ok && g.Spec.PlanHash == s.planHash() {
				s.t.Errorf("%s is in %s and %s", name, other, g.Spec.Group)
			}
			in[name] = g.Spec.Group
		}
	}
}

// checkRecount: what a look writes equals a recount of the world it leaves, but for closed groups, whose counts are history.
func (s *stage) checkRecount() {
	s.t.Helper()
	for i, g := range s.snapshot().Groups[:len(s.rollout.Status.Groups)] {
		status := s.rollout.Status.Groups[i]
		if !isClosed(status.Counts) || status.State == v1alpha1.GroupRunning {
			if diff := cmp.Diff(g.Tally.Counts, status.Counts, cmpopts.EquateEmpty()); diff != "" {
				s.t.Errorf("group %s, -recount +status:\n%s", status.Name, diff)
			}
		}
	}
}

// checkNewcomers: in the end, whoever may join a rollout that takes targets in has joined.
func (s *stage) checkNewcomers() {
	s.t.Helper()
	if s.state() == v1alpha1.RolloutRunning && newLook(s.snapshot()).growthEnd() == "" {
		if left := s.joiners(100); len(left) > 0 {
			s.t.Errorf("%s never joined", left[0].Name)
		}
	}
}

// checkEnd: in the end nothing more is wanted, and everybody has heard of a stop.
func (s *stage) checkEnd() {
	s.t.Helper()
	p := s.settle()
	s.checkRecount()
	if p.Walk {
		s.t.Error("somebody has still to hear of the stop")
	}
}
